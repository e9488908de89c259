"""Proposals: what a row's candidates are drawn from. Methods with one proposal share one pool.

A new one is a file and a line in `PROPOSALS`.
"""

from __future__ import annotations

from labelers.proposals.diverse import Diverse
from labelers.proposals.drawing import Proposal, pool_digest, settings
from labelers.proposals.greedy import Greedy
from labelers.proposals.refinement import Refinement
from labelers.proposals.samples import Samples, self_samples
from labelers.proposals.views import Views

PROPOSALS: dict[str, type[Proposal]] = {
    proposal.name: proposal for proposal in (Greedy, Samples, Views, Diverse, Refinement)
}

__all__ = [
    "PROPOSALS",
    "Diverse",
    "Greedy",
    "Proposal",
    "Refinement",
    "Samples",
    "Views",
    "pool_digest",
    "self_samples",
    "settings",
]
