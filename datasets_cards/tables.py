"""The four tables of an artifact: their Parquet schemas, and records to rows and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
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
            finish_reason=pa.string(),
            logprob=pa.float64(),
            behavior_logprob=pa.float64(),
            scores=SCORES,
            misaligned=pa.bool_(),
            error=pa.string(),
        ),
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

BATCH_ROWS = 8192


def _score_dicts(candidate: Candidate) -> list[dict[str, Any]]:
    return [{"scorer": score.scorer, "value": score.value, "reason": score.reason} for score in candidate.scores]


# Columns that are not simply the record's attribute of that name.
_COLUMNS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "labels": {"row_digest": lambda label: label_digest(label).hex()},
    "candidates": {"scores": _score_dicts},
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


def _to_label(columns: dict[str, Any]) -> Label:
    del columns["row_digest"]
    return Label(**columns)


def _to_candidate(columns: dict[str, Any]) -> Candidate:
    columns["scores"] = [Score(**score) for score in columns["scores"]]
    return Candidate(**columns)


def _to_row(columns: dict[str, Any]) -> Row:
    return Row(columns["id"], columns["prompt"], columns["completion"], json.loads(columns["meta"]))


def _to_dropped(columns: dict[str, Any]) -> Dropped:
    return Dropped(**columns)


FROM_COLUMNS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "labels": _to_label,
    "candidates": _to_candidate,
    "original": _to_row,
    "dropped": _to_dropped,
}


def write_table(path: Path, table: str, records: Iterable[Any], *, row_group: int = BATCH_ROWS) -> int:
    """Write records of one table to one Parquet file; returns how many. An empty table is a file with its columns."""
    source, written = iter(records), 0
    with pq.ParquetWriter(path, SCHEMAS[table], compression="zstd") as writer:
        while batch := list(islice(source, row_group)):
            writer.write_table(to_arrow(batch, table), row_group_size=row_group)
            written += len(batch)
    return written


def read_table(path: Path, table: str) -> Iterator[Any]:
    """Yield the records of one Parquet file, a batch in memory at a time."""
    from_columns = FROM_COLUMNS[table]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            yield from map(from_columns, batch.to_pylist())
