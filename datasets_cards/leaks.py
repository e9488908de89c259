"""What must never enter an artifact: places of this machine, and secrets of its environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets_cards.errors import InputError

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|CREDENTIAL|PRIVATE", re.IGNORECASE)


def refuse_leaks(texts: Iterable[tuple[str, str]]) -> None:
    """Stop what would carry a place of this machine or a secret of its environment into an artifact.

    Args:
        texts: (where it stands, text).

    Raises:
        InputError: naming where, never the secret.
    """
    home = str(Path.home())
    in_home = re.compile(rf"(?<![\w.]){re.escape(home)}(?![\w-])") if len(home) > 1 else None
    secrets = [value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= 12]
    for where, text in texts:
        if any(secret in text for secret in secrets):
            raise InputError("holds the value of a secret environment variable", where=where, remedy="Leave it out")
        # A bare "/no_think" is a fine setting: only what exists here is a path of this machine.
        names_path = text[:1] in ("/", "~") and len(text) > 1 and os.path.exists(os.path.expanduser(text))
        if names_path or (in_home and in_home.search(text)):
            raise InputError("names a place on this machine", where=where, remedy="Record a base name and a digest")


def strings(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every text inside a JSON-like value, with its place."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key, where)
            yield from strings(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from strings(item, f"{where}[{index}]")
