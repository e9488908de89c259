"""The records that flow through Echoset: a source row, a candidate, a label, a dropped row.

These are the columns of an artifact's Parquet tables (`tables/schemas.py`); all else in the project speaks in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict


class Message(TypedDict):
    """One chat message, in the form that chat templates and trainers take."""

    role: str
    content: str


Role = Literal["candidate", "view", "draft", "baseline"]
"""What a stored completion is for: in the pool, another view of the prompt, a parent draft, or the self-sample rung."""

FinishReason = Literal["stop", "length", "error"]

SELF_SAMPLE = -1
"""What `Label.candidate` says where the label is no member of the pool but the row's baseline candidate of index 0."""


@dataclass(slots=True)
class Row:
    """One source row: a prompt and, where there is one, the completion it came with.

    Attributes:
        id: unique in its dataset.
        prompt: the messages before the answer, a system message first where there is one.
        original: the answer the row came with (assistant messages), or None.
        meta: the row's other columns, JSON-like; tasks score with them.
    """

    id: str
    prompt: list[Message]
    original: list[Message] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Score:
    """One scorer's verdict on one candidate: a value, or the reason why there is none (never a zero in its place)."""

    scorer: str
    value: float | None
    reason: str | None = None


@dataclass(slots=True)
class Candidate:
    """One completion of the pool, kept whether it was selected or not.

    Attributes:
        id: the row it answers.
        pool: digest of the proposal, model and seed that drew it; methods with one proposal share a pool.
        index: its place in the pool; a selector's ties go to the lowest.
        role: candidate, view, draft or baseline.
        view: the form of the prompt it was drawn from; `plain` is the prompt as it stands.
        text: the decoded completion, without special tokens.
        token_ids: the sampled tokens, the end token included.
        finish_reason: stop, length or error.
        logprob: sum over tokens of log P under the raw model at T=1 given the **plain** prompt, in nats.
        behavior_logprob: the same under the distribution and prompt it was in fact drawn from (after temperature and
            top-p normalization); 0 for greedy. None where an engine can't tell.
        scores: one entry a scorer.
        misaligned: the task's indicator M, or None where nobody judged.
        error: why there is no completion, for finish_reason `error`.
        token_count: tokens drawn; counted from `token_ids` unless given, None where a server doesn't say.
    """

    id: str
    pool: str
    index: int
    role: Role
    view: str
    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    logprob: float | None = None
    behavior_logprob: float | None = None
    scores: list[Score] = field(default_factory=list)
    misaligned: bool | None = None
    error: str | None = None
    token_count: int | None = None

    def __post_init__(self) -> None:
        if self.token_count is None and (self.token_ids or self.finish_reason == "error"):
            self.token_count = len(self.token_ids)


@dataclass(slots=True)
class Label:
    """The selected completion of one row.

    Attributes:
        candidate: index of the selected candidate (role `candidate`) in the row's pool; `SELF_SAMPLE` (-1) where the
            label is the row's own self-sample, the candidate of role `baseline` and index 0, whatever its pool: a dose
            mixture keeps the method's label with probability d and takes the self-sample otherwise.
        score: its score under the method's scorer, or None where the method has none.
    """

    id: str
    prompt: list[Message]
    completion: list[Message]
    original: list[Message] | None
    method: str
    candidate: int
    score: float | None = None


@dataclass(slots=True)
class Dropped:
    """A row that got no label, and why: `reason` is a short code to count by, `detail` says it for this row."""

    id: str
    reason: str
    detail: str = ""
