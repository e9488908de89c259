"""The ladder as a strip: which leg has moved the answers, and how far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shift.ladder import RUNGS
from shift.pictures.canvas import (
    AFTER,
    BEFORE,
    GRAY,
    INK,
    MUTED,
    PAPER,
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
    from shift.figures import LegReport

SIDE, TOP, SPAN = 80, 50, 58


def ladder_strip(legs: Sequence[LegReport]) -> Picture:
    """Draw the rungs O, P, U and S in a row, legs between neighbours upon it and longer legs below.

    Args:
        legs: of a ladder; thickness is the root of their squared shift, color says whether it is told from none.
    """
    rungs = [rung for rung in RUNGS if any(rung in (leg.start, leg.end) for leg in legs)]
    step = (WIDTH - 2 * SIDE) / max(len(rungs) - 1, 1)
    place = {rung: SIDE + step * i for i, rung in enumerate(rungs)}
    largest = max((leg.value for leg in legs), default=0.0)
    below = sorted((leg for leg in legs if _length(leg, rungs) > 1), key=lambda leg: _length(leg, rungs))
    height = TOP + 84 + SPAN * len(below) + (16 if below else 0)
    with house_style():
        figure = blank(height)
        axes = panel(figure, 0, 0, WIDTH, height, frame="")
        axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        for leg in legs:
            left, right, y = place[leg.start], place[leg.end], TOP
            if leg in below:
                y = TOP + 38 + SPAN * (below.index(leg) + 1)
                axes.plot([left, left, right, right], [TOP + 46, y, y, TOP + 46], color=MUTED, lw=0.8, ls=":")
            near = 26 if y == TOP else 0
            thick = 1.5 + 12 * (max(leg.value, 0.0) / largest) ** 0.5 if largest > 0 else 1.5
            color = GRAY if leg.p is None else AFTER if leg.p <= 0.05 else BEFORE
            axes.plot([left + near, right - near], [y, y], color=color, lw=thick, solid_capstyle="butt")
            p = "no test" if leg.p is None else f"p = {leg.p:.3f}"
            write(figure, (left + right) / 2, y - 14, f"{number(leg.value)}, {p}", size=12.5, align="center")
            if leg.low is not None and leg.high is not None:
                words = f"{number(leg.low)} to {number(leg.high)}"
                write(figure, (left + right) / 2, y + 21, words, size=11.5, color=MUTED, align="center")
        for rung, x in place.items():
            axes.plot([x], [TOP], "o", ms=34, color=PAPER, mec=INK, mew=1.4, zorder=3)
            write(figure, x, TOP + 5, rung, bold=True, align="center", size=15)
            write(figure, x, TOP + 38, RUNGS[rung], size=12, color=MUTED, align="center")
        x = key(figure, 280, height - 10, "bar", AFTER, "p ≤ 0.05")
        x = key(figure, x, height - 10, "bar", BEFORE, "p > 0.05")
        key(figure, x, height - 10, "bar", GRAY, "no test")
    caption = (
        "From the original answer over the model's own plain sample and a uniform pick of the candidates to the label. "
        "Squared shifts, with 95% intervals; thickness is their root, a distance."
    )
    return Picture("ladder", "The ladder, leg by leg", caption, figure)


def _length(leg: LegReport, rungs: list[str]) -> int:
    return rungs.index(leg.end) - rungs.index(leg.start)
