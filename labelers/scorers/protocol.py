"""What a scorer is, and what it may use besides the candidates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from datasets_cards.errors import InputError
from datasets_cards.records import Candidate, Message, Row
from labelers.engines.protocol import ABILITIES
from labelers.engines.reward_model import RewardModel
from labelers.sampler import Sampler
from labelers.store import SampleStore
from labelers.task import LabelTask

Pool = tuple[Row, Sequence[Candidate]]
"""A row and those of its candidates that did not fail, views and drafts included, the baseline not."""

Verdict = float | str | None
"""A score; or the reason why there is none (never a zero in its place); or None for a candidate not to be scored."""


class Scorer(Protocol):
    """A way to score: a frozen dataclass whose fields are its whole configuration.

    Attributes:
        name: the column that its scores are stored under.
        needs: what it can't do without: abilities of an engine (`ABILITIES`), or `model`, `reward`, `embedder`, `task`.
        fallible: whether it judges quality and may be at chance, so that its held-out accuracy is to be known.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    fallible: ClassVar[bool]

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """One verdict a candidate, for every row, in their order."""
        ...


@dataclass(frozen=True)
class Tools:
    """What is at hand for scoring.

    Attributes:
        sampler: the labeling model; None when stored candidates are labeled again without it.
        task: finds answers, judges misalignment, brings a rubric.
        reward: a reward model.
        embedder: directory or Hub id of a SentenceTransformer.
        store: where scores are kept where there is no sampler, which brings its own.
    """

    sampler: Sampler | None = None
    task: LabelTask | None = None
    reward: RewardModel | None = None
    embedder: str | None = None
    store: SampleStore | None = None

    @classmethod
    def of(
        cls,
        sampler: Sampler | None,
        task: LabelTask | None,
        reward_model: str | Path | RewardModel | None,
        embedder: str | Path | None,
        store: SampleStore | None = None,
    ) -> Tools:
        """What was named, loaded.

        Raises:
            MissingError: no such reward model.
            EngineError: the reward model can't be loaded, or is something else.
        """
        reward = RewardModel(reward_model) if isinstance(reward_model, str | Path) else reward_model
        return cls(sampler, task, reward, str(embedder) if embedder else None, store)

    def check(self, needs: frozenset[str], who: str) -> None:
        """Refuse, before anything is spent, what can't be done.

        Raises:
            InputError: something that is needed is not at hand, or the engine lacks it.
        """
        lacks: Mapping[str, str] = self.sampler.engine.lacks if self.sampler else {}
        for need in sorted(needs):
            if need in _MISSING:
                if getattr(self, "sampler" if need == "model" else need) is None:
                    what, remedy = _MISSING[need]
                    raise InputError(f"{who} needs {what}", where=need, remedy=remedy)
            elif need in lacks:
                raise InputError(
                    f"{who} needs {ABILITIES[need]}, which this engine can't give ({lacks[need]})",
                    where="engine",
                    remedy="Choose another engine or another method",
                )

    @property
    def kept(self) -> SampleStore | None:
        """Where scores are kept, or None for nowhere."""
        return self.sampler.store if self.sampler else self.store

    def model(self) -> Sampler:
        """The labeling model.

        Raises:
            InputError: it is not at hand.
        """
        self.check(frozenset({"model"}), "this scorer")
        assert self.sampler
        return self.sampler


_MISSING = {
    "model": ("the labeling model, as its scores are not stored", "Name it (--model)"),
    "task": ("a task, which finds answers and judges them", "Name one (--task)"),
    "reward": ("a reward model", "Name one (--reward-model)"),
    "embedder": ("a sentence embedder", "Name one (--embedder)"),
}


def question(messages: Sequence[Message]) -> str:
    """A prompt as text for a judge: the one user message as it stands, or every message under its role."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in messages)


def fill(template: str, **parts: str) -> str:
    """A prompt template with its `{parts}` filled in; braces inside a part stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda mark: parts.get(mark[1], mark[0]), template)
