"""Metrics on one leg: values beside their nulls, p-values where a metric has one, Holm's correction across them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets_cards.errors import InputError
from shift.figures import MetricReport, NullRange
from shift.groups import NO_RELABELING, Groups
from shift.inference import Null, holm, p_value, redrawn_statistics
from shift.metrics import METRICS
from shift.metrics.centroid import Centroid
from shift.metrics.protocol import Float, KernelMetric, Metric
from shift.progress import bar
from shift.samples import Samples


def measure_metrics(
    samples: Samples,
    start: str,
    end: str,
    names: Sequence[str],
    *,
    beside: Sequence[MetricReport] = (),
    untested: str | None = None,
    permutations: int = 999,
    seed: int = 0,
    progress: bool = False,
) -> list[MetricReport]:
    """Measure metrics on two samples.

    Args:
        samples: what is compared.
        start: what the first sample is called.
        end: what the second sample is called.
        names: of metrics in the registry.
        beside: what was measured on the leg already; Holm's correction counts it in.
        untested: why no p-value is given, where the null is false beforehand.
        permutations: B of kernel metrics; others take as many redraws as their cost allows.
        seed: of redraws and of anything drawn.
        progress: show a bar on stderr.
    """
    found = list(beside)
    for name in bar(list(names), f"{start} to {end}", show=progress):
        metric = METRICS[name]
        rng = np.random.default_rng([seed, 5])
        try:
            if isinstance(metric, KernelMetric):
                report = _kernel(metric, samples, permutations, seed, rng)
            else:
                report = _plug_in(metric, samples, permutations, seed, rng)
        except InputError as error:
            report = _report(metric, None, {}, None, None, str(error))
        found.append(report.model_copy(update={"start": start, "end": end}))
    if untested is not None:
        return [m.model_copy(update={"p": None, "reason": m.reason or untested}) for m in found]
    tested = [m for m in found if m.p is not None]
    corrected = dict(zip((m.metric for m in tested), holm([m.p for m in tested if m.p is not None]), strict=True))
    return [m.model_copy(update={"p_holm": corrected.get(m.metric)}) for m in found]


def _kernel(
    metric: KernelMetric,
    samples: Samples,
    permutations: int,
    seed: int,
    rng: np.random.Generator,
) -> MetricReport:
    groups = Groups.of(samples, rng)
    gram_SS = metric.gram(groups.arranged(samples), seed=seed)
    statistic_B = redrawn_statistics(gram_SS, groups, permutations, rng)
    if samples.identical:
        statistic_B = np.zeros_like(statistic_B)
    parts = metric.parts(samples.points_MD, *samples.weights()) if isinstance(metric, Centroid) else {}
    return _judged(metric, statistic_B, parts, groups.redrawable, True)


def _plug_in(metric: Metric, samples: Samples, permutations: int, seed: int, rng: np.random.Generator) -> MetricReport:
    statistic = metric.on(samples.points_MD, samples.prompt_M, seed=seed)
    observed = dict(statistic(*samples.weights()))
    value = observed.pop("value")
    if value is None:
        return _report(metric, None, observed, None, None, "undefined on these rows")
    groups = Groups.of(samples, rng, states=None)
    redrawn: list[float | None] = []
    if groups.redrawable:
        for _ in range(min(metric.redraws, permutations)):
            first_SB, second_SB = groups.weights(1, rng)
            redrawn.append(statistic(groups.rows(first_SB[:, 1], 0), groups.rows(second_SB[:, 1], 1))["value"])
    if None in redrawn:
        return _report(metric, value, observed, None, None, "undefined for some redraws of the labels")
    return _judged(metric, np.array([value, *redrawn], np.float64), observed, groups.redrawable, metric.tested)


def _judged(
    metric: Metric | KernelMetric,
    statistic_B: Float,
    parts: dict[str, float | None],
    redrawable: bool,
    tested: bool,
) -> MetricReport:
    if not redrawable:
        return _report(metric, float(statistic_B[0]), parts, None, None, NO_RELABELING)
    sign = 1 if getattr(metric, "grows", True) else -1
    p = p_value(sign * statistic_B) if tested else None
    return _report(metric, float(statistic_B[0]), parts, Null.of(statistic_B[1:]), p, None)


def _report(
    metric: Metric | KernelMetric,
    value: float | None,
    parts: dict[str, float | None],
    null: Null | None,
    p: float | None,
    reason: str | None,
) -> MetricReport:
    return MetricReport(
        metric=metric.name,
        title=metric.title,
        meaning=metric.meaning,
        start="",
        end="",
        value=value,
        parts=parts,
        null=None if null is None else NullRange.of(null),
        grows=getattr(metric, "grows", True),
        p=p,
        p_holm=None,
        reason=reason,
    )
