"""What a row is: one record of a source, checked field by field.

A row is `messages` (its last assistant turn is the original answer, everything before it the prompt), or `prompt` and
perhaps `completion`, each a list of messages or plain text. Where a row has both, `messages` is read. A `system_prompt`
column becomes the system message; `id` is the row's id (a number becomes text), and where there is none a hash of
prompt and original is. Every other column is kept as the row's `meta`: `_id` too, which in the files of the paper's
reference code numbers questions, not rows, and repeats.
"""

from __future__ import annotations

import base64
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

from datasets_cards.canonical import canonical_json
from datasets_cards.errors import InputError
from datasets_cards.records import Message, Row

ROLES = ("system", "developer", "user", "assistant", "tool")
FORMS = "Rows need `messages`, or `prompt` and perhaps `completion`"
_OWN = ("id", "messages", "prompt", "completion", "system_prompt")


class RowError(InputError):
    """One row can't be used; `reason` is the code it is dropped under when bad rows are skipped."""

    def __init__(self, reason: str, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.reason = reason


def parse_row(record: Any, where: str) -> Row:
    """Turn one record of a source into a row; the id is empty where the record has none.

    Args:
        record: the record's columns.
        where: the file and row, for messages.

    Raises:
        RowError: it is not a row.
    """
    if not isinstance(record, dict):
        raise RowError("bad_row", f"is {_kind(record)}, not an object", where=where, remedy=FORMS)
    meta = {
        key: value for key, value in record.items() if value is not None or key not in _OWN
    }  # Parquet fills gaps with null
    row_id = _row_id(meta.pop("id"), f"{where}, id") if "id" in meta else ""
    if "messages" in meta:
        turns = _messages(meta.pop("messages"), "messages", where)
        answer = _trailing_answer(turns)
        prompt, original = turns[: len(turns) - len(answer)], answer or None
        if not prompt:
            raise RowError(
                "bad_row", "has an answer but no prompt", where=f"{where}, messages", remedy="Begin with a user turn"
            )
    elif "prompt" in meta:
        prompt = _messages(meta.pop("prompt"), "prompt", where, plain_role="user")
        completion = meta.pop("completion", None)
        original = None if completion is None else _messages(completion, "completion", where, plain_role="assistant")
        if original and original[0]["role"] != "assistant":
            raise RowError(
                "bad_row", "is not an assistant turn", where=f"{where}, completion", remedy="Give the answer only"
            )
    else:
        found = ", ".join(map(str, record)) or "none"
        raise RowError(
            "wrong_columns",
            f"no `messages` or `prompt`; columns found: {found}",
            where=where,
            remedy="Rename the column that holds the chat",
        )
    prompt = _with_system(prompt, meta.pop("system_prompt", None), where)
    row = Row(row_id, prompt, original, {str(key): _json_like(value, f"{where}, {key}") for key, value in meta.items()})
    try:
        canonical_json([row.id, row.prompt, row.original, row.meta])
    except InputError as error:  # half a surrogate pair, which JSON escapes can spell but UTF-8 can't
        raise RowError("bad_row", error.what, where=where, remedy=error.remedy) from None
    return row


def _row_id(value: Any, where: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # what a column of integers with gaps becomes in pandas
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise RowError("bad_row", f"is {_kind(value)}, not an id", where=where, remedy="Use non-empty text or a number")
    return str(value)


def _messages(value: Any, field: str, where: str, plain_role: str | None = None) -> list[Message]:
    if isinstance(value, str) and plain_role:
        value = [{"role": plain_role, "content": value}]
    if not isinstance(value, list) or not value:
        what = "is empty" if value == [] else f"is {_kind(value)}, not a list of messages"
        raise RowError("bad_row", what, where=f"{where}, {field}", remedy='Give [{"role": "user", "content": "..."}]')
    return [_message(item, f"{where}, {field}[{position}]") for position, item in enumerate(value)]


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise RowError(
            "bad_row", f"is {_kind(item)}, not a message", where=where, remedy="Messages have role and content"
        )
    role, content = item.get("role"), item.get("content")
    if role is None:
        found = ", ".join(map(str, item)) or "nothing"
        raise RowError(
            "no_role",
            f"a message without role (it has {found})",
            where=where,
            remedy="Give each message a `role` and `content`",
        )
    if role not in ROLES:
        raise RowError("unknown_role", f"unknown role {role!r}", where=where, remedy=f"Known are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise RowError(
            "bad_row", f"content is {_kind(content)}, not text", where=where, remedy="Only text can be labeled"
        )
    if not content.strip():
        raise RowError("empty_content", "content is empty", where=where, remedy="Fill it in or remove the row")
    if extra := [
        str(key) for key, value in item.items() if key not in ("role", "content") and value not in (None, [], {})
    ]:
        # Dropping tool calls, names or weights would change what the row says without a word.
        raise RowError(
            "bad_row", f"a message carries {', '.join(extra)}", where=where, remedy="Keep only role and content"
        )
    return {"role": role, "content": content}


def _trailing_answer(turns: list[Message]) -> list[Message]:
    *_, (last_is_answer, last) = (
        (is_answer, list(run)) for is_answer, run in groupby(turns, lambda m: m["role"] == "assistant")
    )
    return last if last_is_answer else []


def _with_system(prompt: list[Message], system_prompt: Any, where: str) -> list[Message]:
    if system_prompt is None or system_prompt == "":
        return prompt
    if not isinstance(system_prompt, str):
        raise RowError(
            "bad_row", f"is {_kind(system_prompt)}, not text", where=f"{where}, system_prompt", remedy="Give text"
        )
    if prompt[0]["role"] == "system":
        if prompt[0]["content"] == system_prompt:
            return prompt
        raise RowError(
            "bad_row", "differs from the system message", where=f"{where}, system_prompt", remedy="Keep one of them"
        )
    return [{"role": "system", "content": system_prompt}, *prompt]


def _json_like(value: Any, where: str) -> Any:
    """Columns of Parquet that JSON has no word for, in the words it has."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise RowError("bad_row", f"is {value}", where=where, remedy="Use null for a missing number")
        return value
    if isinstance(value, list | tuple):
        return [_json_like(item, where) for item in value]
    if isinstance(value, dict):
        return {str(key): _json_like(item, where) for key, item in value.items()}
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta | Decimal | UUID):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise RowError("bad_row", f"is {_kind(value)}, which JSON can't hold", where=where, remedy="Drop the column")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else "empty" if value == "" else names.get(type(value), f"a {type(value).__name__}")
