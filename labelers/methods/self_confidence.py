"""Self-confidence: of k nucleus samples, the one that the model itself finds most likely a token."""

from __future__ import annotations

from labelers.method import Method, SamplesConfig
from labelers.proposals import Samples
from labelers.scorers import MeanLogprob
from labelers.selectors import Argmax


class SelfConfidenceConfig(SamplesConfig):
    """k, temperature and top_p of the pool; defaults 4, 0.7 and 0.9 (arXiv 2606.03810)."""


class SelfConfidence(Method):
    """Label every row with its most confident sample: mean token log-probability under the raw model."""

    name = "self_confidence"
    config_class = SelfConfidenceConfig
    config: SelfConfidenceConfig

    def compose(self) -> None:
        """Samples x mean_logprob x argmax."""
        self.proposal = Samples(**self.config.model_dump())
        self.scorer, self.selector = MeanLogprob(), Argmax()
