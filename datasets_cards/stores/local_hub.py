"""A folder of versioned artifacts with the guarantees of a Hub repository: immutable, atomic, parent-checked.

```
ROOT/store.json              marks the folder as a store
ROOT/NAME/v1.0.0/            an artifact, whole from the moment it is there
```
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from datasets_cards.artifact import STORE_FILE
from datasets_cards.attaching import existing_cards
from datasets_cards.canonical import file_digest
from datasets_cards.errors import InputError, IntegrityError, MissingError
from datasets_cards.manifest import MANIFEST_FILE, read_manifest
from datasets_cards.storage import exclusive, move_into_place, new_folder, storage_errors
from datasets_cards.stores.store import Content, Head, mark_store, moved_on, taken
from datasets_cards.versions import parse_version

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", re.ASCII)


class LocalHub:
    """A store of artifacts in a folder; see `store.Store` for what its methods promise.

    Args:
        root: the store; made where it doesn't exist.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def where(self, name: str) -> str:
        """How people write this dataset, without a version."""
        return str(self.root / name)

    def check_name(self, name: str) -> None:
        """Refuse what is not one plain path component."""
        if not _NAME.fullmatch(name) or ".." in name or name == STORE_FILE:
            raise InputError(
                f"{name!r} is not a dataset name", remedy="Use letters, digits, dots, dashes and underscores"
            )

    def check_access(self, name: str, head: Head | None) -> None:
        """Refuse a folder that holds other things."""
        self._refuse_other_files()

    def repository(self, name: str) -> None:
        """None: a folder is a place of this machine."""
        return None

    def names(self) -> list[str]:
        """The datasets of the store."""
        if not self.root.is_dir():
            return []
        return sorted(item.name for item in self.root.iterdir() if item.is_dir() and self._has_versions(item.name))

    def versions(self, name: str) -> list[str]:
        """The versions of one dataset, oldest first; empty where there is none."""
        self.check_name(name)
        folder = self.root / name
        if folder.is_symlink() or not folder.is_dir():
            return []
        found = []
        for item in folder.iterdir():
            if (item / MANIFEST_FILE).is_file():  # or else it is no version, or a publisher is still filling it
                with suppress(InputError):
                    found.append((parse_version(item.name), item.name))
        return [version for _, version in sorted(found)]

    def head(self, name: str) -> Head | None:
        """The newest version."""
        known = self.versions(name)
        if not known:
            return None
        folder = self.fetch(name, known[-1])
        manifest = read_manifest(folder)
        digests = {file.path: file.sha256 for file in manifest.files}
        digests[MANIFEST_FILE] = file_digest(folder / MANIFEST_FILE)
        cards = existing_cards(folder)
        return Head(known[-1], tuple(known), manifest, cards[0].text if cards else None, digests)

    def fetch(self, name: str, version: str, files: Collection[str] | None = None) -> Path:
        """The folder of a version; nothing is copied."""
        known = self.versions(name)
        parse_version(version)
        if version not in known:
            remedy = (
                f"Versions there: {', '.join(known)}"
                if known
                else f"Datasets there: {', '.join(self.names()) or 'none'}"
            )
            raise MissingError(f"no {name}@{version}", where=str(self.root), remedy=remedy)
        path = self.root / name / version
        if path.is_symlink() or not path.resolve().is_relative_to(self.root.resolve()):
            raise IntegrityError("leads out of the store", where=str(path), remedy="Remove the symbolic link")
        return path

    def check_card(self, name: str, card: str) -> None:
        """A folder takes any."""

    def release(self, name: str, version: str, files: Mapping[str, Content], head: Head | None) -> bool:
        """Copy the files into a hidden folder, check the copy, and rename it under the dataset's lock."""
        target = self.root / name / version
        with storage_errors(self.root):
            self._refuse_other_files()
            mark_store(self.root)
            if target.parent.is_symlink():
                raise IntegrityError("is a symbolic link", where=str(target.parent), remedy="Remove it")
            with new_folder(target.parent / "release") as work:
                _copy(files, work)
                with exclusive(target.parent):
                    known = self.versions(name)
                    newest = known[-1] if known else None
                    if newest != (head.commit if head else None):
                        assert newest  # versions are never removed
                        raise moved_on(self.where(name), newest)
                    if version in known:
                        raise taken(self.where(name), version)
                    move_into_place(work, target)
        return True

    def finish(self, name: str, head: Head) -> bool:
        """Nothing to do: here a version is released by the rename that makes it."""
        return True

    def settle(self, name: str) -> None:
        """Nothing to do: who may read a folder is the file system's."""

    def forget(self, name: str, version: str) -> None:
        """Nothing to do: nothing is cached."""

    def _has_versions(self, name: str) -> bool:
        try:
            return bool(self.versions(name))
        except InputError:  # a folder that is no dataset's
            return False

    def _refuse_other_files(self) -> None:
        # Hidden files may be those of another publisher who is founding it at this moment.
        if (self.root / STORE_FILE).exists() or not self.root.is_dir():
            return
        if any(not name.startswith(".") for name in os.listdir(self.root)):
            raise InputError("holds other files, and no store", where=str(self.root), remedy="Choose a new folder")


def _copy(files: Mapping[str, Content], work: Path) -> None:
    """Put the files of a release into a folder, read-only, and read them back."""
    for path, content in files.items():
        target = work / path
        target.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            shutil.copyfile(content, target, follow_symlinks=False)
        target.chmod(0o444)
    for file in read_manifest(work).files:
        if file_digest(work / file.path) != file.sha256:
            raise IntegrityError(
                "changed while it was published", where=file.path, remedy="Nothing was published; publish again"
            )
