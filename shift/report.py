"""The shift report: every leg beside its floor, in JSON, on the terminal and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from datasets_cards.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA_VERSION = 1
Rung = Literal["O", "P", "U", "S"]
LEGS: tuple[tuple[Rung, Rung], ...] = (("O", "P"), ("P", "U"), ("U", "S"), ("P", "S"), ("O", "S"))
MEANING = {
    "O->P": "original to self-sample",
    "P->U": "labeling: self-sample to a uniform pick of the pool",
    "U->S": "selection: uniform pick to the label",
    "P->S": "total: self-sample to the label",
    "O->S": "original to the label",
}


# JSON says "from" and "to"; Python can't.
FROM: Any = Field(validation_alias=AliasChoices("from", "start"), serialization_alias="from")
TO: Any = Field(validation_alias=AliasChoices("to", "end"), serialization_alias="to")


class Part(BaseModel):
    """Frozen, and strict about its fields: a report that is read is one that was written."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Interval(Part):
    """An estimate and its 95% interval."""

    value: float
    low: float
    high: float


class LegReport(Part):
    """One leg: its squared shift (paired MMD^2, unbiased, so slightly negative where there is none).

    Attributes:
        n: prompts that have both rungs.
        p: of the permutation test within prompts; None with the reason in `p_reason`.
        null_floor: the size that no shift at all reaches one time in twenty.
    """

    name: str
    start: Rung = FROM
    end: Rung = TO
    n: int
    value: float
    low: float
    high: float
    p: float | None
    p_reason: str | None
    null_floor: float


class Decomposition(Part):
    """total = labeling + selection + 2 cross, on the prompts that have P and S; exact up to rounding.

    Attributes:
        labeling_share: (labeling + cross) / total, with Fieller's interval; None with the reason in `share_reason`.
        selection_share: (selection + cross) / total; both add up to 1.
    """

    n: int
    labeling: Interval
    selection: Interval
    cross: Interval
    total: Interval
    labeling_share: Interval | None
    selection_share: Interval | None
    share_reason: str | None


class DriftReport(Part):
    """Paired cosine drift (1 - cos) of single answers between two rungs.

    Attributes:
        quantiles: at 5, 25, 50, 75 and 95%.
        nearest_other: mean distance from an answer at the first rung to the nearest one of another prompt.
        tail_share: share of prompts that drifted further than that.
    """

    start: Rung = FROM
    end: Rung = TO
    n: int
    mean: float
    low: float
    high: float
    quantiles: dict[str, float]
    nearest_other: float
    tail_share: float


class FrechetReport(Part):
    """Frechet distance between two rungs and, beside it, its mean when nothing has shifted."""

    start: Rung = FROM
    end: Rung = TO
    n: int
    value: float
    mean_part: float
    covariance_part: float | None
    null_floor: float


class FilterReport(Part):
    """The filter's own leg: pools of the rows that kept a label against those of all rows (covariate shift).

    Descriptive, without an interval; p permutes who was accepted, given how many.
    """

    kept: int
    rows: int
    value: float
    null_floor: float
    p: float


class EmbedderReport(Part):
    """What the points are. `scope` limits what they can be used for, such as "tiny world only"."""

    name: str
    digest: str | None
    scope: str | None
    width: int


class ShiftReport(Part):
    """How far a labeled dataset has moved, leg by leg.

    Attributes:
        n: prompts on the ladder.
        dropped: rows without a label.
        bandwidths: of the kernel, widest first, in the embedder's units.
        permutations: B of every test and interval.
        legs: those of `LEGS` whose rungs exist.
        decomposition: None where there is no self-sample or no label.
        filter: None where no row with a pool was dropped.
        notes: what a reader should know, in plain words.
    """

    schema_version: int = SCHEMA_VERSION
    n: int
    dropped: int
    embedder: EmbedderReport
    seed: int
    permutations: int
    bandwidths: list[float]
    legs: list[LegReport]
    decomposition: Decomposition | None
    drift: list[DriftReport]
    frechet: list[FrechetReport]
    filter: FilterReport | None
    notes: list[str]

    def leg(self, name: str) -> LegReport | None:
        """The leg of that name, such as `P->U`; None where a rung is missing."""
        return next((leg for leg in self.legs if leg.name == name), None)

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

    def table(self) -> Table:
        """The legs as a table for the terminal."""
        from rich.table import Table

        caption = f"{self.n} prompts, {self.dropped} rows dropped, embedder {self._embedder()}"
        table = Table(title="Shift: squared distance (paired MMD²)", caption=caption)
        for column in ("leg", "value", "95% interval", "no shift reaches (1 in 20)", "p"):
            table.add_column(column, justify="left" if column == "leg" else "right")
        for leg in self.legs:
            p = _p(leg.p) if leg.p is not None else "—"  # the summary says why
            interval = f"{_number(leg.low)} to {_number(leg.high)}"
            table.add_row(f"{leg.name}  {MEANING[leg.name]}", _number(leg.value), interval, _number(leg.null_floor), p)
        if self.filter is not None:
            name = f"filter  the {self.filter.kept} kept rows against all {self.filter.rows}"
            table.add_row(name, _number(self.filter.value), "", _number(self.filter.null_floor), _p(self.filter.p))
        return table

    def summary(self) -> str:
        """One paragraph for someone who has never met a kernel."""
        said = []
        total = self.leg("P->S")
        if total is None:
            said.append("There is no self-sample to compare with, so nothing can be said about labeling and selection.")
        else:
            said.append(self._total_in_words(total))
        labeling, selection = self.leg("P->U"), self.leg("U->S")
        if labeling is not None and labeling.p is not None:
            verdict = "has moved" if labeling.p <= 0.05 else "has not measurably moved"
            said.append(
                f"The labeling process (how candidates are drawn) {verdict} the answers ({_p(labeling.p, 'p ')})."
            )
        if selection is not None and selection.p is not None:
            verdict = "has moved" if selection.p <= 0.05 else "has not measurably moved"
            said.append(f"Selection (which candidate is kept) {verdict} them ({_p(selection.p, 'p ')}).")
        elif selection is not None:
            said.append(f"Selection: {selection.p_reason}.")
        parts = self.decomposition
        if parts is not None and parts.labeling_share is not None and parts.selection_share is not None:
            a, b = parts.labeling_share, parts.selection_share
            said.append(
                f"Labeling accounts for {a.value:.0%} of the shift ({a.low:.0%} to {a.high:.0%}), "
                f"selection for {b.value:.0%} ({b.low:.0%} to {b.high:.0%})."
            )
        elif parts is not None:
            said.append(f"Shares of labeling and selection are undefined: {parts.share_reason}.")
        if self.filter is not None:
            verdict = "differ" if self.filter.p <= 0.05 else "do not measurably differ"
            said.append(
                f"The {self.filter.kept} rows that kept a label {verdict} from all {self.filter.rows} "
                f"in what their pools answer ({_p(self.filter.p, 'p ')})."
            )
        origin = self.leg("O->S")
        if origin is not None:
            said.append(
                f"From the original answers the labels are {_number(origin.value)} away "
                f"({_number(origin.low)} to {_number(origin.high)}; another author wrote them, so there is no test)."
            )
        said.append(f"Measured on {self.n} prompts with the embedder {self._embedder()}.")
        return " ".join(said)

    def _total_in_words(self, total: LegReport) -> str:
        size = f"squared shift {_number(total.value)}, 95% interval {_number(total.low)} to {_number(total.high)}"
        floor = f"no shift at all reaches {_number(total.null_floor)} one time in twenty"
        if total.p is None:
            return f"Labels against the model's own plain answers: {total.p_reason} ({size}; {floor})."
        moved = "have moved away from" if total.p <= 0.05 else "can't be told from"
        return f"The labels {moved} the model's own plain answers ({size}; {floor}; {_p(total.p, 'p ')})."

    def _embedder(self) -> str:
        return self.embedder.name + (f" ({self.embedder.scope})" if self.embedder.scope else "")


def _number(value: float) -> str:
    """Three figures, without an exponent where it can be read."""
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.1e}"


def _p(value: float, before: str = "") -> str:
    return f"{before}= {value:.3f}" if before else f"{value:.3f}"
