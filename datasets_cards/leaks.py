"""What must never enter an artifact: places of this machine, and secrets of its environment.

Two rules, for two kinds of text. What describes an artifact (manifest, card, reports, reasons) is Echoset's and its
user's own: it may hold no secret of this machine, nothing that looks like one, and no path of it. The rows are data,
and data may speak of tokens and paths: they are searched for this machine's very secrets, before they are published.
"""

from __future__ import annotations

import html
import json
import os
import re
import zlib
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pyarrow as pa

from datasets_cards.artifact import Artifact
from datasets_cards.errors import InputError
from datasets_cards.records import Candidate, Dropped, Label
from datasets_cards.tables.schemas import SCHEMAS, read_columns

_SECRET_NAME = re.compile(
    r"TOKEN(?!IZER)|SECRET|PASSW|PASSPHRASE|(?<!BY)PASS$|_PWD$|(API|ACCESS|ACCOUNT|AUTH)_?KEY|CREDENTIAL|PRIVATE",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"://(?P<user>[^\s/:@\"'<>{}]*):(?!(?i:\*+|x+|pass|password)@)(?P<password>[^\s/@\"'<>{}]+)@")
"""An address with a password, as of a database or a proxy; not one where a placeholder stands for it."""

_SHORTEST_SECRET = 8
_LOOKS_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}"
    r"|sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}|xox[abprs]-[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9]))"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY",
    re.ASCII,
)
_ANYBODYS_HOME = frozenset(
    {"ubuntu", "user", "username", "runner", "jovyan", "ec2-user", "admin", "debian", "me", "you"}
)
"""Names of accounts that thousands of machines share: a row that speaks of /home/ubuntu tells nothing of this one."""


def refuse_leaks(texts: Iterable[tuple[str, str]]) -> None:
    """Stop what would carry a place of this machine, or a secret, into an artifact.

    Args:
        texts: (where it stands, text).

    Raises:
        InputError: naming where, never the secret.
    """
    secrets, in_home = _secrets(), [_path(home) for home in _homes()]
    for where, text in texts:
        if named := next((name for secret, name in secrets.items() if secret in text), None):
            raise InputError(f"holds the value of {named}", where=where, remedy="Leave it out")
        if _LOOKS_SECRET.search(text) or _ADDRESS.search(text):
            raise InputError(
                "holds what looks like an access token, a private key or a password", where=where, remedy="Leave it out"
            )
        # A bare "/no_think" is a fine setting: only what exists here is a path of this machine.
        names_path = text[:1] in ("/", "~") and len(text) > 1 and os.path.exists(os.path.expanduser(text))
        if names_path or any(path.search(text) for path in in_home):
            raise InputError("names a place on this machine", where=where, remedy="Record a base name and a digest")


def strings(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every text inside a JSON-like value, with its place."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key, where)
            yield from strings(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from strings(item, f"{where}[{index}]")


def texts_of_records(
    candidates: Collection[Candidate], labels: Iterable[Label], dropped: Iterable[Dropped]
) -> Iterator[tuple[str, str]]:
    """What is said about the rows and is none of their data, with its place; the same text is given once."""
    seen: set[str] = set()
    for id_, what, text in chain(
        ((item.id, "detail of dropped row", item.detail) for item in dropped),
        ((c.id, "error of a candidate of", c.error) for c in candidates),
        ((c.id, "scorer of a candidate of", score.scorer) for c in candidates for score in c.scores),
        ((c.id, "reason of a score of", score.reason) for c in candidates for score in c.scores),
        ((label.id, "method of the label of", label.method) for label in labels),
    ):
        if text and text not in seen:
            seen.add(text)
            yield f"{what} {id_}", text


def texts_of_file(name: str, data: bytes) -> Iterator[tuple[str, str]]:
    """What people or programs can read in an attached file, with its place: all of a text, the words in a PNG."""
    if not data.startswith(_PNG):
        yield name, data.decode(errors="replace")
        return
    at = len(_PNG)
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        if kind not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            place = f"{name} ({kind.decode('latin-1')})"
            yield place, body.decode(errors="replace")
            yield from ((place, text) for text in _unpacked(body))
        at += 12 + size
        if kind == b"IEND":
            break
    yield f"{name} (after its end)", data[at:].decode(errors="replace")


_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_UNPACKED = 1 << 24


def _unpacked(chunk: bytes) -> Iterator[str]:
    """The text of a zTXt, iTXt or iCCP chunk, which is packed after a keyword and up to five short fields."""
    for start in (match.end() for match in re.finditer(rb"\0", chunk[:1024])):
        for skip in (0, 1):
            try:
                yield zlib.decompressobj().decompress(chunk[start + skip :], _MOST_UNPACKED).decode(errors="replace")
            except zlib.error:
                continue


def refuse_secrets_in_tables(artifact: Artifact) -> None:
    """Search every text of every table for the secrets of this machine and the path of its user's home.

    Exact values only. A home such as `/root` or `/home/ubuntu` is not searched for: data may well speak of those, and
    they tell nobody's name. A batch of rows is in memory at a time.

    Raises:
        InputError: naming table and row, never the secret.
    """
    secrets = _secrets()
    homes = [home for home in _homes() if len(Path(home).parts) > 2 and Path(home).name not in _ANYBODYS_HOME]
    wanted = [*secrets, *homes]
    if not wanted:
        return
    for table in SCHEMAS:
        for path in artifact.table_files(table):
            for batch in read_columns(path, SCHEMAS[table].names):
                if any(_holds_any(column, wanted) for column in batch.columns):
                    _refuse_rows(batch, table, secrets, homes)


def _holds_any(values: pa.Array, wanted: list[str]) -> bool:
    if pa.types.is_list(values.type):
        return _holds_any(values.flatten(), wanted)
    if pa.types.is_struct(values.type):
        return any(_holds_any(field, wanted) for field in values.flatten())
    if not pa.types.is_string(values.type):
        return False
    found = pl.Series(values).str.contains_any(wanted).any()
    return bool(found)


def _refuse_rows(batch: pa.RecordBatch, table: str, secrets: dict[str, str], homes: list[str]) -> None:
    """Name the first row that holds one; a home must stand there as a whole path."""
    paths = [_path(home) for home in homes]
    for row in batch.to_pylist():
        for _, text in strings(row, table):
            where = f"{table}, row {row['id']}"
            if named := next((name for secret, name in secrets.items() if secret in text), None):
                if any(secret in row["id"] for secret in secrets):
                    where = f"{table}, the id of a row"
                raise InputError(f"holds the value of {named}", where=where, remedy="Take it out of the data")
            if any(path.search(text) for path in paths):
                if any(home in row["id"] for home in homes):
                    where = f"{table}, the id of a row"
                raise InputError(
                    "names the home of this machine's user", where=where, remedy="Take the path out of the data"
                )


def _secrets() -> dict[str, str]:
    """Secret texts of this machine, each with what it is: values of the environment, tokens of the Hub's client."""
    found = {
        value.strip(): f"the secret environment variable {name}"
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name)
    }
    for name, value in os.environ.items():
        if (address := _ADDRESS.search(value)) and address["password"] != address["user"]:  # which is nobody's secret
            for password in (address["password"], unquote(address["password"])):
                found.setdefault(password, f"the password in the environment variable {name}")
    for token in _hub_tokens():
        found.setdefault(token, "the token of the Hub that is stored here")
    found = {secret: name for secret, name in found.items() if len(secret) >= _SHORTEST_SECRET}
    for secret, name in list(found.items()):  # as it would stand in a report or a page
        written = json.dumps(secret, ensure_ascii=False)[1:-1], html.escape(secret), html.escape(secret, quote=False)
        found |= dict.fromkeys(written, name)
    return found


def _hub_tokens() -> Iterator[str]:
    """What `hf auth login` stored, where the Hub's client keeps it; its import would take a second."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", os.path.join(cache, "huggingface"))
    for variable, name in (("HF_TOKEN_PATH", "token"), ("HF_STORED_TOKENS_PATH", "stored_tokens")):
        path = Path(os.path.expanduser(os.environ.get(variable, os.path.join(home, name))))
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if name == "token":
            yield text.strip()
        else:
            yield from re.findall(r"^\s*hf_token\s*=\s*(\S+)", text, re.MULTILINE)


def _homes() -> set[str]:
    """The user's home as it is called, and as it is found."""
    home = Path.home()
    return {path for path in (str(home), os.path.realpath(home)) if len(path) > 1}


def _path(place: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.]){re.escape(place)}(?![\w-])")
