r"""The points of one embedder's texts: two files that only grow, beside `$ECHOSET_CACHE/embeddings`' others.

`STEM.npy` holds the points, float32, a row each; `STEM.keys` a header and one record a row: 16 bytes of the text's
SHA-256, and whether the text was cut off. Rows are on disk before their records are: a row without a whole record
doesn't count and is written over, so a writer that is killed loses only what it had not handed over, and nobody takes
a torn row for a good one. Writers take turns; the first point of a text stays, so that all who come later get the same
bits. Stored bytes never change under a reader: files that can't be used are removed and begun anew, not mended.

A request too large for memory is laid out in its own order in `STEM-*.npy`. Any of these files may be deleted.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from datasets_cards.canonical import canonical_json, sha256_hex
from datasets_cards.errors import EngineError
from datasets_cards.storage import storage_errors

SCHEMA = 1
HEADER_BYTES = 1024
RECORD = np.dtype([("key", "S16"), ("long", "?")])
BLOCK = 16384
"""Rows that are copied at once."""
RECORDS = 1 << 20
"""Records that are looked through at once."""
IN_MEMORY = 256 << 20
"""Bytes of points up to which they are returned in memory; more are mapped from a file."""


def text_keys(texts: list[str]) -> NDArray[np.bytes_]:
    """What texts are stored under, [texts] of 16 bytes."""
    return np.frombuffer(b"".join([hashlib.sha256(text.encode()).digest()[:16] for text in texts]), "S16")


@dataclass
class Found:
    """Where the points of some texts (`_U`, distinct) lie, as far as the store has been read.

    Attributes:
        key_U: what is looked for, sorted.
        row_U: the row of each, -1 where it is not there (yet).
        long_U: whether the text was cut off.
        max_tokens: where texts were cut off.
        generation: which life of the files the rows belong to.
        seen: how many records have been read.
    """

    key_U: NDArray[np.bytes_]
    row_U: NDArray[np.int64] = field(init=False)
    long_U: NDArray[np.bool_] = field(init=False)
    max_tokens: int | None = None
    generation: str = ""
    seen: int = 0

    def __post_init__(self) -> None:
        self.row_U, self.long_U = np.full(len(self.key_U), -1, np.int64), np.zeros(len(self.key_U), np.bool_)

    @property
    def missing_U(self) -> NDArray[np.intp]:
        """The positions of what is not stored."""
        return np.flatnonzero(self.row_U < 0)

    @property
    def count(self) -> int:
        """How many are stored."""
        return int(np.count_nonzero(self.row_U >= 0))


@dataclass(frozen=True)
class _Head:
    width: int
    max_tokens: int | None
    generation: str
    rows: int


class PointStore:
    """The stored points of one embedder; processes may share it."""

    def __init__(self, folder: Path, digest: str) -> None:
        """Name the files; nothing is touched yet.

        Args:
            folder: where they lie, with those of other embedders.
            digest: what the embedder's points depend on.
        """
        self.folder, self._digest = folder, digest
        self._stem = sha256_hex(canonical_json([SCHEMA, digest]))[:16]
        self._points, self._keys = folder / f"{self._stem}.npy", folder / f"{self._stem}.keys"
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / f"{self._stem}.lock")

    def find(self, key_U: NDArray[np.bytes_]) -> Found:
        """Look distinct, sorted keys up.

        Raises:
            StorageError: the files can't be read or locked.
        """
        found = Found(key_U)
        self.refresh(found)
        return found

    def refresh(self, found: Found) -> None:
        """Look up what has been stored since, by any process.

        Raises:
            StorageError: the files can't be read or locked.
        """
        with storage_errors(self.folder), self._lock:
            self._refresh(found)

    def add(
        self,
        found: Found,
        at_B: NDArray[np.intp],
        points_BD: NDArray[np.float32],
        long_B: NDArray[np.bool_],
        max_tokens: int | None,
    ) -> None:
        """Store points of the distinct keys `found.key_U[at_B]`; those that another process was first with stay.

        Raises:
            EngineError: points of another width are stored.
            StorageError: the files can't be written; what was stored before stays.
        """
        with storage_errors(self.folder), self._lock:
            head = self._refresh(found) or self._begin(found, points_BD.shape[1], max_tokens)
            if points_BD.shape[1] != head.width:
                raise EngineError(
                    f"the embedder gives points of width {points_BD.shape[1]}, but {head.width} are stored for it",
                    where=str(self._points),
                    remedy="Its code must have changed: delete that file.",
                )
            new_B = found.row_U[at_B] < 0
            records = np.zeros(int(new_B.sum()), RECORD)
            records["key"], records["long"] = found.key_U[at_B[new_B]], long_B[new_B]
            rows = head.rows + len(records)
            header = _npy_header(rows, head.width)
            with open(self._points, "r+b") as file:
                file.seek(len(header) + head.rows * head.width * 4)
                file.write(np.ascontiguousarray(points_BD[new_B], "<f4").data)
                file.seek(0)
                file.write(header)
                _sync(file)
            with open(self._keys, "r+b") as file:
                file.seek(HEADER_BYTES + head.rows * RECORD.itemsize)
                file.write(records.tobytes())
                _sync(file)
            self._refresh(found)

    def points(self, found: Found, index_N: NDArray[np.intp]) -> NDArray[np.float32] | None:
        """The points of `found.key_U[index_N]`, in memory or mapped; None where some are not there, or not any more.

        Raises:
            StorageError: the files can't be read, or the layout of a large request can't be written.
        """
        with storage_errors(self.folder), self._lock:
            head = self._refresh(found)
            row_N = found.row_U[index_N]
            if head is None or (row_N < 0).any():
                return None
            try:
                if 4 * len(row_N) * head.width > IN_MEMORY:
                    return self._laid_out(row_N, head)
                points_ND = np.empty((len(row_N), head.width), np.float32)
                for start in range(0, len(row_N), BLOCK):
                    points_ND[start : start + BLOCK] = self._block(row_N[start : start + BLOCK], head)
                return points_ND
            except _Damaged:
                self._discard()
                self._refresh(found)
                return None

    def _laid_out(self, row_N: NDArray[np.int64], head: _Head) -> NDArray[np.float32]:
        """A file of these rows in this order, mapped; made where it isn't there."""
        key = sha256_hex(head.generation.encode() + row_N.tobytes())[:32]
        path = self.folder / f"{self._stem}-{key}.npy"
        try:
            laid: Any = np.load(path, mmap_mode="r", allow_pickle=False)
            if laid.shape == (len(row_N), head.width) and laid.dtype == np.float32:
                return laid
        except (FileNotFoundError, ValueError, EOFError):
            pass
        for unfinished in self.folder.glob(f".{self._stem}-*.new"):
            unfinished.unlink(missing_ok=True)  # a killed process's: this one holds the lock
        fresh = self.folder / f".{path.name}.new"
        with open(fresh, "wb") as file:
            file.write(_npy_header(len(row_N), head.width))
            for start in range(0, len(row_N), BLOCK):
                file.write(self._block(row_N[start : start + BLOCK], head).data)
            _sync(file)
        os.replace(fresh, path)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _block(self, row_B: NDArray[np.int64], head: _Head) -> NDArray[np.float32]:
        points_BD = np.empty((len(row_B), head.width), "<f4")
        start, stride = len(_npy_header(0, head.width)), 4 * head.width
        # Read row by row: over a map, rows in another order would pull the whole file into this process's memory.
        with open(self._points, "rb", buffering=0) as file:
            for b in np.argsort(row_B, kind="stable").tolist():
                os.preadv(file.fileno(), [points_BD[b].data], start + int(row_B[b]) * stride)
        squared_B = np.einsum("bd,bd->b", points_BD, points_BD)
        if not (np.abs(squared_B - 1) < 1e-3).all():
            raise _Damaged
        return points_BD

    def _refresh(self, found: Found) -> _Head | None:
        head = self._head()
        if head is None or head.generation != found.generation:
            found.row_U[:], found.long_U[:], found.seen = -1, False, 0
            found.generation = "" if head is None else head.generation
        if head is None:
            return None
        found.max_tokens = head.max_tokens
        if found.seen < head.rows:
            with open(self._keys, "rb") as file:
                file.seek(HEADER_BYTES + found.seen * RECORD.itemsize)
                for start in range(found.seen, head.rows, RECORDS):
                    records = np.fromfile(file, RECORD, min(RECORDS, head.rows - start))
                    key_R = np.ascontiguousarray(records["key"])
                    at_R = np.minimum(np.searchsorted(found.key_U, key_R), len(found.key_U) - 1)
                    hit = np.flatnonzero(found.key_U[at_R] == key_R)
                    found.row_U[at_R[hit]] = start + hit
                    found.long_U[at_R[hit]] = records["long"][hit]
            found.seen = head.rows
        return head

    def _head(self) -> _Head | None:
        """What the files say of themselves; where they can't be used they are removed."""
        try:
            with open(self._keys, "rb") as file:
                said = json.loads(file.read(HEADER_BYTES))
                records = (os.fstat(file.fileno()).st_size - HEADER_BYTES) // RECORD.itemsize
            head = _Head(int(said["width"]), said["max_tokens"], str(said["generation"]), records)
            with open(self._points, "rb") as file:
                version = np.lib.format.read_magic(file)
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
                there = (os.fstat(file.fileno()).st_size - file.tell()) // (4 * head.width)
                fits = (version, shape[1:], fortran, dtype) == ((1, 0), (head.width,), False, np.dtype("<f4"))
                fits &= file.tell() == len(_npy_header(head.rows, head.width))
            if said["schema"] == SCHEMA and said["embedder"] == self._digest and fits and there >= head.rows:
                return head
        except FileNotFoundError:
            if not self._keys.exists() and not self._points.exists():
                return None
        except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError):
            pass
        self._discard()
        return None

    def _begin(self, found: Found, width: int, max_tokens: int | None) -> _Head:
        generation = secrets.token_hex(8)
        said = {
            "schema": SCHEMA,
            "embedder": self._digest,
            "width": width,
            "max_tokens": max_tokens,
            "generation": generation,
        }
        self._points.write_bytes(_npy_header(0, width))
        self._keys.write_bytes(canonical_json(said).ljust(HEADER_BYTES - 1) + b"\n")
        found.generation = generation
        return _Head(width, max_tokens, generation, 0)

    def _discard(self) -> None:
        for path in (self._keys, self._points, *self.folder.glob(f"{self._stem}-*.npy")):
            path.unlink(missing_ok=True)


class _Damaged(Exception):
    """A stored point is not of length 1."""


def _npy_header(rows: int, width: int) -> bytes:
    """The header of a .npy file; its length doesn't depend on `rows`, so a file can grow."""
    header = io.BytesIO()
    said = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(header, said)
    return header.getvalue()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
