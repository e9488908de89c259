"""How far single answers have turned, beside how far apart answers to different prompts are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shift.pictures.canvas import (
    AFTER,
    INK,
    MUTED,
    WIDTH,
    Picture,
    blank,
    house_style,
    key,
    number,
    panel,
    text_width,
    write,
)

Float = NDArray[np.float64]
LEFT, TOP, HEIGHT = 56, 64, 250


def drift_histogram(drift_N: Float, other_N: Float, *, before: str, after: str) -> Picture:
    """Draw the drift of each prompt's answer and, as an outline, the distance to the nearest answer of another prompt.

    Args:
        drift_N: 1 - cos from before to after, one a prompt.
        other_N: 1 - cos from before to the nearest answer that another prompt has before.
        before: name of the first sample.
        after: name of the second sample.
    """
    n = len(drift_N)
    edges = bin_edges(np.concatenate([drift_N, other_N]), n)
    end, last = edges[-1], edges[-1]
    mean, share = float(drift_N.mean()), float((drift_N > other_N).mean())
    largest = float(max(drift_N.max(), other_N.max()))
    if largest > end:  # a bin more, for all from there on
        last = 2 * end - edges[-2]
        edges = [*edges, last]
    with house_style():
        figure = blank(TOP + HEIGHT + 52)
        axes = panel(figure, LEFT, TOP, WIDTH - LEFT - 16, HEIGHT, frame="bottom left")
        weights = np.full(n, 1 / n)
        axes.hist(drift_N.clip(max=last), edges, weights=weights, color=AFTER, alpha=0.75, lw=0, zorder=2)
        axes.hist(other_N.clip(max=last), edges, weights=weights, histtype="step", color=INK, lw=1.6, zorder=3)
        axes.axvline(min(mean, (end + last) / 2), color=AFTER, lw=1.6, ls=(0, (4, 2)), zorder=4)
        axes.set_xlim(0, last)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.04)
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
        axes.locator_params(axis="y", nbins=5)
        axes.tick_params(axis="x", pad=7)
        if last > end:
            axes.axvline(end, color=MUTED, lw=1, ls=":", zorder=1)
            words = f"{number(end)} and beyond"
            write(figure, WIDTH - 16, TOP + HEIGHT + 16, words, size=11.5, color=MUTED, align="right")
            # Numbers stop short of these words.
            room = 1 - (text_width(words, size=11.5) + 36) / (WIDTH - LEFT - 16)
            axes.set_xticks([x for x in axes.get_xticks() if 0 <= x <= room * last])
        said = f"{share:.0%} of {n:,} answers moved further than to the nearest answer of another prompt"
        write(figure, LEFT, 20, said, bold=True, room=WIDTH - LEFT - 16)
        x = key(figure, LEFT, 46, "bar", AFTER, f"drift (mean {number(mean)})")
        key(figure, x, 46, "line", INK, f"nearest answer of another prompt (mean {number(float(other_N.mean()))})")
        label = f"1 − cosine between the answers to one prompt (0: same direction), {before} to {after}"
        write(
            figure, LEFT + (WIDTH - LEFT - 16) / 2, TOP + HEIGHT + 42, label, size=12, align="center", room=WIDTH - 80
        )
    caption = (
        f"Filled: how far each prompt's answer has turned from {before} to {after}; the dashed line is the mean. "
        f"Outline: how far it is, in {before}, to the nearest answer of any other prompt; after a drift of that size "
        "it could as well be another prompt's answer. Two draws of one model drift too: drift alone is no shift."
    )
    if last > end:
        beyond = int((drift_N >= end).sum()), int((other_N >= end).sum())
        caption += (
            f" The last bin holds all from {number(end)} on, up to {number(largest)}: "
            f"{beyond[0]:,} answers (filled) and {beyond[1]:,} nearest distances (outline)."
        )
        caption += " The mean lies there too." if mean > end else ""
    return Picture("drift", f"How far single answers have turned: {before} to {after}", caption, figure)


def bin_edges(values: Float, n: int) -> list[float]:
    """Edges from 0: about the root of n bins, 10 to 50. All zeros get one bin's room.

    They end at the largest value, or, where that is more than twice the 99th percentile, there: single values far out
    would squeeze all others into one bin.
    """
    largest = float(values.max())
    most = float(np.quantile(values, 0.99, method="lower"))
    # Below 1e-6 cosines of equal answers differ by rounding only.
    end = most if largest > 2 * most > 2e-6 else largest
    return np.linspace(0, end if end > 0 else 0.1, min(50, max(10, round(n**0.5))) + 1).tolist()
