"""What a statistic says beside its redraws: the null's range, p-values, and Holm's correction across metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.groups import Groups

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Null:
    """Where a statistic lies when labels are redrawn: its 5th percentile, mean and 95th percentile."""

    low: float
    mean: float
    high: float
    redraws: int

    @classmethod
    def of(cls, redrawn_B: Float) -> Null:
        """Summarize redraws (with fewer than 20 the percentiles are close to the smallest and the largest)."""
        low, high = np.quantile(redrawn_B, (0.05, 0.95))
        return cls(float(low), float(redrawn_B.mean()), float(high), len(redrawn_B))


def p_value(statistic_B: Float, *, rounding: float = 0.0) -> float:
    """(1 + #{T* >= T}) / (B + 1), T first: never 0, and 1 where nothing differs (Phipson and Smyth 2010).

    Args:
        statistic_B: the statistic as observed, then redrawn.
        rounding: how far apart equal statistics may have come out.
    """
    null_B = statistic_B[1:]
    # Draws that tie with the observation up to rounding count as ties, whichever way they were rounded.
    tolerance = max(1e-4 * float(null_B.std()), rounding)
    return (1 + int((null_B >= statistic_B[0] - tolerance).sum())) / (len(null_B) + 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (Holm 1979): the smallest level at which each test is still rejected.

    An unknown p keeps its place in the family's size.
    """
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    for place, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(p_values) - place)))
        corrected[index] = largest
    return corrected


def u_statistics(
    gram_SS: Float, first_SB: NDArray[np.floating], second_SB: NDArray[np.floating], groups: Groups
) -> Float:
    """|mean of the second - mean of the first|^2 in the kernel's space, unbiased, for each column of weights.

        XX / (n (n - 1)) + YY / (m (m - 1)) - 2 (XY + XY* / (s - 1)) / (n m)

    XX, YY and XY sum products over pairs of different prompts (a prompt's own answers are not independent), XY* over
    pairs of the s prompts that both samples have. It is the plain squared distance less unbiased estimates of what
    sampling adds to it; so it doesn't depend on where the origin lies. With distinct prompts (s = 0) it is the
    classical U-statistic (Gretton et al. 2012), with the same prompts on both sides the paired one.

    Args:
        gram_SS: sums of kernel values between states, pairs of rows of one prompt left out.
        first_SB: weights of the states in the first sample, a prompt's adding up to 1.
        second_SB: the same for the second.
        groups: that the states come from.
    """
    n, m, shared = groups.prompts
    first_SB, second_SB = first_SB.astype(np.float64), second_SB.astype(np.float64)
    if n == m == shared:  # one product, and differences before sums: equal answers cancel exactly
        return _forms(gram_SS, second_SB - first_SB) / (n * (n - 1))
    from_first_SB = gram_SS @ first_SB
    between_B = np.einsum("sb,sb->b", second_SB, from_first_SB)
    if shared == 1:  # its covariance can't be estimated; the pairs that are there are averaged
        between_B *= n * m / (n * m - 1)
    elif shared:
        both_SB = gram_SS[:, groups.shared_S] @ first_SB[groups.shared_S]
        between_B += np.einsum("sb,sb->b", (second_SB * groups.shared_S[:, None]), both_SB) / (shared - 1)
    within_B = np.einsum("sb,sb->b", first_SB, from_first_SB) / (n * (n - 1))
    return within_B + _forms(gram_SS, second_SB) / (m * (m - 1)) - 2 * between_B / (n * m)


def _forms(gram_SS: Float, weights_SB: Float) -> Float:
    return np.einsum("sb,sb->b", weights_SB, gram_SS @ weights_SB)


def redrawn_statistics(gram_SS: Float, groups: Groups, redraws: int, rng: np.random.Generator) -> Float:
    """The U-statistic as observed (first) and for redrawn labels, [redraws + 1]."""
    first_SB, second_SB = groups.weights(redraws, rng)
    return u_statistics(gram_SS, first_SB, second_SB, groups)
