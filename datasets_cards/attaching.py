"""Completing an artifact whose tables are in place with card and manifest, and attaching reports to it later."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from datasets_cards import manifest as m
from datasets_cards.artifact import ATTACHED, Artifact, is_published
from datasets_cards.canonical import sha256_hex
from datasets_cards.cards.card import CARD_FILE, CROISSANT_FILE, DERIVED
from datasets_cards.cards.croissant import croissant
from datasets_cards.cards.merge import ExistingCard, merge_card
from datasets_cards.errors import InputError, IntegrityError
from datasets_cards.leaks import refuse_leaks, strings, texts_of_file
from datasets_cards.storage import exclusive, replace_files, storage_errors
from datasets_cards.versions import bumped


def attach(artifact: Artifact, files: Mapping[str, bytes], *, summary: str = "") -> Artifact:
    """Add reports and pictures: a new PATCH version of the same rows.

    Args:
        artifact: what to add to.
        files: contents by name, such as `shift/report.json` or `effects/plot.png`. A name that exists is replaced.
        summary: a few lines of Markdown on what they show, for the card; kept as `summary.md` beside the first file.

    Returns:
        The artifact as it is now; unchanged (same version) if it held all of this already.

    Raises:
        InputError: a name is of another shape or differs from another's in upper and lower case alone, a summary comes
            without files or is among them too, or the artifact is a published version, which nothing may change.
        StorageError: it can't be written; the artifact is then as it was, or attaching again completes it.
    """
    if is_published(artifact.path):
        raise InputError(
            "a published version never changes", where=str(artifact.path), remedy="Attach to a copy and publish that"
        )
    wanted = dict(files)
    if bad := next((name for name in wanted if not ATTACHED.fullmatch(name)), None):
        remedy = "Names look like shift/report.json or effects/plot.png, with at most 200 letters after the folder"
        raise InputError(f"{bad!r} can't be attached", remedy=remedy)
    refuse_leaks([("summary", summary)])
    refuse_leaks(text for name, data in wanted.items() for text in texts_of_file(name, data))
    if summary.strip():
        if not wanted:
            raise InputError("a summary of nothing", where=str(artifact.path), remedy="Give the files that it is about")
        told = f"{next(iter(wanted)).split('/')[0]}/summary.md"
        if told in wanted:
            raise InputError("there are two summaries", where=told, remedy="Give it as a file or as summary, not both")
        wanted[told] = summary.strip().encode() + b"\n"
    fresh = {name: _entry(name, data) for name, data in wanted.items()}
    with storage_errors(artifact.path), exclusive(artifact.path):
        manifest = Artifact.open(artifact.path).manifest  # somebody may have attached since this one was opened
        entries = {file.path: file for file in manifest.files}
        _refuse_twins([*entries, *(name for name in fresh if name not in entries)])
        if all(entries.get(name) == file for name, file in fresh.items()):
            return Artifact.open(artifact.path)
        # What is published nowhere must not name a repository as if it were there.
        grown = manifest.model_copy(update={"version": bumped(manifest.version, "patch"), "repository": None})
        seal(artifact.path, grown, wanted)
    return Artifact.open(artifact.path)


def _refuse_twins(names: Sequence[str]) -> None:
    """Many disks know no upper and lower case: of two such files one would be lost there."""
    first: dict[str, str] = {}
    for name in names:
        if (twin := first.setdefault(name.lower(), name)) != name:
            raise InputError(f"differs from {twin} in upper and lower case alone", where=name, remedy="Rename one")


def compose(
    manifest: m.Manifest,
    *,
    attached: Mapping[str, bytes] | None = None,
    summaries: Mapping[str, str] | None = None,
    existing: Sequence[ExistingCard] = (),
    notes: list[str] | None = None,
) -> dict[str, bytes]:
    """Everything that is written from a manifest, by path, in the order of writing; `manifest.json` comes last.

    Args:
        manifest: with its tables listed, and whatever was attached before.
        attached: files to add or replace.
        summaries: Markdown on what was attached before, by folder; a fresh `summary.md` stands above it.
        existing: earlier cards, the last one wins; what people wrote in them is kept (cards/merge.py).
        notes: takes a line on each thing in them that could not be kept.

    Raises:
        InputError: a place of this machine or a secret would be told, an existing card's header can't be read, or a
            summary is not UTF-8.
    """
    refuse_leaks(strings(manifest.model_dump(), "manifest"))
    contents = dict(attached or {})
    entries = {file.path: file for file in manifest.files if file.path not in DERIVED}
    entries |= {name: _entry(name, data) for name, data in contents.items()}
    told = dict(summaries or {})
    told |= {name.split("/")[0]: _text(data, name) for name, data in contents.items() if name.endswith("/summary.md")}
    manifest = manifest.model_copy(update={"files": sorted(entries.values(), key=lambda file: file.path)})
    card = merge_card(manifest, existing, told)
    refuse_leaks([(CARD_FILE, card.text)])
    if notes is not None:
        notes += card.notes
    contents |= {CARD_FILE: card.text.encode(), CROISSANT_FILE: croissant(manifest)}
    entries |= {name: _entry(name, contents[name]) for name in DERIVED}
    sealed = manifest.sealed(files=sorted(entries.values(), key=lambda file: file.path))
    return contents | {m.MANIFEST_FILE: sealed.to_json()}


def _entry(name: str, data: bytes) -> m.File:
    return m.File(path=name, sha256=sha256_hex(data), bytes=len(data))


def seal(folder: Path, manifest: m.Manifest, attached: Mapping[str, bytes] | None = None) -> None:
    """Complete a folder whose tables are in place: what is attached, the card, then the manifest over all.

    What people wrote in the folder's card is kept.

    Raises:
        InputError: see `compose`.
        IntegrityError: the card or a summary is no file.
    """
    summaries = summaries_in(folder, manifest, without=attached or ())
    contents = compose(manifest, attached=attached, summaries=summaries, existing=existing_cards(folder))
    replace_files({folder / name: data for name, data in contents.items()})


def summaries_in(folder: Path, manifest: m.Manifest, *, without: Collection[str] = ()) -> dict[str, str]:
    """The summaries of what was attached to an artifact, by folder (`shift`, `effects`).

    Raises:
        InputError: one is not UTF-8.
        IntegrityError: one is no file.
    """
    return {
        file.path.split("/")[0]: _text(_bytes(folder, file.path), file.path)
        for file in manifest.files
        if file.path.endswith("/summary.md") and file.path not in without
    }


def existing_cards(folder: Path) -> list[ExistingCard]:
    """The card in a folder, with the manifest it was written from; none where there is no card.

    Raises:
        InputError: it is not UTF-8.
        IntegrityError: it is no file but a symbolic link, which may show what lies outside of the folder, or a pipe.
    """
    path = folder / CARD_FILE
    if not path.exists() and not path.is_symlink():
        return []
    written = m.read_manifest(folder) if (folder / m.MANIFEST_FILE).exists() else None
    return [ExistingCard(_text(_bytes(folder, CARD_FILE), path), written, str(path))]


def _bytes(folder: Path, name: str) -> bytes:
    path = folder / name
    if path.is_symlink() or (path.parent != folder and path.parent.is_symlink()):
        raise IntegrityError("is a symbolic link", where=str(path), remedy="Copy the artifact with its files")
    if not path.is_file():  # a pipe would never end
        raise IntegrityError("is missing, or no file", where=str(path), remedy="Restore it from its store")
    return path.read_bytes()


def _text(data: bytes, where: str | Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError("is not UTF-8", where=str(where), remedy="Save it as UTF-8") from None
