"""Rows of points as kernels take them: checked, centered (float32 then keeps the digits that tell rows apart)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError

Float = NDArray[np.float64]
Rows = slice | NDArray[np.integer]
"""Which rows: a slice is a view and costs nothing, an index array copies the rows it names."""


def center(points_ND: NDArray[np.floating]) -> Float:
    """The mean of the points [width], in float64.

    Raises:
        InputError: not an array of rows, no rows or columns, NaN or infinity in a row.
    """
    if points_ND.ndim != 2 or not points_ND.size:
        raise InputError(
            f"points of shape {points_ND.shape}", remedy="Give an array [rows, width], neither of them zero."
        )
    mean_D = points_ND.mean(axis=0, dtype=np.float64)
    if not np.isfinite(mean_D).all():
        bad = int(np.argmin(np.isfinite(points_ND).all(axis=1)))
        raise InputError("a point holds NaN or infinity", where=f"row {bad}", remedy="Check the embedder.")
    return mean_D


def median_distance(points_ND: NDArray[np.floating], *, seed: int = 0, sample: int = 1000) -> float | None:
    """The median distance between points that differ; None where none do.

    Args:
        points_ND: the points.
        seed: of the subsample.
        sample: with more points than this, the median is over a seeded subsample of so many.

    Raises:
        InputError: not an array of rows, NaN or infinity in a row.
    """
    mean_D = center(points_ND)
    some = points_ND
    if len(some) > sample:
        # Rows are taken in an order of their own, so that neither theirs nor their labels change which are drawn.
        order = np.lexsort(points_ND[:, :4].T)
        some = some[order[np.random.default_rng(seed).choice(len(some), sample, replace=False)]]
    some = some - mean_D
    norms = (some**2).sum(axis=1)
    pairs = np.triu_indices(len(some), 1)
    both = (norms[:, None] + norms)[pairs]
    squared = both - 2 * (some @ some.T)[pairs]
    apart = squared[squared > 1e-12 * both]
    return float(np.sqrt(np.median(apart))) if apart.size else None
