"""How much a Parquet file holds, told from the headers of its own pages: no page is unpacked, no footer is believed.

A reader makes room for what a page's header says, not for what the footer sums up, so that only the headers tell what a
file will take. They are Thrift structures in the compact protocol.

Sources:
    https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift (PageHeader)
    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY = 0, 2, 3, 8
ENCODINGS = (PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY)
"""What Echoset writes, and nearly every other writer by default. Others can unfold each value from the one before."""

_DATA, _INDEX, _DICTIONARY, _DATA_V2 = range(4)
_FIRST_LOOK, _LONGEST_HEADER = 1 << 10, 1 << 20


@dataclass(slots=True)
class Chunk:
    """What the pages of one column chunk will take.

    Attributes:
        values: of all data pages.
        unpacked: bytes of all pages after decompression.
        dictionary: bytes of the dictionary page after decompression.
        looked_up: values that are references into the dictionary.
    """

    values: int = 0
    unpacked: int = 0
    dictionary: int = 0
    looked_up: int = 0


def read_chunk(file: int, start: int, size: int) -> Chunk:
    """Walk over the pages of a column chunk.

    Args:
        file: a descriptor of the file.
        start: where the first page begins.
        size: bytes of all of them.

    Raises:
        ValueError: these are no pages, or pages of another encoding than `ENCODINGS`.
    """
    chunk, end = Chunk(), start + size
    while start < end:
        header, length = _header(file, start, end)
        unpacked, packed = _count(header, 2), _count(header, 3)
        kind = header.get(1)
        if kind in (_DATA, _DATA_V2):
            page = header.get(5 if kind == _DATA else 8)
            if not isinstance(page, dict):
                raise ValueError("a page without its header")
            encoding = page.get(2 if kind == _DATA else 4)
            if encoding not in ENCODINGS:
                raise ValueError(f"pages are encoded in a way that Echoset never writes ({encoding})")
            chunk.values += _count(page, 1)
            chunk.looked_up += _count(page, 1) if encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY) else 0
        elif kind == _DICTIONARY:
            chunk.dictionary += unpacked
        elif kind != _INDEX:
            raise ValueError(f"a page of an unknown kind ({kind})")
        chunk.unpacked += unpacked
        start += length + packed
    if start != end:
        raise ValueError("its pages do not end where their column ends")
    return chunk


def _header(file: int, start: int, end: int) -> tuple[dict[int, Any], int]:
    """The fields of a page header by number, and its length in bytes."""
    for look in (_FIRST_LOOK, _LONGEST_HEADER):
        try:
            return _struct(os.pread(file, min(look, end - start), start), 0, 0)
        except IndexError:
            continue
    raise ValueError("a page header that does not end")


def _count(fields: dict[int, Any], number: int) -> int:
    value = fields.get(number)
    if type(value) is not int or value < 0:
        raise ValueError("a page header without a size")
    return value


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Read a structure of the compact protocol from `at`: its fields, and where it ends."""
    fields: dict[int, Any] = {}
    number = 0
    while (byte := data[at]) != 0:
        at += 1
        if byte >> 4:
            number += byte >> 4
        else:
            number, at = _integer(data, at)
        kind = byte & 15
        if kind in (1, 2):
            fields[number] = kind == 1
        elif kind == 3:
            fields[number], at = data[at], at + 1
        elif kind in (4, 5, 6):
            fields[number], at = _integer(data, at)
        elif kind == 8:  # statistics: least and greatest value
            size, at = _varint(data, at)
            at += size
        elif kind == 12 and depth < 4:
            fields[number], at = _struct(data, at, depth + 1)
        else:
            raise ValueError("a page header of another form")
    return fields, at + 1


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number that does not end")
