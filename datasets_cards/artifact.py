"""The artifact: one folder of labels, every candidate, original rows and dropped rows, with a manifest and a card.

```
README.md              the card (cards/card.py)
croissant.json         the same for machines (cards/croissant.py)
manifest.json          lineage and hashes (manifest.py)
labels/*.parquet       id, prompt, completion, original, messages, method, candidate, score, row_digest
candidates/*.parquet   every candidate with its tokens, log-probabilities and scores
original/*.parquet     the source rows
dropped/*.parquet      rows without a label, and why
shift/, effects/       reports and pictures attached later
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from glob import escape
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, overload

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_cards import manifest as m
from datasets_cards.canonical import canonical_json, file_digest, sha256_hex
from datasets_cards.errors import InputError, IntegrityError, MissingError
from datasets_cards.records import Candidate, Dropped, Label, Row
from datasets_cards.tables.footers import check_footer, table_errors
from datasets_cards.tables.parts import Part
from datasets_cards.tables.schemas import SCHEMAS, read_table

if TYPE_CHECKING:
    import datasets

ATTACHED = re.compile(r"(shift|effects)/(?=.{1,200}\Z)[A-Za-z0-9][A-Za-z0-9._-]*\.(json|md|png|svg|html)", re.ASCII)
"""Names of reports and pictures."""

STORE_FILE = "store.json"
"""Marks a folder of published versions (stores/local_hub.py, the cache of stores/hub.py), which never change."""


def is_published(path: Path) -> bool:
    """Whether a folder is, or would be, a version in a store: `STORE/NAME/VERSION`."""
    return (path.resolve().parent.parent / STORE_FILE).exists()


class Artifact:
    """An artifact on disk. Tables are read when asked for, and checked against their digests when first read.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
    """

    def __init__(self, path: Path, manifest: m.Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._checked: dict[str, int] = {}

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

    @property
    def name(self) -> str:
        """What people call it: its repository on the Hub, its name in a store, or its folder's."""
        folder = self.path.resolve()
        return self.manifest.repository or (folder.parent.name if is_published(folder) else folder.name)

    def labels(self) -> pl.DataFrame:
        """The selected completions, one row each.

        Raises:
            MissingError: a file is gone.
            IntegrityError: a file's bytes are not those that were recorded.
        """
        return self._frame("labels")

    def candidates(self) -> pl.DataFrame:
        """Every candidate of the pool; errors are those of `labels`."""
        return self._frame("candidates")

    def original(self) -> pl.DataFrame:
        """The source rows; `meta` is JSON text; errors are those of `labels`."""
        return self._frame("original")

    def dropped(self) -> pl.DataFrame:
        """The rows without a label, and why; errors are those of `labels`."""
        return self._frame("dropped")

    def iter_original(self, part: int = 0, of: int = 1) -> Iterator[Row]:
        """The source rows as records, a batch in memory at a time; shard after shard, in source order within one.

        Args:
            part: which of several parts to read, from 0: a worker's rank, say.
            of: how many parts there are. They share no row and together are everything, and a row's candidates and
                label lie in the part that it lies in itself. Any number will do; up to `manifest.shards` parts read
                each file once among them.

        Raises:
            InputError: there is no such part.
            MissingError: a file is gone; raised when it is that file's turn.
            IntegrityError: a file's bytes are not those that were recorded; likewise.
        """
        return self._records("original", Part(part, of))

    def iter_candidates(self, part: int = 0, of: int = 1) -> Iterator[Candidate]:
        """The candidates as records: those of one row together, the rows in the order of `iter_original`.

        Args and errors are those of `iter_original`.
        """
        return self._records("candidates", Part(part, of))

    def iter_labels(self, part: int = 0, of: int = 1) -> Iterator[Label]:
        """The labels as records, in the order of `iter_original`; args and errors are its too."""
        return self._records("labels", Part(part, of))

    def iter_dropped(self, part: int = 0, of: int = 1) -> Iterator[Dropped]:
        """The dropped rows as records; args and errors are those of `iter_original`."""
        return self._records("dropped", Part(part, of))

    def pools(self, part: int = 0, of: int = 1) -> Iterator[tuple[Row, list[Candidate]]]:
        """Each source row with all of its candidates (none is an empty list), in the order of `iter_original`.

        Args:
            part: which of several parts to read, as in `iter_original`.
            of: how many parts there are.

        Raises:
            InputError: there is no such part.
            MissingError: a file is gone.
            IntegrityError: the candidates do not stand in the order of the rows, or are of no row; or a file's bytes
                are not those that were recorded.
        """
        return self._pools(Part(part, of))

    def _pools(self, part: Part) -> Iterator[tuple[Row, list[Candidate]]]:
        originals, candidates = self._read("original", part), self._read("candidates", part)
        for (_, rows), (pool, of_rows) in zip(originals, candidates, strict=True):
            groups = groupby(of_rows, key=attrgetter("id"))
            id_, group = next(groups, (None, ()))
            for row in rows:
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

    @overload
    def dataset(self, table: str = "labels", *, streaming: Literal[False] = False) -> datasets.Dataset: ...

    @overload
    def dataset(self, table: str = "labels", *, streaming: Literal[True]) -> datasets.IterableDataset: ...

    def dataset(self, table: str = "labels", *, streaming: bool = False) -> datasets.Dataset | datasets.IterableDataset:
        """One table for the `datasets` library, straight from its files: no network, and no copy in a cache.

        Args:
            table: `labels`, `candidates`, `original` or `dropped`.
            streaming: read rows as they are asked for instead of the whole table into memory. The stream can be cut
                by shards, for workers and nodes: its `num_shards` is the manifest's.

        Raises:
            InputError: there is no such table.
            MissingError: a file is gone.
            IntegrityError: a file's bytes are not those that were recorded.
        """
        if table not in SCHEMAS:
            raise InputError(
                f"there is no table {table!r}", where=str(self.path), remedy=f"Tables: {', '.join(SCHEMAS)}"
            )
        files = self.table_files(table)
        import datasets
        from datasets.table import InMemoryTable

        if streaming:
            # Not load_dataset("parquet"), which reports each use to a server.
            names: list[Any] = [escape(str(path.absolute())) for path in files]
            features = datasets.Features.from_arrow_schema(SCHEMAS[table])
            with TemporaryDirectory() as scratch:  # for a lock that is held while the files are looked up
                return datasets.IterableDataset.from_parquet(names, features=features, cache_dir=scratch)
        tables = []
        for path in files:
            with table_errors(path), pq.ParquetFile(path) as file:
                tables.append(file.read().select(SCHEMAS[table].names).cast(SCHEMAS[table]))
        rows = pa.concat_tables(tables)
        hashes = [file.sha256 for file in self._entries(table)]
        return datasets.Dataset(InMemoryTable(rows), fingerprint=sha256_hex(canonical_json(hashes))[:16])

    def table_files(self, table: str) -> list[Path]:
        """The Parquet files of one table, checked against the manifest.

        Raises:
            MissingError: a file is gone.
            IntegrityError: a file's bytes are not those that were recorded.
        """
        return [self.checked(file) for file in self._entries(table)]

    def _entries(self, table: str) -> list[m.File]:
        files = self.manifest.folder(table)
        if not files:
            raise IntegrityError(
                f"the manifest lists no file of {table}", where=str(self.path), remedy="Restore it from its store"
            )
        return files

    def checked(self, file: m.File) -> Path:
        """One file of a table, checked against the manifest when it is first asked for; errors are `table_files`'."""
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
            self._checked[file.path] = check_footer(path, file.rows, file.path.split("/")[0])
        return path

    def unfolded(self, file: m.File) -> int:
        """Bytes of what a table's file holds, once its pages are decompressed; it is checked as by `checked`."""
        self.checked(file)
        return self._checked[file.path]

    def _frame(self, table: str) -> pl.DataFrame:
        frames = []
        for path in self.table_files(table):
            with table_errors(path):
                frames.append(pl.read_parquet(path, glob=False).select(SCHEMAS[table].names))
        return pl.concat(frames)

    def _records(self, table: str, part: Part) -> Iterator[Any]:
        return chain.from_iterable(records for _, records in self._read(table, part))

    def _read(self, table: str, part: Part) -> Iterator[tuple[Path, Iterator[Any]]]:
        """Each file that holds rows of the part, and those rows' records."""
        entries = self._entries(table)
        for number in part.shards(len(entries)):
            path = self.checked(entries[number])
            records = _safely(path, read_table(path, table))
            if part.of > len(entries):
                records = (record for record in records if part.holds(record.id, len(entries)))
            yield path, records


def _safely(path: Path, records: Iterator[Any]) -> Iterator[Any]:
    with table_errors(path):
        yield from records
