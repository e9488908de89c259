"""`measure` and `compare`: labels or points in, a shift report out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_cards.errors import InputError
from shift.details import diversity_of, drift_of, pools_of, source_of
from shift.figures import EmbedderReport, LegReport, MetricReport
from shift.kernels import Gaussian
from shift.ladder import Ladder
from shift.legs import ANOTHER_AUTHOR, BETWEEN, LADDER, PAIR, ZERO_SELECTION, LegKind, report_legs, report_unpaired
from shift.metrics import METRICS
from shift.metrics.running import measure_metrics
from shift.moved import MovedRow, moved_rows
from shift.pools import StoredPools
from shift.reading import BETWEEN_RUNGS, Texts, read_between, read_texts
from shift.report import ShiftReport
from shift.samples import Samples
from shift.settings import CONDITIONAL, Settings

if TYPE_CHECKING:
    from datasets_cards import Artifact
    from shift.pictures import Picture

ENOUGH = 6
"""Pairs from which swapping them has more than twenty outcomes (a swap of all changes nothing)."""
SAMPLES = {"A": "rows of the first sample", "B": "rows of the second sample"}


@dataclass(frozen=True)
class Examination:
    """A report and what it was made of: enough to draw it and to show its rows.

    Attributes:
        report: the figures.
        ladder: the points; None where two samples share no prompts.
        texts: what the points say; None where points were given.
    """

    report: ShiftReport
    ladder: Ladder | None
    texts: Texts | None

    def moved(self, top: int = 10) -> list[MovedRow]:
        """The rows that moved most between the rungs of the main leg; none where points were given."""
        if self.ladder is None or self.texts is None or top < 1:
            return []
        return [row for row in moved_rows(self.ladder, self.texts, *self.report.main_leg, top=top) if row.drift > 0]

    def pictures(self) -> list[Picture]:
        """Every picture that there are figures for."""
        return self._drawn

    @cached_property
    def _drawn(self) -> list[Picture]:
        from shift.pictures import draw

        return draw(self.report, self.ladder)

    def page(self, *, top: int = 10) -> str:
        """Figures, pictures and rows as one HTML page that needs nothing else."""
        from shift.pictures import page

        start, end = self.report.main_leg
        names = (self.report.rungs[start], self.report.rungs[end])
        return page(self.report, self.pictures(), self.moved(top), names=names)


def measure(source: Artifact | Ladder | str | Path, **settings: Any) -> ShiftReport:
    """Measure how far labels have moved, leg by leg of the ladder O -> P -> U -> S.

    Args:
        source: an artifact, its reference (`DIR`, `STORE/name@v1.0.0` or `hub:ORG/NAME@v1.0.0`), or a ladder of points.
        settings: those of `Settings`: embedder, metrics, permutations, seed, progress.

    Raises:
        InputError: settings that can't be used, no embedder, or nothing on the ladder to compare.
        MissingError: there is no such artifact or embedder.
    """
    return examine(source, **settings).report


def compare(first: Any, second: Any, **settings: Any) -> ShiftReport:
    """Measure how far one set of answers is from another.

    Args:
        first: before: an artifact or its reference, or points [n, d].
        second: after: the same kind of thing. Artifacts pair by row id.
        settings: those of `Settings`; for points also `first_ids`, `second_ids` or `paired`, as in
            `Samples.from_arrays`.

    Raises:
        InputError: settings or points that can't be used, or artifacts without a row in common.
        MissingError: there is no such artifact or embedder.
    """
    from datasets_cards import Artifact

    named = [isinstance(side, str | Path | Artifact) for side in (first, second)]
    if all(named):
        return examine(first, against=second, **settings).report
    if any(named):
        raise InputError("an artifact and points can't be compared", remedy="Give two of a kind.")
    pairing = {key: settings.pop(key) for key in ("first_ids", "second_ids", "paired") if key in settings}
    samples = Samples.from_arrays(first, second, **pairing)
    return _of_samples(samples, Settings.of(settings), named="first_ids" in pairing)


def examine(
    source: Artifact | Ladder | str | Path, *, against: Artifact | str | Path | None = None, **settings: Any
) -> Examination:
    """As `measure` (or `compare`, with `against`: from `source` to it), with the points and texts beside the report."""
    chosen = Settings.of(settings)
    if isinstance(source, Ladder) and against is None:
        described = EmbedderReport(name="given points", digest=None, scope=None, width=_width(source))
        return Examination(_of_ladder(source, LADDER, described, chosen), source, None)
    opened = _opened(source)
    other = None if against is None else _opened(against)
    texts = read_texts(opened) if other is None else read_between(opened, other)
    if chosen.embedder is None:
        raise InputError("texts need an embedder", remedy="Name a SentenceTransformer, by id or directory.")
    from shift.embedding import Embedder

    model = Embedder(chosen.embedder)
    ladder = texts.ladder(
        lambda some: model.encode(some, progress=chosen.progress),
        titles=None if against is None else BETWEEN_RUNGS,
        prompts=chosen.metrics is None or CONDITIONAL in chosen.metrics,
    )
    described = EmbedderReport(name=model.name, digest=model.digest, scope=model.scope, width=_width(ladder))
    report = _of_ladder(ladder, LADDER if against is None else BETWEEN, described, chosen, texts)
    notes = list(report.notes)
    more: dict[str, Any] = {}
    if model.truncated:
        notes.append(
            f"{model.truncated} texts are longer than the embedder's {model.max_tokens} tokens; "
            "it saw only their beginnings."
        )
    if against is None:
        stored = StoredPools.read(opened)
        more |= {"dropped": opened.dropped().height, "pools": pools_of(stored, report)}
        if stored.kind not in ("samples", "decode") and ladder.size_N("U").max() > 1:
            notes.append(
                "The test of P->U takes a pool's candidates as interchangeable given the prompt. These pools are not "
                "known to be independent samples: it also rejects where candidates differ among each other."
            )
    more |= {"notes": notes, "sources": [source_of(side) for side in (opened, other) if side is not None]}
    return Examination(report.model_copy(update=more), ladder, texts)


def _of_ladder(
    ladder: Ladder,
    kinds: tuple[LegKind, ...],
    embedder: EmbedderReport,
    settings: Settings,
    texts: Texts | None = None,
) -> ShiftReport:
    kernel = Gaussian.fit(ladder.points_ND, seed=settings.seed)
    notes = list(ladder.notes)
    if kernel.degenerate:
        notes.append("All points coincide: every shift is exactly zero.")
    kinds = tuple(kind for kind in kinds if ladder.has_N(*kind.start, *kind.end).sum() >= 2)
    if not kinds:
        raise InputError("no two rungs share two prompts", remedy="Draw a baseline, or keep the original answers.")
    for rung, title in ladder.rungs.items():
        if lacking := int((~ladder.has_N(rung)).sum()):
            notes.append(
                f"{lacking} of {ladder.n} prompts have no {title} ({rung}); legs from or to it leave them out."
            )
    legs = report_legs(
        ladder,
        kernel,
        kinds,
        permutations=settings.permutations,
        seed=settings.seed,
        progress=settings.progress,
    )
    if (fewest := min(leg.n for leg in legs.legs)) < ENOUGH:
        notes.append(f"A leg has only {fewest} prompts: between single answers no test of it can reach p = 0.05.")
    metrics, drifts = [], []
    for kind, leg in zip(kinds, legs.legs, strict=True):
        if len(kind.start) > 1:
            continue  # a change of a difference is not two samples
        start, end = "".join(kind.start), "".join(kind.end)
        drifts.append(drift_of(ladder, start, end))
        if leg.p_reason != ZERO_SELECTION:
            metrics += measure_metrics(
                Samples.from_ladder(ladder, start, end),
                start,
                end,
                settings.names(ladder.prompts_ND),
                beside=[_mmd(leg)],
                untested=ANOTHER_AUTHOR if kind.test is None else None,
                permutations=settings.permutations,
                seed=settings.seed,
                progress=settings.progress,
            )
    return ShiftReport(
        kind="ladder" if "S" in ladder.rungs else "between",
        sources=[],
        rungs=dict(ladder.rungs),
        n=ladder.n,
        dropped=int((~ladder.has_N("S")).sum()) if "S" in ladder.rungs else 0,
        embedder=embedder,
        seed=settings.seed,
        permutations=settings.permutations,
        bandwidths=kernel.bandwidths,
        legs=legs.legs,
        decomposition=legs.decomposition,
        drift=drifts,
        metrics=metrics,
        filter=legs.filter,
        diversity=diversity_of(ladder, texts, settings.seed),
        pools=None,
        notes=notes + legs.notes,
    )


def _of_samples(samples: Samples, settings: Settings, *, named: bool) -> ShiftReport:
    described = EmbedderReport(name="given points", digest=None, scope=None, width=samples.points_MD.shape[1])
    if samples.paired == samples.n:
        return _of_ladder(samples.ladder(SAMPLES), (PAIR,), described, settings)
    kernel = Gaussian.fit(samples.points_MD, seed=settings.seed)
    leg = report_unpaired(
        samples, kernel, permutations=settings.permutations, seed=settings.seed, progress=settings.progress
    )
    metrics = measure_metrics(
        samples,
        "A",
        "B",
        settings.names(samples.prompts_ND),
        beside=[_mmd(leg)],
        permutations=settings.permutations,
        seed=settings.seed,
        progress=settings.progress,
    )
    notes = []
    if named and not samples.paired:
        notes.append("No id is in both samples: nothing is paired.")
    if samples.paired:
        notes.append(
            f"{samples.paired} of {samples.n} prompts are in both samples and are compared with themselves; "
            "the others are compared with each other."
        )
    if kernel.degenerate:
        notes.append("All points coincide: every shift is exactly zero.")
    return ShiftReport(
        kind="samples",
        sources=[],
        rungs=SAMPLES,
        n=samples.n,
        dropped=0,
        embedder=described,
        seed=settings.seed,
        permutations=settings.permutations,
        bandwidths=kernel.bandwidths,
        legs=[leg],
        decomposition=None,
        drift=[],
        metrics=metrics,
        filter=None,
        diversity=[],
        pools=None,
        notes=notes,
    )


def _mmd(leg: LegReport) -> MetricReport:
    """A leg's squared shift as a metric among the others."""
    described = METRICS["mmd"]
    return MetricReport(
        metric=described.name,
        title=described.title,
        meaning=described.meaning,
        start=leg.start,
        end=leg.end,
        value=leg.value,
        parts={},
        null=leg.null,
        grows=True,
        p=leg.p,
        p_holm=None,
        reason=leg.p_reason,
    )


def _opened(source: Any) -> Artifact:
    from datasets_cards import Artifact, resolve_ref

    if isinstance(source, Artifact):
        return source
    if not isinstance(source, str | Path):
        raise InputError(
            f"a {type(source).__name__} is no artifact", remedy="Give one, its reference, a Ladder, or use `compare`."
        )
    return Artifact.open(resolve_ref(source))


def _width(ladder: Ladder) -> int:
    return int(ladder.points_ND.shape[1])
