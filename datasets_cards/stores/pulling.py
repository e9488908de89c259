"""Getting versions back: a checked copy of one, and the history of all."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from datasets_cards.artifact import Artifact
from datasets_cards.errors import IntegrityError, MissingError
from datasets_cards.hub_client import is_hub
from datasets_cards.manifest import MANIFEST_FILE, Manifest, read_manifest
from datasets_cards.storage import move_into_place, new_folder, storage_errors
from datasets_cards.stores.refs import open_store, resolve_ref, split_ref
from datasets_cards.verify import Finding, verify
from datasets_cards.writing import check_target


def pull(ref: str | Path, out: str | Path, *, overwrite: bool = False) -> Artifact:
    """Copy a version into a folder of one's own, and check every byte and row of it.

    Interrupted, it leaves nothing at `out`; a second call goes on with what the first had downloaded.

    Args:
        ref: `hub:ORG/NAME@v1.0.0`, `STORE/NAME@v1.0.0`, or a folder.
        out: the folder to make.
        overwrite: replace an artifact that is there.

    Raises:
        IntegrityError: it is not what its manifest says; nothing is left at `out`.
        InputError: `out` is taken, or the reference is of another shape.
        MissingError: no such version.
        StorageError: the Hub can't be reached, or `out` can't be written.
    """
    out = Path(out)
    check_target(out, overwrite)
    with storage_errors(out), new_folder(out) as work:
        if findings := _copied(ref, work):
            raise IntegrityError(str(findings[0]), where=str(ref), remedy="Tell its publisher; nothing was kept")
        check_target(out, overwrite)
        move_into_place(work, out, replace=overwrite)
    return Artifact.open(out)


def _copied(ref: str | Path, work: Path) -> list[Finding]:
    """Copy an artifact's files, and check the copy; what a cache has spoiled is fetched once more."""
    findings = _copy(resolve_ref(ref), work)
    if findings and is_hub(ref):
        store, name, version = split_ref(ref)
        store.forget(name, str(version))
        findings = _copy(resolve_ref(ref), work)
    return findings


def _copy(folder: Path, work: Path) -> list[Finding]:
    for path in [*(file.path for file in read_manifest(folder).files), MANIFEST_FILE]:
        (work / path).parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # it will be found missing
            shutil.copyfile(folder / path, work / path, follow_symlinks=False)
    return verify(work)


def history(to: str | Path) -> list[Manifest]:
    """The manifests of all versions of a dataset, oldest first.

    Args:
        to: `hub:ORG/NAME` or `STORE/NAME`.

    Raises:
        InputError: of another shape.
        MissingError: there is no such dataset.
        StorageError: the Hub can't be reached.
    """
    store, name = open_store(to)
    versions = store.versions(name)
    if not versions and store.head(name) is None:
        raise MissingError("no such dataset", where=store.where(name), remedy="Check the name, or publish it first")
    return [read_manifest(store.fetch(name, version, ())) for version in versions]
