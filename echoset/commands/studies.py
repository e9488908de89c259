"""Verbs on whole studies, and on the installation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from echoset.commands.options import Json, Out, Quiet, show_result


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
