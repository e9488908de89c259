"""A progress bar on stderr for long passes, on a terminal only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def bar(items: Sequence[T], title: str, *, show: bool) -> Iterable[T]:
    """The items, one step of the bar each."""
    if not show:
        return items
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, title, console=console, disable=not console.is_terminal, transient=True)
