"""Squared distances between rows, in blocks: one matrix product each, shared by every kernel made from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.kernels.inner import inner, prepare
from shift.kernels.rows import Float, Rows, center

CHUNK = 4096
FAR = 1e4
"""Squared distance from the mean, in units of the width, beyond which float32 products lose more than three digits
of |x - y|^2 between neighbors out there; then products are float64, at half the speed and twice the memory."""


@dataclass(frozen=True)
class Squares:
    """-|x - y|^2 / 2 w^2 between the rows it was made on.

    Attributes:
        width: w, in the points' units.
        left_ND, right_ND: the points, augmented so that `left @ right.T` is the whole expression in one product.
    """

    width: float
    left_ND: NDArray[np.floating]
    right_ND: NDArray[np.floating]

    @classmethod
    def of(cls, points_ND: NDArray[np.floating], width: float = 1.0) -> Squares:
        """Prepare the blocks of some points.

        Raises:
            InputError: not an array of rows, NaN or infinity in a row, a row some 1e154 widths away.
        """
        mean_D = center(points_ND)
        left_ND, right_ND = _augmented(points_ND, mean_D, width, np.float32)
        if left_ND[:, -4].min() < -FAR / 2:
            left_ND, right_ND = _augmented(points_ND, mean_D, width, np.float64)
            if not np.isfinite(left_ND[:, -4]).all():
                bad = int(np.abs(points_ND - mean_D).max(axis=1).argmax())
                raise InputError("its squared distance is beyond float64", where=f"row {bad}", remedy="Rescale.")
        prepare(float(len(points_ND)) ** 2 * left_ND.shape[1])
        return cls(width, left_ND, right_ND)

    def __len__(self) -> int:
        return len(self.left_ND)

    def block(self, rows: Rows, cols: Rows) -> NDArray[np.float32]:
        """-|x - y|^2 / 2 w^2 for two sets of rows, float32 [rows, cols]; rounding may leave it a little above 0."""
        with np.errstate(over="ignore"):  # further than float32 reaches is -inf, as it should be
            return inner(self.left_ND[rows], self.right_ND[cols]).astype(np.float32, copy=False)


def _augmented(
    points_ND: NDArray[np.floating], mean_D: Float, width: float, dtype: type[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """[z, high, low, 1, 1] and [z, 1, 1, high, low], where z is centered and scaled and high + low = -|z|^2 / 2."""
    n, d = points_ND.shape
    left_ND = np.ones((n, d + 4), dtype)
    right_ND = np.ones((n, d + 4), dtype)
    for start in range(0, n, CHUNK):
        rows = slice(start, start + CHUNK)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = ((points_ND[rows] - mean_D) / width).astype(dtype)
            half = -0.5 * (scaled.astype(np.float64) ** 2).sum(axis=1)
            # In two parts: a rounded norm would move all of a row's values alike, which doesn't average out.
            high = half.astype(dtype)
            low = half - high
        left_ND[rows, :d] = right_ND[rows, :d] = scaled
        left_ND[rows, d], left_ND[rows, d + 1] = high, low
        right_ND[rows, d + 2], right_ND[rows, d + 3] = high, low
    return left_ND, right_ND
