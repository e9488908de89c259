"""Rows as points: checked and centered, equal ones merged, and each one's nearest neighbors, in blocks of memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError

Float = NDArray[np.float64]
Points = NDArray[np.float32]
Rows = NDArray[np.int64]
Indices = NDArray[np.int32]
STRIP = 2**21
"""Distances that are looked at together where only some of the rows are asked for."""


def centered(*samples: NDArray[Any]) -> tuple[list[Points], float]:
    """The samples about their common mean and in units of their largest coordinate, and that unit.

    What is left lies between -1 and 1 whatever the data's mean and scale, so that float32 products keep their digits.

    Args:
        samples: [rows, width] each; float16 is widened.

    Raises:
        InputError: anything but two or more rows of finite numbers, or differing widths.
    """
    arrays = [_rows(sample, f"sample {i + 1}") for i, sample in enumerate(samples)]
    if len(widths := {a.shape[1] for a in arrays}) > 1:
        raise InputError(f"points of different widths: {sorted(widths)}", remedy="Embed everything with one model.")
    with np.errstate(over="ignore", invalid="ignore"):
        means = [a.mean(axis=0, dtype=np.float64) for a in arrays]
        center_D = np.average(means, axis=0, weights=[len(a) for a in arrays])
        moved = [a - center_D.astype(a.dtype) for a in arrays]
    unit = float(np.max([(a.max(), -a.min()) for a in moved])) or 1.0
    if not np.isfinite(unit):
        largest = [np.abs(a).max(axis=1) for a in arrays]
        i = int(np.argmax([rows.max() for rows in largest]))  # (NaN passes for the largest)
        where = f"sample {i + 1}, row {np.argmax(largest[i])}"
        raise InputError("NaN, infinity, or too large to compute with", where=where, remedy="Check the rows.")
    for a in moved:
        a /= a.dtype.type(unit)
        a += 0  # -0.0 becomes 0.0: equal points have equal bits
    return [a.astype(np.float32, copy=False) for a in moved], unit


def _rows(given: NDArray[Any], name: str) -> NDArray[np.floating]:
    a = np.asarray(given)
    if a.ndim != 2 or not a.size or a.dtype.kind not in "fiu":
        raise InputError(f"shape {a.shape}, type {a.dtype}", where=name, remedy="Give rows of numbers, [rows, width].")
    if len(a) < 2:
        raise InputError("a single row", where=name, remedy="A distance between samples needs two or more in each.")
    if a.dtype not in (np.float32, np.float64):
        a = a.astype(np.float32 if a.dtype == np.float16 else np.float64)
    return a


def distinct(points_MD: Points) -> tuple[Points, Rows]:
    """Each different row once, and for every row which of them it is."""
    rows = np.ascontiguousarray(points_MD)
    bits = rows.view(np.dtype((np.void, rows.strides[0]))).reshape(-1)
    _, place, inverse = np.unique(bits, return_index=True, return_inverse=True)
    return rows[place], inverse.reshape(-1)


def merged(point_M: Rows, weight_M: Float) -> Float:
    """The points' weights, from those of the rows that are equal to them."""
    return np.bincount(point_M, weight_M).astype(np.float64)


def pooled(x_ND: NDArray[Any], y_MD: NDArray[Any]) -> tuple[Points, Float, Float]:
    """Two plain samples as distinct points, and how many of each sample's rows lie on each point.

    Raises:
        InputError: as `centered`.
    """
    (x, y), _ = centered(x_ND, y_MD)
    points_PD, point_M = distinct(np.concatenate([x, y]))
    from_x = np.arange(len(point_M)) < len(x)
    return points_PD, merged(point_M, from_x.astype(np.float64)), merged(point_M, (~from_x).astype(np.float64))


class Neighborhoods(NamedTuple):
    """Some points' neighbors as far out as the k-th nearest member, see `Neighbors.around`.

    Attributes:
        rows: which points.
        index_RT: their neighbors, nearest first.
        squared_RT: the neighbors' squared distances.
        kth_R: the k-th member.
        reach_R: its squared distance, and what rounding may have added to an equal one.
    """

    rows: Rows
    index_RT: Indices
    squared_RT: Points
    kth_R: Indices
    reach_R: NDArray[np.floating]


@dataclass(frozen=True)
class Neighbors:
    """Each point's nearest other points, found once, in memory of M x depth.

    A list that holds a few dozen neighbors usually holds the few nearest members of *any* sample drawn from the points,
    so another choice of members costs no distances; the rare rows whose list is too short get a longer one, and every
    answer is exact.

    Attributes:
        right_MD: distinct points, then 1, 1 and their squared norms in two float32 parts.
        index_MT: each point's nearest others, nearest first.
        squared_MT: their squared distances; rounding can leave one a hair below 0.
    """

    right_MD: Points
    index_MT: Indices
    squared_MT: Points

    @property
    def points_MD(self) -> Points:
        """The points."""
        return self.right_MD[:, :-4]

    @classmethod
    def of(cls, points_MD: Points, *, depth: int = 64, block: int = 2048) -> Neighbors:
        """Find the neighbors of distinct points.

        Every pair of blocks is one product that serves the rows of both. Each block starts with the nearest within
        itself; after that only distances below a row's worst neighbor so far are looked at.
        """
        norm_M = np.einsum("md,md->m", points_MD, points_MD, dtype=np.float64)
        high_M, one_M = norm_M.astype(np.float32), np.ones(len(points_MD), np.float32)
        right_MD = np.column_stack([points_MD, one_M, one_M, high_M, (norm_M - high_M).astype(np.float32)])
        M = len(points_MD)
        depth = min(depth, M - 1)
        index_MT = np.zeros((M, depth), np.int32)
        squared_MT = np.full((M, depth), np.inf, np.float32)
        blocks = [slice(i, min(i + block, M)) for i in range(0, M, block)]
        for rows in blocks:
            D = _left(right_MD[rows]) @ right_MD[rows].T
            np.fill_diagonal(D, np.inf)
            columns, squared = _smallest(D, min(depth, len(D) - 1))
            index_MT[rows, : columns.shape[1]] = columns + rows.start
            squared_MT[rows, : columns.shape[1]] = squared
        worst_M = squared_MT.max(axis=1, initial=-np.inf)
        for i, rows in enumerate(blocks):
            left = _left(right_MD[rows])
            for columns in blocks[i + 1 :]:
                D = left @ right_MD[columns].T
                for own, bound, axis in ((rows, worst_M[rows, None], 0), (columns, worst_M[columns], 1)):
                    near = np.flatnonzero(bound > D)
                    place = np.divmod(near, D.shape[1])
                    other = place[1 - axis] + (columns, rows)[axis].start
                    _absorb(index_MT[own], squared_MT[own], place[axis], other, D.ravel()[near])
                    worst_M[own] = squared_MT[own].max(axis=1)
        order = np.argsort(squared_MT, axis=1)
        return cls(right_MD, np.take_along_axis(index_MT, order, axis=1), np.take_along_axis(squared_MT, order, axis=1))

    def around(self, rows: Rows, member_M: NDArray[np.bool_], k: int) -> Iterator[Neighborhoods]:
        """Some points' neighbors, as far out as the k-th nearest member and everything that ties with it.

        A point is no neighbor of its own. Where there are fewer than k other members, the farthest is the k-th.

        Args:
            rows: the points to ask about; they come back in portions and in any order.
            member_M: the members, at least one of them other than each of `rows`.
            k: which of the members, from 1.
        """
        step = max(STRIP // self.index_MT.shape[1], 1)
        for i in range(0, len(rows), step):
            some = rows[i : i + step]
            yield from self._settled(some, self.index_MT[some], self.squared_MT[some], member_M, k)

    def _settled(
        self, rows: Rows, index_RT: Indices, squared_RT: Points, member_M: NDArray[np.bool_], k: int
    ) -> Iterator[Neighborhoods]:
        rank_RT = member_M[index_RT].cumsum(axis=1)
        wanted_R = np.minimum(k, member_M.sum() - member_M[rows])
        place_R = (np.arange(len(rows)), (rank_RT >= wanted_R[:, None]).argmax(axis=1))
        radius_R = squared_RT[place_R]
        # A product of float32 rows is off by a few units in the last place of their squared norms.
        reach_R = radius_R + np.float32(2**-21) * (radius_R + self.right_MD[rows, -2])
        depth, others = index_RT.shape[1], len(member_M) - 1
        done_R = (rank_RT[:, -1] >= wanted_R) & (reach_R < squared_RT[:, -1]) | (depth == others)
        kth_R = index_RT[place_R]
        yield Neighborhoods(rows[done_R], index_RT[done_R], squared_RT[done_R], kth_R[done_R], reach_R[done_R])
        short = rows[~done_R]
        step = max(STRIP // len(member_M), 1)
        for i in range(0, len(short), step):
            some = short[i : i + step]
            D = _left(self.right_MD[some]) @ self.right_MD.T
            D[np.arange(len(some)), some] = np.inf
            yield from self._settled(some, *_smallest(D, min(4 * depth, others)), member_M, k)


def _left(right_RD: Points) -> Points:
    """What gives squared distances when multiplied with the right side: norms and products summed in one go."""
    return np.column_stack([right_RD[:, :-4] * np.float32(-2), right_RD[:, -2:], right_RD[:, -4:-2]])


def _smallest(D: Points, count: int) -> tuple[Indices, Points]:
    """The columns of each row's smallest values, in ascending order, and the values."""
    columns = np.argpartition(D, count - 1, axis=1)[:, :count].astype(np.int32)
    values = np.take_along_axis(D, columns, axis=1)
    order = np.argsort(values, axis=1)
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)


def _absorb(index_RT: Indices, squared_RT: Points, row: Rows, other: Rows, squared: Points) -> None:
    """Put further neighbors, (row, other point, squared distance) each, into the lists (changed in place)."""
    order = np.argsort(row, kind="stable")
    row, other, squared = row[order], other[order], squared[order]
    count_R = np.bincount(row, minlength=len(index_RT))
    place = np.arange(len(row)) - (np.cumsum(count_R) - count_R)[row]
    depth = index_RT.shape[1]
    longer_squared = np.full((len(index_RT), depth + int(count_R.max())), np.inf, np.float32)
    longer_index = np.zeros(longer_squared.shape, np.int32)
    longer_squared[:, :depth], longer_index[:, :depth] = squared_RT, index_RT
    longer_squared[row, depth + place], longer_index[row, depth + place] = squared, other
    kept = np.argpartition(longer_squared, depth - 1, axis=1)[:, :depth]
    squared_RT[:] = np.take_along_axis(longer_squared, kept, axis=1)
    index_RT[:] = np.take_along_axis(longer_index, kept, axis=1)
