"""Greedy decodes under several forms of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from datasets_cards.records import Candidate, Message, Row
from labelers.engines.protocol import Sampling
from labelers.proposals.drawing import Wish, draw, pool_digest
from labelers.sampler import Sampler

STEP_BY_STEP = "Think step by step."
JSON_ANSWER = "Answer in JSON."
VIEWS = {"step_by_step": STEP_BY_STEP, "json": JSON_ANSWER}
"""View name -> what is added to the last user message, after a space."""


@dataclass(frozen=True)
class Views:
    """Greedy decodes under three forms of the prompt: plain, step by step, and asking for JSON.

    Only the plain answer is a candidate; the others are there to agree with it or not.
    """

    name: ClassVar[str] = "views"
    needs: ClassVar[frozenset[str]] = frozenset()
    rescored: ClassVar[bool] = False
    max_new_tokens: int = 256

    def draw(self, rows: Sequence[Row], sampler: Sampler, seed: int) -> list[Candidate]:
        """One candidate and two views a row."""
        sampling = Sampling(0.0, 1.0, self.max_new_tokens)
        wishes = []
        for row in rows:
            wishes.append(Wish(row, "candidate", 0, sampling))
            wishes += [Wish(row, "view", n, sampling, v, under_view(row.prompt, v)) for n, v in enumerate(VIEWS, 1)]
        return draw(wishes, sampler, seed, pool_digest(self, sampler.engine, seed))


def under_view(messages: list[Message], view: str) -> list[Message]:
    """The prompt as it is sent under a view: the instruction follows the last user message after a space."""
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=len(messages) - 1)
    changed = [Message(role=m["role"], content=m["content"]) for m in messages]
    changed[last]["content"] += f" {VIEWS[view]}"
    return changed
