"""`echoset doctor`: is this installation what it seems? Flat package names can be taken by another distribution."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from datasets_cards import cache_dir

OURS = ("datasets_cards", "labelers", "shift", "trainers", "organisms", "echoset")
NEEDED = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "polars",
    "sentence-transformers",
    "huggingface-hub",
)
OPTIONAL = ("vllm", "openai")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def checkup() -> list[Check]:
    """Look at our packages, the libraries, the threads and the cache; imports none of the heavy libraries."""
    home = Path(__file__).resolve().parent.parent
    claimed = packages_distributions()
    checks = []
    for package in OURS:
        spec = importlib.util.find_spec(package)
        place = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        others = sorted(set(claimed.get(package, [])) - {"echoset"})
        if place is None:
            checks.append(Check(package, False, "not found. Reinstall echoset."))
        elif place != home or others:
            taken = f"another package of this name is in the way ({', '.join(others) or place}). Uninstall it."
            checks.append(Check(package, False, taken))
        else:
            checks.append(Check(package, True, "ours"))
    for library in NEEDED:
        installed = _version(library)
        checks.append(Check(library, installed is not None, installed or "missing. pip install echoset."))
    for library in OPTIONAL:
        checks.append(
            Check(library, True, _version(library) or f"not installed (optional: pip install echoset[{library}])")
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    checks.append(
        Check("threads", True, f"{cores} processors, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}")
    )
    checks.append(_cache())
    return checks


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _cache() -> Check:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Check("cache", True, str(folder))
    except OSError as error:
        return Check(
            "cache", False, f"{folder}: {error.strerror}. Set ECHOSET_CACHE to a directory that can be written."
        )
