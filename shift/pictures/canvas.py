"""Paper and pencil: a figure in CSS pixels from its top left corner, words that fit, and pictures as SVG or PNG bytes.

One unit of a figure is one pixel at natural size. Text stays text, so that a page can set its font and a reader can
search it; room is measured with the font that comes with matplotlib, which is wider than what browsers usually take.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 880
INK, MUTED, RULE, BAND = "#1b1f24", "#5c6671", "#d4dae1", "#e8ecf1"
# Okabe and Ito's hues, told apart by every kind of color vision.
BEFORE, AFTER, GRAY = "#0072b2", "#d55e00", "#8a929b"
PAPER = "#ffffff"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    BAND: "var(--band)",
    PAPER: "var(--paper)",
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure and the words around it.

    Attributes:
        name: of its file and inside a page; unique among the pictures of a page.
        title: a few words.
        caption: how to read it.
    """

    name: str
    title: str
    caption: str
    figure: Figure

    def svg(self) -> bytes:
        """The picture as a file of its own; the same bytes every time."""
        return self._svg().encode()

    def png(self, *, scale: float = 2) -> bytes:
        """The picture as pixels, `scale` for each CSS pixel; the same bytes every time on one matplotlib."""
        out = io.BytesIO()
        with house_style():
            self.figure.savefig(out, format="png", dpi=72 * scale, metadata={"Software": None})
        return out.getvalue()

    def inline(self) -> str:
        """The picture as an `<svg>` inside a page: ids of its own, the page's font and neutral colors."""
        text = self._svg(transparent=True)
        text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text[text.index("<svg") :], flags=re.S)
        text = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", text).replace("xlink:href", "href")
        text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{self.name}-", text)
        text = re.sub(r" font-family: [^;]*;", "", text)
        for color, variable in VARIABLES.items():
            text = text.replace(color, variable)
        view = re.search(r'viewBox="[^"]*"', text)
        head = f'<svg role="img" aria-label="{attribute(self.title)}" {view.group() if view else ""}>'
        return re.sub(r"^<svg[^>]*>", lambda _: head, text)

    def _svg(self, *, transparent: bool = False) -> str:
        out = io.StringIO()
        with house_style(hashsalt=self.name):
            self.figure.savefig(
                out, format="svg", metadata={"Date": None, "Creator": None}, transparent=transparent or None
            )
        return out.getvalue()


@contextmanager
def house_style(hashsalt: str | None = None) -> Iterator[None]:
    """Matplotlib's own defaults (whatever the user's settings) with text as text and ids that repeat."""
    import matplotlib as mpl
    from matplotlib import style

    with style.context("default"), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": hashsalt}):
        yield


def blank(height: float, *, width: float = WIDTH) -> Figure:
    """An empty sheet, in pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72)


def panel(figure: Figure, left: float, top: float, width: float, height: float, *, frame: str = "bottom") -> Axes:
    """Axes at a place of the sheet, with only the named sides ("bottom left") drawn."""
    sheet_width, sheet_height = figure.get_size_inches() * 72
    axes = figure.add_axes(
        (left / sheet_width, 1 - (top + height) / sheet_height, width / sheet_width, height / sheet_height)
    )
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in frame.split())
        spine.set_color(RULE)
    axes.tick_params(colors=MUTED, labelsize=11.5, length=0)
    for axis, side in ((axes.xaxis, "bottom"), (axes.yaxis, "left")):
        if side not in frame.split():
            axis.set_visible(False)
    return axes


def write(
    figure: Figure,
    x: float,
    y: float,
    words: str,
    *,
    size: float = 13,
    color: str = INK,
    bold: bool = False,
    align: Literal["left", "center", "right"] = "left",
    room: float | None = None,
) -> None:
    """Words with their baseline at (x, y) pixels from the top left, cut with … where they need more than `room`."""
    width, height = figure.get_size_inches() * 72
    figure.text(
        x / width,
        1 - y / height,
        words if room is None else fit(words, room, size=size, bold=bold),
        size=size,
        color=color,
        weight="bold" if bold else "normal",
        ha=align,
        va="baseline",
        parse_math=False,  # names come from outside: a `$` is no formula
    )


def key(
    figure: Figure, x: float, y: float, mark: str, color: str, words: str, *, room: float = 380, bold: bool = False
) -> float:
    """A mark and what it stands for, on a baseline at y; returns where the next one may begin.

    Args:
        figure: the sheet.
        x: left edge.
        y: baseline of the words.
        mark: a matplotlib marker, "bar" or "line"; a marker that begins with "hollow " is not filled.
        color: of the mark.
        words: what it stands for.
        room: for the words.
        bold: whether the words are bold and in the mark's color.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches() * 72
    middle = 1 - (y - 4.5) / height
    wide = mark in ("bar", "line")
    if mark == "bar":
        figure.add_artist(Rectangle((x / width, middle - 5 / height), 18 / width, 10 / height, color=color, lw=0))
    elif mark == "line":
        figure.add_artist(Line2D([x / width, (x + 18) / width], [middle] * 2, color=color, lw=1.6))
    else:
        face = "none" if mark.startswith("hollow ") else color
        shape = mark.removeprefix("hollow ")
        figure.add_artist(Line2D([(x + 5) / width], [middle], marker=shape, ms=8, mec=color, mfc=face, mew=1.4, lw=0))
    begin = x + (24 if wide else 16)
    shown = fit(words, room, bold=bold)
    write(figure, begin, y, shown, color=color if bold else INK, bold=bold)
    return begin + text_width(shown, bold=bold) + 26


def fit(words: str, room: float, *, size: float = 13, bold: bool = False) -> str:
    """The words, cut with … where they are wider than `room` pixels."""
    if text_width(words, size=size, bold=bold) <= room:
        return words
    kept = len(words)
    while kept and text_width(words[:kept].rstrip() + "…", size=size, bold=bold) > room:
        kept -= 1
    return words[:kept].rstrip() + "…"


def text_width(words: str, *, size: float = 13, bold: bool = False) -> float:
    """How many pixels words take."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with house_style():
        font = FontProperties(size=size, weight="bold" if bold else "normal")
        return float(text_to_path.get_text_width_height_descent(words, font, ismath=False)[0])


def number(value: float) -> str:
    """Three figures, without an exponent where it can be read, and a real minus sign."""
    size = abs(value)
    shown = (
        f"{value:,.0f}" if 1000 <= size < 1e6 else f"{value:.3g}" if size == 0 or 1e-4 <= size < 1e6 else f"{value:.1e}"
    )
    return shown.replace("-", "−")


def attribute(text: str) -> str:
    """Text for a double-quoted attribute."""
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
