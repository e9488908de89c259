"""So many rows at a time that memory stays constant."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

CHUNK_ROWS = 2048
"""Enough to sort prompts by length, and to keep a server busy."""

Item = TypeVar("Item")


def in_chunks(items: Iterator[Item]) -> Iterator[list[Item]]:
    """Lists of the next `CHUNK_ROWS` items, the last one shorter."""
    while chunk := list(islice(items, CHUNK_ROWS)):
        yield chunk
