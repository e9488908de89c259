"""Rows of any number, read in order and once: from `.npy` files, memory maps, arrays, or whatever yields arrays."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError, MissingError

HEAD = 5120
"""Rows of a source of unknown length that are held back at its beginning, for the pilot: it has no fewer."""
SMALLEST, LARGEST = 1e-15, 1e15
"""Between these a row's largest coordinate must lie: float32 holds its square, and sums of squares."""

Source: TypeAlias = str | os.PathLike[str] | NDArray[Any] | Iterable[Any]
"""A `.npy` file, an array (memory-mapped or not), or an iterable of such: shards, batches, a generator."""


class Rows:
    """One source of rows [n, d], widened or narrowed to float32.

    Attributes:
        name: what errors call it.
        width: d.
        rows: n, or None where only reading to the end would tell.
        bytes_read: so far, as stored.
    """

    def __init__(self, source: Source, name: str) -> None:
        self.name, self.bytes_read = name, 0
        whole = isinstance(source, (str, os.PathLike, np.ndarray))
        items = [source] if whole else source
        if not whole and (hasattr(source, "shape") or not isinstance(source, Iterable)):
            raise InputError(
                f"is {type(source).__name__}, not rows",
                where=name,
                remedy="Give a numpy array (of a tensor: x.float().cpu().numpy()), a .npy file, or a list of either.",
            )
        if isinstance(items, (list, tuple)):
            self._known = [_open(item, name if whole else f"{name}, part {i}") for i, item in enumerate(items)]
            self._more: Iterator[tuple[str, NDArray[Any]]] = iter(())
            self.rows = sum(len(array) for _, array in self._known)
        else:
            stream = (_open(item, f"{name}, part {i}") for i, item in enumerate(items))
            self._known, ended = _head(stream)
            self._more = stream
            self.rows = sum(len(array) for _, array in self._known) if ended else None
        if not self._known or (self.rows is not None and self.rows < 2):
            raise InputError(f"{self.rows or 0} row(s)", where=name, remedy="Give at least two rows.")
        self.width = self._known[0][1].shape[1]
        self._unread = chain(self._known, self._more)
        self._part: tuple[str, NDArray[Any]] | None = None
        self._at = 0

    def read(self, count: int) -> NDArray[np.float32]:
        """The next rows, float32 [count, d]; fewer only at the end.

        Raises:
            InputError: a row that is zero, not finite or out of float32's reach, a part of another width; names the
                part and the row in it.
        """
        taken: list[NDArray[np.float32]] = []
        while count:
            self._part = self._part or next(self._unread, None)
            if self._part is None:
                break
            label, array = self._part
            piece = self._checked(label, array, self._at, self._at + count)
            self.bytes_read += len(piece) * array.shape[1] * array.dtype.itemsize
            self._at += len(piece)
            count -= len(piece)
            taken.append(piece)
            if self._at == len(array):
                self._part, self._at = None, 0
        if not taken:
            return np.empty((0, self.width), np.float32)
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    def peek(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows by number without reading on; of a source of unknown length only its first `HEAD` can be had."""
        taken = []
        for label, array in self._known:
            if start < len(array) and stop > 0:
                taken.append(self._checked(label, array, max(start, 0), min(stop, len(array))))
            start, stop = start - len(array), stop - len(array)
        return np.concatenate(taken)

    def _checked(self, label: str, array: NDArray[Any], start: int, stop: int) -> NDArray[np.float32]:
        """A copy of some rows in float32."""
        if array.shape[1] != self.width:
            raise InputError(f"is {array.shape[1]} wide after rows of {self.width}", where=label)
        with np.errstate(over="ignore"):
            rows = np.array(array[start:stop], dtype=np.float32)
        _drop_pages(array)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            square_N = np.einsum("nd,nd->n", rows, rows)
        # The largest square is at least a row's mean square and at most their sum: only suspects are looked at closely.
        for i in np.flatnonzero(~((square_N >= self.width * SMALLEST**2) & (square_N <= LARGEST**2))).tolist():
            where = f"{label}, row {start + i}"
            largest = float(np.abs(array[start + i].astype(np.float64)).max())
            if not np.isfinite(largest):
                raise InputError("holds NaN or infinity", where=where, remedy="Check the embedder.")
            if largest == 0:
                raise InputError("is the zero vector, which has no direction", where=where, remedy="Leave it out.")
            if not SMALLEST <= largest <= LARGEST:
                raise InputError(
                    f"has {largest:.2g} as its largest coordinate, outside {SMALLEST:g} to {LARGEST:g}",
                    where=where,
                    remedy="Multiply all rows of both samples by one number.",
                )
        return rows


def _open(item: Any, label: str) -> tuple[str, NDArray[Any]]:
    """An array and what to call it; files are mapped, not loaded."""
    if isinstance(item, (str, os.PathLike)):
        label = " ".join(str(item).split())[:200]
        remedy = "Write it with numpy.save: rows [n, d] of float32 or float16."
        if not os.path.isfile(item):
            raise MissingError("no such file", where=label, remedy=remedy)
        try:
            item = np.load(item, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(f"not a whole .npy file ({error})", where=label, remedy=remedy) from error
        if not isinstance(item, np.ndarray):
            raise InputError("holds several arrays", where=label, remedy=remedy)
    try:
        array = item if isinstance(item, np.ndarray) else np.asarray(item)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors on a device or with gradients
        raise InputError(
            f"is {type(item).__name__}, not rows", where=label, remedy="Give floating-point rows [n, d]."
        ) from error
    if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        raise InputError(
            f"an array of {array.dtype} and shape {array.shape}", where=label, remedy="Give floating-point rows [n, d]."
        )
    if isinstance(array, np.memmap) and array.strides[1] != array.dtype.itemsize:
        # A block of rows would touch every page of the file.
        raise InputError("is stored column by column", where=label, remedy="Write it in C order, row by row.")
    return label, array


def _head(parts: Iterator[tuple[str, NDArray[Any]]]) -> tuple[list[tuple[str, NDArray[Any]]], bool]:
    """The first parts, until they have `HEAD` rows, and whether that was all."""
    head: list[tuple[str, NDArray[Any]]] = []
    while sum(len(array) for _, array in head) < HEAD:
        if not (part := list(islice(parts, 1))):
            return head, True
        head += part
    return head, False


def _drop_pages(array: NDArray[Any]) -> None:
    """Let go of a memory map's pages, which count as this process's memory until something else needs the room."""
    if not isinstance(array, np.memmap) or array.mode == "c" or not hasattr(mmap, "MADV_DONTNEED"):
        return  # a copy-on-write map holds changes that are nowhere else
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None:
        base.madvise(mmap.MADV_DONTNEED)
