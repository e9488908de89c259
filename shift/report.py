"""The shift report: its figures in JSON, on the terminal and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from datasets_cards.errors import InputError
from shift.figures import SCHEMA_VERSION, Figures
from shift.words import legs_table, summary

if TYPE_CHECKING:
    from rich.table import Table


class ShiftReport(Figures):
    """How far a labeled dataset has moved, and how to read it."""

    def to_json(self) -> str:
        """The report as JSON text."""
        return self.model_dump_json(by_alias=True, indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> ShiftReport:
        """Read a report.

        Raises:
            InputError: the text is not a report of this version.
        """
        try:
            report = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"not a shift report: {first['msg']}", where=where, remedy="Measure again.") from None
        if report.schema_version != SCHEMA_VERSION:
            raise InputError(f"a shift report of version {report.schema_version}", remedy="Measure again.")
        return report

    def summary(self) -> str:
        """One paragraph for someone who has never met a kernel."""
        return summary(self)

    def table(self) -> Table:
        """The legs as a table for the terminal."""
        return legs_table(self)
