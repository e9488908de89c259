"""Random pick, a control: a uniform member of a pool. What a selector adds is seen against it.

By default the pool is that of `self_confidence`, down to the samples, so that the two differ in selection alone.
"""

from __future__ import annotations

from labelers.method import Method, SamplesConfig
from labelers.proposals import Samples
from labelers.selectors import Uniform


class RandomPickConfig(SamplesConfig):
    """k, temperature and top_p of the pool."""


class RandomPick(Method):
    """Label every row with a uniform pick."""

    name = "random_pick"
    any_pool = True
    config_class = RandomPickConfig
    config: RandomPickConfig

    def compose(self) -> None:
        """Samples x nothing x uniform."""
        self.proposal, self.selector = Samples(**self.config.model_dump()), Uniform()
