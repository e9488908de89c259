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

**Table digest**: SHA-256 over the line `echoset <kind> <table> 1\n` (kind: logical or scores) and then the 32-byte record
digests of the table, sorted. **Logical digest** and **scores digest**: SHA-256 of the canonical JSON of the object that
maps each table to its table digest.

So both are independent of row order, sharding, row groups, compression and writer; the logical digest is independent of
every computed float too. Outside both: the pool's name (provenance), the words of an
error or of a drop, timestamps, the card and whatever was attached.
"""  # noqa: E501

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets_cards.errors import InputError
from datasets_cards.records import Candidate, Dropped, Label, Row

_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


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


def table_digest(kind: str, table: str, digests: Iterable[bytes]) -> str:
    """Combine the record digests of one table, in any order.

    Args:
        kind: `logical` or `scores`.
        table: the table's name.
        digests: 32 bytes a record.
    """
    joined = b"".join(digests)
    hasher = hashlib.sha256(f"echoset {kind} {table} 1\n".encode())
    hasher.update(np.sort(np.frombuffer(joined, dtype="V32")).tobytes())
    return hasher.hexdigest()


def combined_digest(tables: Mapping[str, str]) -> str:
    """The digest of an artifact from its table digests."""
    return sha256_hex(canonical_json(dict(tables)))


def logical_digest(
    rows: Iterable[Row], candidates: Iterable[Candidate], labels: Iterable[Label], dropped: Iterable[Dropped]
) -> str:
    """What the artifact says, whatever its files look like; each argument is read once."""
    return combined_digest(
        {
            "candidates": table_digest("logical", "candidates", map(candidate_digest, candidates)),
            "dropped": table_digest("logical", "dropped", map(dropped_digest, dropped)),
            "labels": table_digest("logical", "labels", map(label_digest, labels)),
            "original": table_digest("logical", "original", map(row_digest, rows)),
        }
    )


def scores_digest(candidates: Iterable[Candidate], labels: Iterable[Label]) -> str:
    """The numbers and verdicts that the logical digest leaves out; each argument is read once."""
    return combined_digest(
        {
            "candidates": table_digest("scores", "candidates", map(candidate_scores_digest, candidates)),
            "labels": table_digest("scores", "labels", map(label_score_digest, labels)),
        }
    )
