"""Parts of an artifact that readers take side by side, such as the workers of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from datasets_cards.errors import InputError
from datasets_cards.tables.schemas import id_hash


@dataclass(frozen=True, slots=True)
class Part:
    """One of several parts that share no row and together are everything, each for a reader of its own.

    All that is said of one row (itself, its candidates, its label) lies in the same part. Up to as many parts as there
    are shards take whole shards in turn, so that nobody reads another's file. Of more parts, several share a shard,
    and a row's id says whose it is.

    Attributes:
        number: which part, from 0.
        of: how many there are.

    Raises:
        InputError: there is no such part.
    """

    number: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.of:
            raise InputError(f"there is no part {self.number} of {self.of}", remedy="Count parts from 0")

    def shards(self, shards: int) -> range:
        """Which of an artifact's shards the part's rows lie in."""
        return range(self.number % shards, shards, self.of)

    def holds(self, row_id: str, shards: int) -> bool:
        """Whether a row that lies in them is the part's own."""
        if self.of <= shards:
            return True
        sharing = len(range(self.number % shards, self.of, shards))
        return id_hash(row_id) // shards % sharing == self.number // shards
