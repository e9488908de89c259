"""One HTML page of a shift report that needs nothing else: no scripts, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shift.moved import MovedRow, compared, how_far
from shift.pictures.canvas import Picture, number

if TYPE_CHECKING:
    from shift.report import ShiftReport


def page(
    report: ShiftReport,
    pictures: Sequence[Picture] = (),
    moved: Sequence[MovedRow] = (),
    *,
    title: str = "How far the answers have moved",
    names: tuple[str, str] = ("before", "after"),
) -> str:
    """The report as HTML text.

    Args:
        report: what was measured.
        pictures: those of `draw`.
        moved: the most-moved rows.
        title: of the page.
        names: what the two answers of a moved row are called.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # answers are arbitrary text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _figure, "p_value": _p, "how_far": how_far}
    return environment.get_template("page.html.j2").render(
        report=report,
        title=title,
        names=names,
        pictures=[(picture, Markup(picture.inline())) for picture in pictures],
        moved=[(row, compared(row.prompt, row.prompt)[0], *compared(row.before, row.after)) for row in moved],
    )


def _figure(value: float | None) -> str:
    return "—" if value is None else number(value)


def _p(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
