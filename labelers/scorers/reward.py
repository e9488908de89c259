"""A reward model's score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from datasets_cards.records import Message
from labelers.engines.reward_model import RewardModel
from labelers.scorers.protocol import Pool, Tools, Verdict
from labelers.store import SampleStore, value_key


@dataclass(frozen=True)
class Reward:
    """What a reward model (a sequence classifier with one output) gives the candidate as an answer to the prompt."""

    name: ClassVar[str] = "reward"
    needs: ClassVar[frozenset[str]] = frozenset({"reward"})
    fallible: ClassVar[bool] = True

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """The classifier's output, without unit; higher is better."""
        assert tools.reward
        items = [(row.prompt, c.text) for row, candidates in pools for c in candidates if c.role == "candidate"]
        found = iter(_scores(items, tools.reward, tools.kept))
        return [[next(found) if c.role == "candidate" else None for c in candidates] for _, candidates in pools]


def _scores(
    items: Sequence[tuple[list[Message], str]], model: RewardModel, store: SampleStore | None
) -> list[float | str]:
    """Scores, those that the store has taken from it: a run that goes on computes none twice."""
    if store is None:
        return model.score(items)
    keys = [value_key("reward", [model.name, model.revision, model.dtype, prompt, text]) for prompt, text in items]
    found: dict[bytes, float | str] = dict(store.get_values(keys))
    missing = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
    fresh = dict(zip(missing, model.score(list(missing.values())), strict=True))
    store.put_values({key: score for key, score in fresh.items() if isinstance(score, float)})
    found |= fresh
    return [found[key] for key in keys]
