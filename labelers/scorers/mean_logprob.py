"""The model's confidence in a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from labelers.scorers.protocol import Pool, Tools, Verdict


@dataclass(frozen=True)
class MeanLogprob:
    """Mean log-probability a token, under the raw model at T=1 given the plain prompt: the model's confidence in it.

    Candidates with one token sequence share one score, the first one's: log-probabilities move by about 1e-6 with the
    shape of the batch, and a choice must not.
    """

    name: ClassVar[str] = "mean_logprob"
    needs: ClassVar[frozenset[str]] = frozenset({"logprob"})
    fallible: ClassVar[bool] = False

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """Nats a token; higher is more confident."""
        scores: list[list[Verdict]] = []
        for _, candidates in pools:
            seen: dict[tuple[int, ...], float] = {}
            row: list[Verdict] = []
            for c in candidates:
                if c.logprob is None:
                    row.append("the engine gives no log-probability")
                elif not c.token_count:
                    row.append("no tokens" if c.token_count == 0 else "the engine doesn't say how many tokens")
                else:
                    mean = c.logprob / c.token_count
                    row.append(seen.setdefault(tuple(c.token_ids), mean) if c.token_ids else mean)
            scores.append(row)
        return scores
