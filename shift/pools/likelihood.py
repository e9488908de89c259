"""Model shift: how likely the plain model finds each rung, and how far proposal and selection are from it in nats.

    KL(U || P) = E_U[log U - log P],    KL(S || P) = KL(S || U) + E_S[log U - log P],

with log U the stored log-probability under what was drawn from, log P the plain model's at T=1, and E_S an average over
the *selected* labels. KL(S || U) is not seen in the data; it lies between 0 and the ceiling of `ceilings.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shift.estimates import Float, Interval, Part, change, mean, ratio
from shift.pools.ceilings import kl_ceiling
from shift.pools.stored import NO_LABEL, StoredPools

Name = Literal["KL(U||P)", "KL(S||U)", "KL(S||P)"]
PAIRS = (("P", "U"), ("U", "S"), ("P", "S"), ("O", "P"), ("O", "S"))
NOT_RESCORED = "the engine doesn't score given completions, so their probability under the plain prompt is not known"


class RungLikelihood(Part):
    """Negative log-likelihood of one rung under the plain model, in nats.

    Attributes:
        n: prompts whose completions on this rung all have a log-probability.
        per_completion: mean over prompts; None with the reason.
        per_token: all nats over all tokens (exp of it is the perplexity); None where tokens were not counted.
    """

    rung: Literal["O", "P", "U", "S"]
    n: int
    per_completion: Interval | None
    per_token: Interval | None
    reason: str | None


class LikelihoodChange(Part):
    """The change of the negative log-likelihood from one rung to another, paired over the `n` prompts that have both.

    Above 0 the model finds the second rung less likely.
    """

    start: Literal["O", "P", "U", "S"]
    end: Literal["O", "P", "U", "S"]
    n: int
    per_completion: Interval | None
    per_token: Interval | None
    reason: str | None


class Divergence(Part):
    """A Kullback-Leibler divergence given the prompt, in nats a completion, averaged over prompts.

    Attributes:
        kind: `exact` (known), `estimate`, `bounds`, `infinite`, or `undefined`.
        value: for `exact` and `estimate`; an estimate can fall below 0 by noise.
        at_least, at_most: for `bounds`; each an estimate with an interval of its own, or None where there is none.
        reason: what was averaged, and why this kind.
    """

    name: Name
    n: int
    kind: Literal["exact", "estimate", "bounds", "infinite", "undefined"]
    value: Interval | None
    at_least: Interval | None
    at_most: Interval | None
    reason: str


class LikelihoodShift(Part):
    """Model shift from stored log-probabilities; every figure that can't be told says why."""

    rungs: list[RungLikelihood]
    changes: list[LikelihoodChange]
    divergences: list[Divergence]

    def divergence(self, name: Name) -> Divergence:
        """The divergence of that name."""
        return next(found for found in self.divergences if found.name == name)


@dataclass(frozen=True)
class _Rung:
    """Nats and tokens of each prompt's completion (for U the pool's means); NaN where the prompt says nothing."""

    nats_N: Float
    tokens_N: Float
    reason: str


def likelihood_shift(pools: StoredPools, *, original: Mapping[str, tuple[float, int]] | None = None) -> LikelihoodShift:
    """Measure the model shift of an artifact.

    Prompts are averaged with equal weight, after the mean over the pool within each; intervals are over prompts. A
    prompt counts on a rung only where all of its completions there have a log-probability.

    Args:
        pools: what the artifact stores.
        original: log P and tokens of the original completions by row id, where the plain model scored them.
    """
    rungs = _rungs(pools, original or {})
    if not original:
        del rungs["O"]
    pairs = [pair for pair in PAIRS if rungs.keys() >= set(pair)]
    return LikelihoodShift(
        rungs=[_describe(name, rung) for name, rung in rungs.items()],
        changes=[_change(start, end, rungs[start], rungs[end]) for start, end in pairs],
        divergences=[_labeling(pools), _selection(pools), _total(pools)],
    )


def _rungs(pools: StoredPools, original: Mapping[str, tuple[float, int]]) -> dict[str, _Rung]:
    unknown = _why_unknown(pools, "logprob")
    scored = np.array([original.get(id_, (np.nan, np.nan)) for id_ in pools.ids], np.float64)
    own_N = pools.selected_N == -1  # labels that a dose replaced by the self-sample
    chosen_N = np.where(own_N, pools.baseline_logprob_N, pools.selected(pools.logprob_NK))
    chosen_tokens_N = np.where(own_N, pools.baseline_tokens_N, pools.selected(pools.tokens_NK))
    labeled = (pools.selected_N != NO_LABEL).any()
    return {
        "O": _Rung(-scored[:, 0], scored[:, 1], "the plain model did not score the originals"),
        "P": _Rung(
            -pools.baseline_logprob_N,
            pools.baseline_tokens_N,
            unknown if pools.baseline_N.any() else "no self-sample was drawn",
        ),
        "U": _Rung(-_pool_mean(pools, pools.logprob_NK), _pool_mean(pools, pools.tokens_NK), unknown),
        "S": _Rung(-chosen_N, chosen_tokens_N, unknown if labeled else "no row has a label"),
    }


def _pool_mean(pools: StoredPools, values_NK: Float) -> Float:
    """Means over the candidates drawn; NaN where there is none or any of them is unknown."""
    totals_N = np.where(pools.drawn_NK, values_NK, 0).sum(axis=1)
    return np.where(pools.size_N > 0, totals_N / np.maximum(pools.size_N, 1), np.nan)


def _describe(name: str, rung: _Rung) -> RungLikelihood:
    keep_N = ~np.isnan(rung.nats_N)
    reason = _fault(rung.nats_N[keep_N], rung.reason)
    counted_N = keep_N & (rung.tokens_N > 0)
    return RungLikelihood(
        rung=name,  # pyright: ignore[reportArgumentType]
        n=int(keep_N.sum()),
        per_completion=None if reason else mean(rung.nats_N[keep_N]),
        per_token=None if reason or counted_N.sum() < 2 else ratio(rung.nats_N[counted_N], rung.tokens_N[counted_N]),
        reason=reason,
    )


def _change(start: str, end: str, first: _Rung, second: _Rung) -> LikelihoodChange:
    keep_N = ~np.isnan(first.nats_N) & ~np.isnan(second.nats_N)
    why = first.reason if np.isnan(first.nats_N).all() else second.reason
    reason = _fault((first.nats_N + second.nats_N)[keep_N], why)
    counted_N = keep_N & (first.tokens_N > 0) & (second.tokens_N > 0)
    per_token = None
    if not reason and counted_N.sum() >= 2:
        a, b = ((rung.nats_N[counted_N], rung.tokens_N[counted_N]) for rung in (first, second))
        per_token = change(*b, *a)
    return LikelihoodChange(
        start=start,  # pyright: ignore[reportArgumentType]
        end=end,  # pyright: ignore[reportArgumentType]
        n=int(keep_N.sum()),
        per_completion=None if reason else mean(second.nats_N[keep_N] - first.nats_N[keep_N]),
        per_token=per_token,
        reason=reason,
    )


def _fault(nats_N: Float, unknown: str) -> str | None:
    """Why the mean over these prompts has no value, or None where it has."""
    if infinite := int(np.isinf(nats_N).sum()):
        return f"infinite: the plain model gives probability 0 to the completions of {infinite} prompts"
    if len(nats_N) < 2:
        return "a single prompt has it" if len(nats_N) else unknown
    return None


def _labeling(pools: StoredPools) -> Divergence:
    """KL(U||P): the pool's mean of log U - log P within each prompt."""
    name = "KL(U||P)"
    if pools.kind == "unknown":
        return _undefined(name, f"how {pools.labeler.proposal!r} draws is not known")
    if pools.kind == "decode":
        per_prompt_N = -_pool_mean(pools, pools.logprob_NK)
        return _measured(name, per_prompt_N, "estimate", "-log P of a deterministic decode", pools, "logprob")
    per_prompt_N = _pool_mean(pools, pools.behavior_NK - pools.logprob_NK)
    kind, reason = _drawn_how(pools)
    return _measured(name, per_prompt_N, kind, reason, pools, "behavior_logprob")


def _drawn_how(pools: StoredPools) -> tuple[Literal["estimate", "at most"], str]:
    if pools.kind == "samples":
        return "estimate", "mean of log U - log P over the pool"
    if pools.kind == "refined":
        return "at most", (
            "mean of log U - log P, log U given the draft: an upper bound, too high by the information between draft "
            "and answer, which is 0 where the draft is a greedy decode"
        )
    return "at most", (
        "mean over the pool's members of each one's own log U - log P (-log P of a decode): an upper bound for their "
        "mixture, too high by at most the log of their number"
    )


def _selection(pools: StoredPools) -> Divergence:
    """KL(S||U): exactly 0 where nothing is chosen by content, else between 0 and the ceiling."""
    name = "KL(S||U)"
    if reason := _no_selection(pools):
        return _undefined(name, reason)
    n = int((pools.selected_N >= 0).sum())
    most, reason = _most(pools)
    if most.high == 0:
        return _exact(name, n, reason)
    zero = Interval.exactly(0.0)
    return Divergence(name=name, n=n, kind="bounds", value=None, at_least=zero, at_most=most, reason=reason)


def _total(pools: StoredPools) -> Divergence:
    """KL(S||P) = KL(S||U) + E_S[log U - log P]."""
    name = "KL(S||P)"
    if reason := _no_selection(pools):
        return _undefined(name, reason)
    logprob_N = pools.selected(pools.logprob_NK)
    if pools.kind == "decode":
        return _measured(name, -logprob_N, "estimate", "-log P of a deterministic decode", pools, "logprob")
    if pools.kind == "mixed":
        reason = "-log P of the labels: an upper bound, too high by the labels' entropy given the prompt"
        return _measured(name, -logprob_N, "at most", reason, pools, "logprob")
    kind, how = _drawn_how(pools)
    gap_N = pools.selected(pools.behavior_NK) - logprob_N
    found = _measured(name, gap_N, kind, how.replace("over the pool", "over the labels"), pools, "behavior_logprob")
    most, why = _most(pools)
    gap = found.value or found.at_most
    if most.high == 0 or gap is None:
        return found
    least = found.at_least or gap
    reason = f"{found.reason}; to which KL(S||U) adds at most {most.value:.3g}: {why}"
    return found.model_copy(
        update={"kind": "bounds", "value": None, "at_least": least, "at_most": _sum(gap, most), "reason": reason}
    )


def _most(pools: StoredPools) -> tuple[Interval, str]:
    """The most that KL(S||U) can be, U being what candidates are drawn from, and why.

    Rows that lost their label make the labels a sample *given* that they were kept. Given the prompt this adds up to
    -log Pr(kept | prompt), and averaged over the kept prompts no more than -log Pr(kept), as -t log t is concave.
    """
    if pools.kind == "decode":
        return Interval.exactly(0.0), "zero: the label is the prompt's one decode"
    kept_N, drawn_N = pools.selected_N >= 0, pools.size_N > 0
    sizes = pools.size_N[kept_N].tolist()
    whole = len(sizes) == drawn_N.sum()
    if max(sizes) == 1:
        most, why = 0.0, "zero: every pool has a single candidate"
    elif pools.labeler.selector == "uniform":
        most, why = 0.0, "zero: a uniform pick is a uniform member"
    elif pools.labeler.selector == "only" and pools.kind == "samples":
        most, why = 0.0, "zero: the first of independent samples is any of them"
    else:
        sharp = pools.kind == "samples" and bool(whole)
        most = float(np.mean([kl_ceiling(size, independent=sharp) for size in sizes]))
        limit = "log k - (k - 1)/k, reached by a score without ties" if sharp else "log k"
        why = f"an upper bound, the most that a choice among k candidates can reach is {limit}"
    if whole:
        return Interval.exactly(most), why
    share = ratio(kept_N.astype(float), drawn_N.astype(float), share=True)
    lost = Interval(value=-np.log(share.value), low=-np.log(share.high), high=-np.log(share.low))
    reason = f"{why}; plus -log of the share of rows that kept a label ({lost.value:.3g})"
    return _sum(Interval.exactly(most), lost), reason


def _sum(a: Interval, b: Interval) -> Interval:
    """Of two estimates; the interval is wide enough however they depend on each other."""
    return Interval(value=a.value + b.value, low=a.low + b.low, high=a.high + b.high)


def _no_selection(pools: StoredPools) -> str | None:
    if not (pools.selected_N != NO_LABEL).any():
        return "no row has a label"
    if pools.labeler.dose is not None:
        return "labels are mixed with self-samples (a dose): measure the same labels without one"
    if pools.kind == "unknown":
        return f"how {pools.labeler.proposal!r} draws is not known"
    return None


def _measured(
    name: Name, nats_N: Float, kind: Literal["estimate", "at most"], reason: str, pools: StoredPools, needs: str
) -> Divergence:
    known = nats_N[~np.isnan(nats_N)]
    fault = _fault(known, _why_unknown(pools, needs))
    if fault and not np.isinf(known).any():
        return _undefined(name, fault)
    value = None if fault else mean(known)
    bound = kind == "at most"
    return Divergence(
        name=name,
        n=len(known),
        kind="infinite" if fault else "bounds" if bound else "estimate",
        value=None if bound else value,
        at_least=Interval.exactly(0.0) if bound and value else None,
        at_most=value if bound else None,
        reason=fault or reason,
    )


def _exact(name: Name, n: int, reason: str) -> Divergence:
    zero = Interval.exactly(0.0)
    return Divergence(name=name, n=n, kind="exact", value=zero, at_least=None, at_most=None, reason=reason)


def _undefined(name: Name, reason: str) -> Divergence:
    return Divergence(name=name, n=0, kind="undefined", value=None, at_least=None, at_most=None, reason=reason)


def _why_unknown(pools: StoredPools, needs: str) -> str:
    """The engine's own reason why a number is not known, where it gives one."""
    order = ("behavior_logprob", "logprob") if needs == "behavior_logprob" else ("logprob",)
    for lack in order:
        if lack in pools.lacks:
            return pools.lacks[lack]
    if pools.kind == "refined" and "score" in pools.lacks:
        return NOT_RESCORED
    return "no log-probability is stored"
