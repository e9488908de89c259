"""Reading rows to label, of any number: one pass that checks every row, and then as many as are needed.

A dataset is a .jsonl or .parquet file, a folder written by `datasets.save_to_disk` (`FOLDER:SPLIT` for one split of
several), an artifact (its original rows), `hub:ORG/NAME[@REVISION][:CONFIG/SPLIT]`, or rows in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets_cards.canonical import canonical_json, row_digest, sha256_hex, table_digest
from datasets_cards.errors import InputError, IntegrityError
from datasets_cards.hub_client import is_hub
from datasets_cards.ids import IdTable
from datasets_cards.manifest import Source
from datasets_cards.records import Dropped, Row
from datasets_cards.sources.hub_origin import hub_origin
from datasets_cards.sources.origins import Origin, local_origin
from datasets_cards.sources.rows import FORMS, RowError, parse_row


@dataclass(frozen=True, slots=True)
class Scan:
    """A dataset that was read through once; its length is the number of good rows.

    Attributes:
        source: what the manifest says of it.
        unread: rows that can't be used, with the reason; none unless bad rows were to be skipped.
    """

    source: Source
    unread: list[Dropped]
    _origin: Origin
    _limit: int | None
    _skip_bad: bool

    def __len__(self) -> int:
        return self.source.rows

    def rows(self) -> Iterator[Row]:
        """Read the good rows again, in order, one at a time.

        Raises:
            IntegrityError: there are more or fewer of them than there were.
        """
        count = 0
        for item in _read(self._origin, self._limit, self._skip_bad):
            if isinstance(item, Row):
                count += 1
                yield item
        if count != len(self):
            raise IntegrityError(
                f"changed while it was in use: it had {len(self)} rows, now {count}",
                where=self._origin.where,
                remedy="Start again, and leave the data as it is meanwhile",
            )


def scan_rows(
    data: str | Path | Sequence[Row],
    *,
    limit: int | None = None,
    skip_bad: bool = False,
    license: str | None = None,
    name: str = "rows in memory",
) -> Scan:
    """Read a dataset through once and check every row, keeping nothing but counts and 12 bytes or so an id.

    The digest in `Scan.source` is the SHA-256 of a file; of a saved folder that of its files' names and digests; of an
    artifact its logical digest; of a Hub dataset its commit; of rows in memory the table digest of canonical.py. A
    license that isn't given is the one that the dataset states; else it is unknown.

    Args:
        data: see above.
        limit: stop after this many good rows.
        skip_bad: record a bad row as dropped (its id is then `FILE:ROW`) instead of stopping at it.
        license: of the data, where it doesn't say, or says something else.
        name: what the manifest calls rows in memory.

    Raises:
        MissingError: there is no such file, folder, split, or dataset on the Hub.
        InputError: the dataset or a row can't be used, or there are no rows.
        StorageError: it can't be read, or the Hub can't be reached.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}", remedy="Ask for at least one row")
    if not isinstance(data, str | Path):
        origin = _in_memory(data[:limit], name)
    else:
        origin = hub_origin(str(data)) if is_hub(data) else local_origin(data)
    rows, unread = 0, []
    for item in _read(origin, limit, skip_bad):
        if isinstance(item, Row):
            rows += 1
        else:
            unread.append(item)
    source = Source(reference=origin.reference, digest=origin.digest(), rows=rows, license=license or origin.license)
    return Scan(source, unread, origin, limit, skip_bad)


def _in_memory(rows: Sequence[Row], name: str) -> Origin:
    return Origin(
        where=name,
        name=name,
        reference=name,
        records=lambda: iter(enumerate(rows, 1)),
        digest=lambda: table_digest("logical", "original", map(row_digest, rows)),
    )


def _read(origin: Origin, limit: int | None, skip_bad: bool) -> Iterator[Row | Dropped]:
    """One pass over the rows; the same every time."""
    seen, repeats = IdTable(), IdTable()  # id -> row number, to name both of a pair; content -> how often so far
    good, first_error = 0, None
    for number, record in origin.records():
        where = f"{origin.where}:{number}"
        try:
            if isinstance(record, RowError):
                raise record
            row = record if isinstance(record, Row) else parse_row(record, where)
            if not row.prompt:
                raise RowError("bad_row", "the prompt is empty", where=where, remedy="Give it a message")
            if not row.id:
                row = replace(row, id=_content_id(row, repeats))  # a caller's own row stays as it is
            if earlier := seen.swap(row.id, number):
                raise RowError(
                    "duplicate_id",
                    f"id {row.id!r} was already used in row {earlier}",
                    where=where,
                    remedy="Make ids unique, or drop the id column to number rows by content",
                )
        except RowError as error:
            if not skip_bad:
                raise
            first_error = first_error or error
            yield Dropped(f"{origin.name}:{number}", error.reason, error.what)
            continue
        good += 1
        yield row
        if good == limit:
            return
    if first_error and not good:
        raise InputError("holds no usable row", where=origin.where, remedy=f"The first problem: {first_error}")
    if not good:
        raise InputError("holds no rows", where=origin.where, remedy=FORMS)


def _content_id(row: Row, repeats: IdTable) -> str:
    """A hash of what the row says; a row that says the same again has its number behind it."""
    name = sha256_hex(canonical_json([row.prompt, row.original]))[:16]
    earlier = repeats.swap(name, 1)
    if not earlier:
        return name
    repeats.swap(name, earlier + 1)
    return f"{name}-{earlier + 1}"
