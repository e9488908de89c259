"""A Gaussian mixture kernel, in blocks: memory stays at one block whatever the number of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OCTAVES = 5
"""Bandwidths sigma * 2^(1, 1/2, 0, -1/2, -1): each halves the last one's squared width, so one exponential and four
squarings give all five, and none is so narrow that typical pairs vanish (median / 4 leaves exp(-8))."""


@dataclass(frozen=True)
class Kernel:
    """The mean of five Gaussian kernels exp(-|x - y|^2 / 2 s^2) around the median distance.

    Attributes:
        sigma: the middle bandwidth, in the points' units.
        degenerate: true where all points coincide, so that no bandwidth is defined (then every shift is exactly 0).
        left_ND, right_ND: the points, augmented so that `left @ right.T` is -|x - y|^2 / 2 s_max^2 in one product.
    """

    sigma: float
    degenerate: bool
    left_ND: NDArray[np.float32]
    right_ND: NDArray[np.float32]

    @classmethod
    def fit(
        cls, points_ND: NDArray[np.float32], *, sigma: float | None = None, seed: int = 0, sample: int = 1000
    ) -> Kernel:
        """Set the bandwidth to the median distance between points that differ, and prepare the blocks.

        The median is over all rungs' points together, so relabeling points within a prompt leaves it as it is and
        the permutation tests stay exact.

        Args:
            points_ND: distinct points.
            sigma: a bandwidth to use instead of the median.
            seed: of the subsample.
            sample: with more points than this, the median is over a seeded subsample of so many.
        """
        # Centering costs nothing and saves float32 digits when all points sit far from the origin.
        centered = points_ND.astype(np.float64) - points_ND.mean(axis=0, dtype=np.float64)
        degenerate = False
        if sigma is None:
            some = centered
            if len(some) > sample:
                some = some[np.random.default_rng(seed).choice(len(some), sample, replace=False)]
            norms = (some**2).sum(axis=1)
            squared = (norms[:, None] + norms - 2 * some @ some.T)[np.triu_indices(len(some), 1)]
            apart = squared[squared > 1e-12 * max(norms.max(initial=0.0), 1e-30)]
            degenerate = not apart.size
            sigma = 1.0 if degenerate else float(np.sqrt(np.median(apart)))
        widest = sigma * 2 ** ((OCTAVES - 1) / 4)
        scaled = (centered / widest).astype(np.float32)
        half = -0.5 * (scaled.astype(np.float64) ** 2).sum(axis=1)
        # Squared norms in two float32 parts keep the exponent at float32 accuracy after cancellation.
        high = half.astype(np.float32)
        low = (half - high).astype(np.float32)
        one = np.ones_like(high)
        left = np.column_stack([scaled, high, low, one, one])
        right = np.column_stack([scaled, one, one, high, low])
        return cls(sigma, degenerate, left, right)

    def block(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float32]:
        """The kernel between two sets of points, float32 [rows, cols]."""
        power = self.left_ND[rows] @ self.right_ND[cols].T
        np.minimum(power, 0, out=power)
        np.exp(power, out=power)
        total = power.copy()
        for _ in range(OCTAVES - 1):
            np.multiply(power, power, out=power)
            total += power
        total *= np.float32(1 / OCTAVES)
        return total

    @property
    def bandwidths(self) -> list[float]:
        """The five bandwidths, widest first."""
        return [self.sigma * 2 ** ((OCTAVES - 1) / 4 - k / 2) for k in range(OCTAVES)]
