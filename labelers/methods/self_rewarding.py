"""Self-rewarding: of k samples, the one that the model itself grades best against a rubric (arXiv 2401.10020)."""

from __future__ import annotations

from pydantic import Field

from labelers.method import Method, SamplesConfig
from labelers.proposals import Samples
from labelers.scorers import Rubric
from labelers.selectors import Argmax


class SelfRewardingConfig(SamplesConfig):
    """The pool (k 4, T 0.7, whole distribution), and how long a grading may be."""

    top_p: float = Field(1.0, gt=0, le=1, description="nucleus mass, 1 keeps everything")
    grading_tokens: int = Field(512, ge=1)


class SelfRewarding(Method):
    """Label every row with the sample that the labeling model grades best."""

    name = "self_rewarding"
    config_class = SelfRewardingConfig
    config: SelfRewardingConfig

    def compose(self) -> None:
        """Samples x rubric x argmax."""
        self.proposal = Samples(**self.config.model_dump(exclude={"grading_tokens"}))
        self.scorer, self.selector = Rubric(self.config.grading_tokens), Argmax()
