"""Run pieces of work in processes of their own, turn by turn, and print what they cost beside each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.shift_environments import NotInstalled, python_of

REPOSITORY = Path(__file__).resolve().parent.parent
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}

CORETYPE = "OPENBLAS_CORETYPE"
"""Some machines name an older processor there, at half the speed; processes here take the kernels of the real one."""


@dataclass(frozen=True)
class Work:
    """A function of shift_ours, or of shift_peers where a peer's distribution is named.

    Attributes:
        most: more rows a side than this are not tried.
        because: why.
    """

    function: str
    settings: dict[str, Any] = field(default_factory=dict)
    distribution: str = ""
    most: int = 10**12
    because: str = ""


def ours(function: str, **settings: Any) -> Work:
    return Work(function, settings)


def peer(function: str, distribution: str, *, most: int = 10**12, because: str = "", **settings: Any) -> Work:
    return Work(function, settings, distribution, most, because)


class Failed(Exception):
    """A piece of work raised an error or ran out of memory."""


def run(work: Work, files: list[Path], envs: Path) -> dict[str, Any]:
    """What shift_worker prints: cpu_s, base_gb, peak_gb, version, found.

    Raises:
        NotInstalled: the peer's environment can't be made.
        Failed: with the last line that it printed.
    """
    module = "benchmarks.shift_peers" if work.distribution else "benchmarks.shift_ours"
    python = python_of(work.distribution, envs) if work.distribution else sys.executable
    what = [module, work.function, work.distribution, *map(str, files), json.dumps(work.settings)]
    done = subprocess.run(
        [python, "-m", "benchmarks.shift_worker", *what],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != CORETYPE} | ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"])[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(works: tuple[Work, ...], rows: int, files: list[Path], envs: Path, repeats: int, patience: float) -> None:
    """Print one table. The first of the works is ours; ratios are to it.

    Args:
        works: pieces of work that give the same figure.
        rows: rows a side.
        files: the rows before and after.
        envs: where the peers' environments are.
        repeats: turns.
        patience: CPU-seconds; a peer that took longer isn't run again.
    """
    turns: list[list[dict[str, Any]]] = [[] for _ in works]
    given_up = {i: f"not tried: {work.because}" for i, work in enumerate(works) if rows > work.most}
    for turn in range(repeats):
        for i, work in enumerate(works):
            if i in given_up or (i > 0 and turn and turns[i][0]["cpu_s"] > patience):
                continue
            try:
                turns[i].append(run(work, files, envs))
            except (NotInstalled, Failed) as error:
                given_up[i] = str(error)
    print(f"  {'':24s} {'CPU s':>9s} {'peer / ours':>24s} {'peak GB':>8s} {'before':>7s}  figures")
    for i, work in enumerate(works):
        title = work.distribution or "ours"
        if i in given_up:
            print(f"  {title:24s} {given_up[i][:150]}", flush=True)
            continue
        cpu_s, peak_gb, base_gb = (median(turn[name] for turn in turns[i]) for name in ("cpu_s", "peak_gb", "base_gb"))
        found = "  ".join(f"{name} {_number(value)}" for name, value in turns[i][0]["found"].items())
        title = f"{title} {turns[i][0]['version']}"
        print(f"  {title:24s} {cpu_s:9.3f} {_ratio(turns, i):>24s} {peak_gb:8.2f} {base_gb:7.2f}  {found}", flush=True)


def _ratio(turns: list[list[dict[str, Any]]], i: int) -> str:
    ratios = [theirs["cpu_s"] / own["cpu_s"] for theirs, own in zip(turns[i], turns[0], strict=False)]
    if i == 0 or not ratios:
        return ""
    spread = f" ({min(ratios):.1f} to {max(ratios):.1f})" if len(ratios) > 1 else " (one turn)"
    return f"{median(ratios):.1f}{spread}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.5g}"
