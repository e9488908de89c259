"""Getting versions back: a checked copy of one, and the history of all."""

from __future__ import annotations

import shutil
from pathlib import Path

from datasets_cards.artifact import Artifact
from datasets_cards.errors import IntegrityError, MissingError
from datasets_cards.manifest import MANIFEST_FILE, Manifest, read_manifest
from datasets_cards.storage import move_into_place, new_folder, storage_errors
from datasets_cards.stores.refs import open_store, resolve_ref
from datasets_cards.verify import verify
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
    folder = resolve_ref(ref)
    manifest = read_manifest(folder)
    with storage_errors(out), new_folder(out) as work:
        for path in [*(file.path for file in manifest.files), MANIFEST_FILE]:
            (work / path).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / path, work / path, follow_symlinks=False)
        if findings := verify(work):
            raise IntegrityError(str(findings[0]), where=str(ref), remedy="Tell its publisher; nothing was kept")
        check_target(out, overwrite)
        move_into_place(work, out, replace=overwrite)
    return Artifact.open(out)


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
    if store.head(name) is None:
        raise MissingError("no such dataset", where=store.where(name), remedy="Check the name, or publish it first")
    return [read_manifest(store.fetch(name, version, ())) for version in store.versions(name)]
