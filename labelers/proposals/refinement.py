"""A draft, and the model's own improvement of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from datasets_cards.records import Candidate, Message, Row
from labelers.engines.protocol import Sampling
from labelers.proposals.drawing import Wish, draw, pool_digest
from labelers.sampler import Sampler

REFINE = "Look over your answer. Mend what is wrong or unclear in it, and reply with the improved answer alone."
"""What the user says after the draft."""


@dataclass(frozen=True)
class Refinement:
    """A greedy draft, then one sample of the answer that the model gives when asked to improve it.

    The refined answer is the candidate; the draft (role `draft`) is its parent. Where the draft failed, so has the
    candidate, for the same reason. `behavior_logprob` of the candidate is that given its draft.
    """

    name: ClassVar[str] = "refinement"
    needs: ClassVar[frozenset[str]] = frozenset()
    rescored: ClassVar[bool] = True
    temperature: float = 0.6
    top_p: float = 0.9
    max_new_tokens: int = 256

    def draw(self, rows: Sequence[Row], sampler: Sampler, seed: int) -> list[Candidate]:
        """One candidate and one draft a row."""
        pool = pool_digest(self, sampler.engine, seed)
        greedy = Sampling(0.0, 1.0, self.max_new_tokens)
        drafts = draw([Wish(row, "draft", 0, greedy) for row in rows], sampler, seed, pool)
        drawn = Sampling(self.temperature, self.top_p, self.max_new_tokens)
        wishes = [
            Wish(row, "candidate", 0, drawn, "refine", refining(row.prompt, draft.text))
            for row, draft in zip(rows, drafts, strict=True)
            if not draft.error
        ]
        outcome = {draft.id: replace(draft, role="candidate", view="refine") for draft in drafts if draft.error}
        outcome |= {candidate.id: candidate for candidate in draw(wishes, sampler, seed, pool)}
        return [candidate for draft in drafts for candidate in (outcome[draft.id], draft)]


def refining(messages: list[Message], draft: str) -> list[Message]:
    """The conversation that asks for an improvement of a draft."""
    return [*messages, Message(role="assistant", content=draft), Message(role="user", content=REFINE)]
