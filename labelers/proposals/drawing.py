"""What every proposal is made of: requests that name their candidate, drawn through the sampler.

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


class Proposal(Protocol):
    """A way to draw candidates: a frozen dataclass whose fields are its whole configuration.

    Attributes:
        needs: abilities of the engine that it can't do without, by the names of `ABILITIES`.
        rescored: whether candidates are drawn under another prompt than the plain one, and scored again under that.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    rescored: ClassVar[bool]

    @property
    def max_new_tokens(self) -> int:
        """Longest completion."""
        ...

    def draw(self, rows: Sequence[Row], sampler: Sampler, seed: int) -> list[Candidate]:
        """The candidates of every row, in row order, failures included."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """One candidate to draw.

    Attributes:
        messages: the prompt as it is sent; the row's own where None.
        view: name of the prompt's form.
    """

    row: Row
    role: Role
    index: int
    sampling: Sampling
    view: str = "plain"
    messages: list[Message] | None = None


def pool_digest(proposal: Proposal, engine: Engine, seed: int) -> str:
    """What names a pool: 16 hexadecimal digits of its proposal, model and seed."""
    return sha256_hex(canonical_json([proposal.name, settings(proposal), asdict(engine.identity), seed]))[:16]


def settings(part: object) -> dict[str, object]:
    """The configuration of a proposal, scorer or selector: the fields of its dataclass."""
    return asdict(part)  # pyright: ignore[reportArgumentType]


def draw(wishes: Sequence[Wish], sampler: Sampler, seed: int, pool: str) -> list[Candidate]:
    """The candidates wished for, in their order. A candidate that failed carries the reason as its `error`.

    `logprob` is that of the plain prompt: what was drawn under another form of it is scored again, unless the engine
    can't, in which case it is None. `behavior_logprob` stays that of the prompt it was drawn from.
    """
    requests = [
        SampleRequest(
            wish.row.id,
            wish.messages or wish.row.prompt,
            wish.sampling,
            derive_seed(seed, wish.row.id, f"{wish.role}/{wish.view}", wish.index),
            wish.index,
            wish.view,
        )
        for wish in wishes
    ]
    candidates = [
        Candidate(
            id=wish.row.id,
            pool=pool,
            index=wish.index,
            role=wish.role,
            view=wish.view,
            text=drawn.text,
            token_ids=drawn.token_ids,
            finish_reason=drawn.finish_reason,
            logprob=drawn.logprob,
            behavior_logprob=drawn.behavior_logprob,
            error=drawn.error,
            token_count=drawn.token_count,
        )
        for wish, drawn in zip(wishes, sampler.sample(requests), strict=True)
    ]
    others = [(w.row, c) for w, c in zip(wishes, candidates, strict=True) if w.messages is not None]
    for _, candidate in others:
        candidate.logprob = None
    # Where the tokens are not known, neither is their probability.
    known = [(row, candidate) for row, candidate in others if candidate.token_ids]
    if known and "score" not in sampler.engine.lacks:
        scores = sampler.logprobs([(row.prompt, candidate.token_ids) for row, candidate in known])
        for (_, candidate), score in zip(known, scores, strict=True):
            candidate.logprob = score
    return candidates
