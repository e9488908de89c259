"""Throw-away environments of the peers: one for all that agree on their pins, one for each that doesn't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
ON_THEIR_OWN = {"alibi-detect": "alibi_detect", "frouros": "frouros"}
"""The environments of peers whose pins agree with no one else's."""


class NotInstalled(Exception):
    """A peer's environment could not be made."""


def python_of(distribution: str, folder: Path) -> str:
    """The interpreter that has a peer; its environment is made if it isn't there.

    Raises:
        NotInstalled: with pip's last words.
    """
    name = ON_THEIR_OWN.get(distribution, "arrays")
    pins = REQUIREMENTS / f"shift_{name}.txt"
    place = folder / name
    python, made_of, failure = place / "bin" / "python", place / "made_of.txt", place / "failed.txt"
    if made_of.exists() and made_of.read_text() == pins.read_text():
        return str(python)
    if failure.exists() and failure.stat().st_mtime > pins.stat().st_mtime:
        raise NotInstalled(f"{failure.read_text()} (remove {failure} to try again)")
    print(f"installing the peers of {pins.name} into {place}", file=sys.stderr, flush=True)
    place.mkdir(parents=True, exist_ok=True)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(place)],
        [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(pins)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR")]
            failure.write_text((said or ["pip failed"])[-1])
            raise NotInstalled(failure.read_text())
    made_of.write_text(pins.read_text())
    return str(python)
