"""Where a row's bytes lie: its id names its shard, and the shard's row groups end where its own rows say.

So a changed, added or removed row changes one file a table; every other keeps its bytes and its hash. In that file it
changes one row group and moves the others as they are, for stores that share the pieces which files have in common.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from datasets_cards.tables.footers import MOST_GROUP_BYTES, table_fault
from datasets_cards.tables.schemas import SCHEMAS, id_hash, to_arrow

ROWS_PER_SHARD = 20_000
MOST_SHARDS = 64
"""Every shard of every table is an open file while an artifact is written. Larger ones get larger shards."""
SHARDS_LIMIT = 4096
"""What may be asked for; their names take half of the largest manifest."""

BATCH_ROWS = 2048
GROUP_BYTES = 1 << 20
"""Most bytes of a row group, but for its last row. 64 shards of four tables wait for as much each: 256 MiB at most."""

NOT_SUMMED_UP = ("text", "meta", "detail", "error", "row_digest")
"""Flat columns whose least and greatest values would only swell the footers."""


def shards_for(rows: int) -> int:
    """How many files a table of so many rows gets.

    The least power of two with at most 20,000 rows a shard, and 64 at most: a few more rows don't move all the others.
    """
    shards = 1
    while shards < MOST_SHARDS and rows > shards * ROWS_PER_SHARD:
        shards *= 2
    return shards


def file_names(shards: int) -> list[str]:
    """The names of a table's files in its folder, in the order of the shards."""
    return [f"{number:05d}-of-{shards:05d}.parquet" for number in range(shards)]


class TableWriter:
    """One table being written: a Parquet file a shard, with bounded buffers.

    Records become Arrow columns `BATCH_ROWS` at a time, and those wait for their shard's row group to fill. What waits
    for other shards, and how the records were handed over, has no part in where it ends.

    Args:
        folder: an existing folder for the files.
        shards: how many files; a record's id decides which one it goes to.
        row_group: most rows a Parquet row group.

    Attributes:
        shards: path and rows of each file, as `shard.path` and `shard.rows`.

    Raises:
        InputError: there are no tables of so many files, or no groups of so few rows.
    """

    def __init__(self, folder: Path, table: str, shards: int, row_group: int) -> None:
        if type(shards) is not int or not 1 <= shards <= SHARDS_LIMIT:
            raise InputError(
                f"there are no tables of {shards!r} files", where="shards", remedy=f"Use 1 to {SHARDS_LIMIT}"
            )
        if type(row_group) is not int or row_group < 1:
            raise InputError(f"there are no groups of {row_group!r} rows", where="row_group", remedy="Use 1 or more")
        self.table = table
        self._records: list[Any] = []
        self.shards: list[_Shard] = []
        for name in file_names(shards):
            self.shards.append(_Shard(folder / name, SCHEMAS[table], row_group))

    def add(self, records: Iterable[Any]) -> None:
        """Take in more records, in their order."""
        self._records += records
        full = len(self._records) // BATCH_ROWS * BATCH_ROWS
        for start in range(0, full, BATCH_ROWS):
            self._distribute(self._records[start : start + BATCH_ROWS])
        del self._records[:full]

    def finish(self) -> None:
        """Write what still waits, and close the files.

        Raises:
            InputError: a file would be refused when it is read.
        """
        self._distribute(self._records)
        for shard in self.shards:
            shard.write()
            shard.writer.close()
            if fault := table_fault(shard.path, shard.rows, self.table):
                raise InputError(fault[1], where=f"{self.table}/{shard.path.name}", remedy="Shorten its longest texts")

    def abandon(self) -> None:
        """Close what is still open; the files are good for nothing."""
        for shard in self.shards:
            with suppress(OSError, pa.ArrowException):  # a disk that is full can't take a footer either
                shard.writer.close()

    def _distribute(self, records: list[Any]) -> None:
        columns = to_arrow(records, self.table)
        sizes, hashes = row_bytes(columns), np.fromiter((id_hash(r.id) for r in records), np.int64, len(records))
        if len(sizes) and sizes.max() > MOST_GROUP_BYTES:
            what = f"a row of {self.table} takes more than {MOST_GROUP_BYTES >> 20} MiB"
            raise InputError(what, where=records[int(sizes.argmax())].id, remedy="Shorten its texts")
        ends, shards = ends_group(hashes, sizes), hashes % len(self.shards)
        for number in np.unique(shards).tolist():
            own = np.flatnonzero(shards == number)
            rows = columns if len(own) == len(records) else columns.take(own)
            self.shards[number].add(rows, sizes[own], ends[own])


class _Shard:
    """One Parquet file being written, and the rows that wait for its row group to fill."""

    def __init__(self, path: Path, schema: pa.Schema, row_group: int) -> None:
        self.path, self.row_group, self.rows = path, row_group, 0
        flat = (field.name for field in schema if not pa.types.is_nested(field.type))
        summed_up: Any = [name for name in flat if name not in NOT_SUMMED_UP]
        self.writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            use_dictionary=False,  # measured: no smaller for texts and tokens, and one new value moves a dictionary
            use_content_defined_chunking=True,  # cuts pages where they grow large, as ends_group cuts row groups
            write_page_index=True,
            write_statistics=summed_up,
        )
        self.waiting: list[pa.Table] = []
        self.waiting_rows = self.waiting_bytes = 0

    def add(self, rows: pa.Table, sizes: NDArray[np.int64], ends: NDArray[np.bool_]) -> None:
        """Take in rows, their bytes and whether they end a group, and write each group that they end or fill."""
        self.rows += rows.num_rows
        reached = np.concatenate([[0], np.cumsum(sizes)])  # bytes before each row, and after the last
        said = np.append(np.flatnonzero(ends) + 1, rows.num_rows + 1)
        start = 0
        while start < rows.num_rows:
            end = min(
                int(said[np.searchsorted(said, start + 1)]),
                int(np.searchsorted(reached, reached[start] + GROUP_BYTES - self.waiting_bytes)),
                start + self.row_group - self.waiting_rows,
            )
            taken = rows.slice(start, end - start)  # to the last row, where it ends beyond
            self.waiting.append(taken)
            self.waiting_rows += taken.num_rows
            self.waiting_bytes += int(reached[start + taken.num_rows] - reached[start])
            if end <= rows.num_rows:
                self.write()
            start = end

    def write(self) -> None:
        """Write what waits as one row group, in one piece: that is faster, and no page can depend on the pieces."""
        if self.waiting_rows:
            self.writer.write_table(pa.concat_tables(self.waiting).combine_chunks(), row_group_size=self.waiting_rows)
        self.waiting, self.waiting_rows, self.waiting_bytes = [], 0, 0


def ends_group(hashes: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row ends its row group, as it does once in `GROUP_BYTES` on average.

    The row's own id and size decide. Were groups counted off instead, a row more would push one row out of every group
    that follows, and nothing behind it would be as it was.

    Args:
        hashes: `id_hash` of each row, shape [rows].
        sizes: bytes of each row, shape [rows].
    """
    drawn = (hashes + sizes * 2654435761) % 2**32  # the size spreads one id's candidates (Knuth's multiplier)
    return drawn * GROUP_BYTES < sizes * 2**32


def row_bytes(rows: pa.Table) -> NDArray[np.int64]:
    """Bytes of each row's values, in UTF-8 and fixed widths, shape [rows]; offsets and null bits are left out."""
    sizes = [
        sum((_bytes_each(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64))
        for batch in rows.to_batches()
    ]
    return np.concatenate(sizes) if sizes else np.zeros(0, np.int64)


def _bytes_each(values: pa.Array) -> NDArray[np.int64]:
    """Bytes of each value of an array: of text its UTF-8, of a list its members, of a null nothing but its width."""
    kind = values.type
    if pa.types.is_string(kind):
        return pc.fill_null(pc.call_function("binary_length", [values]), 0).to_numpy().astype(np.int64)
    if pa.types.is_struct(kind):
        return sum((_bytes_each(field) for field in values.flatten()), np.zeros(len(values), np.int64))
    if pa.types.is_list(kind):
        before = np.concatenate([[0], np.cumsum(_bytes_each(values.values))])
        offsets = values.offsets.to_numpy()
        return before[offsets[1:]] - before[offsets[:-1]]
    return np.full(len(values), max(kind.bit_width // 8, 1), np.int64)
