r"""Canonical bytes and digests: what "the same data" means. This file is the specification and it will stay.

**Canonical JSON**: UTF-8, object keys sorted by code point, no white space, non-ASCII characters as they are, floats by
their shortest exact representation, no NaN and no infinity.

**Record digest**: SHA-256 of the canonical JSON of a list of the record's fields, in this order:

| table | fields of the logical digest | fields of the scores digest |
|---|---|---|
| labels | id, prompt, completion, original, method, candidate | id, score |
| candidates | id, role, view, index, text, token_ids, finish_reason | id, role, view, index, logprob, behavior_logprob, scores as [scorer, value, reason] sorted by scorer, misaligned |
| original | id, prompt, completion, meta | |
| dropped | id, reason | |

Messages are objects of exactly `role` and `content`; absent values are null. Numbers of the scores digest are floats.
A label's candidate is an index in the row's pool, or -1 for the row's self-sample (role `baseline`, index 0).

**Table digest**: SHA-256 over the line `echoset <kind> <table> 1\n` (kind: logical or scores) and then the 32-byte record
digests of the table, sorted. **Logical digest** and **scores digest**: SHA-256 of the canonical JSON of the object that
maps each table to its table digest.

So both are independent of row order, sharding, row groups, compression and writer; the logical digest is independent of
every computed float too. Outside both: the pool's name (provenance), a candidate's token count, the words of an error or
of a drop, timestamps, the card and whatever was attached.
"""  # noqa: E501

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from datasets_cards.errors import InputError
from datasets_cards.records import Candidate, Dropped, Label, Row

_ENCODER = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False
)  # a circle ends in a RecursionError just as well


def canonical_json(obj: Any) -> bytes:
    """The one byte string of a JSON-like object.

    Raises:
        InputError: the object holds NaN, an infinity, half a surrogate pair, or something that JSON doesn't know.
    """
    try:
        return _ENCODER.encode(obj).encode()
    except (ValueError, TypeError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise InputError(
            f"not plain JSON ({error})", remedy="Use text, finite numbers, booleans, null, lists and objects"
        ) from None


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits, in constant memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def label_digest(label: Label) -> bytes:
    """Record digest of a label, 32 bytes; its hexadecimal form is the table's `row_digest` column."""
    fields = [label.id, label.prompt, label.completion, label.original, label.method, label.candidate]
    return hashlib.sha256(canonical_json(fields)).digest()


def candidate_digest(candidate: Candidate) -> bytes:
    """Record digest of a candidate, 32 bytes: what was said, not how likely it was."""
    c = candidate
    fields = [c.id, c.role, c.view, c.index, c.text, c.token_ids, c.finish_reason]
    return hashlib.sha256(canonical_json(fields)).digest()


def row_digest(row: Row) -> bytes:
    """Record digest of a source row, 32 bytes."""
    return hashlib.sha256(canonical_json([row.id, row.prompt, row.original, row.meta])).digest()


def dropped_digest(dropped: Dropped) -> bytes:
    """Record digest of a dropped row, 32 bytes."""
    return hashlib.sha256(canonical_json([dropped.id, dropped.reason])).digest()


def candidate_scores_digest(candidate: Candidate) -> bytes:
    """Digest of what was computed or judged about a candidate, 32 bytes."""
    c = candidate
    scores = sorted([s.scorer, _float(s.value), s.reason] for s in c.scores)
    fields = [c.id, c.role, c.view, c.index, _float(c.logprob), _float(c.behavior_logprob), scores, c.misaligned]
    return hashlib.sha256(canonical_json(fields)).digest()


def label_score_digest(label: Label) -> bytes:
    """Digest of a label's score, 32 bytes."""
    return hashlib.sha256(canonical_json([label.id, _float(label.score)])).digest()


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)  # a grade of 3 comes back from Parquet as 3.0


def table_digest(kind: str, table: str, digests: Iterable[bytes] | bytearray) -> str:
    """Combine the record digests of one table, in any order.

    Args:
        kind: `logical` or `scores`.
        table: the table's name.
        digests: 32 bytes a record. A bytearray of them all, end to end, is sorted where it lies and not copied.
    """
    joined = digests if isinstance(digests, bytearray) else bytearray().join(digests)
    np.frombuffer(joined, dtype="V32").sort()
    hasher = hashlib.sha256(f"echoset {kind} {table} 1\n".encode())
    hasher.update(joined)
    return hasher.hexdigest()


class Digests:
    """The two digests of an artifact, built up record by record in any order; a record takes 32 bytes a digest."""

    def __init__(self) -> None:
        self._logical = {table: bytearray() for table in ("candidates", "dropped", "labels", "original")}
        self._scores = {table: bytearray() for table in ("candidates", "labels")}

    def add(
        self,
        rows: Iterable[Row] = (),
        candidates: Iterable[Candidate] = (),
        labels: Iterable[Label] = (),
        dropped: Iterable[Dropped] = (),
    ) -> None:
        """Take in more records; each argument is read once.

        Raises:
            InputError: a record, whose id is named, holds what JSON doesn't know, such as NaN.
        """
        record = None
        try:
            for record in rows:
                self._logical["original"] += row_digest(record)
            for record in candidates:
                self._logical["candidates"] += candidate_digest(record)
                self._scores["candidates"] += candidate_scores_digest(record)
            for record in labels:
                self._logical["labels"] += label_digest(record)
                self._scores["labels"] += label_score_digest(record)
            for record in dropped:
                self._logical["dropped"] += dropped_digest(record)
        except InputError as error:
            error.where = error.where or (record.id if record else "")
            raise

    def logical(self) -> str:
        """What the records say, whatever the files look like."""
        return _combined("logical", self._logical)

    def scores(self) -> str:
        """The numbers and verdicts that the logical digest leaves out."""
        return _combined("scores", self._scores)


def _combined(kind: str, tables: dict[str, bytearray]) -> str:
    return sha256_hex(canonical_json({table: table_digest(kind, table, found) for table, found in tables.items()}))
