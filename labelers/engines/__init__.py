"""Engines: what generates and scores. A string a name; a model library is imported when its engine is loaded."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from pathlib import Path

from datasets_cards.errors import InputError
from labelers.engines.protocol import (
    Completion,
    Engine,
    ModelIdentity,
    Prompt,
    SampleRequest,
    Sampling,
    Uncertainty,
    derive_seed,
)

ENGINES = {
    "transformers": "labelers.engines.hf.engine:TransformersEngine",
    "vllm": "labelers.engines.vllm_offline.engine:VllmEngine",
    "openai": "labelers.engines.openai_api.engine:OpenAIEngine",
}
"""Engine name -> `module:class`; the class takes the model and, by keyword, those options of `load_engine` it knows."""

__all__ = [
    "ENGINES",
    "Completion",
    "Engine",
    "ModelIdentity",
    "Prompt",
    "SampleRequest",
    "Sampling",
    "Uncertainty",
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
    base_url: str | None = None,
    concurrency: int | None = None,
    timeout: float | None = None,
) -> Engine:
    """Load a model into an engine, or reach a server. An option that is not given is left to the engine.

    Args:
        name: one of `ENGINES`.
        model: model directory, LoRA adapter directory, or Hub id; for a server, the name that it serves.
        adapter: LoRA adapter directory to put on it.
        batch_size: most samples in flight at once; default by the memory that they take. It never changes a sample.
        device: default CUDA where there is one, else the CPU.
        base_url: the server's address, such as `http://localhost:8000/v1`.
        concurrency: most requests to a server at once.
        timeout: seconds to wait for a server's answer before it is asked again.

    Raises:
        InputError: no such engine, no model named, or an option that this engine doesn't have.
        MissingError: no such model or adapter directory.
        EngineError: the model can't be loaded, or the server can't be reached.
    """
    if name not in ENGINES:
        raise InputError(
            f"no engine is called {name!r}", where="engine", remedy=f"Choose one of: {', '.join(sorted(ENGINES))}"
        )
    if model is None:
        raise InputError("no model is named", where="model", remedy="Name a model directory or a Hub id")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"a batch of {batch_size} holds nothing", where="batch_size", remedy="Use 1 or more")
    if concurrency is not None and concurrency < 1:
        raise InputError(f"a concurrency of {concurrency}", where="concurrency", remedy="Use 1 or more")
    if timeout is not None and not timeout > 0:
        raise InputError(f"a timeout of {timeout} seconds", where="timeout", remedy="Use more than 0")
    given = {
        "adapter": adapter,
        "batch_size": batch_size,
        "device": device,
        "base_url": base_url,
        "concurrency": concurrency,
        "timeout": timeout,
    }
    given = {option: value for option, value in given.items() if value is not None}
    module, _, attribute = ENGINES[name].partition(":")
    engine = getattr(import_module(module), attribute)
    if unknown := given.keys() - signature(engine).parameters.keys():
        raise InputError(f"the {name} engine has no {min(unknown)}", where=min(unknown), remedy="Leave it out")
    return engine(model, **given)
