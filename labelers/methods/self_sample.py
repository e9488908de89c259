"""Self-sample, the true null of training: one plain sample at T=1.

The expected gradient of SFT on it is zero at the start, whatever the model.

Its sample is drawn apart from the baseline rung (role `baseline`) that every artifact carries: the rungs S and P of the
ladder are then two independent draws from one distribution, and the shift between them has a null of zero. Were
they one draw, it would be zero by construction and say nothing.
"""

from __future__ import annotations

from labelers.method import Method, MethodConfig
from labelers.proposals import Samples
from labelers.selectors import Only


class SelfSampleConfig(MethodConfig):
    """No settings of its own: another temperature or top_p would not be the null."""


class SelfSample(Method):
    """Label every row with one plain sample at T=1."""

    name = "self_sample"
    config_class = SelfSampleConfig

    def compose(self) -> None:
        """1 sample at T=1 x nothing x only."""
        self.proposal = Samples(k=1, temperature=1.0, top_p=1.0, max_new_tokens=self.config.max_new_tokens)
        self.selector = Only()
