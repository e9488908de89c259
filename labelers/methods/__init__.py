"""Every labeling method by name. A new one is a file and a line here."""

from __future__ import annotations

from typing import Any

from datasets_cards.errors import InputError
from labelers.greedy_self_training import GreedySelfTraining
from labelers.method import Method
from labelers.multi_view import MultiView
from labelers.random_pick import RandomPick
from labelers.self_confidence import SelfConfidence
from labelers.self_sample import SelfSample

METHODS: dict[str, type[Method]] = {
    "greedy_self_training": GreedySelfTraining,
    "self_confidence": SelfConfidence,
    "random_pick": RandomPick,
    "self_sample": SelfSample,
    "multi_view": MultiView,
}


def make_method(name: str, **options: Any) -> Method:
    """A method by name, with options; those that are None are left at their defaults.

    Raises:
        InputError: no such method, an option that it doesn't have, or a value out of range.
    """
    if name not in METHODS:
        raise InputError(f"no method is called {name!r}", where="method", remedy=f"Choose one of: {', '.join(METHODS)}")
    return METHODS[name].from_options(**options)
