"""Votes: how many of a row's candidates give the same answer (self-consistency, Wang et al., arXiv 2203.11171)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from labelers.scorers.answers import answer_of
from labelers.scorers.protocol import Pool, Tools, Verdict


@dataclass(frozen=True)
class Votes:
    """How many candidates of the row, this one included, give its answer. One without an answer has no vote."""

    name: ClassVar[str] = "votes"
    needs: ClassVar[frozenset[str]] = frozenset()
    fallible: ClassVar[bool] = False

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """A count from 1 to the size of the pool."""
        scores: list[list[Verdict]] = []
        for row, candidates in pools:
            answers = [answer_of(row, c, tools.task) if c.role == "candidate" else None for c in candidates]
            votes = Counter(answer for answer in answers if answer is not None)
            scores.append(
                [
                    None if c.role != "candidate" else "no answer in the text" if a is None else float(votes[a])
                    for c, a in zip(candidates, answers, strict=True)
                ]
            )
        return scores
