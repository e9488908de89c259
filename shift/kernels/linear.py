"""The inner product, whose MMD^2 is the squared distance between the two means (the centroid shift)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.kernels.inner import inner
from shift.kernels.rows import Float, Rows, center


@dataclass(frozen=True)
class Linear:
    """<x - m, y - m>, m the pooled mean; both weightings sum to 1, so m cancels and only float32 digits are gained.

    Attributes:
        points_ND: the points, as given.
        mean_D: m.
    """

    points_ND: NDArray[np.floating]
    mean_D: Float

    @classmethod
    def fit(cls, points_ND: NDArray[np.floating]) -> Linear:
        """Find the mean; the points are neither copied nor changed.

        Raises:
            InputError: not an array of rows, NaN or infinity in a row.
        """
        return cls(points_ND, center(points_ND))

    def __len__(self) -> int:
        return len(self.points_ND)

    def features(self, rows: Rows) -> NDArray[np.float32]:
        """The centered rows: `block` is their inner products, so sums of them can replace it."""
        return (self.points_ND[rows] - self.mean_D).astype(np.float32)

    def block(self, rows: Rows, cols: Rows) -> NDArray[np.float32]:
        """The kernel between two sets of points, float32 [rows, cols]."""
        return inner(self.features(rows), self.features(cols))
