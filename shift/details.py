"""What a report holds beside legs and metrics: drift, diversity, what stored pools say, and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shift.diversity import measure_diversity
from shift.drift import LEVELS, drift
from shift.estimates import Interval
from shift.figures import DiversityReport, DriftReport, PoolsReport, SourceReport
from shift.interval import Z
from shift.ladder import Ladder
from shift.pools import StoredPools, against, ceilings, eta_of, k_curves, likelihood_shift
from shift.reading import Texts
from shift.report import ShiftReport

if TYPE_CHECKING:
    from datasets_cards import Artifact


def drift_of(ladder: Ladder, start: str, end: str) -> DriftReport:
    """Paired cosine drift between two rungs."""
    found = drift(ladder, start, end)
    mean, low, high = found.interval()
    quantiles = np.quantile(found.drift_N, LEVELS)
    return DriftReport(
        start=start,
        end=end,
        n=len(found.drift_N),
        mean=mean,
        low=low,
        high=high,
        quantiles={f"{level:.0%}": float(q) for level, q in zip(LEVELS, quantiles, strict=True)},
        nearest_other=float(found.other_N.mean()),
        tail_share=found.tail_share,
    )


def diversity_of(ladder: Ladder, texts: Texts | None, seed: int) -> list[DiversityReport]:
    """Diversity of each rung, on the prompts that have them all; empty where none has."""
    rungs = [rung for rung, counts_M in ladder.counts.items() if counts_M.any()]
    if not ladder.has_N(*rungs).any():
        return []
    found = measure_diversity(ladder, texts=None if texts is None else list(texts.points), seed=seed)
    return [
        DiversityReport(
            rung=d.rung,
            n=d.n,
            vendi=d.vendi,
            distinct=None if d.distinct is None else {str(n): share for n, share in d.distinct.items()},
            pool_vendi=d.pool_vendi,
            answers=d.answers,
            within=None
            if d.within is None or d.within.low is None or d.within.high is None
            else Interval(value=d.within.mean, low=d.within.low, high=d.within.high),
        )
        for d in found
    ]


def pools_of(stored: StoredPools, report: ShiftReport) -> PoolsReport:
    """What an artifact's pools say, its selection leg held against what any selector could do."""
    found = ceilings(stored)
    selection = report.leg("U->S")
    measured = {}
    if selection is not None and selection.low is not None and selection.high is not None:
        measured["mmd_squared"] = (selection.value, (selection.high - selection.low) / (2 * Z))
    return PoolsReport(
        likelihood=likelihood_shift(stored),
        ceilings=found,
        checks=against(found, measured),
        k_curves=k_curves(stored),
        eta=eta_of(stored),
    )


def source_of(artifact: Artifact) -> SourceReport:
    """What an artifact is."""
    manifest = artifact.manifest
    return SourceReport(
        name=artifact.path.resolve().name,
        version=manifest.version,
        method=manifest.labeler.method,
        model=manifest.model.reference,
        logical_digest=manifest.logical_digest,
    )
