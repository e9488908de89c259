"""The verb that compares two artifacts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from echoset.commands.options import ArtifactRef, Embedder, Json, Quiet, Seed

if TYPE_CHECKING:
    from pathlib import Path

    from datasets_cards import Artifact
    from datasets_cards.comparing.diff import Diff
    from shift.report import ShiftReport

MOST_CANDIDATES = 20_000
"""Candidates of both sides up to which the shift is measured unasked: a minute or two of embedding on a processor."""


def diff(
    before: ArtifactRef,
    after: ArtifactRef,
    shift: Annotated[
        bool | None,
        typer.Option(
            "--shift/--no-shift",
            help="Measure how far the labels moved. Done where not given, but for large artifacts.",
        ),
    ] = None,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Changed labels to show.")] = 3,
    embedder: Embedder = "tiny",
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what changed from one artifact, or version, to another.

    Rows, labels, candidates, numbers, settings and files; which step of the version that is (patch: the same rows,
    minor: rows added, major: rows changed or removed); and how far the labels moved where some changed.
    """
    from datasets_cards import Artifact, is_reference, resolve_ref
    from datasets_cards.comparing.diff import diff as find

    if shift is False and is_reference(before) and is_reference(after):
        folders = _tables_only(before, after)
    else:
        folders = [resolve_ref(ref) for ref in (before, after)]
    opened = [Artifact.open(folder) for folder in folders]
    found = find(opened[0], opened[1], examples=examples, progress=not quiet)
    report: ShiftReport | None = None
    note = _why_not(found, opened, shift)
    if note is None:
        report, note = _measured(opened, embedder, seed, quiet)
    if as_json:
        measured = None if report is None else json.loads(report.to_json())
        print(json.dumps(found.model_dump(mode="json") | {"shift": measured, "shift_note": note}, indent=2))
        return
    from rich.console import Console

    from datasets_cards.comparing.words import summary, tables

    console = Console()
    console.print(summary(found), highlight=False, markup=False, soft_wrap=True)
    for table in tables(found):
        console.print()
        console.print(table)
    console.print()
    if report is not None:
        console.print(report.table())
        console.print(report.summary(), highlight=False)
    elif shift is not False:
        console.print(f"Shift not measured: {note}.", highlight=False, markup=False)


def _tables_only(before: str, after: str) -> list[Path]:
    """The folders of two versions in stores, with no more of their tables than a comparison opens."""
    from datasets_cards import open_store
    from datasets_cards.comparing.diff import needed
    from datasets_cards.manifest import read_manifest

    versions = [(*open_store(place), version) for place, _, version in (ref.rpartition("@") for ref in (before, after))]
    one, two = (read_manifest(store.fetch(name, version, ())) for store, name, version in versions)
    files = needed(one, two), needed(two, one)
    return [store.fetch(name, version, own) for (store, name, version), own in zip(versions, files, strict=True)]


def _why_not(found: Diff, opened: list[Artifact], asked: bool | None) -> str | None:
    """Why the shift is not to be measured, or None where it is."""
    if asked is False:
        return "not asked for"
    if found.before.logical_digest == found.after.logical_digest:
        return "the labels are the same"
    common = found.before.labeled - found.labels.removed
    if not common:
        return "no labeled row in common"
    if not found.labels.completion and not found.candidates.changed and not found.candidates.rows:
        return f"the {common:,} labels in common say the same"
    candidates = sum(artifact.manifest.counts.candidates for artifact in opened)
    if asked is None and candidates > MOST_CANDIDATES:
        return f"{candidates:,} candidates would have to be embedded; --shift does it"
    return None


def _measured(opened: list[Artifact], embedder: str, seed: int, quiet: bool) -> tuple[ShiftReport | None, str | None]:
    """The shift from one artifact's labels to the other's, or why it can't be measured."""
    from datasets_cards import InputError
    from echoset.references import embedder_path
    from shift import examine

    path = embedder_path(embedder, progress=not quiet)
    try:
        examined = examine(opened[0], against=opened[1], embedder=path, seed=seed, progress=not quiet)
    except InputError as error:  # such as prompts that ask something else, or labels mixed with self-samples
        return None, str(error).rstrip(".")
    return examined.report, None
