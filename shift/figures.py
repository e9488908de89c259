"""The figures of a shift report: what was measured, every value beside its null."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field

from shift.estimates import Interval, Part
from shift.inference import Null
from shift.pools import Ceilings, Eta, KCurves, LikelihoodShift
from shift.pools.ceilings import CeilingCheck

SCHEMA_VERSION = 2


# JSON says "from" and "to"; Python can't.
FROM: Any = Field(validation_alias=AliasChoices("from", "start"), serialization_alias="from")
TO: Any = Field(validation_alias=AliasChoices("to", "end"), serialization_alias="to")


class NullRange(Part):
    """Where a value lies when nothing has shifted: 5th percentile, mean and 95th percentile over redrawn labels."""

    low: float
    mean: float
    high: float
    redraws: int

    @classmethod
    def of(cls, null: Null) -> NullRange:
        """As reported."""
        return cls(low=null.low, mean=null.mean, high=null.high, redraws=null.redraws)


class LegReport(Part):
    """One leg: its squared shift (MMD^2, unbiased, so slightly negative where there is none).

    Attributes:
        name: such as `P->U`.
        meaning: in words.
        n: prompts in the first sample; with paired rows the prompts that have both.
        paired: prompts in both samples.
        low, high: a 95% interval; None where the prompts are not paired.
        p: of the permutation test; None with the reason in `p_reason`.
        null: the sizes that no shift at all gives.
    """

    name: str
    meaning: str
    start: str = FROM
    end: str = TO
    n: int
    paired: int
    value: float
    low: float | None
    high: float | None
    p: float | None
    p_reason: str | None
    null: NullRange | None

    @property
    def null_floor(self) -> float | None:
        """The size that no shift at all reaches one time in twenty."""
        return None if self.null is None else self.null.high


class MetricReport(Part):
    """One metric on one leg, beside its null.

    Attributes:
        metric: its name in the registry; `title` as printed; `meaning` in a sentence.
        value: None with the reason in `reason` where it is undefined.
        parts: further figures by name; None where one is undefined.
        null: None where labels can't be redrawn.
        grows: whether a shift makes the value larger (False: smaller).
        p, p_holm: of the redraws, alone and corrected for the leg's other tested metrics (Holm); None with `reason`.
    """

    metric: str
    title: str
    meaning: str
    start: str = FROM
    end: str = TO
    value: float | None
    parts: dict[str, float | None]
    null: NullRange | None
    grows: bool
    p: float | None
    p_holm: float | None
    reason: str | None


class Decomposition(Part):
    """total = labeling + selection + 2 cross, on the prompts that have P and S; exact up to rounding.

    Attributes:
        labeling_share: (labeling + cross) / total, with Fieller's interval; None with the reason in `share_reason`.
        selection_share: (selection + cross) / total; both add up to 1.
    """

    n: int
    labeling: Interval
    selection: Interval
    cross: Interval
    total: Interval
    labeling_share: Interval | None
    selection_share: Interval | None
    share_reason: str | None


class DriftReport(Part):
    """Paired cosine drift (1 - cos) of single answers between two rungs.

    Attributes:
        quantiles: at 5, 25, 50, 75 and 95%.
        nearest_other: mean distance from an answer at the first rung to the nearest one of another prompt.
        tail_share: share of prompts that drifted further than that.
    """

    start: str = FROM
    end: str = TO
    n: int
    mean: float
    low: float
    high: float
    quantiles: dict[str, float]
    nearest_other: float
    tail_share: float


class FilterReport(Part):
    """The filter's own leg: pools of the rows that kept a label against those of all rows (covariate shift).

    Descriptive, without an interval; `p` and `null` permute who was accepted, given how many.
    """

    kept: int
    rows: int
    value: float
    null: NullRange
    p: float


class DiversityReport(Part):
    """How diverse one rung's answers are, at one answer a prompt, over the prompts that have every rung.

    Attributes:
        n: prompts; the Vendi score and distinct n-grams depend on it, so compare rungs of one report only.
        vendi: the effective number of different answers (of a pool the mean over draws of one answer a prompt).
        distinct: share of distinct n-grams, by n; None without texts.
        pool_vendi: that of all answers of a pool together.
        answers: how many those are.
        within: 1 - cos between the answers to one prompt, a mean over prompts with its interval; for pools.
    """

    rung: str
    n: int
    vendi: float
    distinct: dict[str, float | None] | None
    pool_vendi: float | None
    answers: int
    within: Interval | None


class PoolsReport(Part):
    """What the stored pools say without an embedder; each part tells why where it says nothing."""

    likelihood: LikelihoodShift
    ceilings: Ceilings
    checks: list[CeilingCheck]
    k_curves: KCurves
    eta: Eta


class EmbedderReport(Part):
    """What the points are. `scope` limits what they can be used for, such as "tiny world only"."""

    name: str
    digest: str | None
    scope: str | None
    width: int


class SourceReport(Part):
    """An artifact that was measured, so that a report can be traced: what it is, never where it lies."""

    name: str
    version: str
    method: str
    model: str
    logical_digest: str


class Figures(Part):
    """How far a labeled dataset has moved, leg by leg.

    Attributes:
        n: prompts on the ladder, or in either sample.
        dropped: rows of the artifact without a label.
        bandwidths: of the kernel, widest first, in the embedder's units.
        permutations: B of every test and interval.
        kind: a ladder of one artifact, labels between two artifacts, or two plain samples.
        sources: the artifacts, before and after; empty where points were given.
        rungs: what each rung is called.
        legs: those whose rungs exist.
        metrics: further metrics, leg by leg.
        decomposition: None where there is no self-sample or no label.
        filter: None where no row with a pool was dropped.
        diversity: of each rung.
        pools: None where points were given, or two artifacts.
        notes: what a reader should know, in plain words.
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["ladder", "between", "samples"]
    sources: list[SourceReport]
    rungs: dict[str, str]
    n: int
    dropped: int
    embedder: EmbedderReport
    seed: int
    permutations: int
    bandwidths: list[float]
    legs: list[LegReport]
    decomposition: Decomposition | None
    drift: list[DriftReport]
    metrics: list[MetricReport]
    filter: FilterReport | None
    diversity: list[DiversityReport]
    pools: PoolsReport | None
    notes: list[str]

    def leg(self, name: str) -> LegReport | None:
        """The leg of that name, such as `P->U`; None where a rung is missing."""
        return next((leg for leg in self.legs if leg.name == name), None)

    @property
    def main_leg(self) -> tuple[str, str]:
        """The rungs to look at first: the total where there is one, else the first leg between two rungs."""
        named = {leg.name: (leg.start, leg.end) for leg in self.legs if {leg.start, leg.end} <= self.rungs.keys()}
        return next(named[name] for name in ("P->S", "A->B", "O->S", *named) if name in named)

    @property
    def compared(self) -> int:
        """Prompts (or rows) of the main leg."""
        start, end = self.main_leg
        return next(leg.n for leg in self.legs if (leg.start, leg.end) == (start, end))

    def metric(self, name: str, start: str, end: str) -> MetricReport | None:
        """A metric of a leg; None where it was not measured."""
        return next((m for m in self.metrics if (m.metric, m.start, m.end) == (name, start, end)), None)
