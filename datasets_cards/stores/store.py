"""What a store of published artifacts can do: the interface of `LocalHub` and `Hub`.

A store holds datasets by name, and of each a line of versions that never change. A release appears whole or not at all,
and only on top of the state that it was built on: of two publishers that started from one state, one is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datasets_cards.artifact import STORE_FILE
from datasets_cards.cards.card import CARD_FILE
from datasets_cards.errors import ConflictError
from datasets_cards.manifest import MANIFEST_FILE, Manifest
from datasets_cards.storage import replace_files
from datasets_cards.tables.schemas import SCHEMAS

Content = Path | bytes
"""A file of a release: where its bytes lie, or the bytes."""

FOLDERS = (*SCHEMAS, "shift", "effects")
"""Folders that are an artifact's own: a file in them that is not of a version goes with its release."""

ALWAYS = (MANIFEST_FILE, CARD_FILE)
"""Files that are fetched whatever is asked for."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest state of a dataset in a store.

    Attributes:
        commit: what a release is built on: the commit of a Hub repository, the newest version of a folder store.
        versions: the released ones, oldest first.
        manifest: its manifest, or None where it holds no artifact (yet, or any more).
        fault: why the manifest that is there can't be used, or empty.
        card: its card, or None.
        digests: of its files by path, as the store tells them (see `is_same`).
        private: whether strangers can't see it; None where a store has no such thing.
    """

    commit: str
    versions: tuple[str, ...]
    manifest: Manifest | None
    card: str | None
    digests: Mapping[str, str]
    private: bool | None = None
    fault: str = ""

    @property
    def unreleased(self) -> str | None:
        """The version of a publisher who was stopped before its tag; None where there is no such thing."""
        version = self.manifest.version if self.manifest else None
        return None if version in self.versions else version


class Store(Protocol):
    """Datasets by name, each a line of versions."""

    def where(self, name: str) -> str:
        """How people write this dataset, without a version."""
        ...

    def check_name(self, name: str) -> None:
        """Refuse what can't be a dataset's name here (`InputError`)."""
        ...

    def check_access(self, name: str, head: Head | None) -> None:
        """Refuse at once what could not be published into (`InputError`): no token, a folder of other things."""
        ...

    def repository(self, name: str) -> str | None:
        """What a manifest calls the place it was published in; None where that would name a place of this machine."""
        ...

    def versions(self, name: str) -> list[str]:
        """The released versions, oldest first; empty where there is no such dataset."""
        ...

    def head(self, name: str) -> Head | None:
        """The newest state, or None where there is no such dataset."""
        ...

    def fetch(self, name: str, version: str, files: Collection[str] | None = None) -> Path:
        """The folder of a released version.

        Args:
            name: the dataset.
            version: one of its versions.
            files: the files that will be read, beside manifest and card; all where None.

        Raises:
            MissingError: no such dataset or version; the message says what there is.
        """
        ...

    def check_card(self, name: str, card: str) -> None:
        """Refuse a card that the store would not take (`InputError`)."""
        ...

    def release(self, name: str, version: str, files: Mapping[str, Content], head: Head | None) -> bool:
        """Add a version on top of `head`, whole, in one step, and check what the store then holds.

        Args:
            name: the dataset; made where there is none.
            version: free, and above all others there.
            files: everything the version holds, by path.
            head: the state that this was built on.

        Returns:
            False where somebody else had just released the very same bytes.

        Raises:
            ConflictError: the newest state is not `head` any more, or the version was taken meanwhile.
            InputError: no permission, or no token.
            StorageError: the store can't be written or reached.
        """
        ...

    def settle(self, name: str) -> None:
        """Set what else was asked of the dataset, such as who may read it."""
        ...

    def forget(self, name: str, version: str) -> None:
        """Remove what is cached of a version, where a store has a cache."""
        ...

    def finish(self, name: str, head: Head) -> bool:
        """Release a head whose publisher was stopped before the tag; False where it is no whole artifact."""
        ...


def mark_store(root: Path) -> None:
    """Make a folder one of published versions, `ROOT/NAME/VERSION`, that nothing may change."""
    if not (root / STORE_FILE).exists():
        root.mkdir(parents=True, exist_ok=True)
        replace_files({root / STORE_FILE: b'{"echoset_store": 1}\n'})


def is_same(digest: str | None, sha256: str, content: Content) -> bool:
    """Whether a digest that a store tells, SHA-256 or that of a git blob, is that of these bytes."""
    if digest is None or len(digest) == len(sha256):
        return digest == sha256
    data = content if isinstance(content, bytes) else content.read_bytes()
    return digest == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def strays(listed: Collection[str], known: Collection[str]) -> list[str]:
    """Files in the artifact's own folders that are not of it: `load_dataset` might read them."""
    return sorted(path for path in listed if path.split("/")[0] in FOLDERS and path not in known)


def moved_on(where: str, to: str) -> ConflictError:
    """The error for who comes second."""
    return ConflictError(
        f"has moved on to {to} meanwhile", where=where, remedy="Look at what changed, and publish again on top of it"
    )


def taken(where: str, version: str) -> ConflictError:
    """The error for a version that exists."""
    return ConflictError(f"{version} is taken", where=where, remedy="Choose a version above it, or leave it out")
