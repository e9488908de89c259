"""Sliced 2-Wasserstein distance: how far mass must move, on average over directions in space.

    SW2 = sqrt(mean over directions u of W2(<x, u>, <y, u>)^2)                              (Bonneel et al. 2015)

On a line the cheapest transport matches quantiles, so each direction costs one sort a sample. Directions are
orthogonal in blocks as long as the points are wide, which leaves less to chance than independent ones (Rowland et al.
2019): with a multiple of the width, a translation by t has exactly SW2^2 = |t|^2 / width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.metrics.protocol import Float, Statistic
from shift.neighbors import Points, centered, distinct

BLOCK = 2**21
"""Projected coordinates that are sorted at a time."""


def sliced_w2(
    x_ND: NDArray[Any],
    y_MD: NDArray[Any],
    *,
    x_weight_N: NDArray[Any] | None = None,
    y_weight_M: NDArray[Any] | None = None,
    directions: int = 500,
    seed: int = 0,
) -> float:
    """Sliced 2-Wasserstein distance between two samples, in the points' units (not squared).

    Exact along each direction, also where the samples differ in size or rows in weight. Points of width 1 have a
    single direction, and the distance is then W2 itself. Its value without any shift is above 0 and falls with the
    number of rows.

    Args:
        x_ND: one sample, float16 and wider.
        y_MD: the other.
        x_weight_N: how much each row of `x_ND` counts (>= 0, any sum); alike where left out.
        y_weight_M: the same for `y_MD`.
        directions: how many to average over.
        seed: of the directions.

    Raises:
        InputError: fewer than two rows or one direction, NaN or infinity, differing widths, unusable weights.
    """
    (x, y), unit = centered(x_ND, y_MD)
    weights = [_weights(x_weight_N, len(x), "x_weight_N"), _weights(y_weight_M, len(y), "y_weight_M")]
    along_LD = orthogonal(x.shape[1], directions, seed)
    total = sum(transport(some @ x.T, some @ y.T, *weights) for some in _portions(along_LD, len(x) + len(y)))
    return unit * float(np.sqrt(total / len(along_LD)))


@dataclass(frozen=True)
class SlicedW2:
    """Sliced Wasserstein-2 as a metric: rows are projected once, then sorted for each weighting.

    Attributes:
        directions: how many to average over, the same ones for the value and its redraws.
    """

    directions: int = 100
    name: str = "sliced_w2"
    title: str = "sliced Wasserstein-2"
    meaning: str = (
        "How far the points of one sample must move to become the other's, seen along random directions and averaged "
        "(root mean square, in the points' units); 0 means alike, and chance alone keeps it above 0."
    )
    grows: bool = True
    tested: bool = True
    redraws: int = 199

    def on(self, points_MD: Points, prompt_M: NDArray[np.int64], *, seed: int) -> Statistic:
        """Project the pooled rows."""
        (points,), unit = centered(points_MD)
        # Equal rows get equal places, so that equal samples are exactly 0 apart wherever in the pool they are.
        points_PD, point_M = distinct(points)
        along_LD = orthogonal(points.shape[1], self.directions, seed)
        place_LM = (along_LD @ points_PD.T).take(point_M, axis=1)

        def statistic(first_M: Float, second_M: Float) -> dict[str, float | None]:
            sides = [(np.flatnonzero(weight_M), weight_M[weight_M > 0]) for weight_M in (first_M, second_M)]
            (x, x_weight), (y, y_weight) = ((rows, None if np.ptp(w) == 0 else w) for rows, w in sides)
            squared = sum(
                transport(some.take(x, axis=1), some.take(y, axis=1), x_weight, y_weight)
                for some in _portions(place_LM, len(x) + len(y))
            )
            squared *= unit**2 / len(place_LM)
            return {"value": squared**0.5, "squared": squared}

        return statistic


def orthogonal(width: int, count: int, seed: int) -> Points:
    """Random unit vectors [count, width], orthogonal within each block of `width`; a single one for width 1.

    Raises:
        InputError: fewer than one.
    """
    if count < 1:
        raise InputError(f"{count} directions", remedy="Take one or more.")
    if width == 1:
        return np.ones((1, 1), np.float32)
    rng = np.random.default_rng(seed)
    sizes = [min(width, count - i) for i in range(0, count, width)]
    # Q's columns are uniform up to their signs, and a direction's sign changes no distance.
    blocks = [np.linalg.qr(rng.standard_normal((width, size)))[0].T for size in sizes]
    return np.concatenate(blocks).astype(np.float32)


def transport(x_LN: Points, y_LM: Points, x_weight_N: Float | None, y_weight_M: Float | None) -> float:
    """The sum over lines of W2^2 between the places of two samples' rows on each (both arrays may be changed).

    Args:
        x_LN: where the first sample's rows lie.
        y_LM: where the second's lie.
        x_weight_N: how much each row counts (> 0); None: all alike.
        y_weight_M: the same for the second.
    """
    n, m = x_LN.shape[1], y_LM.shape[1]
    if x_weight_N is not None or y_weight_M is not None:
        x_weight_N = np.ones(n) if x_weight_N is None else x_weight_N
        y_weight_M = np.ones(m) if y_weight_M is None else y_weight_M
        few = max(BLOCK // 64 // (n + m), 1)  # the steps of a merge are quickest where they stay in the cache
        portions = [slice(i, i + few) for i in range(0, len(x_LN), few)]
        return sum(_weighted(x_LN[some], y_LM[some], x_weight_N, y_weight_M) for some in portions)
    x_LN.sort(axis=1)
    y_LM.sort(axis=1)
    if n == m:
        gap = np.subtract(x_LN, y_LM, out=x_LN)
        return float(np.vecdot(gap, gap).sum(dtype=np.float64)) / n
    i, j, share = _matched(np.arange(1, n + 1) / n, np.arange(1, m + 1) / m)
    gap = x_LN.take(i, axis=1, mode="clip") - y_LM.take(j, axis=1, mode="clip")
    return float((np.square(gap, out=gap) @ share.astype(np.float32)).sum(dtype=np.float64))


def _weighted(x_LN: Points, y_LM: Points, x_weight_N: Float, y_weight_M: Float) -> float:
    """`transport` with weights: lines laid end to end, each one unit of mass long, are matched in one go."""
    masses = []
    for place, weight in ((x_LN, x_weight_N), (y_LM, y_weight_M)):
        mass = weight.take(place.argsort(axis=1)).cumsum(axis=1)
        place.sort(axis=1)
        mass /= mass[:, -1:]
        mass += np.arange(len(mass))[:, None]
        masses.append(mass.ravel())
    i, j, share = _matched(*masses)
    gap = x_LN.ravel().take(i, mode="clip") - y_LM.ravel().take(j, mode="clip")
    return float(np.square(gap, out=gap) @ share)


def _matched(x_mass: Float, y_mass: Float) -> tuple[NDArray[np.integer], NDArray[np.integer], Float]:
    """The cheapest transport along a line: which place of x goes to which of y, and how much mass.

    Where mass is 0 for rounding, an index can be one past the end.

    Args:
        x_mass: the mass up to and with each place in ascending order.
        y_mass: the same for y, with the same total.
    """
    both = np.concatenate([x_mass, y_mass])
    order = both.argsort(kind="stable")  # of two ascending runs: a merge
    from_x = order < len(x_mass)
    i = np.cumsum(from_x) - from_x
    return i, np.arange(len(both)) - i, np.diff(both.take(order), prepend=0.0)


def _portions(lines: Points, rows: int) -> Iterator[Points]:
    step = max(BLOCK // rows, 1)
    return (lines[i : i + step] for i in range(0, len(lines), step))


def _weights(given: NDArray[Any] | None, length: int, name: str) -> Float | None:
    if given is None:
        return None
    weight = np.asarray(given, np.float64)
    if weight.shape != (length,):
        raise InputError(f"shape {weight.shape} for {length} rows", where=name, remedy="Give one weight for each row.")
    if not (bad := ~((weight >= 0) & np.isfinite(weight))).any() and weight.any():
        return weight
    row = int(np.argmax(bad))
    raise InputError(
        f"the weight {weight[row]} of row {row}" if bad.any() else "all weights are 0",
        where=name,
        remedy="Weights are finite, not negative, and some are above 0.",
    )
