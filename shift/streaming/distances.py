"""Distances that a stream takes from what it kept: sliced W2, Frechet, and the exact MMD^2 of blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.kernels import Gaussian
from shift.random_features import orthogonal_columns

Float = NDArray[np.float64]

WIDEST = 1024
"""Widest rows whose second moments are kept: they take 144 d^2 bytes a sample."""
GROUPS = 8
LEVELS = 1024
"""Histogram levels a direction."""
BLOCK = 1024
"""Rows of each sample in a block whose MMD^2 is exact."""


@dataclass(frozen=True)
class Moments:
    """How many rows, their sum, and the sum of their outer products (None for rows too wide)."""

    count: int
    sum_D: Float
    second_DD: Float | None

    def __add__(self, other: Moments) -> Moments:
        second = None if self.second_DD is None or other.second_DD is None else self.second_DD + other.second_DD
        return Moments(self.count + other.count, self.sum_D + other.sum_D, second)


def frechet_from_moments(x: Moments, y: Moments) -> tuple[float, float | None]:
    """Mean and covariance part of the Frechet distance (Dowson and Landau 1982); the latter None for rows too wide."""
    means = [side.sum_D / side.count for side in (x, y)]
    mean_part = float(((means[0] - means[1]) ** 2).sum())
    if x.second_DD is None or y.second_DD is None:
        return mean_part, None
    A = (x.second_DD - x.count * np.outer(means[0], means[0])) / (x.count - 1)
    B = (y.second_DD - y.count * np.outer(means[1], means[1])) / (y.count - 1)
    values, vectors = np.linalg.eigh(A)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ B @ root).clip(0)).sum()
    return mean_part, max(float(A.trace() + B.trace() - 2 * overlap), 0.0)


@dataclass(frozen=True)
class Directions:
    """Directions, orthogonal in runs of the rows' width, and the range of each one's histogram.

    Attributes:
        direction_DL: unit columns.
        low_L: where each range begins.
        step_L: how wide a level is.
    """

    direction_DL: NDArray[np.float32]
    low_L: Float
    step_L: Float

    @classmethod
    def fit(cls, centered_ND: NDArray[np.float32], count: int, *, seed: int) -> Directions:
        """Draw directions, and set their ranges to a pilot's, wider by a quarter on each side."""
        rng = np.random.default_rng([seed, 0x5357])
        direction_DL = orthogonal_columns(centered_ND.shape[1], count, rng).astype(np.float32)
        along_NL = (centered_ND @ direction_DL).astype(np.float64)
        low_L, span_L = along_NL.min(axis=0), np.ptp(along_NL, axis=0)
        # Where the pilot's rows agree (up to rounding) another direction's range serves, or any.
        flat_L = span_L <= 1e-5 * span_L.max()
        span_L = np.where(flat_L, span_L.max() or 1.0, span_L)
        return cls(direction_DL, np.where(flat_L, low_L - span_L / 2, low_L) - span_L / 4, 1.5 * span_L / LEVELS)

    def histograms(self) -> NDArray[np.int64]:
        """Empty ones, [groups, directions, levels]."""
        return np.zeros((GROUPS, len(self.low_L), LEVELS), np.int64)

    def count(
        self, centered_ND: NDArray[np.float32], group_N: NDArray[np.int64], histogram_JLE: NDArray[np.int64]
    ) -> tuple[int, Float]:
        """Count rows into their groups' histograms.

        Returns:
            How many values lie beyond their direction's range, and per direction the sum of their squared distances
            from it.
        """
        level_NL = (centered_ND @ self.direction_DL - self.low_L) / self.step_L
        out_NL = np.maximum(-level_NL, level_NL - LEVELS).clip(0)
        cell_NL = level_NL.clip(0, LEVELS - 1).astype(np.int64)
        cell_NL += np.arange(len(self.low_L)) * LEVELS + group_N[:, None] * (len(self.low_L) * LEVELS)
        histogram_JLE += np.bincount(cell_NL.ravel(), minlength=histogram_JLE.size).reshape(histogram_JLE.shape)
        return int((out_NL > 0).sum()), ((out_NL * self.step_L) ** 2).sum(axis=0)


def sliced_square(x_LE: NDArray[np.int64], y_LE: NDArray[np.int64], step_L: Float) -> float:
    """The mean over directions of W2^2 between two histograms, each level's mass spread evenly over its width.

    W2^2 is the integral over u of the squared difference between the quantile functions; both are broken lines here,
    so the integral over each piece on which both are straight is exact.
    """
    total = 0.0
    for x_E, y_E, step in zip(x_LE, y_LE, step_L.tolist(), strict=True):
        ends = [np.concatenate([[0.0], np.cumsum(h) / h.sum()]) for h in (x_E, y_E)]
        u = np.union1d(*ends)
        middle = (u[:-1] + u[1:]) / 2
        lower, upper = np.zeros(len(middle)), np.zeros(len(middle))
        for share_E, sign in zip(ends, (1, -1), strict=True):
            level = np.searchsorted(share_E, middle, side="right") - 1
            mass = share_E[level + 1] - share_E[level]
            lower += sign * (level + (u[:-1] - share_E[level]) / mass)
            upper += sign * (level + (u[1:] - share_E[level]) / mass)
        total += step**2 * float((np.diff(u) * (lower**2 + lower * upper + upper**2)).sum()) / 3
    return total / len(step_L)


class ExactBlocks:
    """The exact MMD^2 of block after block of rows, each unbiased (Zaremba et al. 2013).

    Attributes:
        values: of the blocks so far.
    """

    def __init__(self, sigma: float, *, paired: bool) -> None:
        self.values: list[float] = []
        self._sigma, self._paired = sigma, paired
        self._waiting: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def add(self, x_ND: NDArray[np.float32], y_ND: NDArray[np.float32]) -> None:
        """Add equally many rows of both samples."""
        self._waiting.append((x_ND, y_ND))
        if sum(len(x) for x, _ in self._waiting) < BLOCK:
            return
        x, y = (np.concatenate(side) for side in zip(*self._waiting, strict=True))
        while len(x) >= BLOCK:
            self.values.append(self._value(x[:BLOCK], y[:BLOCK]))
            x, y = x[BLOCK:], y[BLOCK:]
        self._waiting = [(x, y)]

    def _value(self, x_ND: NDArray[np.float32], y_ND: NDArray[np.float32]) -> float:
        kernel = Gaussian.fit(np.concatenate([x_ND, y_ND]), sigma=self._sigma)
        x, y, pairs = slice(BLOCK), slice(BLOCK, 2 * BLOCK), BLOCK * (BLOCK - 1)
        within = sum(_off_diagonal(kernel.block(rows, rows)) for rows in (x, y)) / pairs
        between = kernel.block(x, y)
        if self._paired:
            return within - 2 * _off_diagonal(between) / pairs
        return within - 2 * float(between.mean(dtype=np.float64))


def _off_diagonal(K: NDArray[np.float32]) -> float:
    return float(K.sum(dtype=np.float64) - K.trace(dtype=np.float64))
