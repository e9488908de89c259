"""Best-of-k for every k up to N from one stored pool of N: what selection does, without drawing anything again.

The best of a random k of the N candidates has rank r (ascending) with probability C(r - 1, k - 1) / C(N, k). Averaging
any outcome with these weights is unbiased for best-of-k where candidates are independent draws of one distribution and
each one's score is its own (Nakano et al. 2021; Chen et al. 2021 for pass@k). Where a score depends on the pool, every
subset is scored anew; where candidates are no such draws, smaller pools can't be made from larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets_cards.errors import InputError
from shift.estimates import Float, Interval, Part, change, ratio
from shift.pools.stored import OF_ONE, OF_POOL, SINGLE, StoredPools

TIE = 1e-5
"""Scores this close are tied, as they are for the selectors. A choice among equals goes by index, which is as good as
random where candidates are independent: a tied group shares its weight."""

LARGEST = 12
"""The largest pool whose subsets are enumerated: 4,095 of them."""

Rescore = Callable[[tuple[int, ...]], Float]
"""Candidates by index -> the scores [n, k] that they have in a pool of only them, higher better, NaN for none."""


class KPoint(Part):
    """Best of k.

    Attributes:
        value: the outcome's mean over choices that have a score and a known outcome; None where fewer than two prompts
            have such a choice.
        known: the share of choices that have both.
    """

    k: int
    value: Interval | None
    known: float


class KCurve(Part):
    """An outcome of best-of-k, for k = 1 to N.

    Attributes:
        change: the best of each prompt's own scored candidates less a uniform pick of them, paired by prompt. Every
            prompt with a score counts alike in both, however many it has (one: no change). Where all have N it is the
            last point less the first; where they don't, the points average different prompts, and this doesn't.
        n: prompts that say anything about it.
    """

    outcome: str
    n: int
    points: list[KPoint]
    change: Interval | None


class KCurves(Part):
    """k-curves of an artifact's pools under one scorer.

    Attributes:
        scorer: its name, with `-` before it where low scores are preferred.
        size: N.
        how: `ranks`, or `subsets` where each was scored anew.
        curves: by outcome: the score itself, `mean_logprob`, `tokens`, `misaligned`; those that are stored.
        reason: why there are none; None where there are.
    """

    scorer: str | None
    size: int
    how: str | None
    curves: list[KCurve]
    reason: str | None


def weights(size: int) -> Float:
    """W[r, k], the probability that the best of k of `size` candidates is the one of rank r; [size, size], from 0.

    C(r - 1, k - 1) / C(N, k) by a recursion over k, without factorials: C(m, k) / C(N, k) is the probability that all
    of k lie among the lowest m, and a weight is the difference of two of them.
    """
    m = np.arange(size + 1, dtype=np.float64)
    among, columns = np.ones(size + 1), []
    for k in range(size):
        among = among * np.maximum(m - k, 0) / (size - k)
        columns.append(np.diff(among))
    return np.stack(columns, axis=1)


def by_rank(score_NK: ArrayLike, outcome_NK: ArrayLike) -> tuple[Float, Float]:
    """Sort each prompt's outcomes by score, ascending; tied candidates share their ranks equally.

    Args:
        score_NK: higher is preferred; NaN for a candidate that can't be chosen, which ranks below all others.
        outcome_NK: NaN where it is not known.

    Returns:
        Outcome (0 where unknown) and share that can be chosen and is known, at each rank: [n, K] both.

    Raises:
        InputError: shapes that don't pair, no candidates, or an infinite value.
    """
    scores, outcomes = _pair(score_NK, outcome_NK)
    n, K = scores.shape
    order = np.argsort(np.where(np.isnan(scores), -np.inf, scores), axis=1, kind="stable")
    scores, outcomes = (np.take_along_axis(a, order, axis=1) for a in (scores, outcomes))
    known = ~np.isnan(scores) & ~np.isnan(outcomes)
    group = np.zeros((n, K), np.int64)
    # NaN scores come first and are one group; nothing is tied with them.
    apart = (scores[:, 1:] - scores[:, :-1] > TIE) | (np.isnan(scores[:, :-1]) & ~np.isnan(scores[:, 1:]))
    np.cumsum(apart, axis=1, out=group[:, 1:])
    flat = (group + K * np.arange(n)[:, None]).ravel()
    count = np.bincount(flat, minlength=n * K)[flat]

    def shared(values: NDArray[np.generic]) -> Float:
        return (np.bincount(flat, weights=values.ravel(), minlength=n * K)[flat] / count).reshape(n, K)

    return shared(np.where(known, outcomes, 0)), shared(known)


def k_curve(score_NK: ArrayLike, outcome_NK: ArrayLike, *, outcome: str = "outcome") -> KCurve:
    """The expected outcome of best-of-k for every k <= N, from pools of N independent candidates.

    Args:
        score_NK: each candidate's own score, higher preferred; NaN where it has none (it can't be chosen).
        outcome_NK: any outcome; NaN where it is not known. Choices without a known outcome are left out of the mean,
            and their share is told (`known`); where that depends on k, so does who is averaged. In a short pool it
            does, as some k draw no candidate with a score, so read `change` there, which short pools don't touch.
        outcome: its name. If all are 0 or 1, intervals are those of a share.

    Returns:
        The curve, intervals over prompts. Pools of one candidate give a flat curve, and so do scores that are all tied
        where pools are equally large; their `change` is 0 whatever the sizes.

    Raises:
        InputError: shapes that don't pair, or infinite values.
    """
    top_NR, bottom_NR = by_rank(score_NK, outcome_NK)
    W = weights(top_NR.shape[1])
    return _curve(top_NR @ W, bottom_NR @ W, score_NK, outcome_NK, outcome)


def k_curve_of_subsets(rescore: Rescore, outcome_NK: ArrayLike, *, outcome: str = "outcome") -> KCurve:
    """The same for scores that depend on the pool: every subset of k is scored as a pool of its own.

    Args:
        rescore: scores of some candidates, given by index, in a pool of only them; such as `votes(answers)`. `change`
            is about the candidates that have one in the whole pool.
        outcome_NK: as for `k_curve`.

    Raises:
        InputError: more than 12 candidates, scores of another shape, or as for `k_curve`.
    """
    outcomes = np.asarray(outcome_NK, np.float64)
    n, K = _pair(outcomes, outcomes)[0].shape
    if K > LARGEST:
        raise InputError(
            f"pools of {K} candidates have too many subsets to score each",
            remedy=f"At most {LARGEST} candidates can be enumerated.",
        )
    top_NK, bottom_NK = np.zeros((n, K)), np.zeros((n, K))
    for k in range(1, K + 1):
        for members in combinations(range(K), k):
            scores, own = _pair(rescore(members), outcomes[:, members])
            best_N = np.max(np.where(np.isnan(scores), -np.inf, scores), axis=1, keepdims=True)
            chosen = scores >= best_N - TIE  # False for NaN
            share = chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1) / comb(K, k)
            top_NK[:, k - 1] += (share * np.nan_to_num(own)).sum(axis=1)
            bottom_NK[:, k - 1] += (share * ~np.isnan(own)).sum(axis=1)
    return _curve(top_NK, bottom_NK, rescore(tuple(range(K))), outcomes, outcome)


def votes(answer_NK: NDArray[np.int64]) -> Rescore:
    """Scores by how many of a pool give the same answer: majority vote, or agreement.

    Args:
        answer_NK: answers as numbers, equal ones equal; below 0 for a candidate without one, which can't be chosen.
    """

    def rescore(members: tuple[int, ...]) -> Float:
        own = answer_NK[:, members]
        same = (own[:, :, None] == own[:, None, :]).sum(axis=2).astype(np.float64)
        return np.where(own >= 0, same, np.nan)

    return rescore


def k_curves(
    pools: StoredPools,
    *,
    scorer: str | None = None,
    misaligned: Mapping[tuple[str, int], bool | float | None] | None = None,
    answers: Mapping[tuple[str, int], str | None] | None = None,
    rescore: Rescore | None = None,
) -> KCurves:
    """Every k-curve that an artifact's pools give.

    Args:
        pools: what the artifact stores.
        scorer: a stored scorer, high scores preferred; the method's own, in its own direction, where not named.
        misaligned: the task's indicator by (row id, index), in place of the stored one; unknown where missing.
        answers: the answer in every candidate by (row id, index), None for none: for votes and agreement.
        rescore: how a scorer that depends on the pool scores a smaller one (its columns are candidate indices).

    Returns:
        The curves, or why there are none.

    Raises:
        InputError: no such scorer, or answers that don't give the stored votes.
    """
    name, sign, reason = pools.preference(scorer)
    label = None if name is None else name if sign > 0 else f"-{name}"
    size = pools.drawn_NK.shape[1]
    reason = why_not(pools) or reason
    redo = None
    if not reason and name is not None and name not in OF_ONE:
        redo, reason = _redo(pools, name, answers, rescore)
    if reason or name is None:
        return KCurves(scorer=label, size=size, how=None, curves=[], reason=reason)
    score_NK = sign * pools.scores[name]
    # What a pool-dependent score is in a smaller pool is no number of the candidate alone.
    outcomes = ({} if redo else {name: pools.scores[name]}) | {
        "mean_logprob": pools.mean_logprob_NK,
        "tokens": pools.tokens_NK,
        "misaligned": pools.misbehavior(misaligned),
    }
    curves = []
    for outcome, value_NK in outcomes.items():
        if (~np.isnan(value_NK) & ~np.isnan(score_NK)).any(axis=1).sum() >= 2:
            curves.append(
                k_curve_of_subsets(redo, value_NK, outcome=outcome)
                if redo
                else k_curve(score_NK, value_NK, outcome=outcome)
            )
    how = "subsets" if redo else "ranks"
    return KCurves(scorer=label, size=size, how=how, curves=curves, reason=None if curves else "no outcome is known")


def why_not(pools: StoredPools) -> str | None:
    """Why a stored pool can't stand for smaller ones, or None where it can."""
    if pools.drawn_NK.shape[1] == 1 or pools.kind in ("decode", "refined"):
        return SINGLE
    if pools.kind == "mixed":
        return "a mixed pool: its members are draws of different distributions, so no part of it is a smaller pool"
    if pools.kind == "unknown":
        return f"how {pools.labeler.proposal!r} draws is not known, and only independent candidates can stand for fewer"
    return None


def _redo(
    pools: StoredPools,
    name: str,
    answers: Mapping[tuple[str, int], str | None] | None,
    rescore: Rescore | None,
) -> tuple[Rescore | None, str | None]:
    """How to score subsets by a scorer that depends on the pool, or why that can't be done."""
    if (size := pools.drawn_NK.shape[1]) > LARGEST:
        return None, f"{name} depends on the pool, and {size} candidates have too many subsets (at most {LARGEST})"
    if rescore is not None:
        return rescore, None
    if name not in OF_POOL:
        return None, f"whether {name} depends on the pool is not known"
    if name not in ("votes", "agreement"):
        return None, f"{name} depends on the pool: smaller ones would have to be judged anew"
    if answers is None:
        return None, f"{name} depends on the pool, and answers are not stored: give them"
    return votes(_codes(pools, name, answers)), None


def _codes(pools: StoredPools, name: str, answers: Mapping[tuple[str, int], str | None]) -> NDArray[np.int64]:
    """Answers as numbers; checked to give the scores that are stored."""
    codes_NK = np.full(pools.drawn_NK.shape, -1, np.int64)
    for n, k in np.argwhere(pools.drawn_NK).tolist():
        if (pools.ids[n], k) not in answers:
            raise InputError(f"no answer for candidate {k}", where=f"row {pools.ids[n]}", remedy="Give None for none.")
    numbers: dict[str, int] = {}
    for n, k in np.argwhere(pools.drawn_NK).tolist():
        answer = answers[pools.ids[n], k]
        codes_NK[n, k] = -1 if answer is None else numbers.setdefault(answer, len(numbers))
    counted_NK = votes(codes_NK)(tuple(range(pools.drawn_NK.shape[1]))) - (name == "agreement")
    off = ~((counted_NK == pools.scores[name]) | (np.isnan(counted_NK) & np.isnan(pools.scores[name])))
    if off.any():
        n, k = np.argwhere(off)[0].tolist()
        raise InputError(
            f"the answers give candidate {k} {counted_NK[n, k]:g} {name}, and {pools.scores[name][n, k]:g} is stored",
            where=f"row {pools.ids[n]}",
            remedy="Find answers the way the artifact's task does.",
        )
    return codes_NK


def _curve(top_NK: Float, bottom_NK: Float, score_NK: ArrayLike, outcome_NK: ArrayLike, outcome: str) -> KCurve:
    scores, values = _pair(score_NK, outcome_NK)
    share = bool(np.isin(values[~np.isnan(values)], (0, 1)).all())
    top, bottom = top_NK.T, bottom_NK.T
    enough = (bottom > 0).sum(axis=1) >= 2
    effect = None
    if enough[-1]:
        # A uniform pick of those with a score is the best of them were all tied. The first point would not do: there a
        # short pool weighs less than in the last one, which would call differences between prompts an effect.
        top0_NR, bottom0_NR = by_rank(np.where(np.isnan(scores), np.nan, 0.0), values)
        ends = (top[-1], bottom[-1], top0_NR[:, -1], bottom0_NR[:, -1])
        effect = change(*ends, share=share) if len(top) > 1 else Interval.exactly(0.0)
    return KCurve(
        outcome=outcome,
        n=int((bottom[0] > 0).sum()),
        points=[
            KPoint(k=k + 1, value=ratio(top[k], bottom[k], share=share) if enough[k] else None, known=bottom[k].mean())
            for k in range(len(top))
        ],
        change=effect,
    )


def _pair(score_NK: ArrayLike, outcome_NK: ArrayLike) -> tuple[Float, Float]:
    scores, outcomes = np.asarray(score_NK, np.float64), np.asarray(outcome_NK, np.float64)
    if scores.ndim != 2 or scores.shape != outcomes.shape or not scores.size:
        raise InputError(
            f"scores {scores.shape} and outcomes {outcomes.shape} don't pair up", remedy="Give both [n, K]."
        )
    for what, values in (("score", scores), ("outcome", outcomes)):
        if (infinite := np.isinf(values).any(axis=1)).any():
            row = int(np.argmax(infinite))
            raise InputError(f"an infinite {what}", where=f"prompt {row}", remedy="Use NaN for what is not known.")
    return scores, outcomes
