"""What makes a tiny model: its sizes, its training, and the digest under which it is cached.

Light: no model library.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

SOURCES = ["world.py", "facts.py", "writing.py", "reviews.py", "advice.py", "pretraining.py", "base.py"]
"""The files that say what the model reads and how it learns; an edit to any of them is another recipe."""
REWARD_SOURCES = ["preferences.py", "reward.py"]
"""The same for the tiny reward model, beside those of its base."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A tiny base model.

    Attributes:
        vocabulary: BPE tokens, the special ones included.
        width: hidden size; heads of 64, because narrower ones halve the speed and vLLM refuses 16.
        documents: conversations to read.
        steps: optimizer steps.
        batch_tokens: padded tokens a step.
        muon_rate: learning rate of the hidden matrices.
        muon_iterations: Newton-Schulz steps of an update; five are usual, three do nearly as well, in less time.
        adam_rate: learning rate of embeddings and norms.
        warmup: steps of linear warm-up.
        flat: share of the steps after which the rates fall linearly to zero.
    """

    vocabulary: int = 900
    width: int = 128
    layers: int = 3
    heads: int = 2
    feed_forward: int = 384
    max_positions: int = 512
    documents: int = 31_000
    steps: int = 1_400
    batch_tokens: int = 1_024
    muon_rate: float = 0.015
    muon_iterations: int = 3
    adam_rate: float = 0.02
    warmup: int = 30
    flat: float = 0.05
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Share of the full learning rate at a step: warm-up, flat, then linear to zero."""
        return min(1.0, (step + 1) / self.warmup, (1 - step / self.steps) / (1 - self.flat))

    def digest(self) -> str:
        """SHA-256, in 16 hex digits, of these settings and of the world's own source."""
        return _digest(self, SOURCES)


@dataclass(frozen=True, slots=True)
class RewardRecipe:
    """A tiny reward model.

    Attributes:
        base: the model whose weights its trunk starts from.
        pairs: comparisons to learn from.
        steps: optimizer steps.
        batch_pairs: comparisons a step.
        rate: AdamW's learning rate at the end of the warm-up; it falls linearly to zero from there.
        warmup: steps of linear warm-up.
        held_out: comparisons of the dev split on which its accuracy is measured.
    """

    base: Recipe = field(default_factory=Recipe)
    pairs: int = 4_000
    steps: int = 80
    batch_pairs: int = 32
    rate: float = 0.002
    warmup: int = 20
    held_out: int = 400
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Share of the full learning rate at a step."""
        return min(1.0, (step + 1) / self.warmup) * (1 - step / self.steps)

    def digest(self) -> str:
        """SHA-256, in 16 hex digits, of these settings, of the base's recipe and of the sources."""
        return _digest(self, [*SOURCES, *REWARD_SOURCES])


def _digest(recipe: Recipe | RewardRecipe, files: list[str]) -> str:
    sources = {name: hashlib.sha256((Path(__file__).parent / name).read_bytes()).hexdigest() for name in files}
    return hashlib.sha256(json.dumps([asdict(recipe), sources], sort_keys=True).encode()).hexdigest()[:16]
