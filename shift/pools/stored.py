"""The pools that an artifact stores, as arrays, and what its manifest says about how they came about.

What can be said of a pool without an embedder depends on how it was drawn: independent samples of one distribution can
stand for smaller pools, and what they were drawn from has a known probability; a mixed pool has neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError, IntegrityError
from datasets_cards.records import SELF_SAMPLE

if TYPE_CHECKING:
    import polars as pl

    from datasets_cards import Artifact
    from datasets_cards.manifest import Labeler

Float = NDArray[np.float64]

Kind = Literal["samples", "decode", "refined", "mixed", "unknown"]
"""Independent samples of one distribution; one deterministic decode (or several equal ones); a sampled improvement of a
draft; members of different distributions; drawn by a proposal that this version doesn't know."""

KINDS: dict[str, Kind] = {
    "samples": "samples",
    "greedy": "decode",
    "views": "decode",
    "refinement": "refined",
    "diverse": "mixed",
}
"""Proposals by name. At temperature 0 samples and refinements are decodes, whatever stands here."""

OF_ONE: frozenset[str] = frozenset(
    {"mean_logprob", "mean_entropy", "self_certainty", "reward", "rubric", "misalignment"}
)
"""Scorers that look at one candidate at a time: its score is the same in a smaller pool."""

OF_POOL: frozenset[str] = frozenset(
    {"votes", "agreement", "similarity_agreement", "judged_agreement", "most_consistent"}
)
"""Scorers that compare a pool's members: in a smaller pool the same candidate scores differently."""

SINGLE = "every pool has a single answer: there is nothing to choose"

ROUNDING = 1e-3
"""How far above 0 a sum of float32 log-probabilities may come to lie."""

NO_LABEL = -2
"""What `selected_N` says of a row without a label; -1 is the row's self-sample."""


@dataclass(frozen=True)
class StoredPools:
    """The pools of n prompts in columns by candidate index; NaN is what nobody knows.

    Attributes:
        ids: the prompts, sorted.
        kind: how the pools were drawn.
        labeler: the manifest's word on the method.
        lacks: what the engine could not tell, with reasons.
        drawn_NK: which candidates there are; one that failed is none.
        logprob_NK: log P of the plain model at T=1, in nats; -inf where it gives no probability.
        behavior_NK: the same under what it was drawn from.
        tokens_NK: tokens of each candidate.
        misaligned_NK: the task's indicator M, 0 or 1.
        scores: by scorer.
        baseline_N, baseline_logprob_N, baseline_tokens_N: whether there is a self-sample, and the same of it.
        selected_N: index of the label, `SELF_SAMPLE` or `NO_LABEL`.
    """

    ids: tuple[str, ...]
    kind: Kind
    labeler: Labeler
    lacks: dict[str, str]
    drawn_NK: NDArray[np.bool_]
    logprob_NK: Float
    behavior_NK: Float
    tokens_NK: Float
    misaligned_NK: Float
    scores: dict[str, Float]
    baseline_N: NDArray[np.bool_]
    baseline_logprob_N: Float
    baseline_tokens_N: Float
    selected_N: NDArray[np.int64]

    @property
    def size_N(self) -> NDArray[np.int64]:
        """How many candidates each prompt has."""
        return self.drawn_NK.sum(axis=1)

    @property
    def mean_logprob_NK(self) -> Float:
        """Log-probability a token under the plain model; NaN where there is no token or no probability."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self.logprob_NK / self.tokens_NK
        return np.where(np.isfinite(found), found, np.nan)

    def preference(self, scorer: str | None = None) -> tuple[str | None, float, str | None]:
        """The scorer that candidates are preferred by, 1 or -1 for high or low, and why there is none (a None name).

        Args:
            scorer: a stored scorer, high scores preferred; the method's own, in its own direction, where not named.

        Raises:
            InputError: the scorer named has no stored score.
        """
        if scorer is not None:
            if scorer not in self.scores:
                stored = ", ".join(self.scores) or "none"
                raise InputError(f"no score of {scorer!r} is stored", where="scorer", remedy=f"Stored: {stored}.")
            return scorer, 1.0, None
        if self.drawn_NK.shape[1] == 1:
            return None, 1.0, SINGLE
        name, sign = self.labeler.scorer, {"argmax": 1.0, "argmin": -1.0}.get(self.labeler.selector)
        if name is None or sign is None:
            return None, 1.0, f"{self.labeler.method} does not choose the best by a score: name a stored scorer"
        return (name, sign, None) if name in self.scores else (None, sign, f"no candidate has a score of {name}")

    def misbehavior(self, given: Mapping[tuple[str, int], bool | float | None] | None = None) -> Float:
        """The task's indicator of each candidate, by (row id, index) as given, or as stored."""
        if given is None:
            return self.misaligned_NK
        found = [[given.get((id_, k)) for k in range(self.drawn_NK.shape[1])] for id_ in self.ids]
        values_NK = np.array([[np.nan if m is None else float(m) for m in row] for row in found])
        return np.where(self.drawn_NK, values_NK, np.nan)

    def selected(self, values_NK: Float) -> Float:
        """Each prompt's value at its label; NaN without one, or where the label is a self-sample."""
        inside_N = self.selected_N >= 0
        found = values_NK[np.arange(len(self.ids)), np.where(inside_N, self.selected_N, 0)]
        return np.where(inside_N, found, np.nan)

    @classmethod
    def read(cls, artifact: Artifact) -> StoredPools:
        """Read what an artifact stores.

        Raises:
            InputError: it stores no candidate, or a log-probability that can't be one.
            IntegrityError: two candidates of a row with one index, or a label that is not in the pool.
        """
        import polars as pl

        frame = artifact.candidates().filter(
            pl.col("role").is_in(["candidate", "baseline"]) & (pl.col("finish_reason") != "error")
        )
        # The plain model may give probability 0 to what another distribution drew; that one can't.
        for column, wrong in (
            ("logprob", pl.col("logprob").is_nan()),
            ("behavior_logprob", ~pl.col("behavior_logprob").is_finite()),
        ):
            if (bad := frame.filter(wrong | (pl.col(column) > ROUNDING))).height:
                raise InputError(
                    f"{column} is {bad[column][0]}", where=f"row {bad['id'][0]}", remedy="Label again: it is at most 0."
                )
        ids = frame["id"].unique().sort()
        row_of = {id_: n for n, id_ in enumerate(ids)}
        pool, baseline = frame.filter(pl.col("role") == "candidate"), frame.filter(pl.col("role") == "baseline")
        if not pool.height:
            raise InputError("it stores no candidate", where=artifact.path.name, remedy="Label with a pool.")
        if (twice := pool.filter(pool.select("id", "index").is_duplicated())).height:
            raise IntegrityError(f"two candidates have the index {twice['index'][0]}", where=f"row {twice['id'][0]}")
        where = _places(pool, row_of), pool["index"].to_numpy()
        shape = len(ids), int(where[1].max()) + 1

        def spread(values: pl.Series, at: tuple[NDArray[np.int64], ...] = where) -> Float:
            out = np.full(shape[: len(at)], np.nan)
            out[at] = values.cast(float).to_numpy()
            return out

        drawn_NK = np.zeros(shape, np.bool_)
        drawn_NK[where] = True
        first = (_places(baseline, row_of),)
        scores = pool.select("id", "index", "scores").explode("scores").drop_nulls("scores").unnest("scores")
        by_scorer = {
            str(name): spread(own["value"], (_places(own, row_of), own["index"].to_numpy()))
            for (name,), own in sorted(scores.group_by("scorer"), key=lambda pair: str(pair[0][0]))
        }
        return cls(
            ids=tuple(ids),
            kind=kind_of(artifact.manifest.labeler, mixed=pool.select("pool", "view").n_unique() > 1),
            labeler=artifact.manifest.labeler,
            lacks=dict(artifact.manifest.engine.lacks),
            drawn_NK=drawn_NK,
            logprob_NK=spread(pool["logprob"]),
            behavior_NK=spread(pool["behavior_logprob"]),
            tokens_NK=spread(pool["token_count"]),
            misaligned_NK=spread(pool["misaligned"]),
            scores=by_scorer,
            baseline_N=np.bincount(first[0], minlength=len(ids)) > 0,
            baseline_logprob_N=spread(baseline["logprob"], first),
            baseline_tokens_N=spread(baseline["token_count"], first),
            selected_N=_selected(artifact, row_of, drawn_NK),
        )


def kind_of(labeler: Labeler, *, mixed: bool = False) -> Kind:
    """How a pool was drawn, by the manifest's proposal and temperature.

    Args:
        mixed: the candidates themselves come from several pools or forms of the prompt.
    """
    kind = KINDS.get(labeler.proposal, "unknown")
    if mixed and kind != "unknown":
        return "mixed"
    return "decode" if kind in ("samples", "refined") and labeler.config.get("temperature") == 0 else kind


def _places(frame: pl.DataFrame, row_of: dict[str, int]) -> NDArray[np.int64]:
    return np.fromiter((row_of[id_] for id_ in frame["id"]), np.int64, frame.height)


def _selected(artifact: Artifact, row_of: dict[str, int], drawn_NK: NDArray[np.bool_]) -> NDArray[np.int64]:
    selected_N = np.full(len(row_of), NO_LABEL, np.int64)
    for id_, index in artifact.labels().select("id", "candidate").iter_rows():
        known = id_ in row_of and (index == SELF_SAMPLE or (index < drawn_NK.shape[1] and drawn_NK[row_of[id_], index]))
        if not known:
            raise IntegrityError(
                f"the label is candidate {index}, which the stored pool lacks",
                where=f"row {id_}",
                remedy="Run `echoset verify` on the artifact, or label again.",
            )
        selected_N[row_of[id_]] = index
    return selected_N
