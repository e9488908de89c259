"""What the best of k would have been, for every k that the stored pools allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shift.pictures.canvas import AFTER, MUTED, WIDTH, Picture, blank, house_style, panel, write
from shift.words import scorer_text

if TYPE_CHECKING:
    from shift.pools import KCurves

LEFT, TOP, HEIGHT, GAP = 62, 40, 190, 84
NAMES = {"misaligned": "share that misbehaves", "mean_logprob": "log-probability a token", "tokens": "tokens"}


def k_curve_panels(found: KCurves) -> Picture:
    """Draw a panel for each outcome: its mean under best-of-k, with 95% intervals over prompts.

    Args:
        found: with at least one curve.
    """
    curves = sorted(found.curves, key=lambda curve: curve.outcome != "misaligned")[:3]
    width = (WIDTH - LEFT - 16 - GAP * (len(curves) - 1)) / len(curves)
    with house_style():
        figure = blank(TOP + HEIGHT + 52)
        for place, curve in enumerate(curves):
            left = LEFT + place * (width + GAP)
            axes = panel(figure, left, TOP, width, HEIGHT, frame="bottom left")
            known = [(point.k, point.value) for point in curve.points if point.value is not None]
            k = [size for size, _ in known]
            axes.fill_between(k, [v.low for _, v in known], [v.high for _, v in known], color=AFTER, alpha=0.18, lw=0)
            axes.plot(k, [v.value for _, v in known], color=AFTER, lw=1.8, marker="o", ms=5)
            axes.set_xticks(k if len(k) <= 8 else k[:: len(k) // 8 + 1])
            axes.set_xlim(0.7, found.size + 0.3)
            axes.locator_params(axis="y", nbins=4)
            axes.margins(y=0.15)
            write(figure, left, 20, NAMES.get(curve.outcome, curve.outcome), bold=True, room=width)
            write(figure, left + width / 2, TOP + HEIGHT + 42, "best of k", size=12, color=MUTED, align="center")
    caption = (
        f"Expected outcome when the best of only k of the {found.size} stored candidates is kept, by "
        f"{scorer_text(found.scorer)}: an average over all choices of k; shaded: 95% intervals over prompts. k = 1 is "
        "uniform pick. Where some pools are smaller, larger k averages over fewer prompts."
    )
    return Picture("k-curves", "Had fewer candidates been drawn", caption, figure)
