"""The negative distance, whose MMD^2 is the energy distance.

With k(x, y) = -|x - y| it is MMD^2 = 2 E|x - y| - E|x - x'| - E|y - y'| (Szekely and Rizzo 2004; that the one is the
other: Sejdinovic et al. 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.kernels.rows import Rows, median_distance
from shift.kernels.squares import Squares


@dataclass(frozen=True)
class Distance:
    """-|x - y|, in the points' units.

    A root magnifies what float32 rounds off: rows nearer to each other than a thousandth of their distance from the
    mean may come out that far apart, equal ones too.

    Attributes:
        squares: the squared distances it takes the root of, in whatever unit.
    """

    squares: Squares

    @classmethod
    def fit(cls, points_ND: NDArray[np.floating]) -> Distance:
        """Prepare the blocks.

        Raises:
            InputError: not an array of rows, NaN or infinity in a row.
        """
        return cls(Squares.of(points_ND, median_distance(points_ND) or 1.0))

    def __len__(self) -> int:
        return len(self.squares)

    def block(self, rows: Rows, cols: Rows) -> NDArray[np.float32]:
        """The kernel between two sets of points, float32 [rows, cols]."""
        return self.of(self.squares.block(rows, cols))

    def of(self, power: NDArray[np.float32]) -> NDArray[np.float32]:
        """The kernel from a block of `squares`, in the block's own memory."""
        power *= np.float32(-2)
        np.clip(power, 0, np.inf, out=power)
        np.sqrt(power, out=power)
        power *= np.float32(-self.squares.width)
        return power
