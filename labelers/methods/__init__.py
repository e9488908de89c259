"""Every labeling method by name. A new one is a file and a line here."""

from __future__ import annotations

from typing import Any

from datasets_cards.errors import InputError
from labelers.method import Method
from labelers.methods.diverse_decoding import DiverseDecoding
from labelers.methods.greedy_self_training import GreedySelfTraining
from labelers.methods.majority_vote import MajorityVote
from labelers.methods.min_entropy import MinEntropy
from labelers.methods.multi_view import MultiView
from labelers.methods.oracle_pick import OraclePick
from labelers.methods.random_pick import RandomPick
from labelers.methods.rejection_sampling import RejectionSampling
from labelers.methods.self_confidence import SelfConfidence
from labelers.methods.self_refinement import SelfRefinement
from labelers.methods.self_rewarding import SelfRewarding
from labelers.methods.self_sample import SelfSample
from labelers.methods.universal_self_consistency import UniversalSelfConsistency
from labelers.methods.worst_pick import WorstPick

METHODS: dict[str, type[Method]] = {
    "greedy_self_training": GreedySelfTraining,
    "self_confidence": SelfConfidence,
    "diverse_decoding": DiverseDecoding,
    "multi_view": MultiView,
    "self_refinement": SelfRefinement,
    "self_rewarding": SelfRewarding,
    "rejection_sampling": RejectionSampling,
    "majority_vote": MajorityVote,
    "universal_self_consistency": UniversalSelfConsistency,
    "min_entropy": MinEntropy,
    "random_pick": RandomPick,
    "self_sample": SelfSample,
    "worst_pick": WorstPick,
    "oracle_pick": OraclePick,
}


def make_method(name: str, **options: Any) -> Method:
    """A method by name, with options; those that are None are left at their defaults.

    Raises:
        InputError: no such method, an option that it doesn't have, or a value out of range.
    """
    if name not in METHODS:
        raise InputError(f"no method is called {name!r}", where="method", remedy=f"Choose one of: {', '.join(METHODS)}")
    return METHODS[name].from_options(**options)


def choose_method(method: str | Method, options: dict[str, Any]) -> Method:
    """A method by name with options, or one that is made already, which takes none.

    Raises:
        InputError: no such method or option, or options beside a method that brings its own.
    """
    if isinstance(method, str):
        return make_method(method, **options)
    if given := [name for name, value in options.items() if value is not None]:
        raise InputError("the method brings its own configuration", where=", ".join(given), remedy="Set them there")
    return method
