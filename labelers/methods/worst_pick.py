"""Worst pick (control): the candidate with the lowest score; an anti-selector.

If selection drives the effect of training, turning it round must turn the effect.
"""

from __future__ import annotations

from labelers.method import Method, SamplesConfig
from labelers.proposals import Samples
from labelers.scorers import MeanLogprob
from labelers.selectors import Argmin


class WorstPickConfig(SamplesConfig):
    """The pool of `self_confidence`; another scorer is crossed in."""


class WorstPick(Method):
    """Label every row with its least confident sample, or the worst under another scorer."""

    name = "worst_pick"
    any_pool = True
    config_class = WorstPickConfig
    config: WorstPickConfig

    def compose(self) -> None:
        """Samples x mean_logprob x argmin."""
        self.proposal, self.scorer, self.selector = Samples(**self.config.model_dump()), MeanLogprob(), Argmin()
