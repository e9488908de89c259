"""Independent samples, and the self-sample that every pool is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from datasets_cards.records import Candidate, Row
from labelers.engines.protocol import Sampling
from labelers.proposals.drawing import Wish, draw, pool_digest
from labelers.sampler import Sampler


@dataclass(frozen=True)
class Samples:
    """k independent samples of the plain prompt at one temperature and top-p."""

    name: ClassVar[str] = "samples"
    needs: ClassVar[frozenset[str]] = frozenset()
    rescored: ClassVar[bool] = False
    k: int = 4
    temperature: float = 0.7
    top_p: float = 0.9
    max_new_tokens: int = 256

    def draw(self, rows: Sequence[Row], sampler: Sampler, seed: int) -> list[Candidate]:
        """K candidates a row."""
        sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens)
        wishes = [Wish(row, "candidate", index, sampling) for row in rows for index in range(self.k)]
        return draw(wishes, sampler, seed, pool_digest(self, sampler.engine, seed))


def self_samples(rows: Sequence[Row], sampler: Sampler, seed: int, max_new_tokens: int) -> list[Candidate]:
    """The baseline rung P: one plain sample a row at T=1, of role `baseline`.

    Its noise is a stream of its own, so that it is independent of every pool.
    """
    plain = Samples(1, 1.0, 1.0, max_new_tokens)
    wishes = [Wish(row, "baseline", 0, Sampling(1.0, 1.0, max_new_tokens)) for row in rows]
    return draw(wishes, sampler, seed, pool_digest(plain, sampler.engine, seed))
