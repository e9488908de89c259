"""Verbs on published versions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from echoset.commands.options import Json, Quiet, stages

if TYPE_CHECKING:
    from datasets_cards import Release


def publish(
    artifact: Annotated[str, typer.Argument(help="An artifact: DIR.")],
    to: Annotated[str, typer.Option("--to", help="The dataset to add to: hub:ORG/NAME, or STORE/NAME in a folder.")],
    bump: Annotated[
        Literal["patch", "minor", "major"] | None,
        typer.Option("--bump", help="The step to take; what changed decides where not given."),
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="The version to make, such as v2.0.0.")] = None,
    parent: Annotated[
        str | None, typer.Option("--parent", help="Publish only if this is the newest version still.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    gated: Annotated[
        Literal["auto", "manual"] | None, typer.Option("--gated", help="Have those who download ask first.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish an artifact as a version that never changes.

    One commit on top of the newest state, a look at what the store then holds, and its tag. What changed since the
    newest version decides the step: patch (same rows), minor (rows added), major (rows changed or removed).
    """
    from datasets_cards import publish as run
    from datasets_cards import resolve_ref

    with stages(quiet or as_json) as say:
        release = run(
            resolve_ref(artifact),
            to,
            bump=bump,
            version=version,
            parent=parent,
            private=private,
            gated=gated,
            dry_run=dry_run,
            say=say,
        )
    if as_json:
        print(json.dumps(_release_record(release), indent=2))
        return
    if release.finished:
        would = "would finish" if dry_run else "finished"
        print(f"{would} the release of {release.target}@{release.finished}, which had been interrupted")
    if not (release.finished and dry_run):
        print(_outcome(release, dry_run))
    for note in release.notes:
        print(f"Note: {note}")
    if dry_run and release.changed:
        _show_plan(release)


def pull(
    ref: Annotated[str, typer.Argument(help="hub:ORG/NAME@v1.0.0, or STORE/NAME@v1.0.0.")],
    out: Annotated[Path, typer.Option("--out", help="Directory to write; must not exist yet.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an artifact that is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy a version into a folder of your own, every byte and row checked."""
    from datasets_cards import pull as run
    from echoset.commands.labeling import artifact_summary, show_facts

    with stages(quiet or as_json) as say:
        say(f"pulling {ref}")
        artifact = run(ref, out, overwrite=overwrite)
    show_facts(artifact_summary(artifact), as_json)


def versions(
    dataset: Annotated[str, typer.Argument(help="hub:ORG/NAME, or STORE/NAME in a folder.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the versions of a dataset, oldest first."""
    from datasets_cards import history

    with stages(quiet or as_json) as say:
        say(f"reading the versions of {dataset}")
        manifests = history(dataset)
    if as_json:
        records = [
            {
                "version": manifest.version,
                "parent": manifest.parent.version if manifest.parent else None,
                "created": manifest.created,
                "method": manifest.labeler.method,
                "model": manifest.model.reference,
                "labeled": manifest.counts.labeled,
                "rows": manifest.counts.rows,
                "logical_digest": manifest.logical_digest,
            }
            for manifest in manifests
        ]
        print(json.dumps(records, indent=2))
        return
    if not manifests:
        print(f"{dataset}: no versions")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from datasets_cards.errors import one_line

    table = Table("version", "written", "method", "labels", "content", "model", box=None)
    for column in table.columns:
        column.overflow = "fold"
    for manifest in manifests:
        cells = (
            manifest.version,
            manifest.created[:10],
            manifest.labeler.method,
            f"{manifest.counts.labeled:,} of {manifest.counts.rows:,}",
            manifest.logical_digest[:12],
            manifest.model.reference,
        )
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    Console().print(table)


def _outcome(release: Release, dry_run: bool) -> str:
    if release.published:
        after = f" after {release.parent}" if release.parent else ""
        what = f": {release.diff.reason}" if release.diff else ""
        return f"published {release.ref}{after}{what}"
    if not release.changed:
        return f"nothing changed, the newest version stays {release.ref}"
    if not dry_run:
        return f"nothing published, {release.ref} is there"
    what = f": {release.diff.reason}" if release.diff else ", the first version"
    return f"would publish {release.ref}{what}"


def _show_plan(release: Release) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "bytes", "", box=None)
    table.columns[1].justify = "right"
    for file in release.files:
        table.add_row(Text(file.path), "" if file.bytes is None else f"{file.bytes:,}", file.action)
    console = Console()
    console.print(table)
    total = sum(file.bytes or 0 for file in release.files)
    console.print(f"{release.upload_bytes:,} of {total:,} bytes to upload", highlight=False)


def _release_record(release: Release) -> dict[str, Any]:
    return {
        "ref": release.ref,
        "target": release.target,
        "version": release.version,
        "parent": release.parent,
        "published": release.published,
        "changed": release.changed,
        "finished": release.finished,
        "upload_bytes": release.upload_bytes,
        "files": [dataclasses.asdict(file) for file in release.files],
        "diff": release.diff.model_dump(mode="json") if release.diff else None,
        "notes": list(release.notes),
    }
