"""What the total shift is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shift.pictures.canvas import (
    AFTER,
    BEFORE,
    GRAY,
    INK,
    MUTED,
    PAPER,
    RULE,
    WIDTH,
    Picture,
    blank,
    house_style,
    number,
    panel,
    write,
)

if TYPE_CHECKING:
    from shift.figures import Decomposition, Interval

LEFT, RIGHT, TOP, ROW = 250, 640, 16, 46


def decomposition_bars(parts: Decomposition) -> Picture:
    """Draw labeling, selection, 2 cross and their sum, the total: every bar and interval from the same zero."""
    cross = _twice(parts.cross)
    rows = (
        ("labeling", "how candidates are drawn", parts.labeling, BEFORE),
        ("+ selection", "which one is kept", parts.selection, AFTER),
        ("+ 2 × cross", direction(parts.cross), cross, GRAY),
        ("= total", "both together", parts.total, MUTED),
    )
    with house_style():
        figure = blank(TOP + ROW * len(rows) + 54)
        axes = panel(figure, LEFT, TOP, RIGHT - LEFT, ROW * len(rows))
        axes.set_ylim(ROW * len(rows), 0)
        axes.axvline(0, color=INK, lw=1, zorder=1)
        axes.axhline(ROW * (len(rows) - 1), color=RULE, lw=1, zorder=0)
        for place, (name, meaning, part, color) in enumerate(rows):
            y = ROW * (place + 0.5)
            axes.barh([y], [part.value], height=20, color=color, alpha=0.8, lw=0, zorder=2)
            for color, thick in ((PAPER, 3.4), (INK, 1.4)):
                axes.plot([part.low, part.high], [y, y], color=color, lw=thick, zorder=3)
            base = TOP + y
            write(figure, 8, base - 2, name, bold=True)
            write(figure, 8, base + 14, meaning, size=11.5, color=MUTED, room=LEFT - 24)
            write(figure, RIGHT + 16, base - 2, number(part.value), bold=True)
            between = f"95%: {number(part.low)} to {number(part.high)}"
            write(figure, RIGHT + 16, base + 14, between, size=11.5, color=MUTED, room=WIDTH - RIGHT - 20)
        axes.margins(x=0.06)
        axes.locator_params(axis="x", nbins=5)
        x, y = (LEFT + RIGHT) / 2, TOP + ROW * len(rows) + 42
        write(figure, x, y, f"squared shift, {parts.n:,} prompts", size=12, align="center")
    caption = (
        "Every bar begins at zero, and each line is the 95% interval of its own bar. The total is the sum of the three "
        "above it: labeling + selection + 2 × cross. A cross term to the left means that selection takes back some of "
        "what labeling moved. Estimates are unbiased and may fall below zero where nothing has moved; intervals of "
        "squares begin at zero."
    )
    return Picture("decomposition", "Labeling and selection", caption, figure)


def direction(cross: Interval) -> str:
    """What the sign of the cross term says."""
    if cross.low > 0:
        return "both move the same way"
    return "they move against each other" if cross.high < 0 else "no common direction shown"


def _twice(part: Interval) -> Interval:
    return part.model_copy(update={"value": 2 * part.value, "low": 2 * part.low, "high": 2 * part.high})
