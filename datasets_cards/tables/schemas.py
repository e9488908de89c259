"""The four tables of an artifact: their Parquet schemas, and records to rows and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_cards.canonical import canonical_json, label_digest
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
            messages=MESSAGES,
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
"""`meta` is canonical JSON as text: columns that mix numbers and strings survive, which no typed column would.
`messages` is prompt and completion in one, for trainers that read conversations; like `row_digest` it says nothing new.
"""

KEYS = {
    "labels": ("id",),
    "candidates": ("id", "pool", "role", "view", "index"),
    "original": ("id",),
    "dropped": ("id",),
}
"""The columns that tell one record of a table from another."""

READ_ROWS = 2048


def _scores(candidate: Candidate) -> list[tuple[str, float | None, str | None]]:
    return [(score.scorer, score.value, score.reason) for score in candidate.scores]


# Columns that are not simply the record's attribute of that name.
_COLUMNS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "labels": {
        "messages": lambda label: [*label.prompt, *label.completion],
        "row_digest": lambda label: label_digest(label).hex(),
    },
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


def _to_candidates(*columns: list[Any]) -> Iterator[Candidate]:
    *first, scores, misaligned, error, token_count = columns
    return map(Candidate, *first, ([Score(**s) for s in one] for one in scores), misaligned, error, token_count)


# Records from columns: which, and how. Whole columns at a time cost a third of dictionaries of rows.
_RECORDS: dict[str, tuple[tuple[str, ...], Callable[..., Iterator[Any]]]] = {
    "labels": (
        ("id", "prompt", "completion", "original", "method", "candidate", "score"),
        lambda *columns: map(Label, *columns),
    ),
    "candidates": (tuple(field.name for field in fields(Candidate)), _to_candidates),
    "original": (
        ("id", "prompt", "completion", "meta"),
        lambda id_, prompt, completion, meta: map(Row, id_, prompt, completion, map(json.loads, meta)),
    ),
    "dropped": (("id", "reason", "detail"), lambda *columns: map(Dropped, *columns)),
}


def id_hash(row_id: str) -> int:
    """32 bits of the id's SHA-256; they alone decide where a row lies, so that a changed row changes one file."""
    return int.from_bytes(sha256(row_id.encode()).digest()[:4])


def shard_of(row_id: str, shards: int) -> int:
    """The shard a row lies in, of so many."""
    return id_hash(row_id) % shards


def read_columns(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield some columns of one Parquet file, at most a row group in memory at a time: rows can be long.

    Raises:
        OSError: the file can't be read.
        ValueError: it isn't Parquet, or is damaged (`pyarrow.ArrowInvalid`).
    """
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield from file.iter_batches(READ_ROWS, row_groups=[number], columns=list(columns))


def read_table(path: Path, table: str) -> Iterator[Any]:
    """Yield the records of one Parquet file, a row group in memory at a time; derived columns are not read.

    Raises:
        OSError: the file can't be read.
        ValueError: it isn't Parquet, or is damaged (`pyarrow.ArrowInvalid`).
        KeyError: it lacks a column of its table.
    """
    columns, to_records = _RECORDS[table]
    for batch in read_columns(path, columns):
        yield from to_records(*(batch.column(name).to_pylist() for name in columns))
