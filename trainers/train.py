"""`train`: continue a model's adapter (or start one) under an objective, and save it with a record of its making."""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_cards import Artifact, InputError, StorageError, package_versions
from datasets_cards.records import Row

if TYPE_CHECKING:
    from pydantic import BaseModel

    from trainers.run import Checkpoint

OBJECTIVES: dict[str, str] = {
    "sft": "trainers.sft:SFT",
}
"""Objectives by name; a new one is one file and one line here."""

RECORD = "training.json"
"""What a trained adapter's directory says of its making; written last, so its presence means the run completed."""


def train(
    objective: str = "sft",
    *,
    model: str | Path,
    data: str | Path | Artifact | Sequence[Row],
    out: str | Path,
    config: BaseModel | dict[str, Any] | None = None,
    seed: int = 0,
    progress: bool = False,
    on_checkpoint: Checkpoint | None = None,
    checkpoint_every: int = 1,
) -> Path:
    """Train an adapter and write it to `out`.

    A model that already is an adapter (an organism) has that adapter continued; a plain model gets a fresh LoRA.

    Args:
        objective: a name in `OBJECTIVES`.
        model: directory or Hub id of a model, or directory of an adapter that names its base.
        data: an artifact (its labels), a file of rows with completions, or the rows themselves.
        out: directory of the trained adapter; a finished one is not overwritten.
        config: the objective's config, or its fields.
        seed: of the data order, of dropout and of a fresh adapter's weights.
        progress: show a bar on stderr.
        on_checkpoint: shown the adapter so far, and asked whether to stop.
        checkpoint_every: steps between two looks; the last step is always shown.

    Returns:
        `out`, holding the adapter as safetensors, the tokenizer and `training.json`.

    Raises:
        InputError: unknown objective or setting, unusable data, a tokenizer without pad token.
        StorageError: `out` can't be written or is taken.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"unknown objective {objective!r}", remedy=f"Choose one of: {', '.join(OBJECTIVES)}.")
    out = Path(out)
    if (out / RECORD).exists():
        raise StorageError("a finished training run is already here", where=str(out), remedy="Choose another --out.")
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise StorageError(
            "the output exists and is not a training run", where=str(out), remedy="Choose another --out."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise StorageError(
            f"can't write here: {error.strerror}", where=str(out), remedy="Choose another --out."
        ) from None

    module_name, _, class_name = OBJECTIVES[objective].partition(":")
    objective_class = getattr(importlib.import_module(module_name), class_name)
    runner = importlib.import_module("trainers.run")
    try:
        settings = _settings(objective_class.config_class, config)
        record = runner.run(
            objective_class,
            settings,
            model=model,
            data=data,
            work=work,
            seed=seed,
            progress=progress,
            on_checkpoint=on_checkpoint,
            checkpoint_every=checkpoint_every,
        )
        record = {"objective": objective, "config": settings.model_dump(), "seed": seed, **record}
        record["packages"] = package_versions()
        (work / RECORD).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        work.rename(out)
    except OSError as error:
        if isinstance(error, StorageError) or error.strerror is None:
            raise
        raise StorageError(f"can't write the adapter: {error.strerror}", where=str(out)) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def _settings(config_class: type[BaseModel], config: BaseModel | dict[str, Any] | None) -> BaseModel:
    if isinstance(config, config_class):
        return config
    from pydantic import ValidationError

    try:
        return config_class(**(config if isinstance(config, dict) else {}))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{first['msg'].lower()} (got {first.get('input')!r})",
            where=".".join(str(part) for part in first["loc"]),
            remedy=f"Settings: {', '.join(config_class.model_fields)}.",
        ) from None
