"""Do one piece of work in this process and say what it cost; benchmarks.shift starts it in each peer's environment.

python -m benchmarks.shift_worker MODULE FUNCTION DISTRIBUTION FIRST.npy SECOND.npy SETTINGS

The function imports what it needs and returns the work proper, which is run on a few rows first, so that compilers and
thread pools are warm, and then measured. One line of JSON comes last; libraries that print don't disturb it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import resource
import sys
from pathlib import Path

import numpy as np

WARM_UP = 600
"""Rows a side of the first, unmeasured call."""


def main() -> None:
    module, function, distribution, first, second, settings = sys.argv[1:]
    work = getattr(importlib.import_module(module), function)(**json.loads(settings))
    from_disk = getattr(work, "from_disk", False)
    x, y = (np.load(path, mmap_mode="r" if from_disk else None) for path in (first, second))
    if min(len(x), len(y)) > WARM_UP:
        work(np.array(x[:WARM_UP]), np.array(y[:WARM_UP]))
    base_gb = peak_gb()
    start = cpu_seconds()
    found = work(x, y)
    cost = {"cpu_s": cpu_seconds() - start, "base_gb": base_gb, "peak_gb": peak_gb()}
    version = importlib.metadata.version(distribution) if distribution else ""
    print("\n" + json.dumps({**cost, "version": version, "found": found}))


def cpu_seconds() -> float:
    """User and system time of this process and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_gb() -> float:
    """The largest resident memory so far. (`getrusage` counts the process that started this one as well.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


if __name__ == "__main__":
    main()
