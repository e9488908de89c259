"""Universal self-consistency: of k samples, the one that the model calls the most consistent (arXiv 2311.17311)."""

from __future__ import annotations

from pydantic import Field

from labelers.method import Method, SamplesConfig
from labelers.proposals import Samples
from labelers.scorers import MostConsistent
from labelers.selectors import Argmax


class UniversalSelfConsistencyConfig(SamplesConfig):
    """The pool of `self_confidence`, and how long the model's reply may be."""

    judging_tokens: int = Field(256, ge=1)


class UniversalSelfConsistency(Method):
    """Label every row with the sample that the labeling model says agrees most with the others."""

    name = "universal_self_consistency"
    config_class = UniversalSelfConsistencyConfig
    config: UniversalSelfConsistencyConfig

    def compose(self) -> None:
        """Samples x most_consistent x argmax."""
        self.proposal = Samples(**self.config.model_dump(exclude={"judging_tokens"}))
        self.scorer, self.selector = MostConsistent(self.config.judging_tokens), Argmax()
