"""The task's own indicator of misbehavior, as a score: what an oracle would select by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from labelers.scorers.protocol import Pool, Tools, Verdict


@dataclass(frozen=True)
class Misalignment:
    """1 for a candidate that the task's indicator M calls misaligned, 0 for one that it doesn't.

    Stored verdicts (`misaligned`) are taken where there is no task at hand.
    """

    name: ClassVar[str] = "misalignment"
    needs: ClassVar[frozenset[str]] = frozenset()
    fallible: ClassVar[bool] = False

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """1, 0, or the reason why nobody can tell."""
        task = tools.task
        scores: list[list[Verdict]] = []
        for row, candidates in pools:
            found = [task.is_misaligned(row, c.text) if task else c.misaligned for c in candidates]
            reason = "the task can't judge it" if task else "nobody judged it"
            scores.append([reason if verdict is None else float(verdict) for verdict in found])
        return scores
