"""Verbs on artifacts."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from datasets_cards.errors import InputError, one_line
from datasets_cards.storage import storage_errors
from echoset.commands.labeling import artifact_summary, show_facts
from echoset.commands.options import ArtifactRef, Embedder, Json, Quiet, Seed, stages


def shift(
    artifact: ArtifactRef,
    against: Annotated[
        str | None, typer.Option("--against", help="A second artifact: how far its labels are from the first one's.")
    ] = None,
    embedder: Embedder = "tiny",
    metric: Annotated[list[str] | None, typer.Option("--metric", help="Measure only this one; repeatable.")] = None,
    permutations: Annotated[int, typer.Option("--permutations", min=99, help="Random relabelings of each test.")] = 999,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Most-moved rows to print.")] = 3,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with pictures and rows here.")] = None,
    store: Annotated[bool, typer.Option(help="Keep report and pictures in the artifact.")] = True,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how far an artifact's labels have moved.

    Leg by leg: original -> self-sample -> uniform pick -> selected. The report is stored in the artifact. With
    `--against`, from its labels to those of a second artifact; nothing is stored then.
    """
    from datasets_cards import Artifact, attach, is_published, resolve_ref
    from echoset.cells import REPORT
    from echoset.references import embedder_path
    from shift import examine

    opened = Artifact.open(resolve_ref(artifact))
    if html is not None:
        _writable(html)
    examined = examine(
        opened,
        against=against,
        embedder=embedder_path(embedder, progress=not quiet),
        metrics=metric,
        seed=seed,
        permutations=permutations,
        progress=not quiet,
    )
    report = examined.report
    if html is not None:
        html.write_text(examined.page(), encoding="utf-8")
    if as_json:
        moved = [row.model_dump() for row in examined.moved(rows)]
        print(json.dumps(json.loads(report.to_json()) | {"moved": moved}, indent=2))
    else:
        from rich.console import Console

        from shift.moved import moved_table
        from shift.words import metrics_table, rungs_table

        console = Console()
        for table in (report.table(), metrics_table(report), rungs_table(report)):
            if table is not None:
                console.print(table)
        console.print(report.summary(), highlight=False)
        for note in report.notes:
            console.print(f"Note: {note}", highlight=False, markup=False)
        before, after = (report.rungs[rung] for rung in report.main_leg)
        for row in examined.moved(rows):
            console.print(moved_table(row, before=before, after=after))
    # Last, so that what was measured is shown even where it can't be kept.
    if store and against is None and is_published(opened.path):
        print(
            "echoset: a published version never changes, so the report was not kept. Measure the folder that `pull` "
            "or `label` wrote, and publish that.",
            file=sys.stderr,
        )
    elif store and against is None:
        pictures = {f"shift/{picture.name}.svg": picture.svg() for picture in examined.pictures()}
        attach(opened, {REPORT: report.to_json().encode()} | pictures, summary=report.summary())


def _writable(html: Path) -> None:
    """Make the page's folder; refuse a place where it would overwrite something else.

    Raises:
        InputError: a directory, or a file of an artifact.
    """
    if html.is_dir():
        raise InputError("is a directory", where=str(html), remedy="Name a file, such as shift.html")
    if any((folder / "manifest.json").exists() for folder in html.resolve().parents):
        raise InputError("lies inside an artifact", where=str(html), remedy="Write the page beside it")
    with storage_errors(html):
        html.parent.mkdir(parents=True, exist_ok=True)


def verify(artifact: ArtifactRef, as_json: Json = False, quiet: Quiet = False) -> None:
    """Check an artifact against its manifest.

    Bytes, tables, ids and digests; everything that is wrong is named.
    """
    from datasets_cards import resolve_ref
    from datasets_cards import verify as run

    with stages(quiet or as_json) as say:
        say(f"checking {artifact}")
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
    artifact: ArtifactRef,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Labels to print.")] = 3,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what an artifact is, and print its first labels."""
    from datasets_cards import Artifact, resolve_ref
    from datasets_cards.comparing.words import visible

    with stages(quiet or as_json) as say:
        say(f"opening {artifact}")
        opened = Artifact.open(resolve_ref(artifact))
    labels = list(islice(opened.iter_labels(), rows))
    if as_json:
        print(
            json.dumps(
                {"manifest": opened.manifest.model_dump(mode="json"), "labels": list(map(asdict, labels))}, indent=2
            )
        )
        return
    show_facts(artifact_summary(opened), as_json=False)
    for label in labels:
        print(f"\n[{one_line(label.id)}]")
        for side, messages in (
            ("prompt", label.prompt),
            ("original", label.original),
            ("completion", label.completion),
        ):
            for message in messages or []:
                print(f"  {side:>10}  {one_line(message['role'])}: {visible(message['content'])}")
