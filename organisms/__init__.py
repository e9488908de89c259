"""Model organisms: misbehaviors to plant, the rows and scorers to do it with, and a tiny world to do it in."""

from __future__ import annotations

from importlib import import_module

from datasets_cards.errors import InputError
from organisms.capability import Capability, capability
from organisms.evaluate import Evaluation, evaluate
from organisms.task import Pair, Preference, Scored, Task

TASKS = {
    "sycophancy": "organisms.sycophancy:Sycophancy",
    "reward_hacking": "organisms.reward_hacking:RewardHacking",
    "spurious_correlation": "organisms.spurious_correlation:SpuriousCorrelation",
    "emergent_misalignment": "organisms.emergent_misalignment:EmergentMisalignment",
}
"""Task name -> `module:class`."""

__all__ = [
    "TASKS",
    "Capability",
    "Evaluation",
    "Pair",
    "Preference",
    "Scored",
    "Task",
    "capability",
    "evaluate",
    "get_task",
]


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        InputError: there is none.
    """
    if name not in TASKS:
        raise InputError(f"no task is called {name!r}", where="task", remedy=f"Choose one of: {', '.join(TASKS)}.")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)()
