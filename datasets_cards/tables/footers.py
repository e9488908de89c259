"""Tables from strangers: what a file says it holds is checked before anything of it is unpacked.

A Parquet file of a kilobyte can unfold into any amount of memory: by compression, by a dictionary whose one long text
is referred to a million times, by a run of a billion equal numbers. So the sizes that its pages declare are added up,
and where a dictionary could make much of little, its references are counted without writing out what they refer to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_cards.errors import EchosetError, IntegrityError
from datasets_cards.tables.pages import Chunk, read_chunk
from datasets_cards.tables.schemas import SCHEMAS

UNREADABLE = (
    pa.ArrowException,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,  # no Exception, for polars
    OSError,
    ValueError,
    KeyError,
    TypeError,
    OverflowError,
    RecursionError,
)
"""What a damaged table raises when it is opened or its rows are read."""

MOST_GROUP_BYTES = 1 << 30
"""What one row group may take in memory, which is what readers of rows hold. Echoset ends its groups near 1 MiB, or
with the row that goes beyond, and text that says one thing over and over takes next to nothing on disk."""

MOST_EXPANSION = 1000
FREE_BYTES = 1 << 36
"""What a file may take as a whole without regard to its size, for readers of whole tables: 64 GiB."""

MOST_FOOTER_BYTES = 1 << 26
_KINDS = ("BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "BYTE_ARRAY")
_VALUE_BYTES = 16
"""Of a value beside its text: its number or its place, and where its list begins and ends."""

_WORTH_A_LOOK = 1 << 20

_COLUMNS = {table: dict(pl.DataFrame(schema.empty_table()).schema) for table, schema in SCHEMAS.items()}


def check_footer(path: Path, rows: int | None, table: str | None = None) -> int:
    """Refuse a file with a row group that would fill the memory, with other columns, or that is no Parquet file.

    Args:
        path: the file, a plain one.
        rows: how many rows the manifest says it has; None where it doesn't say.
        table: the table whose columns it has to have, in any order and as any writer writes them; None for any.

    Returns:
        Bytes of its pages once they are decompressed.

    Raises:
        IntegrityError: saying what is wrong.
    """
    try:
        return _check(path, rows, table, exact=False)
    except _Refused as error:
        raise IntegrityError(error.args[1], where=str(path), remedy="Restore it from its store") from None


def table_fault(path: Path, rows: int | None, table: str | None, *, exact: bool = True) -> tuple[str, str] | None:
    """What is wrong with a file, as a short code and in words.

    Args:
        path: the file, a plain one.
        rows: how many rows the manifest says it has; None where it doesn't say.
        table: the table whose columns it has to have; any are taken where None.
        exact: in the order and the very types that Echoset writes; or else as polars, which knows one kind of text
            and of list, sees them.

    Returns:
        None where it may be read.
    """
    try:
        _check(path, rows, table, exact)
    except _Refused as error:
        return error.args
    return None


class _Refused(Exception):
    def __init__(self, kind: str, what: str) -> None:
        super().__init__(kind, what)


def _check(path: Path, rows: int | None, table: str | None, exact: bool) -> int:
    try:
        return _unpacked_bytes(path, rows, table, exact)
    except UNREADABLE as error:
        raise _Refused("unreadable_table", f"is no Parquet file that can be read ({reason(error)})") from None


def _unpacked_bytes(path: Path, rows: int | None, table: str | None, exact: bool) -> int:
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - 8))
        tail = file.read(8)
        if tail[4:] != b"PAR1":
            raise _Refused("unreadable_table", "is no Parquet file, or an encrypted one")
        if int.from_bytes(tail[:4], "little") > MOST_FOOTER_BYTES:
            raise _Refused("unsafe_table", "its footer is too large")
        with pq.ParquetFile(file) as parquet:
            if parquet.schema_arrow.metadata:  # the `datasets` library would believe it
                raise _Refused("wrong_columns", "carries notes on its columns, which no table of Echoset does")
            if table is not None and exact and not parquet.schema_arrow.equals(SCHEMAS[table]):
                raise _Refused("wrong_columns", f"its columns are not those of {table}")
            metadata = parquet.metadata
            file.seek(0)
            columns = dict(pl.read_parquet_schema(file))  # a second reader, and a stricter one
            if table is not None and columns != _COLUMNS[table]:
                raise _Refused("wrong_columns", f"its columns are not those of {table}")
            if rows is not None and metadata.num_rows != rows:
                raise _Refused("wrong_count", f"holds {metadata.num_rows} rows, not the {rows} that are recorded")
            if metadata.num_row_groups > max(1, metadata.num_rows):
                raise _Refused("unsafe_table", "has more row groups than rows")
        total = unpacked = 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            found, pages = _group_bytes(path, file.fileno(), group, number, size)
            total, unpacked = total + found, unpacked + pages
            if found > MOST_GROUP_BYTES or total > max(FREE_BYTES, MOST_EXPANSION * size):
                what = f"unfolds from {size:,} bytes to {total:,} or more, too many to be read safely"
                raise _Refused("unsafe_table", what)
        if sum(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)) != metadata.num_rows:
            raise _Refused("wrong_count", "its row groups do not have the rows that it says it has")
    return unpacked


def _group_bytes(path: Path, file: int, group: Any, number: int, size: int) -> tuple[int, int]:
    """What a row group takes in memory, and what its pages do, in bytes."""
    if not group.num_rows:
        return 0, 0
    taken, unpacked, looked_up = 0, 0, dict[str, Chunk]()
    for column in (group.column(index) for index in range(group.num_columns)):
        first = min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
        if column.physical_type not in _KINDS:
            raise _Refused("unsafe_table", f"has a column of {column.physical_type}, which no table of Echoset has")
        if first < 4 or column.total_compressed_size < 0 or first + column.total_compressed_size > size:
            raise _Refused("unsafe_table", "a column lies outside of the file")
        chunk = read_chunk(file, first, column.total_compressed_size)
        if chunk.values != column.num_values:
            raise _Refused("unsafe_table", "its pages do not hold the values that its footer counts")
        taken += chunk.unpacked + _VALUE_BYTES * chunk.values
        unpacked += chunk.unpacked
        if column.physical_type == "BYTE_ARRAY" and chunk.looked_up:
            looked_up[column.path_in_schema] = chunk
    for name, chunk in looked_up.items():
        if taken > MOST_GROUP_BYTES:
            break
        most = chunk.looked_up * chunk.dictionary  # every reference to the longest text
        taken += most if most <= _WORTH_A_LOOK else _text_bytes(path, number, name)
    return taken, unpacked


def _text_bytes(path: Path, number: int, column: str) -> int:
    """UTF-8 bytes of all texts of a column chunk, found without writing out what its references stand for."""
    with pq.ParquetFile(path, read_dictionary=[column]) as parquet:
        found = parquet.read_row_group(number, columns=[column], use_threads=False).column(0)
    return sum(_referred(chunk) for chunk in found.chunks)


def _referred(values: pa.Array) -> int:
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return _referred(values.flatten())
    if pa.types.is_struct(values.type):
        return sum(_referred(field) for field in values.flatten())
    lengths = pl.Series(values.dictionary).str.len_bytes().fill_null(0).to_numpy().astype(np.int64)
    return int(lengths[values.indices.drop_null().to_numpy()].sum())


@contextmanager
def table_errors(path: Path) -> Iterator[None]:
    """Turn what reading a table raises into one line.

    Raises:
        IntegrityError: the table can't be read.
    """
    try:
        yield
    except EchosetError:
        raise
    except UNREADABLE as error:
        raise IntegrityError(
            f"its rows can't be read ({reason(error)})", where=str(path), remedy="Restore it from its store"
        ) from None


def reason(error: BaseException) -> str:
    """What an error of a reader says, in its first words."""
    return str(error).split("\n")[0][:200] or type(error).__name__
