"""Frechet distance: a Gaussian is fitted to each sample, and the two Gaussians are compared.

    FD = |mean difference|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)                         (Dowson and Landau 1982)

With A = F'F and B = G'G the trace of the root is the sum of the singular values of F G': no root of a matrix is taken,
and singular covariances are no special case.

Sampling alone makes FD positive, by an amount that falls as 1/n and that depends on how the points are distributed: a
value without its null range says nothing. `frechet_infinity` extrapolates to samples without end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets_cards.errors import InputError
from shift.metrics.protocol import Float, Statistic
from shift.metrics.two_samples import Points, TwoSamples, points_of

BLOCK = 8192
ENOUGH, A_COLUMN = 128, 4
"""Prompts a sample, and prompts a column, from which the extrapolation is reported. Of what chance adds to the distance
between Gaussian samples 4% at most are left then, in size (a quarter of a sample has as many rows as columns); with 2
prompts a column 26% are, with 1 69%."""


@dataclass(frozen=True)
class Frechet:
    """A Frechet distance in its parts, in squared units of the points.

    Attributes:
        mean_part: |mean difference|^2.
        covariance_part: the trace term.
    """

    mean_part: float
    covariance_part: float

    @property
    def value(self) -> float:
        """The parts together."""
        return self.mean_part + self.covariance_part


@dataclass(frozen=True)
class FrechetInfinity(Frechet):
    """A Frechet distance extrapolated to samples without end; below 0 where noise exceeds what is left.

    Attributes:
        standard_error: of the value, from the draw of the subsamples; the sampling of the rows comes on top of it.
        mean_error, covariance_error: the same of the parts.
    """

    standard_error: float
    mean_error: float
    covariance_error: float


def frechet_distance(
    x_ND: ArrayLike, y_MD: ArrayLike, *, x_weight_N: ArrayLike | None = None, y_weight_M: ArrayLike | None = None
) -> Frechet:
    """Frechet distance between two samples; exactly 0 where they are the same arrays.

    Covariances are divided by n - 1 (by 1 - the sum of squared weights where rows are weighted). Wide points are taken
    as they are: the cost is n d^2 for the moments and, with k = min(n, d), k^3 for singular values.

    Args:
        x_ND: [n, d] points, two or more.
        y_MD: [m, d] points, two or more.
        x_weight_N: how much each row of x counts, >= 0; alike where left out.
        y_weight_M: the same of y.

    Raises:
        InputError: one row, different widths, NaN, infinite or huge values, weights that don't fit.
    """
    samples = TwoSamples.of(x_ND, y_MD, x_weight_N, y_weight_M)
    return Frechet(0.0, 0.0) if samples.same else Frechet(*_parts(samples))


def frechet_infinity(
    x_ND: ArrayLike,
    y_MD: ArrayLike,
    *,
    x_weight_N: ArrayLike | None = None,
    y_weight_M: ArrayLike | None = None,
    x_prompt_N: ArrayLike | None = None,
    y_prompt_M: ArrayLike | None = None,
    repeats: int = 8,
    seed: int = 0,
) -> FrechetInfinity:
    """Frechet distance between samples without end: the intercept of a line in 1/n (Chong and Forsyth 2020).

    Comparing subsamples is the method itself, not a saving: both samples are dealt at random into quarters, and the
    line goes through the whole, the mean of two halves and the mean of four quarters, so that every row is used once at
    each size. Whole prompts are dealt, and those of both samples go together. Nearly all of the bias is gone where
    each sample has 128 prompts and four a column; with fewer a part of it stays.

    Args:
        x_ND: [n, d] points.
        y_MD: [m, d] points.
        x_weight_N: how much each row of x counts, >= 0; alike where left out.
        y_weight_M: the same of y.
        x_prompt_N: which prompt each row of x answers; where left out, every row stands alone.
        y_prompt_M: the same of y.
        repeats: how often the samples are dealt anew.
        seed: of the dealing.

    Raises:
        InputError: as `frechet_distance`; fewer than 8 prompts in a sample, or than 2 repeats.
    """
    samples = TwoSamples.of(x_ND, y_MD, x_weight_N, y_weight_M, x_prompt_N, y_prompt_M)
    if samples.prompts < 8:
        raise InputError(f"{samples.prompts} prompts in a sample", remedy="Its quarters need 8 or more.")
    if repeats < 2:
        raise InputError(f"{repeats} repeat(s)", remedy="A standard error needs two or more.")
    if samples.same:
        return FrechetInfinity(0.0, 0.0, 0.0, 0.0, 0.0)
    rng = np.random.default_rng(seed)
    whole = _parts(samples)
    drawn = np.array([_intercept(samples, whole, rng) for _ in range(repeats)])
    drawn = np.column_stack([drawn, drawn.sum(axis=1)])
    mean, error = drawn.mean(axis=0).tolist(), (drawn.std(axis=0, ddof=1) / repeats**0.5).tolist()
    return FrechetInfinity(mean[0], mean[1], standard_error=error[2], mean_error=error[0], covariance_error=error[1])


@dataclass(frozen=True)
class FrechetMetric:
    """The Frechet distance as a metric, with its parts and, where there are enough prompts, its extrapolation.

    Attributes:
        widest: where rows and columns are more than this, only means are compared and there is no value: it would
            take seconds a redraw, and grow with the cube.
    """

    name: str = "frechet"
    title: str = "Fréchet distance"
    meaning: str = (
        "How far the means and the covariances of the points are apart, in squared units of the points; 0 means that "
        "both agree, and chance alone keeps it above 0."
    )
    grows: bool = True
    tested: bool = False
    redraws: int = 19
    widest: int = 2048

    def on(self, points_MD: NDArray[np.float32], prompt_M: NDArray[np.int64], *, seed: int) -> Statistic:
        """Check the rows; each weighting takes its own moments.

        Raises:
            InputError: one row, NaN, infinite or huge values.
        """
        points = points_of(points_MD, "points")

        def statistic(first_M: Float, second_M: Float) -> Mapping[str, float | None]:
            samples = TwoSamples.weighted(points, prompt_M, first_M, second_M)
            if samples.same:
                return {"value": 0.0, "mean_part": 0.0, "covariance_part": 0.0, "infinity": 0.0}
            if min(*samples.x_ND.shape, len(samples.y_MD)) > self.widest:
                shift_D = samples.y_weight_M @ samples.y_MD - samples.x_weight_N @ samples.x_ND
                mean_part = float(shift_D @ shift_D)
                return {"value": None, "mean_part": mean_part, "covariance_part": None, "infinity": None}
            return _Measured(samples, _parts(samples), seed)

        return statistic


@dataclass(frozen=True, repr=False, eq=False)
class _Measured(Mapping[str, float | None]):
    """A value and its parts; the extrapolation is seven times the work, done when it is asked for (redraws don't)."""

    samples: TwoSamples
    whole: tuple[float, float]
    seed: int

    def __getitem__(self, name: str) -> float | None:
        if name != "infinity":
            return {"value": sum(self.whole), "mean_part": self.whole[0], "covariance_part": self.whole[1]}[name]
        if self.samples.prompts < max(ENOUGH, A_COLUMN * self.samples.x_ND.shape[1]):
            return None
        return sum(_intercept(self.samples, self.whole, np.random.default_rng(self.seed)))

    def __iter__(self) -> Iterator[str]:
        return iter(("value", "mean_part", "covariance_part", "infinity"))

    def __len__(self) -> int:
        return 4


def _intercept(samples: TwoSamples, whole: tuple[float, float], rng: np.random.Generator) -> tuple[float, float]:
    """Both parts at 1/n = 0."""
    quarter_P = samples.deal(4, rng)
    halves, quarters = (
        np.mean([_parts(samples.take(quarter_P % parts == k)) for k in range(parts)], axis=0) for parts in (2, 4)
    )
    # Here the least-squares line through 1/n, 2/n and 4/n meets 0.
    mean_part, covariance_part = (whole + (halves - quarters) / 2).tolist()
    return mean_part, covariance_part


def _parts(samples: TwoSamples) -> tuple[float, float]:
    """The mean part and the covariance part."""
    x_mean, x_factor = _gaussian(samples.x_ND, samples.x_weight_N)
    y_mean, y_factor = _gaussian(samples.y_MD, samples.y_weight_M)
    overlap = float(np.linalg.svd(x_factor @ y_factor.T, compute_uv=False).sum())
    covariance_part = float((x_factor**2).sum() + (y_factor**2).sum()) - 2 * overlap
    return float(((x_mean - y_mean) ** 2).sum()), max(covariance_part, 0.0)


def _gaussian(points_ND: Points, weight_N: Float) -> tuple[Float, Float]:
    """The mean, and a factor F of the covariance F'F: the rows themselves where they are few, else triangular."""
    from scipy.linalg.lapack import dpstrf  # pyright: ignore[reportAttributeAccessIssue]

    n, width = points_ND.shape
    root_N = np.sqrt(weight_N)
    unbiased = 1 / (1 - weight_N @ weight_N) if n > 1 else 0.0
    # Any point near the rows saves float32 digits when they sit far from the origin.
    pilot_D = points_ND[:: max(n // 64, 1)].mean(axis=0)
    if n <= width:
        rows = (points_ND - pilot_D).astype(np.float64)
        mean = weight_N @ rows
        return pilot_D + mean, (rows - mean) * (root_N * unbiased**0.5)[:, None]
    mean, second = np.zeros(width), np.zeros((width, width))
    for i in range(0, n, BLOCK):
        root = root_N[i : i + BLOCK].astype(np.float32)
        rows = (points_ND[i : i + BLOCK] - pilot_D).astype(np.float32, copy=False)
        rows *= root[:, None]
        mean += root @ rows
        second += rows.T @ rows
    # With pivots there is such a factor whatever the rank.
    upper, pivot, rank, _ = dpstrf(unbiased * (second - np.outer(mean, mean)))
    factor = np.zeros((rank, width))
    factor[:, pivot - 1] = np.triu(upper)[:rank]
    return pilot_D + mean, factor
