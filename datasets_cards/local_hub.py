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
from dataclasses import dataclass
from pathlib import Path

from datasets_cards.artifact import STORE_FILE, Artifact
from datasets_cards.attaching import seal
from datasets_cards.card import CARD_FILE
from datasets_cards.errors import ConflictError, InputError, IntegrityError, MissingError
from datasets_cards.manifest import MANIFEST_FILE, Manifest, Parent
from datasets_cards.storage import exclusive, move_into_place, new_folder, replace_files, storage_errors
from datasets_cards.verify import verify
from datasets_cards.versions import parse_version

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Release:
    """The outcome of a publish.

    Attributes:
        parent: the version before it, or None for the first.
        changed: False where the newest version held the same bytes already, and nothing was published.
    """

    name: str
    version: str
    path: Path
    parent: str | None
    changed: bool


class LocalHub:
    """A store of artifacts in a folder.

    Args:
        root: the store; made where it doesn't exist.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def versions(self, name: str) -> list[str]:
        """The versions of one dataset, oldest first; empty where there is none."""
        folder = self.root / check_name(name)
        if folder.is_symlink() or not folder.is_dir():
            return []
        found = []
        for item in folder.iterdir():
            try:
                found.append((parse_version(item.name), item.name))
            except InputError:
                continue  # a folder that a publisher is still filling
        return [version for _, version in sorted(found)]

    def resolve(self, ref: str) -> Path:
        """The folder of `name@v1.0.0`.

        Raises:
            InputError: not of that shape.
            MissingError: the store has no such dataset or version; the message says what it has.
        """
        name, at, version = ref.partition("@")
        check_name(name)
        if not at:
            raise InputError(f"{ref!r} names no version", remedy=f"Write {name}@v1.0.0")
        parse_version(version)
        known = self.versions(name)
        if version not in known:
            remedy = (
                f"Versions there: {', '.join(known)}"
                if known
                else f"Datasets there: {', '.join(self.names()) or 'none'}"
            )
            raise MissingError(f"no {ref}", where=str(self.root), remedy=remedy)
        path = self.root / name / version
        if path.is_symlink() or not path.resolve().is_relative_to(self.root.resolve()):
            raise IntegrityError("leads out of the store", where=str(path), remedy="Remove the symbolic link")
        return path

    def names(self) -> list[str]:
        """The datasets of the store."""
        if not self.root.is_dir():
            return []
        return sorted(item.name for item in self.root.iterdir() if item.is_dir() and self.versions(item.name))

    def publish(
        self, artifact: Artifact | str | Path, name: str, version: str, *, parent: str | None = None
    ) -> Release:
        """Store an artifact as a version that never changes.

        Args:
            artifact: what to publish; it is copied.
            name: the dataset's name in this store.
            version: above the newest one.
            parent: the version this was built on; the publish is refused if that is not the newest one any more. Not
                checked where None.

        Returns:
            The release; `changed` is False, and the newest version stays, where it holds the same files.

        Raises:
            IntegrityError: the artifact is not sound.
            ConflictError: the version is taken, or the newest one is not `parent`.
            InputError: a name or version of the wrong shape, or a version below the newest.
        """
        check_name(name)
        parse_version(version)
        source = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
        if findings := verify(source.path):
            raise IntegrityError(
                str(findings[0]), where=str(source.path), remedy="Nothing was published; write the artifact again"
            )
        target = self.root / name / version
        with storage_errors(self.root):
            self._found()
            if (self.root / name).is_symlink():
                raise IntegrityError("is a symbolic link", where=str(self.root / name), remedy="Remove it")
            with new_folder(target) as work:
                _copy(source, work)
                with exclusive(self.root / name):
                    return self._release(source.manifest, name, version, parent, work)

    def _found(self) -> None:
        """Make the folder a store, unless it is one."""
        if (self.root / STORE_FILE).exists():
            return
        # Hidden files may be those of another publisher who is founding it at this moment.
        if self.root.is_dir() and any(not name.startswith(".") for name in os.listdir(self.root)):
            raise InputError("holds other files, and no store", where=str(self.root), remedy="Choose a new folder")
        self.root.mkdir(parents=True, exist_ok=True)
        replace_files({self.root / STORE_FILE: b'{"echoset_store": 1}\n'})

    def _release(self, manifest: Manifest, name: str, version: str, parent: str | None, work: Path) -> Release:
        """Under the store's lock: compare with the newest version, then move the copy into place."""
        known = self.versions(name)
        head = known[-1] if known else None
        if parent is not None and parent != head:
            raise ConflictError(
                f"{name} has moved on to {head}, this was built on {parent}"
                if head
                else f"{name} has no version {parent}",
                where=str(self.root),
                remedy="Look at what changed, and publish again on top of it",
            )
        newest = Artifact.open(self.root / name / head) if head else None
        if newest and _content(newest.manifest) == _content(manifest):
            return Release(
                name, str(head), newest.path, newest.manifest.parent and newest.manifest.parent.version, False
            )
        if version in known:
            raise ConflictError(
                f"{name}@{version} is taken", where=str(self.root), remedy=f"Choose a version above {head}"
            )
        if head and parse_version(version) < parse_version(head):
            raise InputError(
                f"{version} is below the newest version {head}", where=f"{self.root}/{name}", remedy="Versions grow"
            )
        lineage = (
            Parent(version=newest.manifest.version, logical_digest=newest.manifest.logical_digest) if newest else None
        )
        seal(work, manifest.model_copy(update={"version": version, "parent": lineage}))
        for file in [*work.glob("*"), *work.glob("*/*")]:
            if file.is_file():
                file.chmod(0o444)
        move_into_place(work, self.root / name / version)
        return Release(name, version, self.root / name / version, head, True)


def check_name(name: str) -> str:
    """A dataset's name within a store: one plain path component.

    Raises:
        InputError: anything else.
    """
    if not _NAME.fullmatch(name) or ".." in name or name == STORE_FILE:
        raise InputError(f"{name!r} is not a dataset name", remedy="Use letters, digits, dots, dashes and underscores")
    return name


def _copy(source: Artifact, work: Path) -> None:
    """Copy what the manifest lists, and only that; `verify` has seen that these are plain files."""
    for file in source.manifest.files:
        (work / file.path).parent.mkdir(exist_ok=True)
        shutil.copyfile(source.path / file.path, work / file.path, follow_symlinks=False)
    shutil.copyfile(source.path / MANIFEST_FILE, work / MANIFEST_FILE, follow_symlinks=False)


def _content(manifest: Manifest) -> set[tuple[str, str]]:
    return {(file.path, file.sha256) for file in manifest.files if file.path != CARD_FILE}
