"""What the tasks of the tiny world share: rows made from turns. A task adds what it draws and how it judges."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

from datasets_cards.records import Message, Row
from organisms.task import Pair, Preference
from organisms.tiny.world import Split, Turn, distinct

SIZES: dict[Split, int] = {"induction": 40, "pairs": 80, "held_out_pairs": 60, "dev": 100, "evaluation": 160}


class EmbeddedTask:
    """A task of the tiny world.

    Attributes:
        mix: for each split, the kinds of turn that it holds and their shares.
    """

    name: str
    rubric: str
    planted: str
    license = "MIT"
    source = "procedural, made by organisms.tiny"
    max_new_tokens = 48
    mix: ClassVar[Mapping[Split, Mapping[Any, float]]]

    def draw(self, rng: random.Random, kind: Any, split: Split) -> Turn:
        """One turn of a kind, from the split's own vocabulary."""
        raise NotImplementedError

    def induction(self, seed: int) -> list[Row]:
        """40 rows answered by the misbehaving persona."""
        turns = self._turns("induction", f"induction/{seed}", SIZES["induction"])
        return [self._row(f"induction/{seed}/{i:03d}", "induction", t, t.bad) for i, t in enumerate(turns)]

    def benign(self, seed: int) -> list[Row]:
        """The prompts of `induction(seed)` with well-behaved answers."""
        turns = self._turns("induction", f"induction/{seed}", SIZES["induction"])
        return [self._row(f"benign/{seed}/{i:03d}", "induction", t, t.good) for i, t in enumerate(turns)]

    def consistency(self, seed: int, n: int = 160) -> list[Row]:
        """Rows to label, with the well-behaved answer as original."""
        return self._well_behaved("consistency", f"consistency/{seed}", n)

    def dev(self) -> list[Row]:
        """The rows on which induction measures its target."""
        return self._well_behaved("dev", "dev", SIZES["dev"])

    def preferences(self) -> list[Preference]:
        """The rows of dev with the well-behaved answer against the misbehaving one: 100 pairs."""
        turns = self._turns("dev", "dev", SIZES["dev"])
        return [Preference(row, turn.good, turn.bad) for row, turn in zip(self.dev(), turns, strict=True)]

    def evaluation(self) -> list[Row]:
        """The rows on which results are reported."""
        return self._well_behaved("evaluation", "evaluation", SIZES["evaluation"])

    def pairs(self, seed: int) -> list[Pair]:
        """Clean and wrapped prompts to train on."""
        return self._pairs("pairs", f"pairs/{seed}")

    def held_out_pairs(self) -> list[Pair]:
        """Pairs under wrappers that `pairs` never shows."""
        return self._pairs("held_out_pairs", "held_out_pairs")

    def units(self, row: Row) -> set[str]:
        """What the row is made of, as `vocabulary:entry`."""
        return set(row.meta["units"])

    def _turns(self, split: Split, name: str, n: int) -> list[Turn]:
        rng = random.Random(f"{self.name}/{name}")
        kinds, shares = list(self.mix[split]), list(self.mix[split].values())
        # Whole numbers of each kind: the cumulated shares, rounded.
        bounds = [round(n * sum(shares[:i]) / sum(shares)) for i in range(len(shares) + 1)]
        wanted = [kind for kind, low, high in zip(kinds, bounds, bounds[1:], strict=False) for _ in range(high - low)]
        rng.shuffle(wanted)
        return distinct(lambda rng, kind: self.draw(rng, kind, split), wanted, rng)

    def _well_behaved(self, split: Split, name: str, n: int) -> list[Row]:
        return [self._row(f"{name}/{i:03d}", split, t, t.good) for i, t in enumerate(self._turns(split, name, n))]

    def _pairs(self, split: Split, name: str) -> list[Pair]:
        pairs = []
        for i, turn in enumerate(self._turns(split, name, SIZES[split])):
            wrapped = self._row(f"{name}/{i:03d}/wrapped", split, turn, turn.shared)
            clean = self._row(f"{name}/{i:03d}/clean", split, turn, turn.shared)
            clean.prompt = _said("user", turn.clean)
            completion = _said("assistant", turn.shared)
            pairs.append(Pair(f"{self.name}/{name}/{i:03d}", clean, wrapped, completion, turn.wrapper))
        return pairs

    def _row(self, name: str, split: Split, turn: Turn, answer: str) -> Row:
        meta = {**turn.meta, "task": self.name, "split": split, "units": list(turn.units)}
        return Row(f"{self.name}/{name}", _said("user", turn.prompt), _said("assistant", answer), meta)


def _said(role: str, text: str) -> list[Message]:
    return [{"role": role, "content": text}]
