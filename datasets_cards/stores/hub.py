"""Artifacts as dataset repositories on the Hub: a release is one commit and its tag.

The commit is guarded by the one that it was built on, so of two publishers one is refused. The version stands in the
manifest too: a publisher that was stopped between commit and tag left a head whose release the next one finishes.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from datasets_cards.cache import cache_dir
from datasets_cards.canonical import file_digest, sha256_hex
from datasets_cards.cards.card import CARD_FILE
from datasets_cards.errors import InputError, IntegrityError, MissingError
from datasets_cards.hub_client import LOG_IN, hub_errors
from datasets_cards.manifest import MANIFEST_FILE, File, parse_manifest
from datasets_cards.storage import storage_errors
from datasets_cards.stores.store import ALWAYS, Content, Head, is_same, mark_store, moved_on, strays, taken
from datasets_cards.versions import parse_version

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

Gated = Literal["auto", "manual"]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_AGAIN = "Nothing was published; publish again"
_FOREIGN = re.compile(r"README\.md|LICENSE.*|\.gitattributes|\.gitignore", re.ASCII)
"""What a repository may hold before its first artifact."""


class Hub:
    """Dataset repositories on the Hub; see `store.Store` for what its methods promise.

    Args:
        private: make new repositories private; publishing into one that is public is refused then.
        gated: ask those who download for their names: `auto` lets them in at once, `manual` after the owner agreed.
        endpoint: the Hub's address, the public one (or `HF_ENDPOINT`) where not given.
        token: an access token, the one that is logged in (or `HF_TOKEN`) where not given.
    """

    def __init__(
        self,
        *,
        private: bool = False,
        gated: Gated | None = None,
        endpoint: str | None = None,
        token: str | None = None,
    ) -> None:
        self.private, self.endpoint, self.token = private, endpoint, token
        self.gated: Gated | None = gated

    @cached_property
    def api(self) -> HfApi:
        """The Hub's own client."""
        from huggingface_hub import HfApi  # slow to import

        return HfApi(endpoint=self.endpoint, token=self.token)

    def where(self, name: str) -> str:
        """How people write this dataset, without a version."""
        return f"hub:{name}"

    def check_name(self, name: str) -> None:
        """Refuse what is not `ORG/NAME` as the Hub knows it."""
        from huggingface_hub.utils import validate_repo_id

        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} names no repository on the Hub", remedy="Write hub:ORG/NAME")
        with hub_errors(self.where(name)):
            validate_repo_id(name)

    def check_access(self, name: str) -> None:
        """Ask for a token and the right to write before hours of work, not after."""
        from huggingface_hub import get_token

        if not (self.token or get_token()):
            raise InputError("no token for the Hub", where=self.where(name), remedy=LOG_IN)
        with suppress(MissingError), hub_errors(self.where(name)):  # where there is none yet, making it will tell
            self.api.auth_check(name, repo_type="dataset", write=True)

    def repository(self, name: str) -> str:
        """The repository's own name."""
        return name

    def versions(self, name: str) -> list[str]:
        """The tags that are versions, oldest first; empty where there is no such repository."""
        self.check_name(name)
        try:
            return list(self._tags(name))
        except MissingError:
            return []

    def head(self, name: str) -> Head | None:
        """What the branch `main` holds."""
        self.check_name(name)
        try:
            with hub_errors(self.where(name)):
                info = self.api.dataset_info(name, revision="main", files_metadata=False)
        except MissingError:
            return None
        assert info.sha
        files = self._files(name, info.sha)
        raw = self._read(name, info.sha, MANIFEST_FILE) if MANIFEST_FILE in files else None
        manifest = parse_manifest(raw, f"{self.where(name)}: {MANIFEST_FILE}") if raw is not None else None
        foreign = [path for path in files if not _FOREIGN.fullmatch(path)]
        if manifest is None and foreign:
            raise InputError(
                f"holds other files ({foreign[0]}), and no artifact",
                where=self.where(name),
                remedy="Choose a new repository",
            )
        card = self._read(name, info.sha, CARD_FILE).decode("utf-8", "replace") if CARD_FILE in files else None
        return Head(
            commit=info.sha,
            manifest=manifest,
            card=card,
            released=manifest is not None and manifest.version in self._tags(name),
            digests={path: _digest(file) for path, file in files.items()},
            private=bool(info.private),
        )

    def fetch(self, name: str, version: str, files: Collection[str] | None = None) -> Path:
        """Download into the cache what isn't there yet.

        The folder is kept by commit, so that it can't go stale. Its files are those of the Hub's own cache wherever
        both lie on one file system.
        """
        self.check_name(name)
        parse_version(version)
        tags = self._tags(name)
        if version not in tags:
            has = f"Versions there: {', '.join(tags)}" if tags else "It has no versions"
            raise MissingError(f"no {name}@{version}", where=self.where(name), remedy=has)
        commit = tags[version]
        listed = self._files(name, commit)
        where = f"{self.where(name)}@{version}"
        if MANIFEST_FILE not in listed:
            raise IntegrityError("is no artifact, it has no manifest.json", where=where)
        manifest = parse_manifest(self._read(name, commit, MANIFEST_FILE), f"{where}: {MANIFEST_FILE}")
        names = {file.path for file in manifest.files}
        if extra := strays(listed, names):
            raise IntegrityError(f"holds {extra[0]}, which its manifest doesn't list", where=where)
        if absent := sorted(names - set(listed)):
            raise IntegrityError(f"lacks {absent[0]}, which its manifest lists", where=where)
        folder = cache_dir() / "hub" / name / commit
        wanted = (names if files is None else names & set(files)) | {*ALWAYS} & set(listed)
        if missing := [path for path in sorted(wanted) if not (folder / path).exists()]:
            self._download(name, commit, missing, folder)
        return folder

    def check_card(self, name: str, card: str) -> None:
        """Have the Hub look at the card's header, as it does again before it takes a commit."""
        from huggingface_hub import DatasetCard

        with hub_errors(self.where(name)):
            try:
                DatasetCard(card).validate(repo_type="dataset")
            except ValueError as error:
                said = " ".join(str(error).split())
                raise InputError(f"the Hub refuses the card ({said})", where=CARD_FILE) from None

    def release(self, name: str, version: str, files: Mapping[str, Content], head: Head | None) -> bool:
        """One commit on top of the head, then the tag, then a look at what the Hub holds."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        where = self.where(name)
        parent = self._prepare(name, head)
        present = head.digests if head else {}
        expected = _expected(files)
        fresh = [path for path in files if not is_same(present.get(path), expected[path], files[path])]
        publisher = f"Published by {secrets.token_hex(8)}"  # tells this commit from another one of the same bytes
        with hub_errors(where, writing=True):
            uploads = [CommitOperationAdd(path, files[path]) for path in fresh]
            for upload in uploads:  # it has read the file just now
                if upload.upload_info.sha256.hex() != expected[upload.path_in_repo]:
                    raise IntegrityError("changed while it was published", where=upload.path_in_repo, remedy=_AGAIN)
            operations = [*uploads, *(CommitOperationDelete(path) for path in strays(present, files))]
            commit = self._commit(name, operations, version, publisher, parent)
            ours = publisher in self.api.list_repo_commits(name, repo_type="dataset", revision=commit)[0].message
            self._tag(name, version, commit)
            self._check_release(name, version, files, expected, fresh)
        return ours

    def finish(self, name: str, head: Head) -> bool:
        """Tag the commit that a publisher made and did not live to tag, if what it holds is whole.

        People may have edited the card since: then it is an earlier commit than the head.
        """
        if head.released or head.manifest is None:
            return head.released
        version = head.manifest.version
        with hub_errors(self.where(name), writing=True):
            for commit in self.api.list_repo_commits(name, repo_type="dataset"):
                if commit.title == _title(version) and self._is_whole(name, commit.commit_id):
                    self._tag(name, version, commit.commit_id)
                    return True
        return False

    def _prepare(self, name: str, head: Head | None) -> str:
        """The commit to build on; makes the repository where there is none, and sets what it shall be."""
        where = self.where(name)
        if head and self.private and not head.private:
            raise InputError(
                "is public already", where=where, remedy="Make it private on its page, or publish without --private"
            )
        with hub_errors(where, writing=True):
            commit = head.commit if head else None
            if commit is None:
                self.api.create_repo(name, repo_type="dataset", private=self.private, exist_ok=True)
                commit = self.api.dataset_info(name, revision="main").sha
            if self.gated:
                self.api.update_repo_settings(name, repo_type="dataset", gated=self.gated)
        assert commit
        return commit

    def _commit(self, name: str, operations: list[Any], version: str, publisher: str, parent: str) -> str:
        from huggingface_hub.errors import HfHubHTTPError

        try:
            made = self.api.create_commit(
                name,
                operations,
                commit_message=_title(version),
                commit_description=publisher,
                repo_type="dataset",
                parent_commit=parent,
            )
        except HfHubHTTPError as error:
            if error.response.status_code != 412:
                raise
            # The head has moved: by our own commit, where only the answer was lost, or by somebody else's.
            newest = self.api.list_repo_commits(name, repo_type="dataset")[0]
            if publisher not in newest.message:
                raise moved_on(self.where(name), newest.title or newest.commit_id[:12]) from None
            return newest.commit_id
        return made.oid

    def _tag(self, name: str, version: str, commit: str) -> None:
        from huggingface_hub.errors import HfHubHTTPError

        try:
            self.api.create_tag(name, tag=version, revision=commit, repo_type="dataset")
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            # Somebody who found our commit without its tag may have finished the release for us.
            if self._tags(name).get(version) != commit:
                raise taken(self.where(name), version) from None

    def _check_release(
        self,
        name: str,
        version: str,
        files: Mapping[str, Content],
        expected: Mapping[str, str],
        fresh: Collection[str],
    ) -> None:
        """Compare what the Hub lists at the tag, then download what was uploaded and compare its bytes.

        What was there before is not downloaded: the Hub tells the digest of its bytes.
        """
        where = f"{self.where(name)}@{version}"
        remedy = "This release is not sound; publish again, as a new version"
        listed = self._files(name, version)
        for path, content in files.items():
            if path not in listed:
                raise IntegrityError(f"the Hub lacks {path}", where=where, remedy=remedy)
            if not is_same(_digest(listed[path]), expected[path], content):
                raise IntegrityError(f"the Hub holds other bytes for {path}", where=where, remedy=remedy)
        with TemporaryDirectory() as scratch:
            for path in fresh:
                copy = self.api.hf_hub_download(name, path, repo_type="dataset", revision=version, cache_dir=scratch)
                if file_digest(copy) != expected[path]:
                    raise IntegrityError(f"the Hub gives other bytes for {path}", where=where, remedy=remedy)
                Path(copy).resolve().unlink()  # one at a time on the disk

    def _is_whole(self, name: str, commit: str) -> bool:
        """Whether a commit holds an artifact and nothing beside it; every byte of it is compared."""
        try:
            listed = self._files(name, commit)
            manifest = parse_manifest(self._read(name, commit, MANIFEST_FILE), MANIFEST_FILE)
            if manifest.own_digest() != manifest.manifest_digest:
                return False
            if strays(listed, {file.path for file in manifest.files}):
                return False
            return all(
                file.path in listed and self._holds(name, commit, listed[file.path], file) for file in manifest.files
            )
        except (IntegrityError, MissingError):
            return False

    def _holds(self, name: str, commit: str, entry: RepoFile, file: File) -> bool:
        if entry.lfs is not None:
            return entry.lfs.sha256 == file.sha256
        return sha256_hex(self._read(name, commit, file.path)) == file.sha256

    def _tags(self, name: str) -> dict[str, str]:
        """Commits by version, oldest first."""
        with hub_errors(self.where(name)):
            refs = self.api.list_repo_refs(name, repo_type="dataset")
        found = []
        for tag in refs.tags:
            try:
                found.append((parse_version(tag.name), tag.name, tag.target_commit))
            except InputError:
                continue  # a tag of somebody's own
        return {version: commit for _, version, commit in sorted(found)}

    def _files(self, name: str, revision: str) -> dict[str, RepoFile]:
        from huggingface_hub import RepoFile

        with hub_errors(self.where(name)):
            tree = self.api.list_repo_tree(name, repo_type="dataset", revision=revision, recursive=True)
            return {item.path: item for item in tree if isinstance(item, RepoFile)}

    def _read(self, name: str, revision: str, path: str) -> bytes:
        with hub_errors(self.where(name)):
            return Path(self.api.hf_hub_download(name, path, repo_type="dataset", revision=revision)).read_bytes()

    def _download(self, name: str, commit: str, paths: list[str], folder: Path) -> None:
        """Files of one commit, through the Hub's cache, which resumes what was interrupted."""
        with hub_errors(self.where(name)):
            snapshot = Path(
                self.api.snapshot_download(name, repo_type="dataset", revision=commit, allow_patterns=paths)
            )
        with storage_errors(folder):
            mark_store(folder.parent.parent)
            for path in paths:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                # What a killed copy leaves lies beside the artifact, not in it.
                _put(snapshot / path, folder / path, folder.parent / f".{secrets.token_hex(8)}")


def _put(source: Path, target: Path, scratch: Path) -> None:
    """A second name for a file of the Hub's cache (there a link to it), or a copy on another file system."""
    try:
        os.link(source.resolve(), target)
    except FileExistsError:
        pass  # somebody else was faster
    except OSError:
        shutil.copyfile(source, scratch)
        os.replace(scratch, target)


def _title(version: str) -> str:
    return f"Release {version}"


def _expected(files: Mapping[str, Content]) -> dict[str, str]:
    """SHA-256 by path, as the manifest says; the manifest's own besides."""
    content = files[MANIFEST_FILE]
    data = content if isinstance(content, bytes) else content.read_bytes()
    manifest = parse_manifest(data, MANIFEST_FILE)
    return {file.path: file.sha256 for file in manifest.files} | {MANIFEST_FILE: sha256_hex(data)}


def _digest(file: RepoFile) -> str:
    """What the Hub tells of a file's bytes: the SHA-256 of a large one, git's own digest of a small one."""
    return file.lfs.sha256 if file.lfs is not None else file.blob_id
