"""The four tables of an artifact: their Parquet schemas, and records to rows and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_cards.canonical import canonical_json, label_digest, sha256_hex
from datasets_cards.records import Candidate, Dropped, Label, Row, Score

MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
SCORES = pa.list_(
    pa.struct([pa.field("scorer", pa.string()), pa.field("value", pa.float64()), pa.field("reason", pa.string())])
)


def _schema(**columns: pa.DataType | tuple[pa.DataType, bool]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


def _nullable(schema: pa.Schema, *names: str) -> pa.Schema:
    return pa.schema([field.with_nullable(field.name in names) for field in schema])


SCHEMAS: dict[str, pa.Schema] = {
    "labels": _nullable(
        _schema(
            id=pa.string(),
            prompt=MESSAGES,
            completion=MESSAGES,
            original=MESSAGES,
            method=pa.string(),
            candidate=pa.int32(),
            score=pa.float64(),
            row_digest=pa.string(),
        ),
        "original",
        "score",
    ),
    "candidates": _nullable(
        _schema(
            id=pa.string(),
            pool=pa.string(),
            index=pa.int32(),
            role=pa.string(),
            view=pa.string(),
            text=pa.string(),
            token_ids=pa.list_(pa.int32()),
            token_count=pa.int32(),
            finish_reason=pa.string(),
            logprob=pa.float64(),
            behavior_logprob=pa.float64(),
            scores=SCORES,
            misaligned=pa.bool_(),
            error=pa.string(),
        ),
        "token_count",
        "logprob",
        "behavior_logprob",
        "misaligned",
        "error",
    ),
    "original": _nullable(
        _schema(id=pa.string(), prompt=MESSAGES, completion=MESSAGES, meta=pa.string()), "completion"
    ),
    "dropped": _schema(id=pa.string(), reason=pa.string(), detail=pa.string()),
}
"""`meta` is canonical JSON as text: columns that mix numbers and strings survive, which no typed column would."""

BATCH_ROWS = 2048
WAITING_BYTES = 16 << 20


def _scores(candidate: Candidate) -> list[tuple[str, float | None, str | None]]:
    return [(score.scorer, score.value, score.reason) for score in candidate.scores]


# Columns that are not simply the record's attribute of that name.
_COLUMNS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "labels": {"row_digest": lambda label: label_digest(label).hex()},
    "candidates": {"scores": _scores},
    "original": {"completion": lambda row: row.original, "meta": lambda row: canonical_json(row.meta).decode()},
    "dropped": {},
}


def to_arrow(records: list[Any], table: str) -> pa.Table:
    """Records of one table as Arrow columns."""
    columns = [
        pa.array(map(_COLUMNS[table].get(field.name, attrgetter(field.name)), records), field.type)
        for field in SCHEMAS[table]
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMAS[table])


# Records from the Arrow columns of their table, by name; whole columns at a time cost a third of dictionaries of rows.
def _to_labels(column: Callable[[str], list[Any]]) -> Iterator[Label]:
    return map(Label, *map(column, ("id", "prompt", "completion", "original", "method", "candidate", "score")))


def _to_candidates(column: Callable[[str], list[Any]]) -> Iterator[Candidate]:
    names = [field.name for field in fields(Candidate)]
    columns = {name: column(name) for name in names}
    columns["scores"] = [[Score(**score) for score in scores] for scores in columns["scores"]]
    return map(Candidate, *columns.values())


def _to_rows(column: Callable[[str], list[Any]]) -> Iterator[Row]:
    return map(Row, column("id"), column("prompt"), column("completion"), map(json.loads, column("meta")))


def _to_dropped(column: Callable[[str], list[Any]]) -> Iterator[Dropped]:
    return map(Dropped, column("id"), column("reason"), column("detail"))


_FROM_COLUMNS: dict[str, Callable[[Callable[[str], list[Any]]], Iterator[Any]]] = {
    "labels": _to_labels,
    "candidates": _to_candidates,
    "original": _to_rows,
    "dropped": _to_dropped,
}


class TableWriter:
    """One table being written: a Parquet file a shard, with bounded buffers.

    Records become Arrow columns `BATCH_ROWS` at a time, and those wait for their shard's row group to fill. Where all
    that waits passes `WAITING_BYTES`, the shard that holds most of it is written early. When that happens depends on
    the records alone, not on how they were handed over: the same records make the same bytes.

    Args:
        folder: an existing folder for the files.
        shards: how many files; a record's id decides which one it goes to.
        row_group: rows a Parquet row group.

    Attributes:
        shards: path and rows of each file, as `shard.path` and `shard.rows`.
    """

    def __init__(self, folder: Path, table: str, shards: int, row_group: int) -> None:
        self.table = table
        self._records: list[Any] = []
        names = [f"{number:05d}-of-{shards:05d}.parquet" for number in range(shards)]
        self.shards: list[_Shard] = []
        for name in names:
            self.shards.append(_Shard(folder / name, SCHEMAS[table], row_group))

    def add(self, records: Iterable[Any]) -> None:
        """Take in more records, in their order."""
        self._records += records
        full = len(self._records) // BATCH_ROWS * BATCH_ROWS
        for start in range(0, full, BATCH_ROWS):
            self._distribute(self._records[start : start + BATCH_ROWS])
        del self._records[:full]

    def finish(self) -> None:
        """Write what still waits, and close the files."""
        self._distribute(self._records)
        for shard in self.shards:
            shard.write(shard.waiting_rows)
            shard.writer.close()

    def abandon(self) -> None:
        """Close what is still open; the files are good for nothing."""
        for shard in self.shards:
            with suppress(OSError, pa.ArrowException):  # a disk that is full can't take a footer either
                shard.writer.close()

    def _distribute(self, records: list[Any]) -> None:
        columns = to_arrow(records, self.table)
        of_record = np.fromiter((shard_of(record.id, len(self.shards)) for record in records), np.int64, len(records))
        numbers = np.unique(of_record).tolist()
        for number in numbers:
            own = columns if len(numbers) == 1 else columns.take(np.flatnonzero(of_record == number))
            self.shards[number].add(own)
        while sum(shard.waiting_bytes for shard in self.shards) > WAITING_BYTES:
            largest = max(self.shards, key=lambda shard: shard.waiting_bytes)
            largest.write(largest.waiting_rows)


class _Shard:
    """One Parquet file being written, and the columns that wait for its row group to fill."""

    def __init__(self, path: Path, schema: pa.Schema, row_group: int) -> None:
        self.path, self.row_group, self.rows = path, row_group, 0
        self.writer = pq.ParquetWriter(path, schema, compression="zstd")
        self.waiting: list[pa.Table] = []
        self.waiting_rows = self.waiting_bytes = 0

    def add(self, columns: pa.Table) -> None:
        self._wait(columns)
        self.rows += columns.num_rows
        self.write(self.waiting_rows // self.row_group * self.row_group)

    def write(self, rows: int) -> None:
        """Write the first so many of the rows that wait."""
        if not rows:
            return
        whole = pa.concat_tables(self.waiting)
        self.writer.write_table(whole.slice(0, rows), row_group_size=self.row_group)
        self.waiting, self.waiting_rows, self.waiting_bytes = [], 0, 0
        if rows < whole.num_rows:
            self._wait(whole.slice(rows))

    def _wait(self, columns: pa.Table) -> None:
        self.waiting.append(columns)
        self.waiting_rows += columns.num_rows
        self.waiting_bytes += columns.nbytes


def shard_of(row_id: str, shards: int) -> int:
    """The shard a row lies in: its id alone decides, so that a changed row changes one file."""
    return int(sha256_hex(row_id.encode())[:8], 16) % shards if shards > 1 else 0


def read_table(path: Path, table: str) -> Iterator[Any]:
    """Yield the records of one Parquet file, a batch in memory at a time."""
    to_records = _FROM_COLUMNS[table]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            yield from to_records(lambda name, batch=batch: batch.column(name).to_pylist())
