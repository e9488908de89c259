"""What a manifest says of the model, the engine and the method of a run."""

from __future__ import annotations

from datasets_cards import manifest as m
from labelers.engines.protocol import Engine
from labelers.method import Method
from labelers.scorers import Tools


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


def labeler_part(method: Method, tools: Tools, dose: float | None = None) -> m.Labeler:
    """What the manifest says of how labels were made."""
    config = method.settings()
    if method.scorer and "reward" in method.scorer.needs and tools.reward:
        config["scorer.model"] = f"{tools.reward.name}@{tools.reward.revision}"
    return m.Labeler(
        method=method.name,
        proposal=method.proposal.name,
        scorer=method.scorer.name if method.scorer else None,
        selector=method.selector.name,
        config=config,
        dose=dose,
    )
