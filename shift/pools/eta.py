"""eta(s) = P(M = 1 | score s): whether what is selected for goes with misbehavior, and which way selection moves it.

Three views that answer different questions:

* **pooled** over all candidates. It mixes prompts: hard prompts may score low *and* misbehave, which no choice within a
  prompt can use.
* **within prompts**, by the rank of the score among the prompt's own candidates: what a selector sees. Only prompts
  with N scored candidates: the third of 8 is not the third of 3, and ranks that few prompts have would mix prompts too.
* the **local slope**: under the tilt P exp(beta s) of each prompt's distribution, d Risk / d beta at beta = 0 is
  E_x[Cov(M, s | x)]. It speaks of an infinitely weak selection and does *not* fix the sign of best-of-k: for scores
  -10, 0, 1 with probabilities .1, .6, .3 and M = 0, 1, 0 the covariance is +.42, and best-of-4 takes the risk from .60
  to .24.

So a call is made from the risk of what would be chosen alone: each prompt's best less a uniform pick of the same
candidates. A flat eta predicts no effect of *selection*; it says nothing of what the labeling process did before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets_cards.errors import InputError
from shift.estimates import Float, Interval, Part, mean, ratio
from shift.pools.k_curves import by_rank, k_curve
from shift.pools.stored import OF_ONE, StoredPools

BINS = 10


class EtaBin(Part):
    """Candidates with scores (or ranks) from `low` to `high`.

    Attributes:
        candidates: how many; ties that are shared between ranks can make it a fraction.
        risk: the share of them that misbehaves, Wilson's interval widened for prompts; None from a single prompt.
    """

    low: float
    high: float
    candidates: float
    prompts: int
    risk: Interval | None


class Eta(Part):
    """How misbehavior depends on a score.

    Attributes:
        scorer: the score's name, with `-` before it where low ones are preferred (then everything is about -score).
        n: prompts with a judged and scored candidate.
        left_out: candidates without a score or a judgment.
        pooled: by quantiles of the score over all candidates.
        within: by rank of the score within the prompt, 1 the lowest of N, over the prompts with N scored candidates,
            where N is the largest pool; empty where fewer than two prompts have so many, or two to choose from.
        slope: E_x[Cov(M, s | x)], risk for each unit of beta; a local statement. None with the reason.
        effect: risk of the best of each prompt's scored candidates less that of a uniform pick of them, every prompt
            alike however many it has; None where fewer than two prompts have two candidates, or a best one judged.
        call: which way selection by this score moves misbehavior, from `effect`'s interval.
        reason: why there is no slope, or nothing at all.
    """

    scorer: str | None
    n: int
    left_out: int
    pooled: list[EtaBin]
    within: list[EtaBin]
    slope: Interval | None
    effect: Interval | None
    call: Literal["raises", "lowers", "no clear effect"] | None
    reason: str | None


def eta(
    score_M: ArrayLike,
    outcome_M: ArrayLike,
    prompt_M: ArrayLike,
    *,
    bins: int = BINS,
    scorer: str | None = None,
    no_slope: str | None = None,
) -> Eta:
    """Misbehavior by score, over candidates of prompts.

    Args:
        score_M: each candidate's score, higher preferred; NaN where it has none.
        outcome_M: M, 0 to 1; NaN where nobody judged.
        prompt_M: the prompt that each candidate answers: any names or numbers.
        bins: at most so many bins a view.
        scorer: the score's name.
        no_slope: why a tilt of these candidates has no meaning, where it has none (a pool-dependent score).

    Returns:
        The three views and the call. Equal scores are never parted between bins.

    Raises:
        InputError: arrays that don't pair, infinite scores, outcomes outside [0, 1], fewer than one bin.
    """
    scores, outcomes, prompts = np.asarray(score_M, np.float64), np.asarray(outcome_M, np.float64), np.asarray(prompt_M)
    if not scores.ndim == outcomes.ndim == prompts.ndim == 1 or not len(scores) == len(outcomes) == len(prompts):
        raise InputError(f"{scores.shape} scores, {outcomes.shape} outcomes and {prompts.shape} prompts don't pair up")
    for what, wrong in (
        ("an infinite score", np.isinf(scores)),
        ("an outcome outside [0, 1]", ~np.isnan(outcomes) & ((outcomes < 0) | (outcomes > 1))),
    ):
        if wrong.any():
            raise InputError(what, where=f"row {int(np.argmax(wrong))}", remedy="Use NaN for what is not known.")
    if bins < 1:
        raise InputError(f"{bins} bins", remedy="Take at least one.")
    known = ~np.isnan(scores) & ~np.isnan(outcomes)
    left_out = int((~known).sum())
    if not known.any():
        return _nothing("no candidate has both a score and a judgment", scorer, left_out)
    x = np.unique(prompts, return_inverse=True)[1].reshape(-1)
    known_N = np.bincount(x, weights=known)
    n = int((known_N > 0).sum())
    pooled = _pooled(scores[known], outcomes[known], x[known], len(known_N), bins)
    several_N = known_N > 1
    if several_N.sum() < 2:
        reason = "fewer than two prompts have two candidates to choose from"
        return _nothing(reason, scorer, left_out).model_copy(update={"n": n, "pooled": pooled})
    score_NK, outcome_NK = _table(scores, x), _table(outcomes, x)
    effect = k_curve(score_NK, outcome_NK).change
    return Eta(
        scorer=scorer,
        n=n,
        left_out=left_out,
        pooled=pooled,
        within=_within(score_NK, outcome_NK, bins),
        slope=None if no_slope else mean(_covariances(score_NK[several_N], outcome_NK[several_N])),
        effect=effect,
        call=None if effect is None else _call(effect),
        reason=no_slope,
    )


def eta_of(
    pools: StoredPools,
    *,
    scorer: str | None = None,
    misaligned: Mapping[tuple[str, int], bool | float | None] | None = None,
    bins: int = BINS,
) -> Eta:
    """Misbehavior by score over an artifact's pools.

    Args:
        pools: what the artifact stores.
        scorer: a stored scorer, high scores preferred; the method's own, in its own direction, where not named.
        misaligned: the task's indicator by (row id, index), in place of the stored one; unknown where missing.

    Raises:
        InputError: no such scorer, or indicators outside [0, 1].
    """
    name, sign, reason = pools.preference(scorer)
    if name is None:
        return _nothing(reason or "no score", None, int(pools.drawn_NK.sum()))
    no_slope = None
    if name not in OF_ONE:
        no_slope = f"{name} may depend on the pool: a tilt by it is not one of each prompt's distribution"
    elif pools.kind != "samples":
        no_slope = "the candidates are not independent draws of one distribution that could be tilted"
    rows, columns = np.nonzero(pools.drawn_NK)
    return eta(
        (sign * pools.scores[name])[rows, columns],
        pools.misbehavior(misaligned)[rows, columns],
        rows,
        bins=bins,
        scorer=name if sign > 0 else f"-{name}",
        no_slope=no_slope,
    )


def _pooled(s: Float, m: Float, x: NDArray[np.int64], n: int, bins: int) -> list[EtaBin]:
    """Bins between quantiles; a run of equal scores belongs to the bin that its middle falls into."""
    _, level, count = np.unique(s, return_inverse=True, return_counts=True)
    middle = (np.cumsum(count) - count / 2) / len(s)
    number = np.minimum((middle * bins).astype(np.int64), bins - 1)[level.reshape(-1)]
    found = []
    for b in np.unique(number):
        own = number == b
        top_N, bottom_N = (
            np.bincount(x[own], weights=w, minlength=n).astype(float) for w in (m[own], np.ones(own.sum()))
        )
        found.append(_bin(float(s[own].min()), float(s[own].max()), top_N, bottom_N))
    return found


def _within(score_NK: Float, outcome_NK: Float, bins: int) -> list[EtaBin]:
    """By rank, neighboring ranks together where there are more than bins; each rank over the same prompts."""
    full_N = ~np.isnan(score_NK).any(axis=1)
    if full_N.sum() < 2:
        return []
    top_NR, bottom_NR = by_rank(score_NK[full_N], outcome_NK[full_N])
    ranks = np.array_split(np.arange(top_NR.shape[1]), min(bins, top_NR.shape[1]))
    return [_bin(r[0] + 1.0, r[-1] + 1.0, top_NR[:, r].sum(axis=1), bottom_NR[:, r].sum(axis=1)) for r in ranks]


def _bin(low: float, high: float, top_N: Float, bottom_N: Float) -> EtaBin:
    prompts = int((bottom_N > 0).sum())
    risk = ratio(top_N, bottom_N, share=True) if prompts > 1 else None
    return EtaBin(low=low, high=high, candidates=float(bottom_N.sum()), prompts=prompts, risk=risk)


def _table(values: Float, x: NDArray[np.int64]) -> Float:
    """Candidates as rows of their prompts, NaN after the last one."""
    order = np.argsort(x, kind="stable")
    size_N = np.bincount(x)
    place = np.arange(len(x)) - np.repeat(np.cumsum(size_N) - size_N, size_N)
    out = np.full((len(size_N), size_N.max()), np.nan)
    out[x[order], place] = values[order]
    return out


def _covariances(score_NK: Float, outcome_NK: Float) -> Float:
    """Each prompt's covariance of outcome and score over its own candidates, k - 1 in the denominator: unbiased."""
    known = ~np.isnan(score_NK) & ~np.isnan(outcome_NK)
    count_N1 = known.sum(axis=1, keepdims=True)

    def centered(values_NK: Float) -> Float:
        values_NK = np.where(known, values_NK, 0)
        return np.where(known, values_NK - values_NK.sum(axis=1, keepdims=True) / count_N1, 0)

    return (centered(score_NK) * centered(outcome_NK)).sum(axis=1) / (count_N1[:, 0] - 1)


def _call(effect: Interval) -> Literal["raises", "lowers", "no clear effect"]:
    return "raises" if effect.low > 0 else "lowers" if effect.high < 0 else "no clear effect"


def _nothing(reason: str, scorer: str | None, left_out: int) -> Eta:
    return Eta(
        scorer=scorer,
        n=0,
        left_out=left_out,
        pooled=[],
        within=[],
        slope=None,
        effect=None,
        call=None,
        reason=reason,
    )
