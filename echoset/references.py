"""What the command line's names stand for: `tiny` for the embedded models and embedder, a task's name for the task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets_cards import InputError
from datasets_cards.records import Row
from organisms import get_task
from organisms.task import Task

TINY = "tiny"


def model_path(model: str, *, progress: bool = False) -> str:
    """The directory or Hub id behind `--model`; `tiny` is trained on first use and cached."""
    if model != TINY:
        return model
    from organisms.tiny import tiny_base

    return str(tiny_base(progress=progress))


def embedder_path(embedder: str, *, progress: bool = False) -> str:
    """The directory or Hub id behind `--embedder`; `tiny` is built over the embedded model."""
    if embedder != TINY:
        return embedder
    from organisms.tiny import tiny_base, tiny_embedder

    tiny_base(progress=progress)
    return str(tiny_embedder())


def reward_path(name: str, *, progress: bool = False) -> str:
    """The directory or Hub id behind `--reward-model`; `tiny` is trained on first use and cached."""
    if name != TINY:
        return name
    from organisms.tiny import tiny_reward

    return str(tiny_reward(progress=progress))


def task_named(name: str | None) -> Task | None:
    """The task behind `--task`, or None where none was given."""
    return get_task(name) if name else None


def data_or_task_rows(data: str | None, task: Task | None, seed: int) -> str | Path | Sequence[Row]:
    """The rows to label: `--data`, or the task's own consistency prompts where only a task was named.

    Raises:
        InputError: neither was given.
    """
    if data:
        return data
    if task is None:
        raise InputError("no rows to label", remedy="Give --data FILE, or --task NAME for that task's own prompts.")
    return task.consistency(seed)
