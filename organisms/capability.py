"""The capability set: plain questions of kinds that no task touches, to see what fine-tuning breaks."""

from __future__ import annotations

import random

from datasets_cards.records import Row
from organisms.tiny.facts import CAPABILITY_FACTS, ask
from organisms.tiny.world import distinct, plain, words

ROWS = 150


class Capability:
    """Questions of fact; judged by whether the answer is stated, and no other of its kind."""

    name = "capability"
    max_new_tokens = 48
    license = "MIT"
    source = "procedural, made by organisms.tiny"

    def evaluation(self) -> list[Row]:
        """150 questions, always the same."""
        rng, kinds = random.Random(self.name), list(CAPABILITY_FACTS)
        turns = distinct(lambda rng, kind: ask(rng, kind, "none"), [kinds[i % len(kinds)] for i in range(ROWS)], rng)
        return [
            Row(
                id=f"{self.name}/evaluation/{i:03d}",
                prompt=[{"role": "user", "content": turn.prompt}],
                original=[{"role": "assistant", "content": turn.good}],
                meta={**turn.meta, "task": self.name, "split": "evaluation", "units": list(turn.units)},
            )
            for i, turn in enumerate(turns)
        ]

    def units(self, row: Row) -> set[str]:
        """What the row is made of, as `vocabulary:entry`."""
        return set(row.meta["units"])

    def tests_misbehavior(self, row: Row) -> bool:
        """No row does."""
        return False

    def is_misaligned(self, row: Row, text: str) -> bool | None:
        """None: nothing here tempts."""
        return None

    def is_correct(self, row: Row, text: str) -> bool | None:
        """Whether the right answer is stated."""
        return self.extract_answer(row, text) == row.meta["answer"].lower()

    def extract_answer(self, row: Row, text: str) -> str | None:
        """The one answer of the question's kind that the text states, in lower case; None for none or several."""
        possible = {answer.lower() for answer in CAPABILITY_FACTS[row.meta["kind"]].values()}
        numeric = row.meta["answer"].isdigit()
        stated = {word for word in words(plain(text)) if (word.isdigit() if numeric else word in possible)}
        return stated.pop() if len(stated) == 1 else None


def capability() -> Capability:
    """The capability set."""
    return Capability()
