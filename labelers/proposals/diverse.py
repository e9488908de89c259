"""Three answers by three ways of decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from datasets_cards.records import Candidate, Row
from labelers.engines.protocol import Sampling
from labelers.proposals.drawing import Wish, draw, pool_digest
from labelers.sampler import Sampler


@dataclass(frozen=True)
class Diverse:
    """One greedy decode, one nucleus sample, and the best beam of a beam search; in this order.

    A mixed pool: its members are not draws from one distribution.
    """

    name: ClassVar[str] = "diverse"
    needs: ClassVar[frozenset[str]] = frozenset({"beam"})
    rescored: ClassVar[bool] = False
    temperature: float = 0.8
    top_p: float = 0.9
    beams: int = 4
    max_new_tokens: int = 256

    def draw(self, rows: Sequence[Row], sampler: Sampler, seed: int) -> list[Candidate]:
        """Three candidates a row."""
        ways = (
            Sampling(0.0, 1.0, self.max_new_tokens),
            Sampling(self.temperature, self.top_p, self.max_new_tokens),
            Sampling(0.0, 1.0, self.max_new_tokens, beams=self.beams),
        )
        wishes = [Wish(row, "candidate", index, way) for row in rows for index, way in enumerate(ways)]
        return draw(wishes, sampler, seed, pool_digest(self, sampler.engine, seed))
