"""Pairing the records of two tables, and telling which of them differ."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_

import polars as pl

_PLACE = ["id", "role", "view", "index"]
"""What names a candidate in the digests: its pool's name is provenance."""

_SAYS = ["text", "token_ids", "finish_reason"]


@dataclass(frozen=True)
class Ids:
    """Ids with a record of one table that is new, gone or otherwise; each id once."""

    added: pl.Series
    removed: pl.Series
    changed: pl.Series

    @classmethod
    def none(cls) -> Ids:
        """No id at all."""
        empty = pl.Series("id", [], pl.String)
        return cls(empty, empty, empty)


@dataclass(frozen=True)
class Pairs:
    """Records that stand on both sides, row by row, and those that stand on one."""

    before: pl.DataFrame
    after: pl.DataFrame
    removed: pl.DataFrame
    added: pl.DataFrame

    def differ(self, *columns: str) -> pl.Series:
        """Which pairs differ in any of these columns."""
        found = [self.before[column].ne_missing(self.after[column]) for column in columns]
        return reduce(or_, found)

    def column(self, name: str, where: pl.Series) -> tuple[pl.Series, pl.Series]:
        """One column of some of the pairs, before and after."""
        return self.before[name].filter(where), self.after[name].filter(where)

    def ids(self, changed: pl.Series) -> Ids:
        """The ids of the three kinds."""
        return Ids(*(ids.unique() for ids in (self.added["id"], self.removed["id"], self.before["id"].filter(changed))))


def paired(before: pl.DataFrame, after: pl.DataFrame, key: list[str]) -> Pairs:
    """Pair the records of both sides by a key that names each once."""
    if before.height == after.height and before.select(key).equals(after.select(key)):
        return Pairs(before, after, before.clear(), after.clear())
    one, two = before.select(key).with_row_index("one"), after.select(key).with_row_index("two")
    joined = one.join(two, on=key, how="full", coalesce=True, maintain_order="left_right")
    matched = joined.filter(pl.col("one").is_not_null() & pl.col("two").is_not_null())
    removed, added = joined["one"].filter(joined["two"].is_null()), joined["two"].filter(joined["one"].is_null())
    # Moving nested columns costs more than finding the pairs, so the left side stays as it is where all of it pairs.
    kept = before if len(removed) == 0 else before[matched["one"]]
    return Pairs(kept, after[matched["two"]], before[removed], after[added])


def paired_candidates(before: pl.DataFrame, after: pl.DataFrame) -> tuple[Pairs, pl.Series]:
    """Candidates by their place in the pool, and which of the pairs say the same."""
    if not any(frame.select(_PLACE).is_duplicated().any() for frame in (before, after)):
        pairs = paired(before, after, _PLACE)
        return pairs, ~pairs.differ(*_SAYS)
    # Two pools hold the same place: those that say the same go together, whatever their pools are called.
    tokens = pl.col("token_ids").cast(pl.List(pl.String)).list.join(",").alias("tokens")
    said = [*_PLACE, "text", "tokens", "finish_reason"]
    one, two = (_numbered(frame.with_columns(tokens), said) for frame in (before, after))
    equal = paired(one, two, [*said, "nth"])
    one, two = (_numbered(frame, _PLACE) for frame in (equal.removed, equal.added))
    rest = paired(one, two, [*_PLACE, "nth"])
    pairs = Pairs(
        pl.concat([equal.before, rest.before]), pl.concat([equal.after, rest.after]), rest.removed, rest.added
    )
    return pairs, pl.Series([True, False]).gather([0] * equal.before.height + [1] * rest.before.height)


def _numbered(frame: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """With `nth`: the record's number among those of one key, by pool."""
    return frame.sort("pool", maintain_order=True).with_columns(nth=pl.int_range(pl.len()).over(key))


def both(one: pl.Series, two: pl.Series) -> pl.Series:
    """The ids that stand in both."""
    return one.filter(one.is_in(two.implode())) if len(two) else two


def without(ids: pl.Series, others: pl.Series) -> pl.Series:
    """The ids that do not stand among the others."""
    return ids.filter(~ids.is_in(others.implode())) if len(others) else ids
