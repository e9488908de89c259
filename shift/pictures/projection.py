"""Answers before and after in two dimensions, with an arrow for each prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shift.pictures.canvas import (
    AFTER,
    BEFORE,
    GRAY,
    INK,
    MUTED,
    PAPER,
    Picture,
    blank,
    fit,
    house_style,
    key,
    panel,
    text_width,
    write,
)
from shift.pictures.directions import by_shift, by_variance, displacements

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.float64]
MANY = 3000
"""Rows that are drawn one by one; of more, all are counted in hexagons."""
ARROWS, LONGEST = 120, 10
SIDE, GAP, TOP = 418, 40, 40
ACROSS = 44
"""Hexagons from side to side of a square panel."""


def projection(
    points_MD: NDArray[np.float32],
    prompt_M: NDArray[np.int64],
    first_M: Float,
    second_M: Float,
    *,
    before: str,
    after: str,
) -> Picture:
    """Draw two weightings of the same pooled rows: along the principal components, and along the mean shift.

    Args:
        points_MD: pooled rows.
        prompt_M: the prompt of each row.
        first_M: weight of each row before; the weights sum to 1.
        second_M: weight of each row after.
        before: name of the first sample, such as "self-sample".
        after: name of the second sample.
    """
    views = [by_variance(points_MD, prompt_M, first_M, second_M)]
    along = by_shift(points_MD, prompt_M, first_M, second_M)
    if along is not None:
        views.append(along)
    paired_A, length_A = displacements(points_MD, prompt_M, first_M, second_M)
    longest_A, others_A = chosen_arrows(length_A)
    dense = len(points_MD) > MANY
    width = SIDE if along else 2 * SIDE + GAP
    with house_style():
        figure = blank(TOP + SIDE + 46)
        _legend(figure, before, after, dense=dense)
        for i, view in enumerate(views):
            left = 2 + i * (SIDE + GAP)
            axes = panel(figure, left, TOP, width, SIDE, frame="left bottom right top")
            axes.set(xticks=[], yticks=[])
            if dense:
                _hexagons(axes, view.xy_M2, first_M, second_M, across=round(ACROSS * width / SIDE))
            else:
                _dots(axes, view.xy_M2, first_M, second_M)
            starts_A2, ends_A2 = (_means(view.xy_M2, prompt_M, side_M)[paired_A] for side_M in (first_M, second_M))
            for chosen, alpha, thick in ((others_A, 0.3, 0.7), (longest_A, 0.85, 1.2)):
                _arrows(axes, starts_A2[chosen], ends_A2[chosen], alpha=alpha, width=thick)
            _centers(axes, first_M @ view.xy_M2, second_M @ view.xy_M2)
            axes.margins(0.04)
            for line, (mark, label) in enumerate(zip("→↑", view.labels, strict=True)):
                x, y = left + width / 2, TOP + SIDE + 20 + 17 * line
                write(figure, x, y, f"{mark} {label}", size=12, color=MUTED, align="center", room=width)
    caption = _caption(
        len(views),
        len(longest_A),
        len(others_A),
        len(paired_A),
        moved=bool(length_A.any()),
        rows=len(points_MD),
        dense=dense,
    )
    return Picture("projection", f"Where the answers lie: {before} and {after}", caption, figure)


def chosen_arrows(length_A: Float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The arrows to draw: the longest, and all others or, of many, evenly spaced ones in the order of their length."""
    order = np.argsort(-length_A, kind="stable")
    longest, others = order[:LONGEST], order[LONGEST:]
    if len(others) > ARROWS:
        others = others[np.linspace(0, len(others) - 1, ARROWS).round().astype(int)]
    return longest, others


def hexagons(xy_M2: Float) -> tuple[Float, NDArray[np.int64]]:
    """The hexagons that hold rows, by their centers [H, 2], and which one each row is in.

    Centers are the whole points and the points halfway between four of them; the unit of y is the root of 3 that of x.
    """
    whole_M2, half_M2 = np.round(xy_M2), np.floor(xy_M2) + 0.5
    to_whole_M, to_half_M = (((xy_M2 - center_M2) ** 2) @ [1.0, 3.0] for center_M2 in (whole_M2, half_M2))
    center_M2 = np.where((to_whole_M <= to_half_M)[:, None], whole_M2, half_M2)
    center_H2, hexagon_M = np.unique(center_M2, axis=0, return_inverse=True)
    return center_H2, hexagon_M.ravel()


def _dots(axes: Axes, xy_M2: Float, first_M: Float, second_M: Float) -> None:
    size = 6.5 if len(xy_M2) <= 200 else 5 if len(xy_M2) <= 1000 else 3.5
    for side_M, color, marker in ((first_M, BEFORE, "o"), (second_M, AFTER, "^")):
        x, y = xy_M2[side_M > 0].T
        axes.plot(x, y, marker, ms=size, mew=0, color=color, alpha=0.55, zorder=2)


def _hexagons(axes: Axes, xy_M2: Float, first_M: Float, second_M: Float, *, across: int) -> None:
    """Every row in its hexagon: hue says which sample has more weight there, opacity how much there is of both."""
    from matplotlib.collections import PolyCollection

    low_2, high_2 = xy_M2.min(axis=0), xy_M2.max(axis=0)
    step_2 = np.where(high_2 > low_2, high_2 - low_2, 1) / np.array([across, ACROSS / np.sqrt(3)])
    node_H2, hexagon_M = hexagons((xy_M2 - low_2) / step_2)
    first_H, second_H = (np.bincount(hexagon_M, weights=side_M) for side_M in (first_M, second_M))
    total_H = first_H + second_H
    colors_H4 = np.column_stack(
        [_blend(second_H / np.maximum(total_H, 1e-300)), 0.12 + 0.88 * np.sqrt(total_H / total_H.max())]
    )
    angles_6 = np.pi / 6 + np.pi / 3 * np.arange(6)
    outline_62 = np.column_stack([np.cos(angles_6) / np.sqrt(3), np.sin(angles_6) / 3])
    vertices_H62 = (node_H2[:, None] + outline_62) * step_2 + low_2
    axes.add_collection(PolyCollection(list(vertices_H62), facecolors=colors_H4, edgecolors="none", zorder=2))
    axes.update_datalim(vertices_H62.reshape(-1, 2))


def _blend(share_H: Float) -> Float:
    """Colors [H, 3] from before over gray (as much of both) to after."""
    from matplotlib.colors import to_rgb

    stops = np.array([to_rgb(color) for color in (BEFORE, GRAY, AFTER)])
    return np.column_stack([np.interp(share_H, (0, 0.5, 1), stops[:, channel]) for channel in range(3)])


def _arrows(axes: Axes, starts_A2: Float, ends_A2: Float, *, alpha: float, width: float) -> None:
    moved_A = (starts_A2 != ends_A2).any(axis=1)
    if not moved_A.any():
        return
    (x, y), (u, v) = starts_A2[moved_A].T, (ends_A2 - starts_A2)[moved_A].T
    axes.quiver(
        *(x, y, u, v),
        angles="xy",
        scale_units="xy",
        scale=1,
        units="inches",
        width=width / 72,
        headwidth=6,
        headlength=7,
        headaxislength=6,
        minlength=0,
        color=INK,
        alpha=alpha,
        lw=0,
        zorder=3,
    )
    axes.update_datalim(np.concatenate([starts_A2, ends_A2]))


def _centers(axes: Axes, first_2: Float, second_2: Float) -> None:
    """Both means, on top of everything."""
    for center, color, marker in ((first_2, BEFORE, "o"), (second_2, AFTER, "^")):
        axes.plot(*center[:, None], marker, ms=13, mew=2, mec=PAPER, color=color, zorder=5)


def _legend(figure: Figure, before: str, after: str, *, dense: bool) -> None:
    from matplotlib.colors import to_hex

    if dense:
        x = 10.0
        write(figure, x, 24, fit(before, 300, bold=True), color=BEFORE, bold=True)
        x += text_width(fit(before, 300, bold=True), bold=True) + 12
        for color in _blend(np.linspace(0, 1, 9)):
            x = key(figure, x, 24, "bar", to_hex(color), "") - 32
        write(figure, x + 12, 24, fit(after, 300, bold=True), color=AFTER, bold=True)
    else:
        x = key(figure, 10, 24, "o", BEFORE, before, bold=True)
        key(figure, x, 24, "^", AFTER, after, bold=True)


def _means(xy_M2: Float, prompt_M: NDArray[np.int64], side_M: Float) -> Float:
    """Each prompt's mean place on one side (0 where it has none)."""
    total = np.bincount(prompt_M, weights=side_M)
    sums = np.column_stack([np.bincount(prompt_M, weights=side_M * xy_M2[:, k]) for k in range(2)])
    return sums / np.where(total > 0, total, 1)[:, None]


def _caption(views: int, longest: int, others: int, prompts: int, *, moved: bool, rows: int, dense: bool) -> str:
    said = ["Each answer is a point in the embedder's space; big marks are the means."]
    if dense:
        said = [
            f"All {rows:,} answers, counted in hexagons: the color says which of the two has more there, "
            "its strength how many there are; big marks are the means."
        ]
    said.append("Left, the two directions in which the answers vary most." if views == 2 else "")
    if views == 2:
        said.append(
            "Right, the direction of the mean shift, each half of the prompts seen along the other half's, "
            "so that nothing shows where nothing has shifted."
        )
    if longest + others < prompts:
        said.append(
            f"Arrows lead from before to after for {longest + others} of {prompts:,} prompts: the {longest} that moved "
            f"furthest (dark) and {others} evenly spaced among the others, by how far they moved."
        )
    elif prompts and not moved:
        said.append("No prompt's answer has moved.")
    elif prompts:
        dark = f"; the {longest} that moved furthest are dark" if others else ""
        said.append(f"Arrows lead from before to after for each of the {prompts} prompts{dark}.")
    return " ".join(part for part in said if part)
