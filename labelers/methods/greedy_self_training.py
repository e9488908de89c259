"""Greedy self-training, a control: the model's single most likely continuation, step by step, nothing to choose."""

from __future__ import annotations

from labelers.method import Method, MethodConfig
from labelers.proposals import Greedy
from labelers.selectors import Only


class GreedySelfTrainingConfig(MethodConfig):
    """No settings of its own."""


class GreedySelfTraining(Method):
    """Label every row with the greedy decode."""

    name = "greedy_self_training"
    config_class = GreedySelfTrainingConfig

    def compose(self) -> None:
        """1 greedy x nothing x only."""
        self.proposal, self.selector = Greedy(self.config.max_new_tokens), Only()
