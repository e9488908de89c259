"""Verbs on artifacts."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from echoset.commands.labeling import artifact_summary
from echoset.commands.options import Embedder, Json, Quiet, Seed, show_result


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
