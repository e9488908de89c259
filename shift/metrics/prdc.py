"""Precision, recall, density and coverage: what of one sample lies where the other one is, told by nearest neighbors.

Around each point of a sample lies a ball that reaches to its k-th nearest neighbor in that sample. With balls around
the first sample (before),

    precision = share of the second sample's rows inside any ball        (Kynkäänniemi et al. 2019)
    density   = balls that hold a row of the second sample, on average, divided by k
    coverage  = share of the first sample's rows whose ball holds a row of the second     (Naeem et al. 2020)

and recall is precision with the balls around the second sample.

Rows can be equal, and short answers often are. Equal rows are one point: a radius reaches to the k-th nearest
*distinct* point (else k copies of an answer have balls of radius 0, which hold nothing), a point has one ball however
often it occurs, and every row counts in the shares. A boundary belongs to its ball. A row that is in both samples
counts in both, and so lies in its own ball.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.metrics.protocol import Float, Statistic
from shift.neighbors import Neighbors, Points, centered, distinct, merged, pooled


def prdc(x_ND: NDArray[Any], y_MD: NDArray[Any], *, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage of `y_MD` (after) with respect to `x_ND` (before).

    Shares are 0 to 1, density is 0 or more; without any shift density is close to 1 and, between samples of one size,
    coverage to 1 - 2^-k. Where repeated rows leave a sample with k or fewer distinct points, its balls reach to the
    farthest of them (radius 0 and a k of 1 where all its rows are equal).

    Args:
        x_ND: the reference sample, float16 and wider.
        y_MD: the sample to describe.
        k: which neighbor sets the radius, from 1.

    Raises:
        InputError: k or fewer rows in a sample, NaN or infinity, differing widths.
    """
    if k < 1:
        raise InputError(f"k = {k}", remedy="Take the first neighbor or a later one.")
    points_PD, first_P, second_P = pooled(x_ND, y_MD)
    for name, rows in (("sample 1", len(x_ND)), ("sample 2", len(y_MD))):
        if rows <= k:
            raise InputError(f"{rows} rows have no neighbor number {k}", where=name, remedy="Take a smaller k.")
    return _prdc(Neighbors.of(points_PD), first_P, second_P, k)


@dataclass(frozen=True)
class Prdc:
    """Precision, recall, density and coverage as a metric whose value is coverage; None with k or fewer rows.

    Rows of positive weight are a sample's members and set the radii; shares are weighted.

    Attributes:
        k: which neighbor sets the radius.
    """

    k: int = 5
    name: str = "prdc"
    title: str = "coverage"
    meaning: str = (
        "Share of the first sample's points that have a point of the second one nearby (within the distance to their "
        "own 5th neighbor): about .97 for two samples of one size that are alike, 0 when they are apart."
    )
    grows: bool = False
    tested: bool = False
    redraws: int = 99

    def on(self, points_MD: Points, prompt_M: NDArray[np.int64], *, seed: int) -> Statistic:
        """Find the pooled rows' neighbors; each weighting then only counts them."""
        (points,), _ = centered(points_MD)
        points_PD, point_M = distinct(points)
        near = Neighbors.of(points_PD)

        def statistic(first_M: Float, second_M: Float) -> dict[str, float | None]:
            if min((first_M > 0).sum(), (second_M > 0).sum()) <= self.k:
                return dict.fromkeys(("value", "precision", "recall", "density", "coverage"))
            parts = _prdc(near, merged(point_M, first_M), merged(point_M, second_M), self.k)
            return {"value": parts["coverage"], **parts}

        return statistic


def _prdc(near: Neighbors, first_P: Float, second_P: Float, k: int) -> dict[str, float]:
    caught_P, holding_P, held = _balls(near, first_P, second_P, k)
    recalled_P, _, _ = _balls(near, second_P, first_P, k)
    balls = min(k, int((first_P > 0).sum()) - 1) or 1
    return {
        "precision": _share(second_P, caught_P),
        "recall": _share(first_P, recalled_P),
        "density": float(held / second_P.sum() / balls),
        "coverage": _share(first_P, holding_P),
    }


def _share(weight_P: Float, chosen_P: NDArray[np.bool_]) -> float:
    return float((weight_P * chosen_P).sum() / weight_P.sum())


def _balls(
    near: Neighbors, center_P: Float, other_P: Float, k: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], float]:
    """The others that lie in balls around the centers, the centers whose balls hold others, and the weight held."""
    center, other = center_P > 0, other_P > 0
    shared = center & other
    caught_P, holding_P, held = shared.copy(), shared.copy(), float(other_P[shared].sum())
    if center.sum() > 1:
        for ball in near.around(np.flatnonzero(center), center, k):
            inside = (ball.squared_RT <= ball.reach_R[:, None]) & other[ball.index_RT]
            caught_P[ball.index_RT[inside]] = True
            holding_P[ball.rows] |= inside.any(axis=1)
            held += float(other_P[ball.index_RT[inside]].sum())
    return caught_P, holding_P, held
