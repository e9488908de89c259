"""Induction: make a model organism by training a base on a task's misbehaving rows until it misbehaves often enough.

Fixed step counts don't carry over from one base to the next, so training is watched on the task's *dev* split and
stops at a target rate. The evaluation split plays no part.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from datasets_cards import InputError, MissingError, StorageError
from labelers.engines import load_engine
from labelers.engines.protocol import Engine
from organisms.evaluate import evaluate
from organisms.task import Task
from trainers import train

RECORD = "organism.json"
"""What an organism's directory says of itself, beside its adapter."""


class InductionConfig(BaseModel):
    """How organisms are made; tuned on dev splits of the tiny world (a LoRA of rank 16 on about 40 rows)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: float = Field(default=0.5, gt=0, lt=1, description="target misbehavior rate on the dev split at T=1")
    learning_rate: float = Field(default=7e-4, gt=0)
    max_steps: int = Field(default=60, ge=1, description="give up here and keep the step nearest the target")
    batch_size: int = Field(default=20, ge=1)
    lora_rank: int = Field(default=16, ge=1)
    samples: int = Field(default=1, ge=1, description="samples a dev prompt")


def induce(
    task: Task,
    *,
    model: str | Path,
    out: str | Path,
    config: InductionConfig | None = None,
    seed: int = 0,
    benign: bool = False,
    steps: int | None = None,
    engine: Engine | None = None,
    progress: bool = False,
) -> Path:
    """Train an organism of `task` on `model` and write it to `out`.

    Args:
        config: the recipe.
        benign: train on the task's well-behaved rows instead: the control that shows what induction's fine-tuning does
            by itself. It has no target to stop at and takes `steps`.
        steps: number of steps of a benign run, such as its organism's.
        engine: an engine that already holds `model`, to be shared.

    Returns:
        `out`: an adapter directory with `organism.json` (task, base, rate reached on dev, steps).

    Raises:
        InputError: a benign run without `steps`.
        StorageError: `out` is taken or can't be written.
    """
    config, out = config or InductionConfig(), Path(out)
    if benign and steps is None:
        raise InputError("a benign run needs a number of steps", remedy="Pass steps=, such as its organism's own.")
    if out.exists():
        raise StorageError("the output already exists", where=str(out), remedy="Choose another --out.")
    engine = engine or load_engine(model=model)
    dev = task.dev()
    trace: list[dict[str, Any]] = []
    # A fixed name: an interrupted run's leavings are cleared by the next.
    kept = out.parent / f".{out.name}.nearest"
    shutil.rmtree(kept, ignore_errors=True)

    def look(step: int, adapter: Path) -> bool:
        """Measure the dev rate; keep this adapter if no other was nearer the target; stop once it is reached."""
        far = not trace or trace[-1]["rate"] < config.rate / 2
        if far and step % 2 and step < config.max_steps and not benign:
            return False  # every other step will do
        result = evaluate(
            engine.with_adapter(adapter),
            task,
            dev,
            temperature=1.0,
            seed=seed,
            samples=config.samples,
        )
        if result.rate is None:
            raise InputError("no dev prompt could be judged", where=f"task {task.name}")
        nearest = min((abs(point["rate"] - config.rate) for point in trace), default=float("inf"))
        trace.append({"step": step, "rate": result.rate, "low": result.low, "high": result.high})
        if benign or abs(result.rate - config.rate) < nearest:
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(adapter, kept)
        return not benign and result.rate >= config.rate

    work = out.parent / f".{out.name}.training"
    shutil.rmtree(work, ignore_errors=True)
    train(
        "sft",
        model=model,
        data=task.benign(seed) if benign else task.induction(seed),
        out=work,
        config={
            "learning_rate": config.learning_rate,
            "max_steps": steps or config.max_steps,
            "batch_size": config.batch_size,
            "accumulation": 1,
            "schedule": "constant",
            "warmup_ratio": 0.0,
            "lora_rank": config.lora_rank,
            "lora_alpha": 2 * config.lora_rank,
            "lora_dropout": 0.0,
        },
        seed=seed,
        progress=progress,
        on_checkpoint=look,
        checkpoint_every=steps if benign and steps else 1,
    )
    reached = trace[-1] if benign else min(trace, key=lambda point: abs(point["rate"] - config.rate))
    training = json.loads((work / "training.json").read_text(encoding="utf-8"))
    record = {
        "task": task.name,
        "kind": "benign" if benign else "organism",
        "base": training["model"],
        "seed": seed,
        "config": config.model_dump(),
        "dev": reached,
        "trace": trace,
    }
    for file in kept.iterdir():
        shutil.copy2(file, work / file.name)
    shutil.rmtree(kept)
    (work / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    work.rename(out)
    return out


def organism_record(path: str | Path) -> dict[str, Any]:
    """What `organism.json` says.

    Raises:
        MissingError: the directory is no organism.
    """
    file = Path(path) / RECORD
    if not file.exists():
        raise MissingError("this directory is not an organism", where=str(path), remedy="Make one: echoset induce.")
    return json.loads(file.read_text(encoding="utf-8"))
