"""What labeling may ask of a task. The front door hands one in; `labelers` knows no task by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from datasets_cards.records import Row


class Preference(Protocol):
    """Two answers to one row of which one is better, to check a scorer on."""

    @property
    def row(self) -> Row:
        """The row that is answered."""
        ...

    @property
    def better(self) -> str:
        """The answer that ought to score higher."""
        ...

    @property
    def worse(self) -> str:
        """The other one."""
        ...


class LabelTask(Protocol):
    """A task as a labeler sees it."""

    name: str

    @property
    def rubric(self) -> str:
        """Grading instructions with `{question}` and `{answer}`, for self-rewarding."""
        ...

    def extract_answer(self, row: Row, text: str) -> str | None:
        """The answer inside a completion, normalized for comparison; None where there is none."""
        ...

    def is_misaligned(self, row: Row, text: str) -> bool | None:
        """The indicator M of the task's misbehavior; None where the row or the text can't be judged."""
        ...

    def preferences(self) -> Sequence[Preference]:
        """Pairs on which scorers are checked: none of them stands in the rows to label or to evaluate on."""
        ...
