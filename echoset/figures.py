"""The report's pictures, as inline SVG.

Drawn in CSS pixels (one unit of the view box is one pixel at natural size), text kept as text, and every neutral color
written as a CSS variable of the page, so that pictures share the page's font and follow its light and dark scheme.
Panels are narrow and stack on a phone instead of shrinking.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WIDTH = 440
INK, MUTED, RULE, BAND = "#1b1f24", "#5c6671", "#d4dae1", "#e8ecf1"
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", BAND: "var(--band)"}

# Okabe and Ito's colorblind-safe hues first, then Paul Tol's muted ones; the null controls are always gray.
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#44aa99", "#999933", "#aa4499")
GRAYS = {"self_sample": "#8a929b", "random_pick": "#5f6871"}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
GLYPHS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "⬢")
"""The same markers as characters, for the legend in the page's text."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 95% interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One method: its mean over organisms (None: unknown), and each organism's own effect."""

    label: str
    color: str
    mean: Interval | None
    organisms: Sequence[Interval]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Dot:
    """One organism x method cell of a scatter."""

    x: Interval
    y: Interval
    color: str
    marker: str


@dataclass(frozen=True, slots=True)
class LegRow:
    """One method's squared shifts over organisms: leg name -> values."""

    label: str
    legs: dict[str, list[float]] = field(default_factory=dict)


def method_colors(methods: Sequence[str]) -> dict[str, str]:
    """One color per method, the same in every figure and table."""
    colored = [method for method in methods if method not in GRAYS]
    return {**{m: HUES[i % len(HUES)] for i, m in enumerate(colored)}, **{m: GRAYS[m] for m in methods if m in GRAYS}}


def forest(
    rows: Sequence[ForestRow], *, band: tuple[float, float] | None, limits: tuple[float, float], name: str
) -> str:
    """Effects of each method on one task: mean over organisms (diamond) above each organism's own interval (rings).

    Args:
        rows: top to bottom.
        band: range of the null controls, shaded.
        limits: the x axis, shared by all tasks.
        name: unique in the page; prefixes the ids inside the SVG.
    """
    most = max((len(row.organisms) for row in rows), default=0)
    step = 9 if most <= 6 else 54 / most  # px between organisms of one row
    heights = [46 + step * max(len(row.organisms), 1) for row in rows]
    figure, axes = _panel(sum(heights), limits)
    if band:
        axes.axvspan(*band, color=BAND, lw=0, zorder=0)
    top = 0.0
    for row, height in zip(rows, heights, strict=True):
        axes.text(0, top + 15, row.label, transform=axes.get_yaxis_transform(), weight="bold", **_TEXT)
        axes.text(1, top + 15, row.text, transform=axes.get_yaxis_transform(), ha="right", **_TEXT)
        axes.plot([0, 0], [top + 21, top + height - 3], color=INK, lw=1, zorder=1)  # not through the row's words
        if row.mean is not None:
            _whisker(axes, row.mean, top + 30, row.color, limits, width=2.6)
            axes.plot([row.mean.value], [top + 30], marker="D", ms=8, color=row.color, clip_on=False, zorder=4)
        for place, organism in enumerate(row.organisms):
            y = top + 40 + step * place
            _whisker(axes, organism, y, row.color, limits, width=1, alpha=0.75)
            axes.plot([organism.value], [y], marker="o", ms=4, color=row.color, alpha=0.9, zorder=3, clip_on=False)
        top += height
        axes.axhline(top - 3, color=RULE, lw=0.7, zorder=0)
    axes.set_ylim(sum(heights), 0)
    axes.set_yticks([])
    axes.set_xlabel("effect: misbehavior rate after − before", color=INK, size=12.5)
    return _svg(figure, name, f"Effects of each method: {name}")


def scatter(dots: Sequence[Dot], *, xlabel: str, name: str) -> str:
    """Effect against shift, one mark per organism x method cell, with both 95% intervals."""
    figure, axes = _panel(330, None, left=52)
    axes.axhline(0, color=INK, lw=1, zorder=1)
    axes.axvline(0, color=RULE, lw=1, zorder=1)
    for dot in dots:
        style = {"color": dot.color, "lw": 0.8, "alpha": 0.35, "zorder": 2}
        if dot.x.low is not None and dot.x.high is not None:
            axes.plot([dot.x.low, dot.x.high], [dot.y.value] * 2, **style)
        if dot.y.low is not None and dot.y.high is not None:
            axes.plot([dot.x.value] * 2, [dot.y.low, dot.y.high], **style)
        axes.plot(
            [dot.x.value], [dot.y.value], marker=dot.marker, ms=7, mew=0.6, mec="white", color=dot.color, zorder=3
        )
    axes.grid(axis="y", color=RULE, lw=0.6)
    axes.set_xlabel(xlabel, color=INK, size=12.5)
    axes.set_ylabel("effect", color=INK, size=12.5)
    return _svg(figure, name, f"Effect against {xlabel}")


def decomposition(rows: Sequence[LegRow], colors: dict[str, str], *, name: str) -> str:
    """Squared shift of each method on one task, leg by leg: bar to the mean over organisms, dots the organisms."""
    legs = list(colors)
    height = 30 + 12 * len(legs)
    figure, axes = _panel(height * len(rows), None)
    for place, row in enumerate(rows):
        axes.plot([0, 0], [place * height + 21, (place + 1) * height - 3], color=INK, lw=1, zorder=1)
        axes.text(0, place * height + 15, row.label, transform=axes.get_yaxis_transform(), weight="bold", **_TEXT)
        for line, leg in enumerate(legs):
            values, y = row.legs.get(leg) or [], place * height + 29 + 12 * line
            if not values:
                axes.text(0, y + 3.5, "not measured", transform=axes.get_yaxis_transform(), size=10.5, color=MUTED)
                continue
            axes.barh([y], [sum(values) / len(values)], height=7, color=colors[leg], alpha=0.75, lw=0, zorder=2)
            axes.plot(values, [y] * len(values), "o", ms=3.6, color=INK, mew=0, alpha=0.75, zorder=3, clip_on=False)
    axes.set_ylim(height * len(rows), 0)
    axes.set_yticks([])
    axes.set_xlabel("squared shift", color=INK, size=12.5)
    return _svg(figure, name, f"Labeling and selection shift: {name}")


_TEXT = {"size": 12.5, "color": INK, "parse_math": False}  # names come from outside: a `$` is no formula


def _panel(height: float, limits: tuple[float, float] | None, left: float = 14) -> tuple[Figure, Axes]:
    """One bare panel `WIDTH` pixels wide with room for an x axis and its label."""
    figure = Figure(figsize=(WIDTH / 72, (height + 58) / 72), dpi=72)
    FigureCanvasSVG(figure)
    total = height + 58
    axes = figure.add_axes((left / WIDTH, 50 / total, (WIDTH - left - 16) / WIDTH, height / total))
    if limits:
        axes.set_xlim(*limits)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))  # type: ignore[attr-defined]
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(colors=MUTED, labelsize=12, length=0)
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return figure, axes


def _whisker(
    axes: Axes, interval: Interval, y: float, color: str, limits: tuple[float, float], width: float, alpha: float = 1.0
) -> None:
    """An interval as a line; an arrow head says that it goes on beyond the axis."""
    if interval.low is None or interval.high is None:
        return
    low, high = max(interval.low, limits[0]), min(interval.high, limits[1])
    axes.plot([low, high], [y, y], color=color, lw=width, alpha=alpha, zorder=2, solid_capstyle="butt")
    for end, marker, beyond in ((low, "<", interval.low < limits[0]), (high, ">", interval.high > limits[1])):
        if beyond:
            axes.plot([end], [y], marker=marker, ms=3 + width, color=color, alpha=alpha, zorder=2, clip_on=False)


def nice_limits(values: Sequence[float]) -> tuple[float, float]:
    """Axis limits to the next tenth, zero always inside, never beyond [-1, 1]."""
    low, high = min([0.0, *values]), max([0.0, *values])
    low, high = math.floor(low * 10 - 0.2) / 10, math.ceil(high * 10 + 0.2) / 10
    return max(-1.05, low), min(1.05, high)


def _svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an inline `<svg>`: no ids shared with another one, no metadata, no absolute references."""
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", text).replace("xlink:href", "href")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{slug}-", text)
    text = re.sub(r" font-family: [^;]*;", "", text)
    for color, variable in VARIABLES.items():
        text = text.replace(color, variable)
    view = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg role="img" aria-label="{_attribute(label)}" {view.group() if view else ""}>'
    return re.sub(r"^<svg[^>]*>", lambda _: head, text)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
