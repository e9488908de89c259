"""What a manifest says of the model, the engine and the method of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets_cards import manifest as m
from labelers.engines.protocol import Engine
from labelers.method import Method
from labelers.proposals import settings
from labelers.scorers import Scorer, Tools


def model_part(engine: Engine) -> m.Model:
    """What the manifest says of the labeling model."""
    identity = engine.identity
    return m.Model(
        reference=identity.model,
        revision=identity.revision,
        adapter=identity.adapter,
        dtype=identity.dtype,
        quantization=identity.quantization,
        chat_template=identity.chat_template,
    )


def engine_part(engine: Engine) -> m.Engine:
    """What the manifest says of the engine."""
    name, _, version = engine.identity.backend.partition("/")
    return m.Engine(name=name, version=version, determinism=engine.determinism, lacks=dict(engine.lacks))


def scorer_settings(scorer: Scorer | None, tools: Tools) -> dict[str, Any]:
    """All that a scorer's scores depend on besides the candidates, the task and the labeling model."""
    if not scorer:
        return {}
    found: dict[str, Any] = settings(scorer)
    if "reward" in scorer.needs and tools.reward:
        found["model"] = f"{tools.reward.name}@{tools.reward.revision}"
    if "embedder" in scorer.needs and tools.embedder:
        found["embedder"] = Path(tools.embedder).name if Path(tools.embedder).is_dir() else tools.embedder
    return found


def labeler_part(method: Method, scoring: dict[str, Any], dose: float | None = None) -> m.Labeler:
    """What the manifest says of how labels were made: the proposal's settings, and the scorer's as `scorer.name`."""
    return m.Labeler(
        method=method.name,
        proposal=method.proposal.name,
        scorer=method.scorer_name,
        selector=method.selector.name,
        config={**settings(method.proposal), **{f"scorer.{name}": value for name, value in scoring.items()}},
        dose=dose,
    )
