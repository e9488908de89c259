"""Pictures of a shift, as SVG or PNG, and the page that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shift.pictures.canvas import Picture
from shift.pictures.curves import k_curve_panels
from shift.pictures.drifts import drift_histogram
from shift.pictures.forest import forest
from shift.pictures.page import page
from shift.pictures.parts import decomposition_bars
from shift.pictures.projection import projection
from shift.pictures.strip import ladder_strip

if TYPE_CHECKING:
    from shift.ladder import Ladder
    from shift.report import ShiftReport
    from shift.samples import Samples

__all__ = [
    "Picture",
    "decomposition_bars",
    "draw",
    "drift_histogram",
    "forest",
    "k_curve_panels",
    "ladder_strip",
    "page",
    "projection",
]


def draw(report: ShiftReport, points: Ladder | Samples | None = None) -> list[Picture]:
    """Every picture that a report has the figures for, in the order of a page.

    Args:
        report: what was measured.
        points: what it was measured on; without it, the pictures that need only the report.
    """
    from shift.drift import drift
    from shift.ladder import Ladder
    from shift.samples import Samples

    start, end = report.main_leg
    before, after = (f"{report.rungs[rung]} ({rung})" for rung in (start, end))
    drawn = []
    if report.kind == "ladder":
        drawn.append(ladder_strip(report.legs))
    if report.decomposition is not None:
        drawn.append(decomposition_bars(report.decomposition))
    if measured := [metric for metric in report.metrics if (metric.start, metric.end) == (start, end)]:
        drawn.append(forest(measured))
    if points is not None:
        samples = Samples.from_ladder(points, start, end) if isinstance(points, Ladder) else points
        drawn.append(projection(samples.points_MD, samples.prompt_M, *samples.weights(), before=before, after=after))
    if isinstance(points, Ladder):
        found = drift(points, start, end)
        drawn.append(drift_histogram(found.drift_N, found.other_N, before=before, after=after))
    if report.pools is not None and report.pools.k_curves.curves and report.pools.k_curves.size > 1:
        drawn.append(k_curve_panels(report.pools.k_curves))
    return drawn
