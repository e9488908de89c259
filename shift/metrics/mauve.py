"""MAUVE and the frontier integral: how far two samples fill the same regions of space, and fill them alike.

The rows of both samples are sorted into buckets together, by k-means on the principal components that keep 90% of
their variance; p and q are the samples' shares of the buckets. With r = w p + (1 - w) q for w from 0 to 1,

    MAUVE = area under the curve (exp(-5 KL(q || r)), exp(-5 KL(p || r)))                       (Pillutla et al. 2021)
    frontier integral = 2 * integral over w of w KL(p || r) + (1 - w) KL(q || r)                   (Liu et al. 2021)

An empty bucket needs no smoothing, for p and q are only ever compared with their mixture. The value depends on the
number of buckets and on the number of rows (alike samples give less than 1), so it says little without its null range.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets_cards.errors import InputError
from shift.metrics.protocol import Float, Statistic
from shift.metrics.two_samples import Points, TwoSamples, points_of

SCALING = 5.0
VARIANCE = 0.9
MIXTURES = 25
CLUSTERS = 500
ROWS = 20
"""Pooled rows a bucket: with fewer than 20 for each of 500 there are fewer buckets."""
ROUNDS = 5
"""Of k-means. MAUVE is then within a fifth of its spread over seeds of what it is after a hundred."""


@dataclass(frozen=True)
class Mauve:
    """How alike two samples are, as means over several clusterings.

    Attributes:
        value: MAUVE: 1 where both fill the buckets alike, 0.004 where they share none.
        frontier_integral: 0 where both fill the buckets alike, 1 where they share none.
        seed_spread: standard deviation of MAUVE over the clusterings' seeds.
    """

    value: float
    frontier_integral: float
    seed_spread: float


def mauve(
    x_ND: ArrayLike,
    y_MD: ArrayLike,
    *,
    x_weight_N: ArrayLike | None = None,
    y_weight_M: ArrayLike | None = None,
    clusters: int = CLUSTERS,
    seeds: int = 5,
    seed: int = 0,
) -> Mauve:
    """MAUVE between two samples; exactly 1 where they hold the same rows, in whatever order.

    Buckets are one for every 20 rows of both samples together, at most `clusters`; where no more rows than that are
    distinct, each distinct row is a bucket. Points are clustered as they are: the package `mauve-text` brings them to
    length 1 first, so do that to compare with published values.

    Args:
        x_ND: [n, d] points, two or more.
        y_MD: [m, d] points, two or more.
        x_weight_N: how much each row of x counts, >= 0; alike where left out.
        y_weight_M: the same of y.
        clusters: buckets at most.
        seeds: clusterings to average over.
        seed: of the first of them.

    Raises:
        InputError: one row, different widths, NaN, infinite or huge values, weights that don't fit, fewer than two
            clusters or seeds.
    """
    samples = TwoSamples.of(x_ND, y_MD, x_weight_N, y_weight_M)
    bucket_SP = buckets(np.concatenate([samples.x_ND, samples.y_MD]), clusters, seeds, seed)
    n, m = len(samples.x_ND), len(samples.y_MD)
    first_P, second_P = np.pad(samples.x_weight_N, (0, m)), np.pad(samples.y_weight_M, (n, 0))
    return _mauve(bucket_SP, first_P, second_P)


@dataclass(frozen=True)
class MauveMetric:
    """MAUVE as a metric: rows are clustered once, and each weighting only counts."""

    name: str = "mauve"
    title: str = "MAUVE"
    meaning: str = (
        "How far both samples fill the same regions of space, and fill them alike: 1 means alike, near 0 that they "
        "share none; chance alone keeps it below 1."
    )
    grows: bool = False
    tested: bool = False
    redraws: int = 99
    clusters: int = CLUSTERS
    seeds: int = 5

    def on(self, points_MD: NDArray[np.float32], prompt_M: NDArray[np.int64], *, seed: int) -> Statistic:
        """Cluster the pooled rows.

        Raises:
            InputError: one row, NaN, infinite or huge values.
        """
        bucket_SM = buckets(points_of(points_MD, "points"), self.clusters, self.seeds, seed)

        def statistic(first_M: Float, second_M: Float) -> dict[str, float | None]:
            found = _mauve(bucket_SM, first_M, second_M)
            return {
                "value": found.value,
                "frontier_integral": found.frontier_integral,
                "seed_spread": found.seed_spread,
            }

        return statistic


def buckets(points_PD: Points, clusters: int, seeds: int, seed: int) -> NDArray[np.int64]:
    """Each row's bucket for each seed, [seeds, rows]; equal rows are in the same one."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if clusters < 2 or seeds < 2:
        raise InputError(f"{clusters} cluster(s) and {seeds} seed(s)", remedy="Take two or more of each.")
    # Sorting the rows makes the clusters independent of their order, and so the value symmetric.
    bits = np.ascontiguousarray(points_PD + points_PD.dtype.type(0)).view(f"V{points_PD[0].nbytes}").reshape(-1)
    _, place, which_P, count_U = np.unique(bits, return_index=True, return_inverse=True, return_counts=True)
    clusters = min(clusters, max(len(points_PD) // ROWS, 2))
    if len(place) <= clusters:
        return np.broadcast_to(which_P, (seeds, len(which_P)))
    rows_UC = principal(points_PD[place], count_U)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # rows that differ only in components left out
        found = []
        for state in range(seed, seed + seeds):
            means = KMeans(clusters, init="random", n_init=1, max_iter=ROUNDS, random_state=state)  # type: ignore[arg-type]
            found.append(means.fit_predict(rows_UC, sample_weight=count_U)[which_P])
    return np.array(found, np.int64)


def principal(rows_UD: Points, count_U: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows in the fewest principal components that keep 90% of the variance."""
    mean_D = np.average(rows_UD, axis=0, weights=count_U)
    rows = (rows_UD - mean_D.astype(rows_UD.dtype)).astype(np.float32)
    rows /= np.abs(rows).max()
    scaled = rows * np.sqrt(count_U)[:, None].astype(np.float32)
    if len(rows) <= rows.shape[1]:
        _, root, axes = np.linalg.svd(scaled, full_matrices=False)
        variance = root.astype(np.float64) ** 2
    else:
        variance, vectors = np.linalg.eigh((scaled.T @ scaled).astype(np.float64))
        variance, axes = variance[::-1], vectors.T[::-1].astype(np.float32)
    kept = int(np.searchsorted(np.cumsum(variance), VARIANCE * variance.sum())) + 1
    return rows @ axes[:kept].T


def _mauve(bucket_SP: NDArray[np.int64], first_P: Float, second_P: Float) -> Mauve:
    count = int(bucket_SP.max()) + 1
    p_SK, q_SK = (
        np.array([np.bincount(bucket_P, weight_P, count) for bucket_P in bucket_SP], np.float64)
        for weight_P in (first_P, second_P)
    )
    area_S = area(p_SK, q_SK)
    return Mauve(float(area_S.mean()), float(frontier_integral(p_SK, q_SK).mean()), float(area_S.std(ddof=1)))


def area(p_SK: Float, q_SK: Float) -> Float:
    """The area under the divergence curve between distributions over buckets [..., K], by trapezoids."""
    from scipy.special import rel_entr

    w = np.linspace(1e-6, 1 - 1e-6, MIXTURES).reshape(-1, *[1] * p_SK.ndim)
    r = q_SK + w * (p_SK - q_SK)
    across, up = (np.exp(-SCALING * rel_entr(share, r).sum(axis=-1)) for share in (q_SK, p_SK))
    # The curve's ends, w = 0 and w = 1, are (1, 0) and (0, 1) whatever the distributions.
    zero, one = np.zeros_like(across[:1]), np.ones_like(across[:1])
    across, up = np.concatenate([one, across, zero]), np.concatenate([zero, up, one])
    return ((across[:-1] - across[1:]) * (up[:-1] + up[1:]) / 2).sum(axis=0)


def frontier_integral(p_SK: Float, q_SK: Float) -> Float:
    """The frontier integral between distributions over buckets [..., K].

    Integrated by hand it is a sum over buckets of (p + q) / 2 - p q log(p / q) / (p - q).
    """
    both = (p_SK > 0) & (q_SK > 0)
    gap = np.divide(p_SK - q_SK, q_SK, out=np.zeros_like(p_SK), where=both)
    slope = np.divide(np.log1p(gap), gap, out=np.ones_like(gap), where=gap != 0)
    return np.maximum(((p_SK + q_SK) / 2 - np.where(both, p_SK * slope, 0)).sum(axis=-1), 0)
