"""Rejection sampling (control): of k samples, the one that a reward model prefers; best-of-k."""

from __future__ import annotations

from pydantic import Field

from labelers.method import Method, SamplesConfig
from labelers.proposals import Samples
from labelers.scorers import Reward
from labelers.selectors import Argmax


class RejectionSamplingConfig(SamplesConfig):
    """The pool of `self_rewarding`: k 4, T 0.7, whole distribution."""

    top_p: float = Field(1.0, gt=0, le=1, description="nucleus mass, 1 keeps everything")


class RejectionSampling(Method):
    """Label every row with the best rewarded sample."""

    name = "rejection_sampling"
    config_class = RejectionSamplingConfig
    config: RejectionSamplingConfig

    def compose(self) -> None:
        """Samples x reward x argmax."""
        self.proposal, self.scorer, self.selector = Samples(**self.config.model_dump()), Reward(), Argmax()
