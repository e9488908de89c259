"""What has to hold among the rows of an artifact, whatever its hashes say: checked a shard at a time, all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import polars as pl
import pyarrow as pa

from datasets_cards.canonical import Digests, canonical_json, label_digest
from datasets_cards.errors import EchosetError
from datasets_cards.records import SELF_SAMPLE, Label, Row
from datasets_cards.tables.footers import UNREADABLE, reason
from datasets_cards.tables.schemas import KEYS, SCHEMAS, read_columns, read_table, shard_of
from datasets_cards.tables.values import FINISH_REASONS, ROLES

Fault = tuple[str, str, str]
"""A kind, a table, and what is wrong in it."""

_LIGHT_COLUMNS = {
    "labels": ["id", "candidate", "completion"],
    "candidates": ["id", "pool", "role", "view", "index", "text", "finish_reason", "token_count"],
    "original": ["id"],
    "dropped": ["id", "reason"],
}


@dataclass(slots=True)
class Tally:
    """What was counted over all shards.

    Attributes:
        rows: by table.
        reasons: dropped rows by reason.
        completion_tokens: of the successful candidates, None where one of them does not say.
        digests: of all records.
    """

    rows: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    completion_tokens: int | None = 0
    digests: Digests = field(default_factory=Digests)


def shard_faults(files: Mapping[str, Path], number: int, shards: int, tally: Tally) -> Iterator[Fault]:
    """Check one shard of the four tables, and count it.

    Args:
        files: its file of each table; they have passed `footers.table_fault`.
        number: which shard it is.
        shards: how many there are.
        tally: taken further.

    Raises:
        Unreadable: the rows of a table can't be read.
    """
    frames = {table: _frame(path, table) for table, path in files.items()}
    tally.rows.update({table: frame.height for table, frame in frames.items()})
    tally.reasons.update(frames["dropped"]["reason"].to_list())
    _count_tokens(frames["candidates"], tally)
    strays = [
        table
        for table, frame in frames.items()
        if any(shard_of(row_id, shards) != number for row_id in frame["id"].unique())
    ]
    yield from (("wrong_shard", table, "holds a row of another shard") for table in strays)
    if not strays:  # or else every one of them would be missed where it belongs
        yield from _id_faults(frames)
        yield from _order_faults(frames)
        yield from _label_faults(frames)
    yield from _value_faults(frames["candidates"])
    del frames
    asked: dict[str, int] = {}
    faults: dict[str, Fault] = {}  # the first of each kind is told
    with _reading("original"):
        tally.digests.add(rows=_checked_rows(files["original"], asked, faults))
    with _reading("candidates"):
        tally.digests.add(candidates=read_table(files["candidates"], "candidates"))
    with _reading("labels"):
        tally.digests.add(labels=_checked_labels(files["labels"], asked, faults))
    with _reading("dropped"):
        tally.digests.add(dropped=read_table(files["dropped"], "dropped"))
    yield from faults.values()
    if _wrong_token_counts(files["candidates"]):
        yield "wrong_token_count", "candidates", "a candidate's token_count is not the number of its token_ids"


class Unreadable(Exception):
    """The rows of a table can't be read, and why.

    Attributes:
        table: which.
    """

    def __init__(self, table: str, why: str) -> None:
        super().__init__(why)
        self.table = table


@contextmanager
def _reading(table: str) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise Unreadable(table, error.what if isinstance(error, EchosetError) else reason(error)) from None


def _frame(path: Path, table: str) -> pl.DataFrame:
    """The columns that are looked at side by side, texts as their SHA-256: a shard of texts can fill the memory."""
    columns = _LIGHT_COLUMNS[table]
    frames = [_light(pa.RecordBatch.from_pylist([], SCHEMAS[table]).select(columns))]
    with _reading(table):
        for rows in read_columns(path, columns):
            rows.validate(full=True)  # text that is no UTF-8, too
            frames.append(_light(rows))
    return pl.concat(frames)


def _light(rows: pa.RecordBatch) -> pl.DataFrame:
    texts = None
    if "completion" in rows.schema.names:
        texts = pl.Series(rows["completion"]).list.last().struct.field("content")
    elif "text" in rows.schema.names:
        texts = pl.Series(rows["text"])
    # Left out before polars sees them: a frame keeps everything that came with its columns.
    frame = pl.DataFrame(rows.select([name for name in rows.schema.names if name not in ("completion", "text")]))
    if texts is None:
        return frame
    digests = [None if text is None else sha256(text.encode()).digest() for text in texts]
    return frame.with_columns(pl.Series("text", digests, pl.Binary))


def _count_tokens(candidates: pl.DataFrame, tally: Tally) -> None:
    counts = candidates.filter(pl.col("finish_reason") != "error")["token_count"]
    known = tally.completion_tokens is not None and not counts.null_count()
    tally.completion_tokens = (tally.completion_tokens or 0) + int(counts.cast(pl.Int64).sum()) if known else None


def _id_faults(frames: Mapping[str, pl.DataFrame]) -> Iterator[Fault]:
    labels, original, dropped = (frames[name] for name in ("labels", "original", "dropped"))
    for table, frame in frames.items():
        twice = frame.select(KEYS[table])
        if example := twice.filter(twice.is_duplicated()).head(1).rows():
            yield "duplicate_id", table, f"{example[0][0]!r} stands there more than once"
    for table in ("labels", "candidates"):
        for (row_id,) in frames[table].join(original, on="id", how="anti").select("id").head(1).rows():
            yield "unknown_id", table, f"{row_id!r} is no row of the original"
    told = pl.concat([labels.select("id"), dropped.select("id")])
    for (row_id,) in original.join(told, on="id", how="anti").select("id").head(1).rows():
        yield "unaccounted_row", "original", f"{row_id!r} is neither labeled nor dropped"
    for (row_id,) in labels.join(dropped, on="id", how="semi").select("id").head(1).rows():
        yield "unaccounted_row", "labels", f"{row_id!r} is labeled and dropped"


def _order_faults(frames: Mapping[str, pl.DataFrame]) -> Iterator[Fault]:
    """Labels and candidates stand in the order of their rows, or readers that go along with both would miss some."""
    places = frames["original"].unique("id", keep="first", maintain_order=True).with_row_index("place")
    for table in ("labels", "candidates"):
        found = frames[table].select("id").join(places, on="id", how="inner", maintain_order="left")
        if not found["place"].is_sorted():
            yield "wrong_order", table, "does not stand in the order of the original rows"


def _label_faults(frames: Mapping[str, pl.DataFrame]) -> Iterator[Fault]:
    # A label names a pool member by its index, or the row's self-sample.
    self_sample = (pl.col("role") == "baseline") & (pl.col("index") == 0)
    finished = (
        frames["candidates"]
        .filter((pl.col("finish_reason") != "error") & ((pl.col("role") == "candidate") | self_sample))
        .select("id", "text", candidate=pl.when(self_sample).then(SELF_SAMPLE).otherwise("index"))
    )
    chosen = frames["labels"].select("id", "candidate", "text")
    orphans = chosen.join(finished, on=["id", "candidate", "text"], how="anti")
    for row_id, index, _ in orphans.head(1).rows():
        more = f" ({orphans.height} such labels)"
        yield "orphan_label", "labels", f"the label of {row_id!r} is not its candidate {index}{more}"


def _value_faults(candidates: pl.DataFrame) -> Iterator[Fault]:
    if candidates["index"].min() is not None and (candidates["index"] < 0).any():
        yield "wrong_value", "candidates", "a candidate has an index below 0"
    for column, known in (("role", ROLES), ("finish_reason", FINISH_REASONS)):
        if strange := sorted(set(candidates[column].unique()) - set(known)):
            yield "wrong_value", "candidates", f"{strange[0][:80]!r} is no {column}"


def _checked_rows(path: Path, asked: dict[str, int], faults: dict[str, Fault]) -> Iterator[Row]:
    for row, (meta,) in zip(read_table(path, "original"), _columns(path, "meta"), strict=True):
        asked[row.id] = hash(repr((row.prompt, row.original)))
        if not isinstance(row.meta, dict) or canonical_json(row.meta).decode() != meta:
            faults.setdefault("meta", ("wrong_meta", "original", f"the meta of {row.id!r} is no canonical JSON object"))
        if not _are_messages(row.prompt) or not _are_messages(row.original or []):
            faults.setdefault("rows", ("wrong_message", "original", f"a message of {row.id!r} has no role or content"))
        yield row


def _checked_labels(path: Path, asked: Mapping[str, int], faults: dict[str, Fault]) -> Iterator[Label]:
    for label, (digest, messages) in zip(
        read_table(path, "labels"), _columns(path, "row_digest", "messages"), strict=True
    ):
        if label_digest(label).hex() != digest:
            what = f"the row_digest of {label.id!r} is not that of its label"
            faults.setdefault("digest", ("wrong_row_digest", "labels", what))
        if messages != [*label.prompt, *label.completion]:
            what = f"the messages of {label.id!r} are not its prompt and completion"
            faults.setdefault("messages", ("wrong_messages", "labels", what))
        if label.id in asked and asked[label.id] != hash(repr((label.prompt, label.original))):
            what = f"the prompt or original of {label.id!r} is not its row's"
            faults.setdefault("prompt", ("wrong_prompt", "labels", what))
        if not _are_messages(label.completion):
            faults.setdefault(
                "labels", ("wrong_message", "labels", f"a message of {label.id!r} has no role or content")
            )
        yield label


def _are_messages(messages: list[dict[str, str]]) -> bool:
    return all(m is not None and m["role"] is not None and m["content"] is not None for m in messages)


def _columns(path: Path, *names: str) -> Iterator[tuple[object, ...]]:
    for batch in read_columns(path, names):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _wrong_token_counts(path: Path) -> bool:
    """Whether a candidate whose tokens are known has another number of them; those of a server may not be known."""
    lengths = pl.col("token_ids").list.len()
    wrong = (lengths > 0) & (lengths.cast(pl.Int64) != pl.col("token_count"))
    return any(pl.DataFrame(rows).filter(wrong).height for rows in read_columns(path, ["token_ids", "token_count"]))
