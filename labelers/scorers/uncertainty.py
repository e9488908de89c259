"""Scores of the model's whole next-token distributions along a candidate, under the raw model and plain prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from labelers.scorers.protocol import Pool, Tools, Verdict


@dataclass(frozen=True)
class MeanEntropy:
    """Mean entropy of the next-token distribution over the candidate's tokens; lower is more certain."""

    name: ClassVar[str] = "mean_entropy"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "uncertainty"})
    fallible: ClassVar[bool] = False

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """Nats."""
        return _measured(pools, tools, 0)


@dataclass(frozen=True)
class SelfCertainty:
    """Mean KL(uniform || p) over the candidate's tokens (Kang et al., arXiv 2502.18581); higher is more certain."""

    name: ClassVar[str] = "self_certainty"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "uncertainty"})
    fallible: ClassVar[bool] = False

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """Nats."""
        return _measured(pools, tools, 1)


def _measured(pools: Sequence[Pool], tools: Tools, which: int) -> list[list[Verdict]]:
    """Equal token sequences of a row share one number, as the sampler keeps it under prompt and tokens."""
    items = [(row.prompt, c.token_ids) for row, candidates in pools for c in candidates if c.token_ids]
    found = iter(tools.model().uncertainties(items))
    return [[next(found)[which] if c.token_ids else "no tokens" for c in candidates] for _, candidates in pools]
