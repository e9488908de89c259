"""The artifact: one folder of labels, every candidate, original rows and dropped rows, with a manifest and a card.

```
README.md              the card (card.py)
manifest.json          lineage and hashes (manifest.py)
labels/*.parquet       id, prompt, completion, original, method, candidate, score, row_digest
candidates/*.parquet   every candidate with its tokens, log-probabilities and scores
original/*.parquet     the source rows
dropped/*.parquet      rows without a label, and why
shift/, effects/       reports and pictures attached later
```
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import polars as pl

from datasets_cards import manifest as m
from datasets_cards.canonical import file_digest
from datasets_cards.errors import IntegrityError, MissingError
from datasets_cards.records import Candidate, Dropped, Label, Row
from datasets_cards.tables import read_table

STORE_FILE = "store.json"
"""Marks a folder as a store (local_hub.py), whose artifacts never change."""


class Artifact:
    """An artifact on disk. Tables are read when asked for, and checked against their digests when first read.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
    """

    def __init__(self, path: Path, manifest: m.Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._checked: set[str] = set()

    @classmethod
    def open(cls, path: str | Path) -> Artifact:
        """Open a folder.

        Raises:
            MissingError: there is no artifact there.
            IntegrityError: its manifest can't be trusted, or a later Echoset wrote it.
        """
        folder = Path(path)
        manifest = m.read_manifest(folder)
        if manifest.own_digest() != manifest.manifest_digest:
            raise IntegrityError(
                "the manifest was edited, its digest does not fit",
                where=str(folder / m.MANIFEST_FILE),
                remedy="Restore the artifact from its store",
            )
        return cls(folder, manifest)

    def __repr__(self) -> str:
        return f"Artifact({str(self.path)!r}, {self.manifest.labeler.method}, {self.manifest.counts.labeled} labels)"

    def labels(self) -> pl.DataFrame:
        """The selected completions, one row each."""
        return self._frame("labels")

    def candidates(self) -> pl.DataFrame:
        """Every candidate of the pool."""
        return self._frame("candidates")

    def original(self) -> pl.DataFrame:
        """The source rows; `meta` is JSON text."""
        return self._frame("original")

    def dropped(self) -> pl.DataFrame:
        """The rows without a label, and why."""
        return self._frame("dropped")

    def iter_original(self) -> Iterator[Row]:
        """The source rows as records, a batch in memory at a time; shard after shard, in source order within one."""
        return self._records("original")

    def iter_candidates(self) -> Iterator[Candidate]:
        """The candidates as records: those of one row together, the rows in the order of `iter_original`."""
        return self._records("candidates")

    def iter_labels(self) -> Iterator[Label]:
        """The labels as records, in the order of `iter_original`."""
        return self._records("labels")

    def iter_dropped(self) -> Iterator[Dropped]:
        """The dropped rows as records."""
        return self._records("dropped")

    def pools(self) -> Iterator[tuple[Row, list[Candidate]]]:
        """Each source row with all of its candidates (none is an empty list), in the order of `iter_original`.

        Raises:
            IntegrityError: the candidates do not stand in the order of the rows, or are of no row.
        """
        originals, candidates = self.table_files("original"), self.table_files("candidates")
        for rows, pool in zip(originals, candidates, strict=True):
            groups = groupby(read_table(pool, "candidates"), key=attrgetter("id"))
            id_, group = next(groups, (None, ()))
            for row in read_table(rows, "original"):
                if row.id == id_:
                    yield row, list(group)
                    id_, group = next(groups, (None, ()))
                else:
                    yield row, []
            if id_ is not None:
                raise IntegrityError(
                    f"the candidates of {id_!r} do not stand where its row does",
                    where=str(pool),
                    remedy="Write the artifact again",
                )

    def table_files(self, table: str) -> list[Path]:
        """The Parquet files of one table, checked against the manifest.

        Raises:
            MissingError: a file is gone.
            IntegrityError: a file's bytes are not those that were recorded.
        """
        files = [file for file in self.manifest.files if file.path.startswith(f"{table}/")]
        if not files:
            raise IntegrityError(
                f"the manifest lists no file of {table}", where=str(self.path), remedy="Restore it from its store"
            )
        return [self._check(file) for file in files]

    def _check(self, file: m.File) -> Path:
        path = self.path / file.path
        if file.path not in self._checked:
            if path.is_symlink() or path.parent.is_symlink():
                raise IntegrityError("is a symbolic link", where=str(path), remedy="Copy the artifact with its files")
            if not path.is_file():
                raise MissingError("is missing from the artifact", where=str(path), remedy="Restore it from its store")
            if file_digest(path) != file.sha256:
                raise IntegrityError(
                    "its bytes are not those recorded", where=str(path), remedy="Restore it from its store"
                )
            self._checked.add(file.path)
        return path

    def _frame(self, table: str) -> pl.DataFrame:
        return pl.concat([pl.read_parquet(path, glob=False) for path in self.table_files(table)])

    def _records(self, table: str) -> Iterator[Any]:
        for path in self.table_files(table):
            yield from read_table(path, table)
