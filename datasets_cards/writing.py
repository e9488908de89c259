"""Writing an artifact, batch by batch or whole, in one step: afterwards the folder is there, or nothing is."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

from datasets_cards import manifest as m
from datasets_cards.artifact import STORE_FILE, Artifact, is_published
from datasets_cards.attaching import seal
from datasets_cards.batches import check_batch, in_row_order
from datasets_cards.canonical import Digests, file_digest
from datasets_cards.errors import InputError, IntegrityError, MissingError, StorageError
from datasets_cards.ids import IdTable
from datasets_cards.records import Candidate, Dropped, Label, Row
from datasets_cards.storage import move_into_place, new_folder, storage_errors
from datasets_cards.tables.layout import TableWriter, shards_for
from datasets_cards.tables.schemas import SCHEMAS


class ArtifactWriter:
    """Writes an artifact of any size, in memory that grows by some 100 bytes a candidate.

    Used as a context manager; leaving it without `finish` leaves nothing behind.

    Args:
        out: the folder to make.
        rows: how many rows are expected; only the default of `shards` depends on it.
        overwrite: replace an artifact that is already at `out`. Anything else there is never replaced.
        shards: Parquet files a table; the least power of two with at most 20,000 rows each, 64 at most, if not given.
        row_group: most rows a Parquet row group, of at most 1 MiB; touches no digest but the files' own.

    Raises:
        InputError: `out` is taken.
        StorageError: `out` can't be written.
    """

    def __init__(
        self, out: str | Path, *, rows: int, overwrite: bool = False, shards: int | None = None, row_group: int = 8192
    ) -> None:
        self.out = Path(out) if Path(out).name not in ("", "..") else Path(out).resolve()
        self.overwrite, self.row_group = overwrite, row_group
        self.shards = shards_for(rows) if shards is None else shards
        self._digests, self._ids = Digests(), IdTable()
        self._reasons: Counter[str] = Counter()
        self._tokens: int | None = 0
        self._broken = False

    def __enter__(self) -> Self:
        _refuse_store(self.out)  # before a folder is made there
        with storage_errors(self.out), ExitStack() as stack:
            self._work = stack.enter_context(new_folder(self.out))
            check_target(self.out, self.overwrite)
            self._tables: dict[str, TableWriter] = {}
            for table in SCHEMAS:
                (self._work / table).mkdir()
                self._tables[table] = TableWriter(self._work / table, table, self.shards, self.row_group)
                stack.callback(self._tables[table].abandon)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(
        self,
        *,
        rows: Sequence[Row] = (),
        candidates: Sequence[Candidate] = (),
        labels: Sequence[Label] = (),
        dropped: Sequence[Dropped] = (),
    ) -> None:
        """Write the next rows with all that belongs to them.

        Args:
            rows: in the order of the source.
            candidates: of these rows, any order. (id, pool, role, view, index) is unique.
            labels: of these rows, any order; a completion is the text of the candidate that the label names.
            dropped: each of these rows that has no label, with its reason. Rows that could not be read may stand in
                any batch.

        Raises:
            InputError: the batch contradicts itself or an earlier one (each message names the id), or carries a place
                of this machine or a secret.
            StorageError: the disk is full, or fails.
        """
        if self._broken:
            raise InputError("an earlier batch was refused", where=str(self.out), remedy="Write the artifact anew")
        self._broken = True  # until the whole batch is in
        candidates, labels = in_row_order(rows, candidates, labels)
        check_batch(rows, candidates, labels, dropped)
        self._check_new(rows, dropped)
        self._digests.add(rows, candidates, labels, dropped)
        self._reasons.update(item.reason for item in dropped)
        counts = [c.token_count for c in candidates if c.finish_reason != "error"]
        if self._tokens is not None:
            self._tokens = None if None in counts else self._tokens + sum(count or 0 for count in counts)
        with storage_errors(self.out):
            records = {"labels": labels, "candidates": candidates, "original": rows, "dropped": dropped}
            for table, writer in self._tables.items():
                writer.add(records[table])
        self._broken = False

    def finish(
        self,
        *,
        source: m.Source,
        model: m.Model,
        labeler: m.Labeler,
        engine: m.Engine,
        seeds: Mapping[str, int],
        scorers: Mapping[str, m.ScorerCheck | None] | None = None,
        scorer_settings: Mapping[str, dict[str, Any]] | None = None,
        prompt_tokens: int | None = None,
        packages: Mapping[str, str] | None = None,
        version: str = "v0.0.0",
        parent: m.Parent | None = None,
    ) -> Artifact:
        """Add card and manifest, and move the whole folder into place.

        Args:
            seeds: every seed by what it seeded.
            scorers: each scorer's accuracy on held-out pairs, or None where it was not measured.
            scorer_settings: what else each scorer's scores depend on.
            prompt_tokens: tokens of the prompts as sent, or None where unknown.
            packages: versions to record; those installed where not given.
            version: the artifact's version; a store sets it when it is published.
            parent: the version that this one grew from.

        Raises:
            InputError: what is said of the artifact names a place of this machine or a secret, or `out` was taken by
                somebody else meanwhile.
            StorageError: `out` can't be written, or the disk is full; nothing half-written stays.
        """
        if self._broken:
            raise InputError("a batch was refused", where=str(self.out), remedy="Write the artifact anew")
        with storage_errors(self.out):
            for writer in self._tables.values():
                writer.finish()
            rows = {table: sum(shard.rows for shard in writer.shards) for table, writer in self._tables.items()}
            manifest = m.Manifest(
                version=version,
                parent=parent,
                source=source,
                model=model,
                labeler=labeler,
                engine=engine,
                seeds=dict(seeds),
                packages=m.package_versions() if packages is None else dict(packages),
                scorers=dict(scorers or {}),
                scorer_settings=dict(scorer_settings or {}),
                counts=m.Counts(
                    rows=rows["original"],
                    labeled=rows["labels"],
                    dropped=dict(sorted(self._reasons.items())),
                    candidates=rows["candidates"],
                    prompt_tokens=prompt_tokens,
                    completion_tokens=self._tokens,
                ),
                shards=self.shards,
                files=[
                    m.File(
                        path=shard.path.relative_to(self._work).as_posix(),
                        sha256=file_digest(shard.path),
                        bytes=shard.path.stat().st_size,
                        rows=shard.rows,
                    )
                    for writer in self._tables.values()
                    for shard in writer.shards
                ],
                logical_digest=self._digests.logical(),
                scores_digest=self._digests.scores(),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            seal(self._work, manifest)
            check_target(self.out, self.overwrite)
            move_into_place(self._work, self.out, replace=self.overwrite)
        return Artifact.open(self.out)

    def _check_new(self, rows: Sequence[Row], dropped: Sequence[Dropped]) -> None:
        """No id of these was in an earlier batch; and none of them is there twice."""
        here = {row.id for row in rows}
        for row in rows:
            if self._ids.swap(row.id, 1):
                raise InputError("two rows have this id", where=row.id, remedy="Ids are unique in a dataset")
        for item in dropped:
            if item.id not in here and self._ids.swap(item.id, 1):
                raise InputError("dropped twice", where=item.id, remedy="Each row gets one label or one reason")


@dataclass(slots=True)
class Draft:
    """Everything a labeler hands over to become an artifact.

    Attributes:
        rows: the source rows, in their order; labels and candidates are stored in it too.
        candidates: the whole pool, any order. (id, pool, role, view, index) is unique.
        labels: one a labeled row, any order; its completion is the text of the candidate that it names.
        dropped: the rows without a label, each with its reason; and rows that could not be read.
        seeds: every seed by what it seeded.
        scorers: each scorer's accuracy on held-out pairs, or None where it was not measured.
        prompt_tokens: tokens of the prompts as sent, or None where unknown.
        packages: versions to record; those installed where not given.
    """

    rows: list[Row]
    candidates: list[Candidate]
    labels: list[Label]
    dropped: list[Dropped]
    source: m.Source
    model: m.Model
    labeler: m.Labeler
    engine: m.Engine
    seeds: dict[str, int]
    scorers: dict[str, m.ScorerCheck | None] = field(default_factory=dict)
    prompt_tokens: int | None = None
    packages: dict[str, str] | None = None


def write_artifact(
    out: str | Path,
    draft: Draft,
    *,
    overwrite: bool = False,
    shards: int | None = None,
    row_group: int = 8192,
    version: str = "v0.0.0",
    parent: m.Parent | None = None,
) -> Artifact:
    """Write an artifact that fits in memory; the arguments are those of `ArtifactWriter` and its `finish`.

    Raises:
        InputError: the draft contradicts itself (each message names the id), or `out` is taken.
        StorageError: `out` can't be written, or the disk is full; nothing half-written stays.
    """
    d = draft
    with ArtifactWriter(out, rows=len(d.rows), overwrite=overwrite, shards=shards, row_group=row_group) as writer:
        writer.add(rows=d.rows, candidates=d.candidates, labels=d.labels, dropped=d.dropped)
        return writer.finish(
            source=d.source,
            model=d.model,
            labeler=d.labeler,
            engine=d.engine,
            seeds=d.seeds,
            scorers=d.scorers,
            prompt_tokens=d.prompt_tokens,
            packages=d.packages,
            version=version,
            parent=parent,
        )


def check_target(out: str | Path, overwrite: bool = False) -> None:
    """Whether an artifact may be written here; for asking before hours of labeling, not after.

    Raises:
        InputError: an artifact is there already, or the place lies in a store.
        StorageError: something else is in the way, or nothing can be written there.
    """
    out = Path(out)
    _refuse_store(out)
    nearest = next(folder for folder in out.absolute().parents if folder.exists())
    if out.is_symlink() or (out.exists() and not out.is_dir()) or not nearest.is_dir():
        raise StorageError("a file is in the way", where=str(out), remedy="Choose another place")
    with storage_errors(out):
        os.rmdir(mkdtemp(prefix=".echoset-", dir=nearest))  # permissions alone don't tell, of read-only mounts say
    if not out.exists() or not os.listdir(out):
        return
    try:
        m.read_manifest(out)
    except (MissingError, IntegrityError):  # many programs call a file of theirs manifest.json
        raise StorageError(
            "holds other files, and no artifact", where=str(out), remedy="Choose an empty or new folder"
        ) from None
    if not overwrite:
        raise InputError(
            "an artifact is already here", where=str(out), remedy="Pass overwrite=True (--overwrite), or another folder"
        )


def _refuse_store(out: Path) -> None:
    """A store's datasets and versions are made by publishing alone, and nothing is put into a version."""
    with storage_errors(out):
        if is_published(out) and (out / m.MANIFEST_FILE).exists():
            raise InputError("a published version never changes", where=str(out), remedy="Choose another place")
        if any((folder / STORE_FILE).exists() for folder in out.resolve().parents[:3]):
            raise InputError("lies in a store", where=str(out), remedy="Choose another place, and publish from there")
