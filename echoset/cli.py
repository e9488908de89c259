"""The command line. Each verb reads its options, calls one function of the library, and shows what came back.

Exit status: 0 done, 1 failed (one line on stderr: what, where, remedy), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from echoset import __version__

app = typer.Typer(
    name="echoset",
    help="Label a dataset with a model's own outputs, measure the shift, train on it, see what that did.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Model = Annotated[
    str, typer.Option("--model", help="Directory or Hub id of a model or adapter; `tiny` is the embedded one.")
]
Out = Annotated[Path, typer.Option("--out", help="Directory to write; must not exist yet.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every draw.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
TaskName = Annotated[str | None, typer.Option("--task", help="Name of a task, for its prompts, answers and verdicts.")]
Embedder = Annotated[
    str, typer.Option("--embedder", help="SentenceTransformer directory or Hub id; `tiny` is the embedded one.")
]
Tokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest completion.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Read only the first rows.")]


def show_result(result: dict[str, Any], as_json: bool) -> None:
    """Print a result: as JSON, or a line a field."""
    if as_json:
        print(json.dumps(result, indent=2, default=str))
    else:
        for key, value in result.items():
            print(f"{key.replace('_', ' ')}: {value}")


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Echoset."""
    if version:
        print(f"echoset {__version__}")
        raise typer.Exit


@app.command()
def label(
    model: Model,
    out: Out,
    method: Annotated[str, typer.Option("--method", help="A labeling method; see the README's table.")],
    data: Annotated[
        str | None,
        typer.Option("--data", help="JSONL, Parquet or a saved `datasets` folder; default: the task's rows."),
    ] = None,
    task: TaskName = None,
    engine: Annotated[str, typer.Option("--engine", help="What generates.")] = "transformers",
    k: Annotated[int | None, typer.Option("--k", help="Samples a prompt, for methods that draw several.")] = None,
    limit: Limit = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Record and drop unusable rows.")] = False,
    no_baseline: Annotated[bool, typer.Option("--no-baseline", help="Draw no self-sample beside the pool.")] = False,
    max_new_tokens: Tokens = 256,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Samples in flight.")] = None,
    store: Annotated[Path | None, typer.Option("--store", help="Sample store to reuse and add to.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label rows with a model's own outputs; every candidate is kept."""
    from echoset.cells import source_of
    from echoset.references import data_or_task_rows, model_path, task_named
    from labelers import label as run

    chosen = task_named(task)
    artifact = run(
        data_or_task_rows(data, chosen, seed),
        model=model_path(model, progress=not quiet),
        engine=engine,
        method=method,
        out=out,
        k=k,
        seed=seed,
        task=chosen,
        store=store,
        limit=limit,
        skip_bad=skip_bad_rows,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        baseline=not no_baseline,
        progress=not quiet,
        **({"license": chosen.license, "source": source_of(chosen)} if chosen and not data else {}),
    )
    show_result({"artifact": str(out), **artifact_summary(artifact)}, as_json)


def artifact_summary(artifact: Any) -> dict[str, Any]:
    """The few facts of an artifact that a person wants to see."""
    manifest = artifact.manifest
    return {
        "version": manifest.version,
        "method": manifest.labeler.method,
        "model": manifest.model.reference,
        **{key: value for key, value in manifest.counts.model_dump().items() if value != {}},
        "logical_digest": manifest.logical_digest,
    }


@app.command()
def shift(
    artifact: Annotated[str, typer.Argument(help="An artifact: DIR, or STORE/name@v1.0.0.")],
    embedder: Embedder = "tiny",
    permutations: Annotated[int, typer.Option("--permutations", min=99, help="Random relabelings of each test.")] = 999,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how far an artifact's labels have moved.

    Leg by leg: original -> self-sample -> uniform pick -> selected. The report is stored in the artifact.
    """
    from datasets_cards import Artifact, attach, resolve_ref
    from echoset.cells import REPORT
    from echoset.references import embedder_path
    from shift import measure

    opened = Artifact.open(resolve_ref(artifact))
    report = measure(
        opened,
        embedder=embedder_path(embedder, progress=not quiet),
        seed=seed,
        permutations=permutations,
        progress=not quiet,
    )
    attach(opened, {REPORT: report.to_json().encode()}, summary=report.summary())
    if as_json:
        print(report.to_json())
    else:
        from rich.console import Console

        console = Console()
        console.print(report.table())
        console.print(report.summary(), highlight=False)


@app.command()
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


@app.command()
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


@app.command(name="eval")
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


@app.command()
def study(
    out: Out,
    spec: Annotated[Path | None, typer.Argument(help="A YAML file with the fields of a study.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="A built-in study: quick or mini.")] = "quick",
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: all processors.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of every draw; default: the study's own.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a grid of organisms and methods, and report.

    Interrupted, the same command goes on where it stopped.
    """
    from echoset.report import summarize
    from echoset.spec import load_spec
    from echoset.study import run_study

    outcome = run_study(load_spec(preset, spec, seed=seed), out, workers=workers, progress=not quiet)
    result: dict[str, Any] = {
        "report": str(outcome.report),
        "steps": outcome.steps,
        "computed_now": outcome.computed,
        "seconds": round(outcome.seconds, 1),
        "logical_digest": outcome.logical_digest,
    }
    if as_json:
        result["findings"] = summarize(out)
        result["failed"] = outcome.failed
    show_result(result, as_json)
    for name, reason in outcome.failed.items():
        print(f"echoset: {name}: {reason}", file=sys.stderr)
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def verify(
    artifact: Annotated[str, typer.Argument(help="An artifact: DIR, or STORE/name@v1.0.0.")], as_json: Json = False
) -> None:
    """Check an artifact against its manifest.

    Bytes, tables, ids and digests; everything that is wrong is named.
    """
    from datasets_cards import resolve_ref
    from datasets_cards import verify as run

    findings = run(resolve_ref(artifact))
    if as_json:
        print(json.dumps({"sound": not findings, "findings": [vars(f) for f in findings]}, indent=2))
    elif not findings:
        print(f"{artifact}: sound")
    if findings:
        if not as_json:
            for finding in findings:
                print(f"echoset: {finding}", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def show(
    artifact: Annotated[str, typer.Argument(help="An artifact: DIR, or STORE/name@v1.0.0.")],
    rows: Annotated[int, typer.Option("--rows", min=0, help="Labels to print.")] = 3,
    as_json: Json = False,
) -> None:
    """Say what an artifact is, and print its first labels."""
    from datasets_cards import Artifact, resolve_ref

    opened = Artifact.open(resolve_ref(artifact))
    labels = opened.labels().head(rows).to_dicts()
    if as_json:
        print(
            json.dumps({"manifest": opened.manifest.model_dump(mode="json"), "labels": labels}, indent=2, default=str)
        )
        return
    show_result(artifact_summary(opened), as_json=False)
    for row in labels:
        print(f"\n[{row['id']}]")
        for side in ("prompt", "original", "completion"):
            for message in row[side] or []:
                print(f"  {side:>10}  {message['role']}: {message['content']}")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this installation.

    Packages that are ours, versions, threads, cache.
    """
    from echoset.doctor import checkup

    checks = checkup()
    if as_json:
        print(json.dumps([vars(check) for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{'ok ' if check.ok else 'BAD'}  {check.name}: {check.detail}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status; the only place where errors become lines."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if not debug:
        # The libraries' own bars and deprecation notes, in this process and in a study's workers; ours say enough.
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
        warnings.simplefilter("ignore", FutureWarning)
    command = typer.main.get_command(app)
    try:
        status = command.main([a for a in arguments if a != "--debug"], prog_name="echoset", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("echoset: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        if hasattr(error, "format_message"):  # click's usage errors, whichever click typer brings
            print(f"echoset: {error.format_message()}", file=sys.stderr)  # pyright: ignore[reportAttributeAccessIssue]
            return 2
        from datasets_cards.errors import EchosetError  # not above: `--help` is to be instant

        if isinstance(error, EchosetError):
            print(f"echoset: {error}", file=sys.stderr)
        elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
            print(
                "echoset: no space left on the device. What was finished is kept; free some and go on.", file=sys.stderr
            )
        else:
            text = " ".join(str(error).split())
            print(
                f"echoset: {type(error).__name__}: {text} (a fault of Echoset's: --debug shows where)", file=sys.stderr
            )
        return 1
