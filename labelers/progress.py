"""How far a labeling run is: rows, samples and tokens a second, and the time left, as one bar on stderr."""

from __future__ import annotations

import sys
import time
from typing import Self


class Progress:
    """Counts of a run; shown while it lasts where stderr is a terminal.

    Args:
        rows: how many rows there are.
        show: draw the bar.

    Attributes:
        samples: drawn in this run.
        tokens: drawn in this run.
    """

    def __init__(self, rows: int = 0, *, show: bool = False) -> None:
        self.samples = self.tokens = 0
        self._finished = self._begun = self._asked = self._answered = 0
        self._started, self._shown = time.monotonic(), 0.0
        self._bar = None
        if show and sys.stderr.isatty():
            from rich import progress as rich
            from rich.console import Console

            columns = (rich.BarColumn(), "{task.description}", rich.TimeRemainingColumn())
            self._bar = rich.Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(f"0/{rows} rows", total=rows)
            self._rows = rows

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar:
            self._bar.stop()

    def begin(self, rows: int) -> None:
        """The work on so many more rows begins; that on those before them is done."""
        self._finished, self._begun = self._finished + self._begun, rows
        self._asked = self._answered = 0

    def asked(self, samples: int, stored: int) -> None:
        """So many samples are wanted for these rows, some of which are there already."""
        self._asked += samples
        self._answered += stored

    def drawn(self, tokens: int) -> None:
        """One more sample, of so many tokens."""
        self.samples += 1
        self.tokens += tokens
        self._answered += 1
        now = time.monotonic()
        if self._bar and now - self._shown > 0.1:
            self._shown, seconds = now, max(now - self._started, 1e-9)
            # Rows of one chunk end together; between, they are as far as their samples are.
            done = self._finished + self._begun * self._answered / max(self._asked, 1)
            speed = f"{self.samples / seconds:,.1f} samples/s, {self.tokens:,} tokens at {self.tokens / seconds:,.0f}/s"
            self._bar.update(self._task, completed=done, description=f"{int(done):,}/{self._rows:,} rows, {speed}")
