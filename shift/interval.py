"""Intervals for squared norms, cross terms and shares: valid near zero and away from it.

A row bootstrap of a U-form repeats rows and so counts <t_i, t_i> as if it were between prompts (coverage .42-.84 where
.95 was asked); nothing here resamples rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from shift.groups import Groups
from shift.mmd import SKETCH, Cross, Float, Leg

Z = NormalDist().inv_cdf(0.975)


def null_statistics(leg: Leg) -> Float:
    """U(t, t) when signs are drawn for the centered t_i: what no shift at all still gives, for each draw."""
    trace = float(leg.diag_N.sum()) - float((leg.row_N + leg.diag_N).sum()) / leg.n
    return (leg.signs_B - trace) / (leg.n * (leg.n - 1))


def squared_norm_interval(leg: Leg, signs_NB: NDArray[np.float32], *, level: float = 0.95) -> tuple[float, float]:
    """A confidence interval for |E t|^2 by inverting a multiplier test of each candidate norm.

    For a norm d the statistic is simulated as

        U*(d) = d^2 + 2 d <u, mean e_i c_i> + sum_{i != j} e_i e_j <c_i, c_j> / (n (n - 1))

    with c_i = t_i - mean t, u the direction of E t and Rademacher signs e. At d = 0 this is the null distribution of
    the degenerate U-form; far from 0 the linear term, the projection variance, rules. A norm is kept where the observed
    |U+ - d^2| is below its simulated quantile; d = sqrt(U+) always is, so the interval is never empty.

    The variance along u can't be read off the sample mean when u is mostly noise (it then tends to the average
    variance of all directions, and intervals come out short: coverage .89 where .95 was asked). It is estimated as

        (z1 + noise * tr C^3 / tr C^2) / (U+ + noise),   noise = tr C / n,

    z1 the unbiased projection variance d^2 var<u, t>: far from 0 that is z1 / U, near 0 the variance of a direction
    drawn in proportion to the covariance's square, for shifts tend to lie where the data vary (Echoset's own choice;
    benchmarks/shift_calibration.py measures what it buys).

    Returns:
        Lower and upper bound of the squared norm.
    """
    if leg.zero:
        return 0.0, 0.0
    n, keep = leg.n, leg.keep_N
    row_N = (leg.row_N + leg.diag_N)[keep]  # <t_i, sum t>
    total = float(row_N.sum())
    trace = float(leg.diag_N.sum()) - total / n
    noise_B = (leg.signs_B - trace) / (n * (n - 1))

    observed = max(leg.value, 0.0)
    z2 = leg.squares / (n * (n - 1)) - leg.value**2
    z1 = max(float(np.var(leg.row_N[keep] / (n - 1), ddof=1)) - z2 / (n - 1), 0.0)
    noise = trace / n**2
    variance = (z1 + noise * _tilted_variance(leg)) / max(observed + noise, 1e-300)
    along_B = (row_N - total / n) @ signs_NB[keep] / n
    return _invert(observed, variance / n, along_B, noise_B, level)


def unpaired_interval(
    gram_SS: Float, groups: Groups, value: float, *, redraws: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """The same interval between two samples of distinct prompts, from the Gram matrix of states.

    The difference of means is a sum of centered units, a_i = x_i - mean x over n and y_j - mean y over m, and a state's
    sum of them serves as one unit: with a thousand states that costs next to nothing.

    Args:
        gram_SS: sums of kernel values between states, each row with itself included.
        groups: the states; every prompt has one row, in one of the samples.
        value: the unbiased squared norm.
        redraws: sign draws.
        rng: where they come from.
        level: of the interval.

    Returns:
        Lower and upper bound of the squared norm.
    """
    first_SB, second_SB = groups.weights(0, rng)
    rows_S = np.bincount(groups.state_M, minlength=groups.states)
    # A unit is a state's sum less its sample's mean for each of its rows; the scale makes squares unbiased.
    side_S2 = np.column_stack([first_SB[:, 0], second_SB[:, 0]]).astype(np.float64)
    sizes = np.array(groups.prompts[:2], np.float64)
    share_S2 = rows_S[:, None] * side_S2 / sizes
    scale_S = side_S2 @ (np.array([-1, 1]) / np.sqrt(sizes * (sizes - 1)))
    with_means_S2 = gram_SS @ side_S2
    gram_UU = gram_SS - with_means_S2 @ share_S2.T
    gram_UU -= share_S2 @ (side_S2.T @ gram_UU)
    gram_UU *= np.outer(scale_S, scale_S)
    along_S = with_means_S2 @ (np.array([-1, 1]) / sizes)
    along_U = (along_S - share_S2 @ (side_S2.T @ along_S)) * scale_S
    return interval_of_units(gram_UU, along_U, value, redraws=redraws, rng=rng, level=level)


def interval_of_units(
    gram_UU: Float, along_U: Float, value: float, *, redraws: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """The same interval from centered units whose sum is the mean's deviation: rows, or groups of them.

    Args:
        gram_UU: inner products of the units.
        along_U: each unit's inner product with the observed mean.
        value: the unbiased squared norm of the mean.
        redraws: sign draws.
        rng: where they come from.
        level: of the interval.
    """
    signs_UB = rng.choice((-1.0, 1.0), (len(along_U), redraws))
    own_U = gram_UU.diagonal().copy()
    trace = float(own_U.sum())
    moved_UB = gram_UU @ signs_UB - own_U[:, None] * signs_UB
    noise_B = np.einsum("ub,ub->b", signs_UB, moved_UB)
    noise = float((gram_UU**2).sum() - (own_U**2).sum())
    # tr C^3 by random signs (Hutchinson 1990): it only says in which directions shifts tend to lie.
    few_UB = moved_UB[:, :SKETCH]
    cube = float(np.einsum("ub,ub->b", few_UB, gram_UU @ few_UB - own_U[:, None] * few_UB).mean())
    # What a unit contributes to the mean itself is taken out before its projection on the mean is squared.
    along_U = along_U - own_U
    observed = max(value, 0.0)
    projected = max(float((along_U**2).sum()) - noise, 0.0)
    tilted = max(cube, 0.0) / max(noise, 1e-300)
    variance = (projected + trace * tilted) / max(observed + trace, 1e-300)
    return _invert(observed, variance, along_U @ signs_UB, noise_B, level)


def _invert(observed: float, variance: float, along_B: Float, noise_B: Float, level: float) -> tuple[float, float]:
    """The squared norms d^2 at which U*(d) = d^2 + 2 d along + noise is not too far from the observed one.

    Args:
        observed: U+, the larger of the U-form and 0.
        variance: of the mean along the shift's direction; `along_B` is scaled to it.
        along_B: draws of the linear term.
        noise_B: draws of the degenerate term.
        level: of the interval.
    """
    along_B = along_B * (np.sqrt(variance) / max(float(along_B.std()), 1e-30))

    def kept(d: float) -> bool:
        return abs(observed - d * d) <= np.quantile(np.abs(2 * d * along_B + noise_B), level)

    if not noise_B.any() and not along_B.any():  # points that all coincide leave nothing uncertain
        return observed, observed
    inside = float(np.sqrt(observed))
    low = 0.0 if kept(0.0) else _edge(kept, inside=inside, outside=0.0)
    outside = step = inside + float(np.sqrt(np.abs(noise_B).max())) + float(np.abs(along_B).max())
    while kept(outside):
        outside += step
    return low**2, _edge(kept, inside=inside, outside=outside) ** 2


def _tilted_variance(leg: Leg) -> float:
    """The ratio tr C^3 / tr C^2 of the covariance C, from products of sign draws: E m_ab m_bc m_ca = tr C^3."""
    few = len(leg.sketch_AA)
    M = leg.sketch_AA - np.diag(leg.sketch_AA.diagonal())
    square = float((M * M).sum()) / (few * (few - 1))
    cube = float(((M @ M) * M).sum()) / (few * (few - 1) * (few - 2))
    return max(cube, 0.0) / max(square, 1e-30) / leg.n


def _edge(kept: Callable[[float], bool], *, inside: float, outside: float) -> float:
    """The boundary of the kept norms between one that is kept and one that is not, by bisection."""
    for _ in range(20):
        middle = (inside + outside) / 2
        if kept(middle):
            inside = middle
        else:
            outside = middle
    return outside


@dataclass(frozen=True)
class Parts:
    """(L^2, S^2, C) of |l + s|^2 = L^2 + S^2 + 2C and their joint covariance."""

    estimate: Float
    covariance: Float

    def cross_interval(self) -> tuple[float, float]:
        """A 95% interval for C = <E l, E s>."""
        half = Z * float(np.sqrt(self.covariance[2, 2]))
        return float(self.estimate[2]) - half, float(self.estimate[2]) + half

    def share(self, part: int) -> tuple[float, float, float] | None:
        """The share of labeling (0) or selection (1) in the total, (its square + C) / total, with Fieller's interval.

        Returns:
            Value, low and high; None where the total is not clear of 0, for then Fieller's set is unbounded.
        """
        top = np.array([1.0, 0, 1]) if part == 0 else np.array([0, 1.0, 1])
        whole = np.array([1.0, 1, 2])
        x, y = float(top @ self.estimate), float(whole @ self.estimate)
        vx, vy, vxy = (float(a @ self.covariance @ b) for a, b in ((top, top), (whole, whole), (top, whole)))
        # r is kept where |x - r y| <= Z sd(x - r y): a quadratic in r
        a, b, c = y * y - Z * Z * vy, x * y - Z * Z * vxy, x * x - Z * Z * vx
        if a <= 0 or y <= 0:
            return None
        root = float(np.sqrt(max(b * b - a * c, 0)))
        return x / y, (b - root) / a, (b + root) / a


def decompose(labeling: Leg, selection: Leg, cross: Cross) -> Parts:
    """The parts and their covariance: the delete-one jackknife's first-order term, corrected, and the second-order one.

    For a U-statistic of degree two, Var = 4 (n - 2) z1 / (n (n - 1)) + 2 z2 / (n (n - 1)) (Hoeffding 1948), z1 the
    covariance of the projections and z2 of the kernel itself. The plain jackknife doubles z2's share, which is all
    there is where both legs are near 0.
    """
    n = labeling.n
    keep = labeling.keep_N
    rows = np.stack([labeling.row_N[keep], selection.row_N[keep], cross.row_N[keep]])
    estimate = rows.sum(axis=1) / (n * (n - 1))
    second = cross.products / (n * (n - 1)) - np.outer(estimate, estimate)
    first = np.cov(rows / (n - 1)) - second / (n - 1)
    # A variance below zero is sampling noise of the correction.
    values, vectors = np.linalg.eigh(first)
    first = (vectors * np.maximum(values, 0)) @ vectors.T
    return Parts(estimate, (4 * (n - 2) * first + 2 * second) / (n * (n - 1)))
