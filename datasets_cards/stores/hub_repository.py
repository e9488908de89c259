"""One dataset repository on the Hub, read: its versions, the files of a commit, and their bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from datasets_cards.canonical import file_digest
from datasets_cards.errors import InputError, IntegrityError
from datasets_cards.hub_client import hub_errors
from datasets_cards.manifest import MANIFEST_FILE, Manifest, parse_manifest
from datasets_cards.storage import storage_errors
from datasets_cards.versions import parse_version

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

DOWNLOADS = 8
"""At once."""


class HubRepository:
    """What is read of a repository; a commit never changes, so its listing is asked for once.

    Args:
        api: the Hub's client.
        name: `ORG/NAME`.
    """

    def __init__(self, api: HfApi, name: str) -> None:
        self.api, self.name, self.where = api, name, f"hub:{name}"
        self._listed: dict[str, dict[str, RepoFile]] = {}

    @cached_property
    def cache(self) -> Path:
        """The client's own cache, where what is read lands."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE)

    def tags(self) -> dict[str, str]:
        """Commits by version, oldest version first."""
        with hub_errors(self.where):
            refs = self.api.list_repo_refs(self.name, repo_type="dataset")
        found = []
        for tag in refs.tags:
            try:
                found.append((parse_version(tag.name), tag.name, tag.target_commit))
            except InputError:
                continue  # a tag of somebody's own
        return {version: commit for _, version, commit in sorted(found)}

    def files(self, commit: str) -> dict[str, RepoFile]:
        """The files of a commit by path."""
        from huggingface_hub import RepoFile

        if commit not in self._listed:
            with hub_errors(self.where):
                tree = self.api.list_repo_tree(self.name, repo_type="dataset", revision=commit, recursive=True)
                self._listed[commit] = {item.path: item for item in tree if isinstance(item, RepoFile)}
        return self._listed[commit]

    def digests(self, commit: str) -> dict[str, str]:
        """What the Hub tells of each file's bytes: SHA-256 of a large one, git's own digest of a small one."""
        return {
            path: file.lfs.sha256 if file.lfs is not None else file.blob_id for path, file in self.files(commit).items()
        }

    def read(self, commit: str, path: str) -> bytes:
        """The bytes of a small file."""
        with storage_errors(self.cache), hub_errors(self.where):
            return Path(self.api.hf_hub_download(self.name, path, repo_type="dataset", revision=commit)).read_bytes()

    def manifest(self, commit: str) -> Manifest | None:
        """The manifest of a commit, or None where there is none.

        Raises:
            IntegrityError: what is there is none, or was edited.
        """
        if MANIFEST_FILE not in self.files(commit):
            return None
        where = f"{self.where}: {MANIFEST_FILE}"
        manifest = parse_manifest(self.read(commit, MANIFEST_FILE), where)
        if manifest.own_digest() != manifest.manifest_digest:
            raise IntegrityError("was edited, its own digest does not fit", where=where)
        return manifest

    def download(self, commit: str, paths: Iterable[str], folder: Path) -> None:
        """Put files of a commit into a folder; what was interrupted goes on, what is there and untouched stays."""

        def one(path: str) -> None:
            with hub_errors(self.where):
                self.api.hf_hub_download(self.name, path, repo_type="dataset", revision=commit, local_dir=folder)

        with storage_errors(folder), ThreadPoolExecutor(DOWNLOADS) as pool:
            list(pool.map(one, paths))

    def check_bytes(self, commit: str, expected: Mapping[str, str], paths: Collection[str]) -> None:
        """Download files of a commit and compare their bytes; nothing of them stays.

        Args:
            commit: of this repository.
            expected: SHA-256 by path.
            paths: which of them.

        Raises:
            IntegrityError: one is missing, or has other bytes.
        """
        for path in paths:
            if path not in self.files(commit):
                raise IntegrityError("the Hub lacks it", where=f"{self.where}: {path}")
            with TemporaryDirectory() as scratch:  # one at a time on the disk
                self.download(commit, [path], Path(scratch))
                if file_digest(Path(scratch) / path) != expected[path]:
                    raise IntegrityError("the Hub gives other bytes than were sent", where=f"{self.where}: {path}")
