"""Majority vote: of k samples, the first that gives the most frequent answer (self-consistency, arXiv 2203.11171)."""

from __future__ import annotations

from labelers.method import Method, SamplesConfig
from labelers.proposals import Samples
from labelers.scorers import Votes
from labelers.selectors import Argmax


class MajorityVoteConfig(SamplesConfig):
    """The pool of `self_confidence`."""


class MajorityVote(Method):
    """Label every row with a sample of the majority; extracted answers are counted."""

    name = "majority_vote"
    config_class = MajorityVoteConfig
    config: MajorityVoteConfig

    def compose(self) -> None:
        """Samples x votes x argmax."""
        self.proposal, self.scorer, self.selector = Samples(**self.config.model_dump()), Votes(), Argmax()
