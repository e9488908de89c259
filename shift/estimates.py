"""Means and ratios over prompts with 95% intervals: prompts are the independent units, never candidates."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from datasets_cards.errors import InputError

Float = NDArray[np.float64]


class Part(BaseModel):
    """Frozen, and strict about its fields: a report that is read is one that was written."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Interval(Part):
    """An estimate and its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """A number that is known, not estimated."""
        return cls(value=value, low=value, high=value)


def mean(x_N: Float) -> Interval:
    """The mean over prompts and its Student interval.

    Raises:
        InputError: fewer than two prompts.
    """
    return ratio(x_N, np.ones(len(x_N)))


def ratio(top_N: Float, bottom_N: Float, *, share: bool = False) -> Interval:
    """Sum of `top` over sum of `bottom`, linearized over prompts (Cochran 1977, ch. 6).

    Args:
        top_N: each prompt's numerator, 0 where its denominator is 0.
        bottom_N: each prompt's denominator, >= 0; a prompt with 0 says nothing and counts for nothing.
        share: the ratio is a share of something: the interval is Wilson's, at the number of independent trials that
            the linearized variance amounts to (Dean and Pagano 2015), so it stays within [0, 1] and has a width where
            the share is 0 or 1.

    Raises:
        InputError: fewer than two prompts with a denominator above 0.
    """
    value, residual_N = _linearized(top_N, bottom_N)
    prompts = int((bottom_N > 0).sum())
    t = student(prompts - 1)
    error = _standard_error(residual_N, prompts)
    if not share:
        return Interval(value=value, low=value - t * error, high=value + t * error)
    value = min(max(value, 0.0), 1.0)
    spread = value * (1 - value)
    # An error of rounding size next to a share inside (0, 1): every prompt has the very same share.
    if spread > 1e-12 and error**2 < 1e-24:
        return Interval.exactly(value)
    penalty = t * t * (error**2 / spread if spread > 1e-12 else 1 / prompts)
    center = (value + penalty / 2) / (1 + penalty)
    half = (penalty * spread + penalty**2 / 4) ** 0.5 / (1 + penalty)
    return Interval(value=value, low=min(max(center - half, 0.0), value), high=max(min(center + half, 1.0), value))


def change(top_N: Float, bottom_N: Float, top0_N: Float, bottom0_N: Float, *, share: bool = False) -> Interval:
    """One ratio less another over the same prompts, paired: what the prompts share cancels.

    Args:
        share: both are shares of something. Where no prompt differs, the interval then reaches as far as the share of
            differing prompts may still be (exact binomial, Clopper and Pearson 1934), rather than having no width.

    Raises:
        InputError: fewer than two prompts with a denominator above 0 in both.
    """
    value, residual_N = _linearized(top_N, bottom_N)
    value0, residual0_N = _linearized(top0_N, bottom0_N)
    prompts = int(((bottom_N > 0) & (bottom0_N > 0)).sum())
    moved_N = residual_N - residual0_N
    half = student(prompts - 1) * _standard_error(moved_N, prompts)
    if share and np.abs(moved_N).sum() < 1e-12:
        half = 1 - 0.025 ** (1 / prompts)
    return Interval(value=value - value0, low=value - value0 - half, high=value - value0 + half)


@lru_cache(maxsize=256)
def student(freedom: int) -> float:
    """The 97.5th percentile of Student's t.

    Raises:
        InputError: no degree of freedom, for a single prompt has no interval.
    """
    if freedom < 1:
        raise InputError(f"{freedom + 1} prompt(s)", remedy="An interval over prompts needs at least two.")
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def _linearized(top_N: Float, bottom_N: Float) -> tuple[float, Float]:
    total = float(bottom_N.sum())
    if not total > 0:
        raise InputError("no prompt to average over", remedy="Check that candidates carry the numbers asked for.")
    value = float(top_N.sum()) / total
    return value, (top_N - value * bottom_N) / total


def _standard_error(residual_N: Float, prompts: int) -> float:
    return float(np.sqrt((residual_N**2).sum() * prompts / max(prompts - 1, 1)))
