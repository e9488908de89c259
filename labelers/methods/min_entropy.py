"""Minimum entropy: of k samples, the one along which the model's next-token distributions are the sharpest."""

from __future__ import annotations

from labelers.method import Method, SamplesConfig
from labelers.proposals import Samples
from labelers.scorers import MeanEntropy
from labelers.selectors import Argmin


class MinEntropyConfig(SamplesConfig):
    """The pool of `self_confidence`."""


class MinEntropy(Method):
    """Label every row with the sample of the lowest mean entropy."""

    name = "min_entropy"
    config_class = MinEntropyConfig
    config: MinEntropyConfig

    def compose(self) -> None:
        """Samples x mean_entropy x argmin."""
        self.proposal, self.scorer, self.selector = Samples(**self.config.model_dump()), MeanEntropy(), Argmin()
