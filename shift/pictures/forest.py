"""Every metric on one axis: how far it is from what it would be without a shift."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from shift.pictures.canvas import (
    AFTER,
    BAND,
    BEFORE,
    INK,
    MUTED,
    RULE,
    WIDTH,
    Picture,
    blank,
    house_style,
    key,
    number,
    panel,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from shift.figures import MetricReport


ROW, HEAD, TOP = 27, 34, 4
LEFT, RIGHT = 270, 600
"""The plot's edges; names are left of it, numbers right."""
COLUMNS = (RIGHT + 96, WIDTH - 100, WIDTH - 8)
TICKS = (-10, -3, -1, 0, 1, 3, 10, 30, 100, 1000)
FURTHEST = 1000.0
"""Floors from zero that the axis reaches; beyond it stands an arrow."""


def forest(metrics: Sequence[MetricReport]) -> Picture:
    """Draw each metric in units of its own null: 0 is its mean without a shift, 1 what one redraw in twenty reaches.

    Args:
        metrics: in the order of the picture; those between the same rungs stand together.
    """
    groups = [(legs, list(rows)) for legs, rows in groupby(metrics, key=lambda m: (m.start, m.end))]
    height = sum(HEAD + ROW * len(rows) for _, rows in groups)
    floors = [found for metric in metrics if (found := in_floors(metric)) is not None]
    limits = axis_limits(floors)
    with house_style():
        figure = blank(TOP + height + 84)
        axes = panel(figure, LEFT, TOP, RIGHT - LEFT, height)
        axes.set_ylim(height, 0)
        axes.set_xscale("symlog", linthresh=1, linscale=1)
        axes.set_xlim(*limits)
        crowded = (-3, 3, 30) if limits[1] > 100 else ()
        ticks = [tick for tick in TICKS if limits[0] <= tick <= limits[1] and tick not in crowded]
        axes.set_xticks(ticks, [f"{tick}".replace("-", "−") for tick in ticks])
        axes.minorticks_off()
        for x, words in zip(COLUMNS, ("value", "p", "p, Holm"), strict=True):
            write(figure, x, TOP + 22, words, size=12, color=MUTED, align="right")
        y = 0.0
        for (start, end), rows in groups:
            write(figure, 8, TOP + y + 22, f"{start} → {end}", bold=True)
            y += HEAD
            axes.plot([0, 0], [y, y + ROW * len(rows)], color=INK, lw=1, zorder=2)
            for metric in rows:
                _row(axes, metric, y + ROW / 2, limits)
                base = TOP + y + ROW / 2 + 4.5
                write(figure, 8, base, metric.title, room=LEFT - 24)
                for x, words in zip(COLUMNS, _numbers(metric), strict=True):
                    write(figure, x, base, words, align="right", color=MUTED if words in NOT_SAID else INK)
                y += ROW
            axes.axhline(y, color=RULE, lw=0.7, zorder=0)
        label = "0: as without a shift on average · 1: what no shift reaches one time in twenty (log scale beyond 1)"
        write(figure, WIDTH / 2, TOP + height + 38, label, size=12, align="center")
        x = key(figure, 150, TOP + height + 66, "D", AFTER, "p ≤ 0.05 (Holm)")
        x = key(figure, x, TOP + height + 66, "D", BEFORE, "p > 0.05")
        x = key(figure, x, TOP + height + 66, "hollow D", INK, "no p-value")
        key(figure, x, TOP + height + 66, "bar", BAND, "where 9 of 10 redraws lie")
    caption = (
        "One row a metric, each in units of what it does when the labels before and after are redrawn at random: right "
        "of the gray band is further apart than chance. Metrics that fall under a shift are turned round, so that "
        "right always means further apart. Numbers are the metric's own."
    )
    return Picture("forest", "Every metric beside its null", caption, figure)


NOT_SAID = ("no null", "no p-value", "undefined", "—")


def in_floors(metric: MetricReport) -> float | None:
    """(value - null mean) / (null edge - null mean), the edge being that on the side of a shift; None where undefined.

    A null without spread gives 0 where the value is its mean, else infinity.
    """
    if metric.value is None or metric.null is None:
        return None
    edge = metric.null.high if metric.grows else metric.null.low
    moved, floor = metric.value - metric.null.mean, edge - metric.null.mean
    if floor == 0:
        return 0.0 if moved == 0 else float("inf") if (moved > 0) == metric.grows else float("-inf")
    return moved / floor


def axis_limits(floors: Sequence[float]) -> tuple[float, float]:
    """Limits with [-2, 3] inside and every value, unless it is further than `FURTHEST` or 10 on the near side."""
    furthest = max([3.0, *(1.25 * f for f in floors if f != float("inf"))])
    nearest = min([-2.0, *(1.25 * f for f in floors if f != float("-inf"))])
    return max(nearest, -10.0), min(furthest, FURTHEST)


def _row(axes: Axes, metric: MetricReport, y: float, limits: tuple[float, float]) -> None:
    found = in_floors(metric)
    if metric.null is not None:
        far, near = (metric.null.high, metric.null.low) if metric.grows else (metric.null.low, metric.null.high)
        floor = far - metric.null.mean
        band = ((near - metric.null.mean) / floor, 1.0) if floor else (0.0, 0.0)
        left, right = max(band[0], limits[0]), min(band[1], limits[1])
        axes.barh([y], [right - left], left=[left], height=ROW - 7, color=BAND, lw=0, zorder=0)
    if found is None:
        return
    tested = metric.p_holm if metric.p_holm is not None else metric.p
    color = INK if tested is None else AFTER if tested <= 0.05 else BEFORE
    inside = limits[0] <= found <= limits[1]
    marker = "D" if inside else ">" if found > 0 else "<"
    axes.plot(
        [min(max(found, limits[0]), limits[1])],
        [y],
        marker,
        ms=8 if inside else 9,
        mec=color,
        mfc="none" if tested is None else color,
        mew=1.4,
        zorder=3,
        clip_on=False,
    )


def _numbers(metric: MetricReport) -> tuple[str, str, str]:
    """Value, p and Holm's p, as printed."""
    value = "undefined" if metric.value is None else number(metric.value)
    if metric.p is None:
        return value, "no null" if metric.null is None else "no p-value", "—"
    return value, f"{metric.p:.3f}", "—" if metric.p_holm is None else f"{metric.p_holm:.3f}"
