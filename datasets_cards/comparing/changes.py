"""The figures of a difference between two artifacts; diff.py finds them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from datasets_cards.errors import InputError
from datasets_cards.versions import Bump


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Side(_Part):
    """One of the two artifacts.

    Attributes:
        name: its repository, or its folder's own name.
        dropped: rows without a label.
    """

    name: str
    version: str
    rows: int
    labeled: int
    candidates: int
    dropped: int
    logical_digest: str
    scores_digest: str


class NumberChanges(_Part):
    """One kind of number, of records that say the same on both sides.

    Attributes:
        changed: how many are other numbers now.
        appeared: how many are there now and were not.
        vanished: how many were there and are no longer.
        largest: the largest absolute difference among the changed, in the number's own unit; None where none changed.
    """

    changed: int = 0
    appeared: int = 0
    vanished: int = 0
    largest: float | None = None


class ScorerChanges(NumberChanges):
    """One scorer's scores.

    Attributes:
        gained: candidates that it now says something about and did not.
        lost: candidates that it said something about and no longer does.
    """

    gained: int = 0
    lost: int = 0


class RowChanges(_Part):
    """Source rows; a changed one may have changed in several of `prompt`, `original` and `meta`."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    prompt: int = 0
    original: int = 0
    meta: int = 0


class LabelChanges(_Part):
    """Labels.

    Attributes:
        changed: those that say something else; the sum of the next three.
        completion: another completion.
        choice: the same completion, as another candidate or by another method.
        context: only the prompt or the original answer that is stored with it.
        score_only: not changed, but scored otherwise.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    completion: int = 0
    choice: int = 0
    context: int = 0
    score_only: int = 0
    score: NumberChanges = NumberChanges()


class CandidateChanges(_Part):
    """Candidates, named by row, role, view and index; what their pool is called is provenance and no change.

    Attributes:
        added, removed: candidates, those of added and removed rows among them.
        changed: candidates with another text, other tokens or another way to finish.
        rows: rows on both sides whose pool changed in one of these ways.
        logprob_rows: rows with candidates that say the same and have other log-probabilities.
        score_rows: the same for scores.
        verdict_rows: the same for verdicts (`misaligned`).
        logprob, behavior_logprob: the log-probabilities themselves, in nats.
        scorers: each scorer's scores, by its name; those that changed.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    rows: int = 0
    logprob_rows: int = 0
    score_rows: int = 0
    verdict_rows: int = 0
    logprob: NumberChanges = NumberChanges()
    behavior_logprob: NumberChanges = NumberChanges()
    scorers: dict[str, ScorerChanges] = {}


class DroppedChanges(_Part):
    """Rows without a label.

    Attributes:
        added, removed: entries.
        newly_dropped: of the added, rows that had a label.
        newly_labeled: of the removed, rows that have a label now.
        reason: rows that are dropped on both sides, for another reason.
    """

    added: int = 0
    removed: int = 0
    newly_dropped: int = 0
    newly_labeled: int = 0
    reason: int = 0


class SettingChange(_Part):
    """One setting of the manifest; the side that lacks it has None."""

    path: str
    change: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


class FileChanges(_Part):
    """Attached files, such as reports and pictures, by path."""

    added: list[str] = []
    removed: list[str] = []
    changed: list[str] = []


class Said(_Part):
    """One side of an example."""

    text: str
    candidate: int
    score: float | None


class Example(_Part):
    """A changed label."""

    id: str
    prompt: str
    before: Said
    after: Said


class Diff(_Part):
    """What changed from one artifact to another.

    Attributes:
        bump: the step of the version that this is; None where nothing changed. The repository that a version was
            published in is told among the settings, and alone is no change.
        reason: why, in a few words.
        touched: ids on both sides of which something that was said is now otherwise.
        files: attachments.
        layout: whether the tables' files have other bytes.
        examples: some changed labels: those with another completion first, each kind by id.
    """

    before: Side
    after: Side
    bump: Bump | None
    reason: str
    touched: int
    rows: RowChanges
    labels: LabelChanges
    candidates: CandidateChanges
    dropped: DroppedChanges
    settings: list[SettingChange]
    files: FileChanges
    layout: bool
    examples: list[Example]

    @property
    def in_common(self) -> int:
        """Source rows whose id stands on both sides."""
        return self.before.rows - self.rows.removed

    def to_json(self) -> str:
        """The difference as JSON text."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> Diff:
        """Read a difference.

        Raises:
            InputError: the text is none.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"not a difference: {first['msg']}", where=where, remedy="Compare again") from None
