"""What changed in the four tables between two artifacts, group of shards by group of shards, and part by part.

All that is said of one id lies in shard `hash % shards` of its artifact. With g the greatest common divisor of two
artifacts' shard counts, group r of their files (`number % g == r`) therefore holds the same ids on both sides, and
nothing outside of it. Files that are the same on both sides are never opened.

Only what the two digests cover is compared (canonical.py): a pool's name, token counts, the words of an error or of a
drop, and columns that repeat others are no change. Columns are compared value by value, not by hash.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import reduce
from math import gcd
from operator import or_
from pathlib import Path

import polars as pl

from datasets_cards.artifact import Artifact
from datasets_cards.comparing.pairing import Ids, Pairs, both, paired, paired_candidates, without
from datasets_cards.errors import IntegrityError
from datasets_cards.manifest import File, Manifest
from datasets_cards.tables.footers import table_errors

PART_BYTES = 96 << 20
"""Uncompressed bytes of one table, both sides, that are compared at once; larger groups are read several times."""

_COLUMNS = {
    "original": ["id", "prompt", "completion", "meta"],
    "labels": ["id", "prompt", "completion", "original", "method", "candidate", "score"],
    "candidates": [
        *("id", "pool", "role", "view", "index", "text", "token_ids", "finish_reason"),
        *("logprob", "behavior_logprob", "scores", "misaligned"),
    ],
    "dropped": ["id", "reason"],
}
Group = dict[str, tuple[list[File], list[File]]]
"""The files of each table that have to be read, before and after."""


def groups(before: Manifest, after: Manifest) -> list[Group]:
    """The groups of files that have to be read, in the order of their shards; a group without a file is left out.

    Raises:
        IntegrityError: a manifest does not list as many files of a table as it has shards.
    """
    if before.logical_digest != after.logical_digest:
        tables = list(_COLUMNS)
    elif before.scores_digest != after.scores_digest:
        tables = ["labels", "candidates"]
    else:
        return []
    listed = {table: (_listed(before, table), _listed(after, table)) for table in tables}
    found: list[Group] = []
    common = gcd(before.shards, after.shards)
    for number in range(common):
        group = {table: (one[number::common], two[number::common]) for table, (one, two) in listed.items()}
        found.append(
            {
                table: (one, two)
                for table, (one, two) in group.items()
                if [file.sha256 for file in one] != [file.sha256 for file in two]
            }
        )
    return [group for group in found if group]


def _listed(manifest: Manifest, table: str) -> list[File]:
    files = manifest.folder(table)
    if len(files) != manifest.shards:
        raise IntegrityError(
            f"lists {len(files)} files of {table} and has {manifest.shards} shards",
            where="manifest.json",
            remedy="Restore the artifact from its store",
        )
    return files


@dataclass
class Numbers:
    """What became of one kind of number; `largest` is the largest absolute difference, None where none is known."""

    changed: int = 0
    appeared: int = 0
    vanished: int = 0
    largest: float | None = None

    def add(self, before: pl.Series, after: pl.Series) -> None:
        """Take in pairs of numbers; null is no number, and NaN equals NaN."""
        self.appeared += int((before.is_null() & after.is_not_null()).sum())
        self.vanished += int((before.is_not_null() & after.is_null()).sum())
        differ = before.is_not_null() & after.is_not_null() & before.ne_missing(after)
        self.changed += int(differ.sum())
        distance = (after.filter(differ) - before.filter(differ)).abs()
        largest = distance.filter(distance.is_finite()).max()
        if isinstance(largest, float):
            self.largest = largest if self.largest is None else max(self.largest, largest)


@dataclass
class Tally:
    """Everything that is counted, over all parts.

    Attributes:
        rows, labels, candidates, dropped: how often which change was found.
        numbers: of labels' scores and candidates' log-probabilities, by column.
        scores: of candidates' scores, by scorer.
        gained, lost: candidates that a scorer newly says something about, or no longer, by scorer.
        touched: ids on both sides of which something that was said is now otherwise or gone.
        examples: changed labels, those with another completion first, each kind by id.
    """

    rows: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    candidates: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    numbers: defaultdict[str, Numbers] = field(default_factory=lambda: defaultdict(Numbers))
    scores: defaultdict[str, Numbers] = field(default_factory=lambda: defaultdict(Numbers))
    gained: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    touched: int = 0
    examples: pl.DataFrame | None = None


class Comparison:
    """Compares the tables of two artifacts, group by group.

    Args:
        before: the earlier artifact.
        after: the later one.
        examples: how many changed labels to keep.

    Attributes:
        tally: what was found so far.
    """

    def __init__(self, before: Artifact, after: Artifact, examples: int) -> None:
        self.sides, self.examples = (before, after), examples
        self.scored = before.manifest.scores_digest != after.manifest.scores_digest
        self.tally = Tally()

    def parts(self, group: Group) -> int:
        """In how many parts a group is to be compared, so that each fits in memory.

        Raises:
            IntegrityError: a file is not the one that was recorded, or is no such table.
            MissingError: a file is gone.
        """
        sizes = [
            sum(side.unfolded(file) for side, files in zip(self.sides, both_files, strict=True) for file in files)
            for both_files in group.values()
        ]
        return max(1, -(-max(sizes) // PART_BYTES))

    def compare(self, group: Group, part: int, of: int) -> None:
        """Take in what changed in one part of a group: the ids whose hash is `part` modulo `of`.

        Raises:
            IntegrityError: a file is no table of its kind, or names a record twice.
        """
        tally, nothing = self.tally, Ids.none()
        rows = labels = candidates = dropped = nothing
        # One table in memory at a time: what is known of its ids is all that the others need.
        if pair := self._read(group, "original", part, of):
            rows = _compare_rows(*pair, tally)
        if pair := self._read(group, "labels", part, of):
            labels = self._compare_labels(*pair)
        if pair := self._read(group, "candidates", part, of):
            candidates = _compare_candidates(*pair, tally, rows, scored=self.scored)
        if pair := self._read(group, "dropped", part, of):
            dropped = _compare_dropped(*pair, tally)
        tally.dropped["newly_dropped"] += len(both(labels.removed, dropped.added))
        tally.dropped["newly_labeled"] += len(both(labels.added, dropped.removed))
        broken = [ids for found in (rows, labels, candidates, dropped) for ids in (found.changed, found.removed)]
        # A label or candidate that is new for a row that was there: the old row is not what it was.
        broken += [without(found.added, rows.added) for found in (labels, candidates)]
        tally.touched += len(without(pl.concat(broken).unique(), rows.removed))

    def _compare_labels(self, before: pl.DataFrame, after: pl.DataFrame) -> Ids:
        pairs = paired(before, after, ["id"])
        completion = pairs.differ("completion")
        choice = pairs.differ("candidate", "method")
        context = pairs.differ("prompt", "original")
        changed = completion | choice | context
        ids = pairs.ids(changed)
        counts = self.tally.labels
        counts["added"] += len(ids.added)
        counts["removed"] += len(ids.removed)
        counts["changed"] += len(ids.changed)
        counts["completion"] += int(completion.sum())
        counts["choice"] += int((choice & ~completion).sum())
        counts["context"] += int((context & ~completion & ~choice).sum())
        if self.scored:
            score = pairs.differ("score") & ~changed
            counts["score_only"] += int(score.sum())
            self.tally.numbers["score"].add(*pairs.column("score", score))
        if self.examples and len(ids.changed):
            self._keep_examples(pairs, changed, completion)
        return ids

    def _keep_examples(self, pairs: Pairs, changed: pl.Series, completion: pl.Series) -> None:
        columns = ["id", "prompt", "completion", "candidate", "score"]
        one, two = pairs.before.select(columns).filter(changed), pairs.after.select(columns).filter(changed)
        two = two.drop("id").select(pl.all().name.prefix("after_"))
        found = pl.concat([one, two], how="horizontal").with_columns(same_text=~completion.filter(changed))
        kept = found if self.tally.examples is None else pl.concat([self.tally.examples, found])
        self.tally.examples = kept.sort("same_text", "id").head(self.examples)

    def _read(self, group: Group, table: str, part: int, of: int) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """One table of a part, before and after; None where its files are the same."""
        if table not in group:
            return None
        frames = []
        for side, files in zip(self.sides, group[table], strict=True):
            frame = pl.concat([_frame(side.path / file.path, table, part, of) for file in files])
            if table != "candidates" and frame["id"].n_unique() != frame.height:
                raise IntegrityError(
                    "an id stands there twice",
                    where=str(side.path / table),
                    remedy="Run `echoset verify` on the artifact",
                )
            frames.append(frame)
        return frames[0], frames[1]


def _compare_rows(before: pl.DataFrame, after: pl.DataFrame, tally: Tally) -> Ids:
    pairs = paired(before, after, ["id"])
    differs = {"prompt": pairs.differ("prompt"), "original": pairs.differ("completion"), "meta": pairs.differ("meta")}
    ids = pairs.ids(reduce(or_, differs.values()))
    found = {"added": len(ids.added), "removed": len(ids.removed), "changed": len(ids.changed)}
    tally.rows.update(found | {name: int(where.sum()) for name, where in differs.items()})
    return ids


def _compare_dropped(before: pl.DataFrame, after: pl.DataFrame, tally: Tally) -> Ids:
    pairs = paired(before, after, ["id"])
    ids = pairs.ids(pairs.differ("reason"))
    tally.dropped.update({"added": len(ids.added), "removed": len(ids.removed), "reason": len(ids.changed)})
    return ids


def _compare_candidates(before: pl.DataFrame, after: pl.DataFrame, tally: Tally, rows: Ids, *, scored: bool) -> Ids:
    pairs, same = paired_candidates(before, after)
    ids = pairs.ids(~same)
    tally.candidates.update(
        {"added": pairs.added.height, "removed": pairs.removed.height, "changed": int((~same).sum())}
    )
    touched = pl.concat([without(ids.added, rows.added), without(ids.removed, rows.removed), ids.changed])
    tally.candidates["rows"] += touched.n_unique()
    if scored:
        _compare_numbers(pairs, same, tally)
    return ids


def _compare_numbers(pairs: Pairs, same: pl.Series, tally: Tally) -> None:
    """What was computed or judged about candidates that say the same."""
    logprob = pairs.differ("logprob", "behavior_logprob") & same
    verdict = pairs.differ("misaligned") & same
    scores = pairs.differ("scores") & same  # or only in another order, which is no change
    for column in ("logprob", "behavior_logprob"):
        tally.numbers[column].add(*pairs.column(column, same))
    rescored = _compare_scores(*pairs.column("scores", scores), tally)
    ids = pairs.before["id"]
    tally.candidates["logprob_rows"] += ids.filter(logprob).n_unique()
    tally.candidates["verdict_rows"] += ids.filter(verdict).n_unique()
    tally.candidates["score_rows"] += ids.filter(scores).gather(rescored).n_unique()


def _compare_scores(before: pl.Series, after: pl.Series, tally: Tally) -> pl.Series:
    """Compare lists of scores pair by pair, each scorer with itself; the numbers of the pairs that differ."""
    sides = []
    for scores in (before, after):
        frame = scores.to_frame("scores").with_row_index("pair").filter(pl.col("scores").list.len() > 0)
        frame = frame.explode("scores").unnest("scores").sort("pair", "scorer", "value", "reason")
        sides.append(frame.with_columns(nth=pl.int_range(pl.len()).over("pair", "scorer")))
    pairs = paired(sides[0], sides[1], ["pair", "scorer", "nth"])
    differ = pairs.differ("value", "reason")
    tally.gained.update(pairs.added["scorer"])
    tally.lost.update(pairs.removed["scorer"])
    changed, became = pairs.before.filter(differ), pairs.after.filter(differ)
    for scorer in changed["scorer"].unique():
        own = changed["scorer"] == scorer
        tally.scores[scorer].add(changed["value"].filter(own), became["value"].filter(own))
    return pl.concat([changed["pair"], pairs.added["pair"], pairs.removed["pair"]]).unique()


def _frame(path: Path, table: str, part: int, of: int) -> pl.DataFrame:
    """One file's rows of a part; the ids' hashes tell the parts."""
    with table_errors(path):
        scan = pl.scan_parquet(path, glob=False).select(_COLUMNS[table])
        if of > 1:
            scan = scan.filter(pl.col("id").hash() % of == part)
        return scan.collect(engine="streaming" if of > 1 else "auto")
