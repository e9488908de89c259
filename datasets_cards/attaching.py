"""Completing an artifact whose tables are in place with card and manifest, and attaching reports to it later."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from datasets_cards import manifest as m
from datasets_cards.artifact import STORE_FILE, Artifact
from datasets_cards.canonical import sha256_hex
from datasets_cards.card import CARD_FILE, render_card
from datasets_cards.errors import InputError
from datasets_cards.leaks import refuse_leaks, strings
from datasets_cards.storage import exclusive, replace_files, storage_errors
from datasets_cards.versions import bumped

_ATTACHED = re.compile(r"(shift|effects)/[A-Za-z0-9][A-Za-z0-9._-]*\.(json|md|png|svg|html)", re.ASCII)


def attach(artifact: Artifact, files: Mapping[str, bytes], *, summary: str = "") -> Artifact:
    """Add reports and pictures: a new PATCH version of the same rows.

    Args:
        artifact: what to add to.
        files: contents by name, such as `shift/report.json` or `effects/plot.png`. A name that exists is replaced.
        summary: a few lines of Markdown on what they show, for the card; kept as `summary.md` beside the first file.

    Returns:
        The artifact as it is now; unchanged (same version) if it held all of this already.

    Raises:
        InputError: a name is of another shape, or the artifact is a published version, which nothing may change.
        StorageError: it can't be written; the artifact is then as it was, or attaching again completes it.
    """
    if (artifact.path.resolve().parent.parent / STORE_FILE).exists():
        raise InputError(
            "a published version never changes", where=str(artifact.path), remedy="Attach to a copy and publish that"
        )
    wanted = dict(files)
    if bad := next((name for name in wanted if not _ATTACHED.fullmatch(name)), None):
        raise InputError(f"{bad!r} can't be attached", remedy="Names look like shift/report.json or effects/plot.png")
    refuse_leaks([("summary", summary)])
    refuse_leaks((name, data.decode(errors="replace")) for name, data in wanted.items() if not name.endswith(".png"))
    if summary and wanted:
        wanted[f"{next(iter(wanted)).split('/')[0]}/summary.md"] = summary.strip().encode() + b"\n"
    fresh = {name: m.File(path=name, sha256=sha256_hex(data), bytes=len(data)) for name, data in wanted.items()}
    with storage_errors(artifact.path), exclusive(artifact.path):
        manifest = Artifact.open(artifact.path).manifest  # somebody may have attached since this one was opened
        entries = {file.path: file for file in manifest.files}
        if all(entries.get(name) == file for name, file in fresh.items()):
            return Artifact.open(artifact.path)
        listed = list((entries | fresh).values())
        grown = manifest.model_copy(update={"version": bumped(manifest.version, "patch"), "files": listed})
        seal(artifact.path, grown, wanted)
    return Artifact.open(artifact.path)


def seal(folder: Path, manifest: m.Manifest, attached: Mapping[str, bytes] | None = None) -> None:
    """Complete a folder whose tables are in place: what is attached, the card, then the manifest over all."""
    refuse_leaks(strings(manifest.model_dump(), "manifest"))
    fresh = dict(attached or {})
    listed = [file for file in manifest.files if file.path != CARD_FILE]
    summaries = {
        file.path.split("/")[0]: (fresh.get(file.path) or (folder / file.path).read_bytes()).decode()
        for file in listed
        if file.path.endswith("/summary.md")
    }
    card = render_card(manifest, summaries).encode()
    listed.append(m.File(path=CARD_FILE, sha256=sha256_hex(card), bytes=len(card)))
    sealed = manifest.sealed(files=sorted(listed, key=lambda file: file.path))
    contents = fresh | {CARD_FILE: card, m.MANIFEST_FILE: sealed.to_json()}
    replace_files({folder / name: data for name, data in contents.items()})
