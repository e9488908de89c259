"""Engines: what generates and scores. A string a name; a model library is imported when its engine is loaded."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from datasets_cards.errors import InputError
from labelers.engines.protocol import Completion, Engine, ModelIdentity, SampleRequest, Sampling, derive_seed

ENGINES = {
    "transformers": "labelers.engines.transformers_engine:TransformersEngine",
}
"""Engine name -> `module:class`; the class takes (model, adapter=, batch_size=, device=)."""

__all__ = [
    "ENGINES",
    "Completion",
    "Engine",
    "ModelIdentity",
    "SampleRequest",
    "Sampling",
    "derive_seed",
    "load_engine",
]


def load_engine(
    name: str = "transformers",
    model: str | Path | None = None,
    *,
    adapter: str | Path | None = None,
    batch_size: int | None = None,
    device: str | None = None,
) -> Engine:
    """Load a model into an engine.

    Args:
        name: one of `ENGINES`.
        model: model directory, LoRA adapter directory, or Hub id.
        adapter: LoRA adapter directory to put on it.
        batch_size: most samples in flight at once; default by the memory that they take. It never changes a sample.
        device: default CUDA where there is one, else the CPU.

    Raises:
        InputError: no such engine, or no model named.
        MissingError: no such model or adapter directory.
        EngineError: the model can't be loaded.
    """
    if name not in ENGINES:
        raise InputError(
            f"no engine is called {name!r}", where="engine", remedy=f"Choose one of: {', '.join(sorted(ENGINES))}"
        )
    if model is None:
        raise InputError("no model is named", where="model", remedy="Name a model directory or a Hub id")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"a batch of {batch_size} holds nothing", where="batch_size", remedy="Use 1 or more")
    module, _, attribute = ENGINES[name].partition(":")
    return getattr(import_module(module), attribute)(model, adapter=adapter, batch_size=batch_size, device=device)
