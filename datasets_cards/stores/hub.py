"""Artifacts as dataset repositories on the Hub: a release is one commit, checked, and then its tag.

The commit is guarded by the one that it was built on, so of two publishers one is refused. It is downloaded and
compared before it gets its tag: what has a tag was whole. The version stands in the manifest too, so that the release
of a publisher who was stopped in between can be finished by the next one.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets_cards.artifact import STORE_FILE
from datasets_cards.cache import cache_dir
from datasets_cards.canonical import sha256_hex
from datasets_cards.cards.card import CARD_FILE
from datasets_cards.errors import InputError, IntegrityError, MissingError
from datasets_cards.hub_client import LOG_IN, hub_errors
from datasets_cards.manifest import MANIFEST_FILE, parse_manifest
from datasets_cards.storage import storage_errors
from datasets_cards.stores.hub_repository import HubRepository
from datasets_cards.stores.store import ALWAYS, Content, Head, is_same, mark_store, moved_on, strays, taken
from datasets_cards.versions import parse_version

if TYPE_CHECKING:
    from huggingface_hub import HfApi

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
        self.private, self.endpoint, self.token = private, endpoint, token or None
        self.gated: Gated | None = gated
        self._repositories: dict[str, HubRepository] = {}

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

        if not _NAME.fullmatch(name) or name.endswith(f"/{STORE_FILE}"):
            raise InputError(f"{name!r} names no repository on the Hub", remedy="Write hub:ORG/NAME")
        with hub_errors(self.where(name)):
            validate_repo_id(name)

    def check_access(self, name: str, head: Head | None) -> None:
        """Ask for a token, the right to write, and privacy before hours of work, not after."""
        from huggingface_hub import get_token

        where = self.where(name)
        if not (self.token or get_token()):
            raise InputError("no token for the Hub", where=where, remedy=LOG_IN)
        if head is None:
            return  # making it will tell
        if self.private and not head.private:
            raise InputError(
                "is public already", where=where, remedy="Make it private on its page, or publish without --private"
            )
        with hub_errors(where, writing=True):
            self.api.auth_check(name, repo_type="dataset", write=True)

    def repository(self, name: str) -> str:
        """The repository's own name."""
        return name

    def versions(self, name: str) -> list[str]:
        """The tags that are versions, oldest first; empty where there is no such repository."""
        self.check_name(name)
        try:
            return list(self._of(name).tags())
        except MissingError:
            return []

    def head(self, name: str) -> Head | None:
        """What the branch `main` holds."""
        self.check_name(name)
        remote = self._of(name)
        try:
            with hub_errors(remote.where):
                info = self.api.dataset_info(name)
        except MissingError:
            return None
        assert info.sha
        versions = tuple(remote.tags())
        manifest, fault = None, ""
        try:
            manifest = remote.manifest(info.sha)
        except IntegrityError as error:
            if not versions:
                raise
            fault = error.what  # but a version is whole, whatever people did to the branch since
        digests = remote.digests(info.sha)
        foreign = [path for path in digests if not _FOREIGN.fullmatch(path)]
        if manifest is None and not versions and foreign:
            raise InputError(
                f"holds other files ({foreign[0]}), and no artifact",
                where=remote.where,
                remedy="Choose a new repository",
            )
        return Head(
            commit=info.sha,
            versions=versions,
            manifest=manifest,
            card=self._card(remote, info.sha) if CARD_FILE in digests else None,
            digests=digests,
            private=bool(info.private),
            fault=fault,
        )

    def fetch(self, name: str, version: str, files: Collection[str] | None = None) -> Path:
        """Download into Echoset's cache what isn't there yet; the folder is of one commit, so it can't go stale."""
        self.check_name(name)
        parse_version(version)
        remote = self._of(name)
        tags, where = remote.tags(), f"{self.where(name)}@{version}"
        if version not in tags:
            has = f"Versions there: {', '.join(tags)}" if tags else "It has no versions"
            raise MissingError(f"no {name}@{version}", where=self.where(name), remedy=has)
        commit, remedy = tags[version], "Remove this tag on the repository's page, it is no release"
        listed, manifest = remote.files(commit), remote.manifest(commit)
        if manifest is None:
            raise IntegrityError("is no artifact, it has no manifest.json", where=where, remedy=remedy)
        if manifest.version != version:
            raise IntegrityError(f"its tag is on a commit of {manifest.version}", where=where, remedy=remedy)
        names = {file.path for file in manifest.files}
        if extra := strays(listed, names):
            raise IntegrityError(f"holds {extra[0]}, which its manifest doesn't list", where=where, remedy=remedy)
        if absent := sorted(names - set(listed)):
            raise IntegrityError(f"lacks {absent[0]}, which its manifest lists", where=where, remedy=remedy)
        folder = cache_dir() / "hub" / name / commit
        with storage_errors(folder):
            mark_store(folder.parent.parent)
        remote.download(commit, sorted({*(names if files is None else names & set(files)), *ALWAYS}), folder)
        return folder

    def check_card(self, name: str, card: str) -> None:
        """Have the Hub look at the card's header, as it does again before it takes a commit."""
        from huggingface_hub import DatasetCard

        if self.endpoint is not None:
            return  # `validate` asks the public Hub whatever the endpoint
        with hub_errors(self.where(name)):
            try:
                DatasetCard(card).validate(repo_type="dataset")
            except ValueError as error:
                told = re.findall(r'"message":\s*"((?:[^"\\]|\\.)*)"', str(error)) or [str(error)]
                raise InputError(
                    f"the Hub refuses the card's header ({'; '.join(told)})",
                    where=CARD_FILE,
                    remedy="Mend it in the artifact's folder, or on the repository's page",
                ) from None

    def release(self, name: str, version: str, files: Mapping[str, Content], head: Head | None) -> bool:
        """One commit on top of the head, a look at what the Hub then holds, and the tag."""
        remote = self._of(name)
        expected = _expected(files)
        files = _frozen(files, expected)
        present = head.digests if head else {}
        # Of a state that was never released, nobody has seen whether the Hub gives its bytes back.
        checked = present if head and head.unreleased is None else {}
        fresh = [path for path in files if not is_same(checked.get(path), expected[path], files[path])]
        operations = [*_uploads(files, fresh, expected), *_deletions(strays(present, files))]
        publisher = f"Published by {secrets.token_hex(8)}"  # tells this commit from another one of the same bytes
        with hub_errors(remote.where, writing=True):
            parent = head.commit if head else self._create(name)
            commit, ours = self._commit(remote, operations, version, publisher, parent)
            listed = remote.digests(commit)
            for path, content in files.items():
                if not is_same(listed.get(path), expected[path], content):
                    raise IntegrityError("the Hub holds other bytes than were sent", where=f"{remote.where}: {path}")
            remote.check_bytes(commit, expected, fresh)
            self._tag(remote, version, commit)
        return ours

    def finish(self, name: str, head: Head) -> bool:
        """Tag the commit that a publisher made and did not live to tag, if every byte of it is right.

        People may have edited the card since: then it is an earlier commit than the head.
        """
        assert head.manifest is not None
        version, remote = head.manifest.version, self._of(name)
        with hub_errors(remote.where, writing=True):
            for commit in self.api.list_repo_commits(name, repo_type="dataset"):
                if commit.title == _title(version) and _is_whole(remote, commit.commit_id, version):
                    self._tag(remote, version, commit.commit_id)
                    return True
        return False

    def settle(self, name: str) -> None:
        """Gate a repository that was there before, now that the release is done."""
        if self.gated:
            with hub_errors(self.where(name), writing=True):
                self.api.update_repo_settings(name, repo_type="dataset", gated=self.gated)

    def forget(self, name: str, version: str) -> None:
        """Remove the copy of a version from the cache."""
        if commit := self._of(name).tags().get(version):
            shutil.rmtree(cache_dir() / "hub" / name / commit, ignore_errors=True)

    def _of(self, name: str) -> HubRepository:
        return self._repositories.setdefault(name, HubRepository(self.api, name))

    def _card(self, remote: HubRepository, commit: str) -> str:
        try:
            return remote.read(commit, CARD_FILE).decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(
                "is not UTF-8", where=f"{remote.where}: {CARD_FILE}", remedy="Save it as UTF-8 on its page"
            ) from None

    def _create(self, name: str) -> str:
        """Make the repository as it shall be, or take one that somebody made meanwhile; its commit."""
        self.api.create_repo(name, repo_type="dataset", private=self.private, exist_ok=True)
        info = self.api.dataset_info(name)
        if self.private and not info.private:
            raise moved_on(self.where(name), "a public repository that somebody else made")
        if self.gated:
            self.api.update_repo_settings(name, repo_type="dataset", gated=self.gated)
        assert info.sha
        if foreign := [path for path in self._of(name).files(info.sha) if not _FOREIGN.fullmatch(path)]:
            raise moved_on(self.where(name), f"a state that holds {foreign[0]}")
        return info.sha

    def _commit(
        self, remote: HubRepository, operations: list[Any], version: str, publisher: str, parent: str
    ) -> tuple[str, bool]:
        """The commit, and whether it is ours: where all bytes are there already, the client returns the head."""
        from huggingface_hub.errors import HfHubHTTPError

        try:
            commit = self.api.create_commit(
                remote.name,
                operations,
                commit_message=_title(version),
                commit_description=publisher,
                repo_type="dataset",
                parent_commit=parent,
            ).oid
        except HfHubHTTPError as error:
            if error.response.status_code != 412:
                raise
            commit = None
        # A refused commit may be our own, of which only the answer was lost.
        newest = self.api.list_repo_commits(remote.name, repo_type="dataset", revision=commit or "main")[0]
        if commit is None and publisher not in newest.message:
            raise moved_on(remote.where, newest.title or newest.commit_id[:12])
        return newest.commit_id, publisher in newest.message

    def _tag(self, remote: HubRepository, version: str, commit: str) -> None:
        from huggingface_hub.errors import HfHubHTTPError

        try:
            self.api.create_tag(remote.name, tag=version, revision=commit, repo_type="dataset")
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            # Somebody who found our commit without its tag may have finished the release for us.
            if remote.tags().get(version) != commit:
                raise taken(remote.where, version) from None


def _title(version: str) -> str:
    return f"Release {version}"


def _expected(files: Mapping[str, Content]) -> dict[str, str]:
    """SHA-256 by path, as the manifest says; the manifest's own besides."""
    content = files[MANIFEST_FILE]
    data = content if isinstance(content, bytes) else content.read_bytes()
    manifest = parse_manifest(data, MANIFEST_FILE)
    return {file.path: file.sha256 for file in manifest.files} | {MANIFEST_FILE: sha256_hex(data)}


def _frozen(files: Mapping[str, Content], expected: Mapping[str, str]) -> dict[str, Content]:
    """The files with all but the tables in memory: the client reads a small file again when it sends it.

    Tables are large files on the Hub, which checks their digest.
    """
    found = dict(files)
    for path, content in files.items():
        if isinstance(content, Path) and not path.endswith(".parquet"):
            data = content.read_bytes() if content.is_file() else b""
            if sha256_hex(data) != expected[path]:
                raise IntegrityError("changed while it was published", where=path, remedy=_AGAIN)
            found[path] = data
    return found


def _uploads(files: Mapping[str, Content], fresh: Collection[str], expected: Mapping[str, str]) -> list[Any]:
    from huggingface_hub import CommitOperationAdd

    made = []
    for path in fresh:
        try:
            upload = CommitOperationAdd(path, files[path])
        except (OSError, ValueError):  # gone meanwhile
            raise IntegrityError("changed while it was published", where=path, remedy=_AGAIN) from None
        if upload.upload_info.sha256.hex() != expected[path]:
            raise IntegrityError("changed while it was published", where=path, remedy=_AGAIN)
        made.append(upload)
    return made


def _deletions(paths: Collection[str]) -> list[Any]:
    from huggingface_hub import CommitOperationDelete

    return [CommitOperationDelete(path) for path in paths]


def _is_whole(remote: HubRepository, commit: str, version: str) -> bool:
    """Whether a commit holds this version and nothing beside it; every byte of it is downloaded and compared."""
    try:
        manifest = remote.manifest(commit)
        if manifest is None or manifest.version != version:
            return False
        if strays(remote.files(commit), {file.path for file in manifest.files}):
            return False
        expected = {file.path: file.sha256 for file in manifest.files}
        remote.check_bytes(commit, expected, expected)
    except (IntegrityError, MissingError):
        return False
    return True
