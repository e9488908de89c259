"""`measure`: an artifact or a ladder in, a shift report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets_cards.errors import InputError
from shift.drift import LEVELS, drift
from shift.frechet import WIDEST, frechet
from shift.interval import decompose, null_floor, squared_norm_interval
from shift.kernel import Kernel
from shift.ladder import RUNGS, Ladder
from shift.mmd import Leg, Pass, measure_legs
from shift.report import (
    LEGS,
    Decomposition,
    DriftReport,
    EmbedderReport,
    FilterReport,
    FrechetReport,
    Interval,
    LegReport,
    Rung,
    ShiftReport,
)

if TYPE_CHECKING:
    from datasets_cards import Artifact

TESTS = {"P->U": "labeling", "U->S": "selection", "P->S": "total"}
PARTS: tuple[str, ...] = ("P->U", "U->S", "P->S")
ANOTHER_AUTHOR = "another author wrote the original, so its null is false beforehand"
ZERO_SELECTION = "zero by construction, every pool has a single candidate"


def measure(
    source: Artifact | Ladder | str | Path,
    *,
    embedder: str | Path | None = None,
    seed: int = 0,
    permutations: int = 999,
    progress: bool = False,
) -> ShiftReport:
    """Measure how far labels have moved, leg by leg of the ladder O -> P -> U -> S.

    Args:
        source: an artifact, its reference (`DIR` or `STORE/name@v1.0.0`), or a ladder of points.
        embedder: a SentenceTransformer by id or directory; needed unless `source` is a ladder.
        seed: of the permutations.
        permutations: B of every test and interval; at least 99.
        progress: show a bar on stderr while texts are embedded.

    Raises:
        InputError: too few permutations, no embedder, or nothing on the ladder to compare.
        MissingError: there is no such artifact or embedder.
    """
    if permutations < 99:
        raise InputError(f"{permutations} permutations", remedy="Take at least 99: the smallest p is 1 / (B + 1).")
    dropped = None
    if isinstance(source, Ladder):
        ladder, described = source, EmbedderReport(name="given points", digest=None, scope=None, width=_width(source))
    else:
        from datasets_cards import Artifact, resolve_ref
        from shift.embedding import Embedder

        artifact = Artifact.open(resolve_ref(source)) if isinstance(source, str | Path) else source
        if embedder is None:
            raise InputError("texts need an embedder", remedy="Name a SentenceTransformer, by id or directory.")
        model = Embedder(embedder)
        ladder = Ladder.from_artifact(artifact, lambda texts: model.encode(texts, progress=progress))
        described = EmbedderReport(name=model.name, digest=model.digest, scope=model.scope, width=_width(ladder))
        dropped = artifact.dropped().height
    return _report(ladder, described, dropped=dropped, seed=seed, permutations=permutations)


def _report(
    ladder: Ladder, embedder: EmbedderReport, *, dropped: int | None, seed: int, permutations: int
) -> ShiftReport:
    notes = list(ladder.notes)
    kernel = Kernel.fit(ladder.points_ND, seed=seed)
    if kernel.degenerate:
        notes.append("All points coincide: every shift is exactly zero.")
    pairs: list[tuple[Rung, Rung]] = [(a, b) for a, b in LEGS if ladder.has_N(a, b).sum() >= 2]
    if not pairs:
        raise InputError("no two rungs share two prompts", remedy="Draw a baseline, or keep the original answers.")
    for rung, title in RUNGS.items():
        if lacking := int((~ladder.has_N(rung)).sum()):
            notes.append(
                f"{lacking} of {ladder.n} prompts have no {title} ({rung}); legs from or to it leave them out."
            )
    single = bool((ladder.size_N("U") <= 1).all())
    has_U, kept_N = ladder.has_N("U"), ladder.has_N("U", "S")
    filtered = kept_N.sum() >= 2 and (has_U & ~kept_N).sum() >= 2
    legs = {f"{a}->{b}": (a, b, ladder.has_N(a, b)) for a, b in pairs}
    both_N = ladder.has_N("P", "U", "S")
    split_up = both_N.sum() >= 2
    parts = {part: part for part in PARTS}
    for name, (a, b) in zip(PARTS, (("P", "U"), ("U", "S"), ("P", "S")), strict=True):
        if split_up and (legs[name][2] != both_N).any():  # the three parts need the same prompts
            parts[name] = f"{name} kept"
            legs[parts[name]] = (a, b, both_N)
    tests = tuple(test for leg, test in TESTS.items() if leg in legs and not (single and test == "selection"))
    found = measure_legs(
        ladder,
        kernel,
        legs,
        redraws=tests,
        cross=(parts["P->U"], parts["U->S"]) if split_up else None,
        split=bool(filtered),
        permutations=permutations,
        seed=seed,
    )
    if single:
        notes.append(f"Selection is {ZERO_SELECTION}.")
    if filtered and split_up:
        notes.append(
            "Rows were dropped after their pools were drawn: P->U is over all rows, "
            "the decomposition over the kept ones."
        )
    if ladder.points_ND.shape[1] > WIDEST:
        notes.append(f"Points are wider than {WIDEST}: the Frechet distance compares means only.")
    return ShiftReport(
        n=ladder.n,
        dropped=int((~ladder.has_N("S")).sum()) if dropped is None else dropped,
        embedder=embedder,
        seed=seed,
        permutations=permutations,
        bandwidths=kernel.bandwidths,
        legs=[_leg(f"{a}->{b}", a, b, found, single) for a, b in pairs],
        decomposition=_decomposition(found, parts) if split_up else None,
        drift=[_drift(ladder, a, b) for a, b in pairs],
        frechet=[_frechet(ladder, a, b, seed) for a, b in pairs],
        filter=_filter(found),
        notes=notes,
    )


def _leg(name: str, start: Rung, end: Rung, found: Pass, single: bool) -> LegReport:
    leg = found.legs[name]
    p, reason, floor = None, ANOTHER_AUTHOR, null_floor(leg)
    if name == "U->S" and single:
        reason = ZERO_SELECTION
    elif name in TESTS:
        test = found.redraws[TESTS[name]]
        p, reason, floor = test.p, None, test.floor
    low, high = squared_norm_interval(leg, found.signs_NB)
    return LegReport(
        name=name,
        start=start,
        end=end,
        n=leg.n,
        value=leg.value,
        low=low,
        high=high,
        p=p,
        p_reason=reason,
        null_floor=floor,
    )


def _decomposition(found: Pass, names: dict[str, str]) -> Decomposition:
    assert found.cross is not None
    labeling, selection, total = (found.legs[names[part]] for part in PARTS)
    parts = decompose(labeling, selection, found.cross)
    low, high = parts.cross_interval()
    whole = _interval(total, found)
    shares = [parts.share(part) for part in (0, 1)] if whole.low > 0 else [None, None]
    first, second = (None if s is None else Interval(value=s[0], low=s[1], high=s[2]) for s in shares)
    undefined = first is None or second is None
    return Decomposition(
        n=total.n,
        labeling=_interval(labeling, found),
        selection=_interval(selection, found),
        cross=Interval(value=float(parts.estimate[2]), low=low, high=high),
        total=whole,
        labeling_share=None if undefined else first,
        selection_share=None if undefined else second,
        share_reason="the total shift is not clear of zero" if undefined else None,
    )


def _interval(leg: Leg, found: Pass) -> Interval:
    low, high = squared_norm_interval(leg, found.signs_NB)
    return Interval(value=leg.value, low=low, high=high)


def _drift(ladder: Ladder, start: Rung, end: Rung) -> DriftReport:
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


def _frechet(ladder: Ladder, start: Rung, end: Rung, seed: int) -> FrechetReport:
    found = frechet(ladder, start, end, seed=seed)
    return FrechetReport(
        start=start,
        end=end,
        n=int(ladder.has_N(start, end).sum()),
        value=found.value,
        mean_part=found.mean_part,
        covariance_part=found.covariance_part,
        null_floor=found.floor,
    )


def _filter(found: Pass) -> FilterReport | None:
    if found.split is None:
        return None
    return FilterReport(
        kept=found.split.kept,
        rows=found.split.rows,
        value=found.split.value,
        null_floor=found.split.floor,
        p=found.split.p,
    )


def _width(ladder: Ladder) -> int:
    return int(ladder.points_ND.shape[1])
