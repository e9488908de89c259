"""What a stream keeps of its rows: sums over bins for tests, moments and histograms over groups for distances.

A *cycle* is as many rows as a sample has bins, one for each bin in a seeded order. So bins are equally large, and a
redraw that exchanges whole bins is a permutation of rows: its test is exact. Bins fall into a few *groups*, for what
is too large to keep per bin. Rows past the last whole cycle count in every figure but are never redrawn; where they
are many, what they hold of a shift would be in every redraw, and there is no test.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shift.random_features import classical_form, paired_form
from shift.streaming.distances import GROUPS, Directions, Moments

Float = NDArray[np.float64]

SPLITS = 16
"""Redraws of what is kept per group only: 16 of the 35 ways to halve eight groups."""
FOLDS = 64
"""Parts that a jackknife leaves out one by one."""


class BinSums:
    """Sums of vectors and of their squared norms over bins, and over the rows in no bin.

    Attributes:
        rows: how many rows there are.
        rows_per_bin: how many each bin has.
        sum_GD, square_G: sums of vectors and of squared norms per bin.
    """

    def __init__(self, bins: int, width: int, *, unit: bool = False) -> None:
        """Start at zero; `unit` vectors have norm 1 by construction, so that their norms need not be summed."""
        self.rows, self.rows_per_bin, self._unit = 0, 0, unit
        self.sum_GD, self.square_G = np.zeros((bins, width)), np.zeros(bins)
        self._rest_D, self._rest_square = np.zeros(width), 0.0

    def add(self, vectors_ND: NDArray[np.float32], cycles: int) -> None:
        """Add whole cycles, in the order of the bins, and after them rows in no bin."""
        bins, width = self.sum_GD.shape
        binned = vectors_ND[: cycles * bins].reshape(cycles, bins, width)
        rest = vectors_ND[cycles * bins :]
        self.rows += len(vectors_ND)
        self.rows_per_bin += cycles
        self.sum_GD += binned.sum(axis=0, dtype=np.float64)
        self._rest_D += rest.sum(axis=0, dtype=np.float64)
        if self._unit:
            self.square_G += cycles
            self._rest_square += len(rest)
        else:
            self.square_G += np.einsum("cgd,cgd->g", binned, binned, dtype=np.float64)
            self._rest_square += float(np.einsum("nd,nd->", rest, rest, dtype=np.float64))

    @property
    def total_D(self) -> Float:
        """The sum over all rows."""
        return self.sum_GD.sum(axis=0) + self._rest_D

    @property
    def square(self) -> float:
        """The sum of all squared norms."""
        return float(self.square_G.sum()) + self._rest_square


Samples = tuple[BinSums] | tuple[BinSums, BinSums]
"""The sums of paired differences, or of two independent samples."""


def redrawn(samples: Samples, redraws: int, rng: np.random.Generator) -> Float:
    """The squared distance between the means, as observed (first) and with bins exchanged, [redraws + 1].

    Between independent samples whole bins are permuted; of pairs, those of a whole bin are swapped together.
    """
    draws = redraws + 1
    if len(samples) == 1:
        t = samples[0]
        swap_BG = rng.integers(0, 2, (draws, len(t.sum_GD))).astype(np.float64)
        swap_BG[0] = 0
        return paired_form(t.total_D - 2 * swap_BG @ t.sum_GD, t.square, t.rows)
    x, y = samples
    mine_BG = np.zeros((draws, len(x.sum_GD) + len(y.sum_GD)))
    mine_BG[:, : len(x.sum_GD)] = 1
    # -1 where a bin leaves x, +1 where one of y's joins it.
    moved_BG = np.concatenate([mine_BG[:1], rng.permuted(mine_BG[1:], axis=1)]) - mine_BG
    sum_BD = moved_BG @ np.concatenate([x.sum_GD, y.sum_GD])
    square_B = moved_BG @ np.concatenate([x.square_G, y.square_G])
    return classical_form(
        x.total_D + sum_BD, x.square + square_B, y.total_D - sum_BD, y.square - square_B, x.rows, y.rows
    )


def jackknife_error(samples: Samples) -> float:
    """The standard error of the squared distance, leaving out one fold of one sample's bins at a time.

    Valid where the distance is clear of 0, for there it varies like a mean (Arvesen 1969); near 0 it is too large.
    """
    variance = 0.0
    for side, left_out in enumerate(samples):
        bins = len(left_out.sum_GD)
        folds = min(FOLDS, bins)
        if folds < 3 or left_out.rows - left_out.rows_per_bin * -(-bins // folds) < 2:
            return float("inf")
        gone_FG = (np.arange(bins) * folds // bins == np.arange(folds)[:, None]).astype(np.float64)
        parts: list[tuple[Any, Any, Any]] = [(s.total_D, s.square, s.rows) for s in samples]
        parts[side] = (
            left_out.total_D - gone_FG @ left_out.sum_GD,
            left_out.square - gone_FG @ left_out.square_G,
            left_out.rows - gone_FG.sum(axis=1) * left_out.rows_per_bin,
        )
        if len(parts) == 1:
            value_F = paired_form(*parts[0])
        else:
            (x_sum, x_square, n), (y_sum, y_square, m) = parts
            value_F = classical_form(x_sum, x_square, y_sum, y_square, n, m)
        spread = (folds - 1) / folds * float(((value_F - value_F.mean()) ** 2).sum())
        # Rows in no bin are never left out, but vary as the others do.
        variance += spread * left_out.rows / (bins * left_out.rows_per_bin)
    return float(np.sqrt(variance))


class GroupSums:
    """Moments and histograms of one sample per group of bins, and the second moments of its directions.

    Attributes:
        directions: of the histograms.
        count_J: rows per group.
        unit_DD: the sum of outer products of unit rows, not centered, over all groups; None for rows too wide.
        beyond: how many values lie outside the histograms' ranges; their end levels count them.
        excess_L: the sum of their squared distances from the range, per direction.
    """

    def __init__(self, directions: Directions, *, wide: bool) -> None:
        width, count = directions.direction_DL.shape
        self.directions = directions
        self.count_J = np.zeros(GROUPS, np.int64)
        self._sum_JD = np.zeros((GROUPS, width))
        self._second_JDD = None if wide else np.zeros((GROUPS, width, width))
        self.unit_DD = None if wide else np.zeros((width, width))
        self._histogram_JLE = directions.histograms()
        self.beyond, self.excess_L = 0, np.zeros(count)

    def add(self, rows_ND: NDArray[np.float32], centered_ND: NDArray[np.float32], group_N: NDArray[np.int64]) -> None:
        """Add rows, as they are and centered, each to its group."""
        if self.unit_DD is not None:
            unit = rows_ND.astype(np.float64)
            unit /= np.sqrt(np.einsum("nd,nd->n", unit, unit))[:, None]
            self.unit_DD += unit.T @ unit
        for j in range(GROUPS):
            z = centered_ND[group_N == j].astype(np.float64)
            self.count_J[j] += len(z)
            self._sum_JD[j] += z.sum(axis=0)
            if self._second_JDD is not None:
                self._second_JDD[j] += z.T @ z
        beyond, excess_L = self.directions.count(centered_ND, group_N, self._histogram_JLE)
        self.beyond += beyond
        self.excess_L += excess_L

    def moments(self, groups_J: NDArray[np.bool_]) -> Moments:
        """Those of some groups together."""
        second = None if self._second_JDD is None else self._second_JDD[groups_J].sum(axis=0)
        return Moments(int(self.count_J[groups_J].sum()), self._sum_JD[groups_J].sum(axis=0), second)

    def histograms(self, groups_J: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Those of some groups together, [directions, levels]."""
        return self._histogram_JLE[groups_J].sum(axis=0)


def halvings(x: GroupSums, y: GroupSums, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Ways to redraw: which groups of x, and which of y not, make up the first sample; none with an empty group.

    Half of each sample stands on either side (and the two rows of a pair on different ones), so whatever has shifted
    between the samples is not in the floor.
    """
    if min(x.count_J.min(), y.count_J.min()) == 0:
        return []
    ways = [np.isin(np.arange(GROUPS), (0, *rest)) for rest in combinations(range(1, GROUPS), GROUPS // 2 - 1)]
    return [ways[i] for i in sorted(rng.choice(len(ways), SPLITS, replace=False).tolist())]
