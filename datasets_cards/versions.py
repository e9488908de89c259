"""Versions of an artifact: `vMAJOR.MINOR.PATCH`, and what each number promises.

PATCH: the same rows, with other bytes, scores, reports or another card. MINOR: rows were added and every old one is
intact. MAJOR: rows were changed or removed.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from datasets_cards.errors import InputError

Bump = Literal["patch", "minor", "major"]
BUMPS: tuple[Bump, ...] = get_args(Bump)
"""From the smallest to the largest."""

FIRST = "v1.0.0"
UNPUBLISHED = "v0.0.0"
_VERSION = re.compile(r"v(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})", re.ASCII)


def parse_version(text: str) -> tuple[int, int, int]:
    """The three numbers of `vMAJOR.MINOR.PATCH`.

    Raises:
        InputError: any other shape.
    """
    match = _VERSION.fullmatch(text)
    if not match:
        raise InputError(f"{text!r} is not a version", remedy="Versions look like v1.0.0")
    major, minor, patch = match.groups()
    return int(major), int(minor), int(patch)


def bumped(version: str, bump: Bump) -> str:
    """The version after this one.

    Raises:
        InputError: the number has no successor.
    """
    major, minor, patch = parse_version(version)
    after = {
        "major": f"v{major + 1}.0.0",
        "minor": f"v{major}.{minor + 1}.0",
        "patch": f"v{major}.{minor}.{patch + 1}",
    }[bump]
    parse_version(after)
    return after


def bump_between(before: str, after: str) -> Bump | None:
    """What a step from one version to another promises at least; None where it does not grow."""
    old, new = parse_version(before), parse_version(after)
    if new <= old:
        return None
    return "major" if new[0] > old[0] else "minor" if new[1] > old[1] else "patch"
