"""What a field of a record may hold, so that tables keep it as it is and `verify` finds nothing in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import isfinite
from typing import Any, get_args

import numpy as np

from datasets_cards.canonical import canonical_json
from datasets_cards.errors import InputError
from datasets_cards.records import Candidate, Dropped, FinishReason, Label, Role, Row

ROLES, FINISH_REASONS = get_args(Role), get_args(FinishReason)

_MOST = 2**31 - 1  # of the tables' 32-bit columns
_MESSAGES = "Messages have a role and a content, both text, and nothing else"


def check_rows(rows: Iterable[Row]) -> None:
    """Refuse rows that no table keeps.

    Raises:
        InputError: naming the id.
    """
    for row in rows:
        _require_text(row.id, id=row.id)
        if not _are_messages(row.prompt) or not (row.original is None or _are_messages(row.original)):
            raise InputError("the prompt or original is no list of messages", where=row.id, remedy=_MESSAGES)
        if not _is_kept_by_json(row.meta, row.id):
            raise InputError("meta is no JSON object", where=row.id, remedy="Use a dict whose keys are text")


def check_candidates(candidates: Iterable[Candidate]) -> None:
    """Refuse candidates that no table keeps; errors are those of `check_rows`."""
    for c in candidates:
        _require_text(c.id, id=c.id, pool=c.pool, view=c.view, text=c.text, error=c.error or "")
        fault = _candidate_fault(c)
        for score in c.scores:
            _require_text(c.id, scorer=score.scorer, reason=score.reason or "")
            if not _is_number(score.value):
                fault = f"the score {_shown(score.value)} of {score.scorer} is no number that Parquet keeps"
        if fault:
            raise InputError(fault, where=c.id, remedy="Mend the candidate")


def check_labels(labels: Iterable[Label]) -> None:
    """Refuse labels that no table keeps; errors are those of `check_rows`. Prompt and original are the row's."""
    for label in labels:
        _require_text(label.id, id=label.id, method=label.method)
        if not _are_messages(label.completion):
            raise InputError("the completion is no list of messages", where=label.id, remedy=_MESSAGES)
        if type(label.candidate) is not int:
            raise InputError(f"{_shown(label.candidate)} is no candidate's index", where=label.id)
        if not _is_number(label.score):
            raise InputError(f"the score {_shown(label.score)} is no number that Parquet keeps", where=label.id)


def check_dropped(dropped: Iterable[Dropped]) -> None:
    """Refuse dropped rows that no table keeps; errors are those of `check_rows`."""
    for item in dropped:
        _require_text(item.id, id=item.id, reason=item.reason, detail=item.detail)


def _candidate_fault(c: Candidate) -> str | None:
    if c.role not in ROLES:
        return f"{_shown(c.role)} is no role"
    if c.finish_reason not in FINISH_REASONS:
        return f"{_shown(c.finish_reason)} is no finish_reason"
    if type(c.index) is not int or not 0 <= c.index <= _MOST:
        return f"a candidate has the index {_shown(c.index)}, not a number from 0"
    tokens = c.token_ids
    if set(map(type, tokens)) - {int} or (tokens and not 0 <= min(tokens) <= max(tokens) <= _MOST):
        return f"token_ids of candidate {c.index} are not all whole numbers from 0 to {_MOST}"
    if c.token_count is not None:
        if type(c.token_count) is not int or not 0 <= c.token_count <= _MOST:
            return f"candidate {c.index} has the token_count {_shown(c.token_count)}"
        if tokens and c.token_count != len(tokens):
            return f"candidate {c.index} has {len(tokens)} token_ids and the token_count {c.token_count}"
    if not (_is_number(c.logprob) and _is_number(c.behavior_logprob)):
        return f"a log-probability of candidate {c.index} is no number that Parquet keeps"
    if c.misaligned is not None and type(c.misaligned) is not bool:
        return f"misaligned of candidate {c.index} is {_shown(c.misaligned)}, neither True, False nor None"
    return None


def _are_messages(messages: Any) -> bool:
    return isinstance(messages, list | tuple) and all(
        isinstance(m, dict) and m.keys() == {"role", "content"} and _is_text(m["role"]) and _is_text(m["content"])
        for m in messages
    )


def _is_kept_by_json(meta: Any, row_id: str) -> bool:
    """Whether it is an object that comes back as it went: of the keys 1 and "1" only one would."""
    if not isinstance(meta, dict):
        return False
    try:
        data = canonical_json(meta)
        return canonical_json(json.loads(data)) == data
    except InputError as error:
        error.where = row_id
        raise
    except (ValueError, RecursionError):
        return False


def _is_number(value: Any) -> bool:
    """Whether it is a finite number that 64-bit floats hold exactly, or None."""
    if value is None or (type(value) is float and isfinite(value)):
        return True
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return isfinite(value) and float(value) == value
    except OverflowError:
        return False


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or value.isascii():
        return isinstance(value, str)
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _require_text(row_id: Any, **fields: Any) -> None:
    for name, value in fields.items():
        if not _is_text(value):
            what = f"{name} is {_shown(value)}, not text"
            raise InputError(what, where=str(row_id), remedy="Use text that UTF-8 can hold")


def _shown(value: Any) -> str:
    try:
        return repr(value)[:80]
    except ValueError:  # an integer too long to be written out
        return "of thousands of digits"
