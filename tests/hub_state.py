"""What a local Hub holds: users, dataset repositories with their history, and LFS objects on disk."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import yaml

Gated = Literal["auto", "manual", False]
LARGE = 10_000_000  # bytes: the Hub keeps larger files as LFS objects, and Parquet of any size
START = datetime(2026, 1, 1, tzinfo=UTC)  # commits are a minute apart, so that every run has the same ids and dates


class Refused(Exception):
    """What a request is answered with when it can't be served: a status, words, and the Hub's own error code."""

    def __init__(self, status: int, words: str, code: str | None = None) -> None:
        super().__init__(words)
        self.status, self.words, self.code = status, words, code


@dataclass(frozen=True)
class File:
    """A file of a commit: its bytes, or a pointer to an LFS object.

    Attributes:
        size: bytes of the content.
        oid: git's blob id of what the repository holds, that is of the pointer for an LFS object.
        data: the content of a regular file.
        sha256: the content's digest when it is an LFS object.
        pointer_size: bytes of the pointer.
    """

    size: int
    oid: str
    data: bytes | None = None
    sha256: str | None = None
    pointer_size: int = 0

    @classmethod
    def regular(cls, data: bytes) -> File:
        return cls(len(data), blob_id(data), data)

    @classmethod
    def lfs(cls, sha256: str, size: int) -> File:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return cls(size, blob_id(pointer), None, sha256, len(pointer))

    @property
    def compared(self) -> str:
        """What the client compares with a local file to leave it out of a commit."""
        return self.sha256 or self.oid


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Commit:
    id: str
    parent: str | None
    title: str
    author: str
    date: str
    files: Mapping[str, File]
    description: str = ""

    @property
    def card(self) -> dict[str, object]:
        """The metadata of the README of this commit, as far as it can be read."""
        readme = self.files.get("README.md")
        try:
            return front_matter((readme.data or b"").decode()) if readme else {}
        except ValueError:
            return {}


@dataclass
class Repository:
    """A dataset repository; whoever owns it, collaborates on it or shares its namespace may write."""

    name: str
    owner: str
    private: bool = False
    gated: Gated = False
    collaborators: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)

    def at(self, revision: str) -> Commit:
        commit = self.branches.get(revision) or self.tags.get(revision) or revision
        if commit not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[commit]

    def history(self, revision: str) -> Iterator[Commit]:
        commit: Commit | None = self.at(revision)
        while commit:
            yield commit
            commit = self.commits[commit.parent] if commit.parent else None

    def append(
        self,
        changes: Sequence[tuple[str, File | None]],
        *,
        title: str,
        author: str,
        description: str = "",
        branch: str = "main",
        parent: str | None = None,
    ) -> Commit:
        """One commit on a branch: files put or, with None, deleted (a path that ends with a slash is a folder).

        Raises:
            Refused: there is no such branch, its head isn't `parent`, an LFS object was never uploaded, or a file to
                delete isn't there.
        """
        head = self.branches.get(branch)
        if head is None and self.commits:
            raise Refused(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        if parent is not None and parent != head:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(self.commits[head].files) if head else {}
        for path, file in changes:
            if file is None:
                gone = [known for known in files if known == path or (path.endswith("/") and known.startswith(path))]
                if not gone:
                    raise Refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
                for known in gone:
                    del files[known]
            elif file.sha256 and file.sha256 not in self.objects:
                raise Refused(400, f"LFS pointer pointed to a file that does not exist. Offending file: {path}")
            else:
                files[path] = file
        described = repr(
            (self.name, head, title, description, sorted((path, file.oid) for path, file in files.items()))
        )
        date = (START + timedelta(minutes=len(self.commits))).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        commit = Commit(hashlib.sha1(described.encode()).hexdigest(), head, title, author, date, files, description)
        self.commits[commit.id] = commit
        self.branches[branch] = commit.id
        return commit


class Hub:
    """Users and repositories.

    Attributes:
        users: by token the namespaces a user writes to; the first is the user's name.
        large: files of more bytes than this are LFS objects, and Parquet always.
        folder: where LFS objects are kept, by their digest; a temporary one unless it is given.
        lock: held by whoever reads or changes repositories, so that a commit happens at once or not at all.
    """

    def __init__(self, users: Mapping[str, Sequence[str]] | None = None, *, folder: Path | None = None) -> None:
        self.users = dict(users or {"hf_me": ("me", "org"), "hf_other": ("other",)})
        self.large = LARGE
        self.repositories: dict[str, Repository] = {}
        self.lock = threading.RLock()
        self.folder = folder or Path(tempfile.mkdtemp(prefix="hub-"))
        if not folder:
            weakref.finalize(self, shutil.rmtree, self.folder)

    def create(
        self,
        name: str,
        *,
        owner: str = "me",
        private: bool = False,
        gated: Gated = False,
        files: Mapping[str, bytes] | None = None,
    ) -> Repository:
        """A repository, with the first commit that the Hub makes itself, and one more for `files`."""
        with self.lock:
            if name in self.repositories:
                raise Refused(409, "You already created this dataset repo")
            repository = self.repositories[name] = Repository(name, owner, private, gated)
            attributes = File.regular(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n")
            repository.append([(".gitattributes", attributes)], title="initial commit", author=owner)
            if files:
                self.commit(name, files)
            return repository

    def commit(self, name: str, files: Mapping[str, bytes | None], *, message: str = "a commit") -> str:
        """A commit on main from the side of the server: files put or, with None, deleted; its id."""
        changes = [(path, None if data is None else self.stored(name, path, data)) for path, data in files.items()]
        with self.lock:
            repository = self.repositories[name]
            return repository.append(changes, title=message, author=repository.owner).id

    def stored(self, name: str, path: str, data: bytes) -> File:
        if not self.is_large(path, len(data)):
            return File.regular(data)
        sha256 = hashlib.sha256(data).hexdigest()
        self.keep(name, sha256, [data])
        return File.lfs(sha256, len(data))

    def is_large(self, path: str, size: int) -> bool:
        return size > 0 and (path.endswith(".parquet") or size > self.large)

    def tag(self, name: str, tag: str, revision: str = "main") -> None:
        with self.lock:
            repository = self.repositories[name]
            if tag in repository.tags:
                raise Refused(409, f"Tag already exists: {tag}")
            repository.tags[tag] = repository.at(revision).id

    def head(self, name: str) -> str:
        return self.repositories[name].branches["main"]

    def tags(self, name: str) -> dict[str, str]:
        return dict(self.repositories[name].tags)

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """The bytes of every file at a revision."""
        files = self.repositories[name].at(revision).files
        return {
            path: self.object_path(file.sha256).read_bytes() if file.sha256 else file.data or b""
            for path, file in files.items()
        }

    def object_path(self, sha256: str) -> Path:
        return self.folder / sha256

    def keep(self, name: str, sha256: str, chunks: Iterable[bytes]) -> None:
        """Store an LFS object as a stream.

        Raises:
            Refused: the bytes have another digest.
        """
        digest = hashlib.sha256()
        descriptor, part = tempfile.mkstemp(dir=self.folder, suffix=".part")
        try:
            with open(descriptor, "wb") as out:
                for chunk in chunks:
                    digest.update(chunk)
                    out.write(chunk)
            if digest.hexdigest() != sha256:
                raise Refused(400, f"the content of {sha256} has digest {digest.hexdigest()}")
            os.replace(part, self.object_path(sha256))
        finally:
            Path(part).unlink(missing_ok=True)
        with self.lock:
            self.repositories[name].objects.add(sha256)

    def user(self, authorization: str | None) -> str | None:
        """Who asks.

        Raises:
            Refused: the token is nobody's.
        """
        if not authorization:
            return None
        token = authorization.removeprefix("Bearer ")
        if token not in self.users:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.users[token][0]

    def namespaces(self, user: str) -> Sequence[str]:
        return next((names for names in self.users.values() if names[0] == user), ())

    def writes(self, user: str | None, repository: Repository) -> bool:
        shared = repository.name.split("/")[0] in self.namespaces(user) if user else False
        return shared or user == repository.owner or user in repository.collaborators

    def readable(self, user: str | None, name: str) -> Repository:
        """A repository that this user may know of; a private one looks to others as if it weren't there."""
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not self.writes(user, repository)):
            words = "Repository not found" if user else "Invalid username or password."
            raise Refused(404 if user else 401, words, "RepoNotFound")
        return repository

    def writable(self, user: str | None, name: str) -> Repository:
        repository = self.readable(user, name)
        if user is None:  # the client takes any 401 of an https Hub for a repository not found; here the code says so
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        if not self.writes(user, repository):
            raise Refused(403, "You don't have the rights to write to this repository")
        return repository

    def opened(self, user: str | None, name: str) -> Repository:
        """A repository whose files this user may read."""
        repository = self.readable(user, name)
        if repository.gated and not (self.writes(user, repository) or user in repository.accepted):
            words = "Access to this dataset is restricted. " + ("Ask for access." if user else "Please log in.")
            raise Refused(403 if user else 401, words, "GatedRepo")
        return repository


class UniqueKeys(yaml.SafeLoader):
    """YAML as the Hub reads it: a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicated mapping key {key!r}", node.start_mark)
        return super().construct_mapping(node, deep)


def front_matter(text: str) -> dict[str, object]:
    """The metadata a card begins with; empty when it has none.

    Raises:
        ValueError: it isn't YAML, isn't a mapping, or a field has another type than the Hub takes.
    """
    found = re.match(r"---[ \t]*\r?\n(.*?)^---[ \t]*$", text, re.DOTALL | re.MULTILINE)
    if not found:
        return {}
    try:
        data = yaml.load(found[1], UniqueKeys) or {}  # a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"YAML metadata is not valid: {error}") from error
    if not isinstance(data, dict):
        raise ValueError("YAML metadata has to be a mapping")
    for name in ("license", "language", "tags", "task_categories", "size_categories"):
        value = data.get(name, [])
        if not all(isinstance(item, str) for item in (value if isinstance(value, list) else [value])):
            raise ValueError(f'"{name}" must be a string or an array of strings')
    for name in ("tags", "configs"):
        if not isinstance(data.get(name, []), list):
            raise ValueError(f'"{name}" must be an array')
    if "pretty_name" in data and not isinstance(data["pretty_name"], str):
        raise ValueError('"pretty_name" must be a string')
    return data
