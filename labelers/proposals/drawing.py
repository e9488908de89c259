"""Proposals: what a row's candidates are drawn from. Methods with one proposal share one pool.

A uniform member of a pool (the rung U of the shift ladder) is a uniform choice among its candidates of role
`candidate` that did not fail; `view` and `draft` records stand beside the pool, `baseline` apart from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

from datasets_cards.canonical import canonical_json, sha256_hex
from datasets_cards.records import Candidate, Message, Role, Row
from labelers.engines.protocol import Engine, SampleRequest, Sampling, derive_seed
from labelers.sampler import Sampler

STEP_BY_STEP = "Think step by step."
JSON_ANSWER = "Answer in JSON."
VIEWS = {"step_by_step": STEP_BY_STEP, "json": JSON_ANSWER}
"""View name -> what is added to the last user message, after a space."""


class Proposal(Protocol):
    """A way to draw candidates; its fields are its whole configuration."""

    name: ClassVar[str]

    def draw(self, rows: Sequence[Row], sampler: Sampler, seed: int) -> list[Candidate]:
        """The candidates of every row, in row order, failures included."""
        ...


@dataclass(frozen=True)
class Greedy:
    """One greedy decode of the plain prompt."""

    name: ClassVar[str] = "greedy"
    max_new_tokens: int = 256

    def draw(self, rows: Sequence[Row], sampler: Sampler, seed: int) -> list[Candidate]:
        """One candidate a row."""
        sampling = Sampling(0.0, 1.0, self.max_new_tokens)
        return _draw(self, [_Wish(row, "candidate", 0, sampling) for row in rows], sampler, seed)


@dataclass(frozen=True)
class Samples:
    """k independent samples of the plain prompt at one temperature and top-p.

    Attributes:
        role: `baseline` for the self-sample rung: another stream of noise, so it is independent of every pool.
    """

    name: ClassVar[str] = "samples"
    k: int = 4
    temperature: float = 0.7
    top_p: float = 0.9
    max_new_tokens: int = 256
    role: Role = "candidate"

    def draw(self, rows: Sequence[Row], sampler: Sampler, seed: int) -> list[Candidate]:
        """K candidates a row."""
        sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens)
        wishes = [_Wish(row, self.role, index, sampling) for row in rows for index in range(self.k)]
        return _draw(self, wishes, sampler, seed)


@dataclass(frozen=True)
class Views:
    """Greedy decodes under three forms of the prompt: plain, step by step, and asking for JSON.

    Only the plain answer is a candidate; the others are there to agree with it or not. Their `logprob` is computed
    again under the plain prompt, `behavior_logprob` (greedy: 0) stays that of the prompt they were drawn from.
    """

    name: ClassVar[str] = "views"
    max_new_tokens: int = 256

    def draw(self, rows: Sequence[Row], sampler: Sampler, seed: int) -> list[Candidate]:
        """One candidate and two views a row."""
        sampling = Sampling(0.0, 1.0, self.max_new_tokens)
        wishes = []
        for row in rows:
            wishes.append(_Wish(row, "candidate", 0, sampling))
            wishes += [_Wish(row, "view", n, sampling, view) for n, view in enumerate(VIEWS, 1)]
        drawn = _draw(self, wishes, sampler, seed)
        prompts = {row.id: row.prompt for row in rows}
        others = [c for c in drawn if c.view != "plain" and c.finish_reason != "error"]
        scores = sampler.engine.score([(prompts[c.id], c.token_ids) for c in others])
        for candidate, tokens in zip(others, scores, strict=True):
            candidate.logprob = sum(tokens)
        return drawn


@dataclass(frozen=True)
class _Wish:
    """One candidate to draw."""

    row: Row
    role: Role
    index: int
    sampling: Sampling
    view: str = "plain"


def pool_digest(proposal: Proposal, engine: Engine, seed: int) -> str:
    """What names a pool: 16 hexadecimal digits of its proposal, model and seed."""
    assert hasattr(proposal, "__dataclass_fields__")
    fields = asdict(proposal)  # pyright: ignore[reportArgumentType]
    return sha256_hex(canonical_json([proposal.name, fields, asdict(engine.identity), seed]))[:16]


def under_view(messages: list[Message], view: str) -> list[Message]:
    """The prompt as it is sent under a view: the instruction follows the last user message after a space."""
    if view == "plain":
        return messages
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=len(messages) - 1)
    changed = [Message(role=m["role"], content=m["content"]) for m in messages]
    changed[last]["content"] += f" {VIEWS[view]}"
    return changed


def _draw(proposal: Proposal, wishes: list[_Wish], sampler: Sampler, seed: int) -> list[Candidate]:
    requests = [
        SampleRequest(
            w.row.id,
            under_view(w.row.prompt, w.view),
            w.sampling,
            derive_seed(seed, w.row.id, f"{w.role}/{w.view}", w.index),
            w.index,
            w.view,
        )
        for w in wishes
    ]
    pool = pool_digest(proposal, sampler.engine, seed)
    return [
        Candidate(
            id=w.row.id,
            pool=pool,
            index=w.index,
            role=w.role,
            view=w.view,
            text=c.text,
            token_ids=c.token_ids,
            finish_reason=c.finish_reason,
            logprob=c.logprob,
            behavior_logprob=c.behavior_logprob,
            error=c.error,
        )
        for w, c in zip(wishes, sampler.sample(requests), strict=True)
    ]
