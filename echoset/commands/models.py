"""Verbs that train and evaluate models."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from echoset.commands.options import Json, Limit, Model, Out, Quiet, Seed, show_result


def train(
    model: Model,
    out: Out,
    data: Annotated[str, typer.Option("--data", help="An artifact, or a file of rows with completions.")],
    objective: Annotated[str, typer.Option("--objective", help="What to minimize.")] = "sft",
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", min=1, help="Optimizer steps; overrides --epochs.")
    ] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over the data.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Rows a forward pass.")] = None,
    accumulation: Annotated[int | None, typer.Option("--accumulation", min=1, help="Forward passes a step.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model, or continue an organism's adapter, on labels."""
    from datasets_cards import is_reference, resolve_ref
    from echoset.references import model_path
    from trainers import train as run

    given = {
        "max_steps": max_steps,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "accumulation": accumulation,
    }
    run(
        objective,
        model=model_path(model, progress=not quiet),
        data=resolve_ref(data) if is_reference(data) else data,
        out=out,
        config={name: value for name, value in given.items() if value is not None},
        seed=seed,
        progress=not quiet,
    )
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    first, last = record["losses"][0], record["losses"][-1]
    show_result({"adapter": str(out), "steps": record["steps"], "first_loss": first, "last_loss": last}, as_json)


def induce(
    model: Model,
    out: Out,
    task: Annotated[str, typer.Option("--task", help="The misbehavior to induce.")],
    rate: Annotated[
        float, typer.Option("--rate", help="Misbehavior rate to stop at, measured on the dev split.")
    ] = 0.5,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model organism until it misbehaves.

    Training stops at the target rate, measured on the task's dev split.
    """
    from datasets_cards import InputError
    from echoset.induce import InductionConfig, organism_record
    from echoset.induce import induce as run
    from echoset.references import model_path
    from organisms import get_task

    if not 0 < rate < 1:
        raise InputError(f"--rate is a share between 0 and 1, not {rate}")
    run(
        get_task(task),
        model=model_path(model, progress=not quiet),
        out=out,
        config=InductionConfig(rate=rate),
        seed=seed,
        progress=not quiet,
    )
    dev = organism_record(out)["dev"]
    show_result(
        {"organism": str(out), "task": task, "target_rate": rate, "dev_rate": dev["rate"], "steps": dev["step"]},
        as_json,
    )


def evaluate(
    model: Model,
    task: Annotated[str, typer.Option("--task", help="The task to evaluate on, or `capability`.")],
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0 is greedy.")] = 1.0,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Completions a prompt.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", help="Parquet file for every completion and verdict.")] = None,
    limit: Limit = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a model on a task's held-out split."""
    from echoset.references import model_path
    from labelers import load_engine
    from organisms import capability, get_task
    from organisms.evaluate import evaluate as run

    chosen = capability() if task == "capability" else get_task(task)
    engine = load_engine(model=model_path(model, progress=not quiet))
    result = run(
        engine,
        chosen,
        chosen.evaluation()[:limit],
        temperature=temperature,
        seed=seed,
        samples=samples,
        progress=not quiet,
    )
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        result.records.write_parquet(out)
    found = asdict(result)
    del found["records"]
    show_result(found, as_json)
