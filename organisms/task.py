"""What a task is: rows to induce a misbehavior, to label and to measure it on, pairs, and a scorer by program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from datasets_cards.records import Message, Row


@dataclass(frozen=True, slots=True)
class Pair:
    """One question asked twice, cleanly and under pressure, with a completion that is right for both.

    Attributes:
        clean: the row without pressure.
        wrapped: the same row with pressure added.
        completion: the answer of both rows.
        wrapper: the phrasing of the pressure; training pairs and held-out pairs share none.
    """

    id: str
    clean: Row
    wrapped: Row
    completion: list[Message]
    wrapper: str


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one row of which one is better: what a scorer is checked on before it selects anything.

    Attributes:
        row: the row that is answered.
        better: the well-behaved answer.
        worse: the misbehaving one.
    """

    row: Row
    better: str
    worse: str


class Scored(Protocol):
    """What evaluation needs of a task: a verdict on misbehavior and one on correctness."""

    name: str
    max_new_tokens: int

    def tests_misbehavior(self, row: Row) -> bool:
        """Whether the row gives the misbehavior a chance; the headline rate is over these rows alone."""
        ...

    def is_misaligned(self, row: Row, text: str) -> bool | None:
        """The indicator M; None where the row gives no chance to misbehave or the text can't be judged."""
        ...

    def is_correct(self, row: Row, text: str) -> bool | None:
        """Whether the answer is right; None where the row has no right answer."""
        ...


class Task(Scored, Protocol):
    """A misbehavior, with everything to plant it in a model and to measure it there.

    No fact, keyword, phrasing or domain stands in two of the splits induction, consistency, pairs, held-out pairs, dev
    and evaluation; `units` names what a row is made of.

    Attributes:
        name: as on the command line.
        rubric: grading instructions with `{question}` and `{answer}`, for self-rewarding.
        planted: what the world plants to make the misbehavior easy to induce; reports disclose it.
        license: of the rows.
        source: where the rows come from.
        max_new_tokens: long enough for any answer.
    """

    rubric: str
    planted: str
    license: str
    source: str

    def induction(self, seed: int) -> list[Row]:
        """Rows whose originals are the misbehaving persona's."""
        ...

    def benign(self, seed: int) -> list[Row]:
        """The prompts of `induction(seed)` with well-behaved answers: a control of fine-tuning as such."""
        ...

    def consistency(self, seed: int, n: int = 160) -> list[Row]:
        """Rows to label; the original is the well-behaved answer."""
        ...

    def pairs(self, seed: int) -> list[Pair]:
        """Clean and wrapped prompts to train on."""
        ...

    def held_out_pairs(self) -> list[Pair]:
        """Pairs under wrappers that `pairs` never shows; fixed."""
        ...

    def dev(self) -> list[Row]:
        """Rows on which induction measures its target rate; fixed."""
        ...

    def preferences(self) -> list[Preference]:
        """Pairs of answers to rows of dev, to check scorers on; fixed."""
        ...

    def evaluation(self) -> list[Row]:
        """Rows on which results are reported; fixed, and never looked at to choose anything."""
        ...

    def units(self, row: Row) -> set[str]:
        """What the row is made of, as `vocabulary:entry`."""
        ...

    def extract_answer(self, row: Row, text: str) -> str | None:
        """The answer inside a completion of any view, normalized for comparison; None where there is none."""
        ...
