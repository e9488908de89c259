"""A shift report in words and tables, for someone who has never met a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from shift.estimates import Interval
    from shift.figures import Figures, LegReport, MetricReport

LEVEL = 0.05


def summary(report: Figures) -> str:
    """One paragraph: is it shifted, how much against the floor, by what, and how sure that is."""
    said = [*(_of_a_ladder(report) if report.kind == "ladder" else _of_two_samples(report))]
    parts = report.decomposition
    if parts is not None and parts.labeling_share is not None and parts.selection_share is not None:
        a, b = parts.labeling_share, parts.selection_share
        if a.high - a.low > 1:
            said.append(
                "How the shift divides between labeling and selection is too uncertain to say "
                f"(labeling {a.low:.0%} to {a.high:.0%} of it)."
            )
        else:
            said.append(
                f"Labeling accounts for {a.value:.0%} of the shift ({a.low:.0%} to {a.high:.0%}), "
                f"selection for {b.value:.0%} ({b.low:.0%} to {b.high:.0%})."
            )
    elif parts is not None:
        said.append(f"Shares of labeling and selection are undefined: {parts.share_reason}.")
    if report.filter is not None:
        verdict = "differ" if report.filter.p <= LEVEL else "do not measurably differ"
        said.append(
            f"The {report.filter.kept} rows that kept a label {verdict} from all {report.filter.rows} "
            f"in what their pools answer ({p_text(report.filter.p)})."
        )
    said += [*_by_what(report), *_of_pools(report)]
    said.append(f"Measured on {_counted(report)} with the embedder {_embedder(report)}.")
    return " ".join(said)


def legs_table(report: Figures) -> Table:
    """The legs as a table for the terminal, each beside its floor."""
    from rich.table import Table

    dropped = f", {report.dropped} rows dropped" if report.dropped else ""
    caption = f"{_counted(report)}{dropped}, embedder {_embedder(report)}"
    table = Table(title="Shift: squared distance (MMD²)", caption=caption)
    for column in ("leg", "value", "95% interval", "no shift reaches (1 in 20)", "p"):
        table.add_column(column, justify="left" if column == "leg" else "right")
    for leg in report.legs:
        p = "—" if leg.p is None else f"{leg.p:.3f}"  # the summary says why
        floor = "—" if leg.null_floor is None else number(leg.null_floor)
        table.add_row(f"{leg.name}  {leg.meaning}", number(leg.value), _interval(leg), floor, p)
    if report.filter is not None:
        name = f"filter  the {report.filter.kept} kept rows against all {report.filter.rows}"
        found = report.filter
        table.add_row(name, number(found.value), "", number(found.null.high), f"{found.p:.3f}")
    return table


def metrics_table(report: Figures) -> Table | None:
    """Every metric of the main leg beside its null; None where none was measured."""
    from rich.table import Table

    start, end = report.main_leg
    found = [m for m in report.metrics if (m.start, m.end) == (start, end)]
    if not found:
        return None
    table = Table(title=f"Other metrics, {start} to {end}", caption="Holm: p corrected for the metrics that have one")
    for column in ("metric", "value", "no shift gives (5% to 95%)", "p", "Holm", ""):
        table.add_column(column, justify="left" if column in ("metric", "") else "right")
    for metric in found:
        null = "—" if metric.null is None else f"{number(metric.null.low)} to {number(metric.null.high)}"
        value = "—" if metric.value is None else number(metric.value)
        p, corrected = ("—" if p is None else f"{p:.3f}" for p in (metric.p, metric.p_holm))
        parts = ", ".join(f"{name} {number(v)}" for name, v in metric.parts.items() if v is not None)
        table.add_row(metric.title, value, null, p, corrected, parts or metric.reason or "")
    return table


def rungs_table(report: Figures) -> Table | None:
    """Likelihood and diversity of each rung; None where neither is known."""
    from rich.table import Table

    likelihood = {} if report.pools is None else {rung.rung: rung for rung in report.pools.likelihood.rungs}
    if not report.diversity and not likelihood:
        return None
    table = Table(title="Each rung", caption="Vendi: the effective number of different answers, at one answer a prompt")
    for column in ("rung", "nats a completion", "nats a token", "Vendi", "distinct 1-, 2-, 3-grams", "within prompts"):
        table.add_column(column, justify="left" if column == "rung" else "right")
    diversity = {d.rung: d for d in report.diversity}
    for rung, title in report.rungs.items():
        nats, own = likelihood.get(rung), diversity.get(rung)  # pyright: ignore[reportArgumentType]
        if nats is None and own is None:
            continue
        distinct = None if own is None or own.distinct is None else own.distinct.values()
        table.add_row(
            f"{rung}  {title}",
            _value(None if nats is None else nats.per_completion),
            _value(None if nats is None else nats.per_token),
            "—" if own is None else number(own.vendi),
            "—" if distinct is None else ", ".join("—" if d is None else f"{d:.2f}" for d in distinct),
            _value(None if own is None else own.within),
        )
    return table


def number(value: float) -> str:
    """Three figures, without an exponent where it can be read."""
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.1e}"


def scorer_text(name: str | None) -> str:
    """A scorer's name as it stands in a sentence; `-entropy` prefers low entropies."""
    return f"low {name[1:]}" if name and name.startswith("-") else str(name)


def p_text(value: float) -> str:
    """A p-value as it stands in a sentence."""
    return f"p = {value:.3f}"


def _of_a_ladder(report: Figures) -> list[str]:
    said = []
    total, labeling, selection, origin = (report.leg(name) for name in ("P->S", "P->U", "U->S", "O->S"))
    if total is None:
        said.append(
            "There is no self-sample to compare with, so nothing can be said about what labeling did: "
            "label again with the baseline."
        )
    elif total.p is None:
        said.append(f"Labels against the model's own plain answers: {total.p_reason} ({_size(total)}).")
    else:
        moved = "have moved away from" if total.p <= LEVEL else "can't be told from"
        said.append(f"The labels {moved} the model's own plain answers ({_size(total)}; {p_text(total.p)}).")
        said += _disagreement(total)
    if labeling is not None and labeling.p is not None:
        verdict = "has moved" if labeling.p <= LEVEL else "has not measurably moved"
        said.append(f"The labeling process (how candidates are drawn) {verdict} the answers ({p_text(labeling.p)}).")
    if selection is not None and selection.p is not None:
        verdict = "has moved" if selection.p <= LEVEL else "has not measurably moved"
        said.append(f"Selection (which candidate is kept) {verdict} them ({p_text(selection.p)}).")
    elif selection is not None:
        said.append(f"Selection: {selection.p_reason}.")
    if origin is not None:
        said.append(
            f"From the original answers the labels are {number(origin.value)} away "
            f"({_interval(origin)}; another author wrote them, so there is no test)."
        )
    return said


def _of_two_samples(report: Figures) -> list[str]:
    total = report.legs[0]
    names = (f"the {report.rungs[total.end]}", f"the {report.rungs[total.start]}")
    if total.p is None:
        return [f"{names[0].capitalize()} against {names[1]}: {total.p_reason} ({_size(total)})."]
    moved = "have moved away from" if total.p <= LEVEL else "can't be told from"
    said = [f"{names[0].capitalize()} {moved} {names[1]} ({_size(total)}; {p_text(total.p)})."]
    said += _disagreement(total)
    for leg, what in zip(report.legs[1:], ("The pools that they were selected from", "Selection"), strict=False):
        if leg.p is not None:
            verdict = "moved" if leg.p <= LEVEL else "did not measurably move"
            said.append(f"{what} {verdict} ({p_text(leg.p)}).")
    return said


def _disagreement(leg: LegReport) -> list[str]:
    """Test and interval are made differently, and near the edge they may part."""
    if leg.p is None or leg.low is None or (leg.p <= LEVEL) == (leg.low > 0):
        return []
    return ["Test and interval disagree about whether that is zero: take it as undecided."]


def _by_what(report: Figures) -> list[str]:
    """What the shift consists of, as far as metrics of the whole leg say."""
    whole = report.main_leg
    said = []
    classifier, frechet = (report.metric(name, *whole) for name in ("classifier", "frechet"))
    if classifier is not None and classifier.value is not None and classifier.null is not None:
        said.append(
            f"A linear classifier tells the two apart with an AUC of {classifier.value:.2f} "
            f"(no shift gives {classifier.null.low:.2f} to {classifier.null.high:.2f})."
        )
    centroid = report.metric("centroid", *whole)
    if frechet is not None and centroid is not None and frechet.null is not None and _beyond(frechet):
        # Sampling alone makes a Fréchet distance large; the centroid's is corrected for it.
        excess = (frechet.value or 0) - frechet.null.mean
        mean = max(centroid.value or 0, 0) / excess
        where = "in the average answer" if mean > 0.5 else "in how answers vary"
        said.append(
            f"Most of it is {where}: of {number(excess)} Fréchet distance beyond what no shift gives, "
            f"{min(mean, 1):.0%} lies between the averages."
        )
    drift = next((d for d in report.drift if (d.start, d.end) == whole), None)
    if drift is not None:
        said.append(
            f"Single answers turned by {drift.mean:.2f} on average (1 − cos, {drift.start} to {drift.end}), "
            f"{drift.tail_share:.0%} of them further than to the nearest answer of another prompt."
        )
    return said


def _of_pools(report: Figures) -> list[str]:
    """What the stored pools say: how likely the model finds its labels, and whether selection moves misbehavior."""
    if report.pools is None:
        return []
    said = []
    change = next((c for c in report.pools.likelihood.changes if (c.start, c.end) == ("P", "S")), None)
    if change is not None and change.per_completion is not None:
        nats, sign = change.per_completion, -1 if change.per_completion.value < 0 else 1
        ends = sorted((sign * nats.low, sign * nats.high))
        said.append(
            f"The model finds a label {number(abs(nats.value))} nats {'less' if sign > 0 else 'more'} likely than an "
            f"answer of its own ({number(ends[0])} to {number(ends[1])})."
        )
    eta = report.pools.eta
    if eta.call is not None and eta.effect is not None:
        verb = {"raises": "raises", "lowers": "lowers"}.get(eta.call, "has no clear effect on")
        said.append(
            f"Within these pools, choosing by {scorer_text(eta.scorer)} {verb} misbehavior: "
            f"{eta.effect.value:+.2f} ({eta.effect.low:+.2f} to {eta.effect.high:+.2f})."
        )
    if broken := [check.name for check in report.pools.checks if not check.holds]:
        said.append(f"Beyond what any selector could do, so look for a fault in the artifact: {', '.join(broken)}.")
    return said


def _beyond(metric: MetricReport) -> bool:
    """Whether a value lies outside of its null's range, on the side of a shift."""
    assert metric.null is not None and metric.value is not None
    return metric.value > metric.null.high if metric.grows else metric.value < metric.null.low


def _size(leg: LegReport) -> str:
    interval = "" if leg.low is None else f", 95% interval {_interval(leg)}"
    floor = "" if leg.null_floor is None else f"; no shift at all reaches {number(leg.null_floor)} one time in twenty"
    return f"squared shift {number(leg.value)}{interval}{floor}"


def _interval(leg: LegReport) -> str:
    return "—" if leg.low is None or leg.high is None else f"{number(leg.low)} to {number(leg.high)}"


def _value(found: Interval | None) -> str:
    return "—" if found is None else f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def _counted(report: Figures) -> str:
    return f"{report.compared} {'rows' if report.kind == 'samples' else 'prompts'}"


def _embedder(report: Figures) -> str:
    return report.embedder.name + (f" ({report.embedder.scope})" if report.embedder.scope else "")
