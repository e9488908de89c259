"""Scorers: a number, or the reason why there is none, for each candidate of a row.

A new one is a file and a line in `SCORERS`.
"""

from __future__ import annotations

from datasets_cards.errors import InputError
from labelers.scorers.agreement import AGREEMENTS, Agreement, JudgedAgreement, SimilarityAgreement
from labelers.scorers.answers import generic_answer
from labelers.scorers.consistency import MostConsistent
from labelers.scorers.mean_logprob import MeanLogprob
from labelers.scorers.misalignment import Misalignment
from labelers.scorers.protocol import Pool, Scorer, Tools, Verdict
from labelers.scorers.reward import Reward
from labelers.scorers.rubric import Rubric
from labelers.scorers.uncertainty import MeanEntropy, SelfCertainty
from labelers.scorers.votes import Votes

SCORERS: dict[str, type[Scorer]] = {
    scorer.name: scorer
    for scorer in (
        MeanLogprob,
        SelfCertainty,
        MeanEntropy,
        Reward,
        Rubric,
        Votes,
        MostConsistent,
        Agreement,
        SimilarityAgreement,
        JudgedAgreement,
        Misalignment,
    )
}


def make_scorer(name: str) -> Scorer:
    """A scorer by name, at its defaults.

    Raises:
        InputError: no such scorer.
    """
    if name not in SCORERS:
        raise InputError(f"no scorer is called {name!r}", where="scorer", remedy=f"Choose one of: {', '.join(SCORERS)}")
    return SCORERS[name]()


__all__ = [
    "AGREEMENTS",
    "SCORERS",
    "Agreement",
    "JudgedAgreement",
    "MeanEntropy",
    "MeanLogprob",
    "Misalignment",
    "MostConsistent",
    "Pool",
    "Reward",
    "Rubric",
    "Scorer",
    "SelfCertainty",
    "SimilarityAgreement",
    "Tools",
    "Verdict",
    "Votes",
    "generic_answer",
    "make_scorer",
]
