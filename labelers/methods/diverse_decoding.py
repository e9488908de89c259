"""Diverse decoding: of a greedy, a nucleus and a beam answer, the one that a reward model prefers."""

from __future__ import annotations

from pydantic import Field

from labelers.method import Method, MethodConfig
from labelers.proposals import Diverse
from labelers.scorers import Reward
from labelers.selectors import Argmax


class DiverseDecodingConfig(MethodConfig):
    """Temperature and top_p of the nucleus sample, width of the beam search (arXiv 2606.03810)."""

    temperature: float = Field(0.8, gt=0)
    top_p: float = Field(0.9, gt=0, le=1)
    beams: int = Field(4, ge=2)


class DiverseDecoding(Method):
    """Label every row with the best rewarded of three ways of decoding."""

    name = "diverse_decoding"
    config_class = DiverseDecodingConfig
    config: DiverseDecodingConfig

    def compose(self) -> None:
        """Diverse x reward x argmax."""
        self.proposal, self.scorer, self.selector = Diverse(**self.config.model_dump()), Reward(), Argmax()
