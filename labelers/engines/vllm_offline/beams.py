"""Beam search over vLLM's requests: every step is a request a beam, for which the prefix cache holds what came before.

The search is that of `hf/beams.py`, and of `generate` with `length_penalty=1.0, early_stopping=False`. vLLM has a
`beam_search` of its own, which ranks by the sum over the length of prompt and completion together, knows one end token
only, and never stops before its limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from labelers.engines.hf.beams import Beam
from labelers.engines.vllm_offline.model import VllmModel


def beam_search(
    model: VllmModel,
    prompts: Sequence[list[int]],
    limits: Sequence[int],
    width: int,
    end_tokens: list[int],
    adapter: str,
) -> Iterator[tuple[int, Beam]]:
    """The best beam of each prompt; yields (position, beam) as prompts are done.

    Args:
        limits: most new tokens of each prompt.
        width: beams a prompt.
        adapter: digest of the adapter, empty for none.
    """
    searches = {i: _Search(limit) for i, limit in enumerate(limits)}
    while searches:
        rows = [(i, tokens) for i, search in searches.items() for tokens, _ in search.going]
        options = model.next_tokens([[*prompts[i], *tokens] for i, tokens in rows], width + len(end_tokens), adapter)
        by_prompt: dict[int, list[list[tuple[int, float]]]] = {}
        for (i, _), option in zip(rows, options, strict=True):
            by_prompt.setdefault(i, []).append(option)
        for i, found in by_prompt.items():
            if searches[i].advance(found, width, end_tokens):
                yield i, searches.pop(i).finished[0]


@dataclass
class _Search:
    """One prompt's search: the beams that go on, with their sums of log-probabilities, and the finished ones."""

    limit: int
    going: list[tuple[list[int], float]] = field(default_factory=lambda: [([], 0.0)])
    finished: list[Beam] = field(default_factory=list)

    def advance(self, options: list[list[tuple[int, float]]], width: int, end_tokens: list[int]) -> bool:
        """One token more, given the likeliest next tokens of each beam; returns whether the search is over."""
        step = len(self.going[0][0]) + 1
        continued = [
            ([*tokens, token], total + logprob)
            for (tokens, total), found in zip(self.going, options, strict=True)
            for token, logprob in found
        ]
        continued.sort(key=lambda beam: -beam[1])
        stopped = [Beam(*beam) for beam in continued[:width] if beam[0][-1] in end_tokens or step == self.limit]
        self.finished = sorted([*self.finished, *stopped], key=lambda beam: -beam.score)[:width]
        self.going = [beam for beam in continued if beam[0][-1] not in end_tokens][:width]
        if step == self.limit or not self.going:
            return True
        return len(self.finished) == width and self.going[0][1] / step <= self.finished[-1].score
