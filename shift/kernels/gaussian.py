"""A Gaussian mixture kernel around the median distance.

    k(x, y) = mean over s of exp(-|x - y|^2 / 2 s^2),  s = median * 2^(1, 1/2, 0, -1/2, -1)

The median heuristic and its use for two-sample tests: Gretton et al. 2012; several bandwidths, because no one is right
for shifts of every scale: Schrab et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.kernels.rows import Rows, median_distance
from shift.kernels.squares import Squares

OCTAVES = 5
"""Bandwidths sigma * 2^(1, 1/2, 0, -1/2, -1): each halves the last one's squared width, so one exponential and four
squarings give all five, and none is so narrow that typical pairs vanish (median / 4 leaves exp(-8))."""
IN_CACHE = 2**16
"""Values (256 kB) taken through all powers at a time: they stay in a core's own cache, even beside a busy neighbor."""


@dataclass(frozen=True)
class Gaussian:
    """The mean of Gaussian kernels exp(-|x - y|^2 / 2 s^2), their squared bandwidths a factor of two apart.

    Attributes:
        squares: -|x - y|^2 / 2 s^2 for the widest s.
        sigma: the middle bandwidth, in the points' units.
        octaves: how many bandwidths there are.
        degenerate: true where all points coincide, so that no bandwidth is defined (then every shift is exactly 0).
    """

    squares: Squares
    sigma: float
    octaves: int = OCTAVES
    degenerate: bool = False

    @classmethod
    def fit(
        cls,
        points_ND: NDArray[np.floating],
        *,
        sigma: float | None = None,
        octaves: int = OCTAVES,
        seed: int = 0,
        sample: int = 1000,
    ) -> Gaussian:
        """Set the bandwidth to the median distance between points that differ, and prepare the blocks.

        The median is over both samples' points together, so relabeling leaves it as it is and permutation tests stay
        exact.

        Args:
            points_ND: the pooled points.
            sigma: a bandwidth to use instead of the median, in the points' units.
            octaves: how many bandwidths around it.
            seed: of the subsample.
            sample: with more points than this, the median is over a seeded subsample of so many.

        Raises:
            InputError: not an array of rows, NaN or infinity in a row, a bandwidth that isn't positive.
        """
        degenerate = False
        if sigma is None:
            found = median_distance(points_ND, seed=seed, sample=sample)
            degenerate, sigma = found is None, found or 1.0
        elif not 0 < sigma < np.inf:
            raise InputError(f"a bandwidth of {sigma}", remedy="Give a positive number, or none for the median.")
        return cls(Squares.of(points_ND, sigma * 2 ** ((octaves - 1) / 4)), sigma, octaves, degenerate)

    def __len__(self) -> int:
        return len(self.squares)

    def block(self, rows: Rows, cols: Rows) -> NDArray[np.float32]:
        """The kernel between two sets of points, float32 [rows, cols]."""
        return self.of(self.squares.block(rows, cols))

    def of(self, power: NDArray[np.float32]) -> NDArray[np.float32]:
        """The kernel from a block of `squares`, in the block's own memory."""
        step = max(IN_CACHE // max(power.shape[1], 1), 1)
        for start in range(0, len(power), step):
            total = power[start : start + step]
            # Rounding may leave a pair of equal rows above 0; below -87 the exponential is no normal float32.
            np.clip(total, -87, 0, out=total)
            np.exp(total, out=total)
            if self.octaves > 1:
                narrower = total * total
                total += narrower
                for _ in range(self.octaves - 2):
                    np.multiply(narrower, narrower, out=narrower)
                    total += narrower
                total *= np.float32(1 / self.octaves)
        return power

    @property
    def bandwidths(self) -> list[float]:
        """The bandwidths, widest first."""
        return [self.sigma * 2 ** ((self.octaves - 1) / 4 - k / 2) for k in range(self.octaves)]
