"""Self-confidence: of k nucleus samples, the one that the model itself finds most likely a token."""

from __future__ import annotations

from typing import Literal

from labelers.method import Method, SamplesConfig
from labelers.proposals import Samples
from labelers.scorers import MeanLogprob, SelfCertainty
from labelers.selectors import Argmax


class SelfConfidenceConfig(SamplesConfig):
    """The pool's defaults are the paper's: k 4, temperature 0.7, top_p 0.9 (arXiv 2606.03810).

    Attributes:
        confidence: mean token log-probability, or self-certainty (arXiv 2502.18581).
    """

    confidence: Literal["mean_logprob", "self_certainty"] = "mean_logprob"


class SelfConfidence(Method):
    """Label every row with its most confident sample: mean token log-probability under the raw model."""

    name = "self_confidence"
    config_class = SelfConfidenceConfig
    config: SelfConfidenceConfig

    def compose(self) -> None:
        """Samples x mean_logprob or self_certainty x argmax."""
        self.proposal = Samples(**self.config.model_dump(exclude={"confidence"}))
        self.scorer = MeanLogprob() if self.config.confidence == "mean_logprob" else SelfCertainty()
        self.selector = Argmax()
