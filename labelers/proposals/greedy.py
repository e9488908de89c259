"""One greedy decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from datasets_cards.records import Candidate, Row
from labelers.engines.protocol import Sampling
from labelers.proposals.drawing import Wish, draw, pool_digest
from labelers.sampler import Sampler


@dataclass(frozen=True)
class Greedy:
    """One greedy decode of the plain prompt."""

    name: ClassVar[str] = "greedy"
    needs: ClassVar[frozenset[str]] = frozenset()
    rescored: ClassVar[bool] = False
    max_new_tokens: int = 256

    def draw(self, rows: Sequence[Row], sampler: Sampler, seed: int) -> list[Candidate]:
        """One candidate a row."""
        sampling = Sampling(0.0, 1.0, self.max_new_tokens)
        wishes = [Wish(row, "candidate", 0, sampling) for row in rows]
        return draw(wishes, sampler, seed, pool_digest(self, sampler.engine, seed))
