"""The manifest: what an artifact is made of and where it came from.

It names sources and models by their public id or base name and by digest, never by a path of the machine they lay on,
and it holds no environment value; `leaks.py` checks that before anything is written.
"""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError, model_validator

from datasets_cards.canonical import canonical_json, sha256_hex
from datasets_cards.errors import EchosetError, InputError, IntegrityError, MissingError, StorageError
from datasets_cards.versions import UNPUBLISHED, parse_version

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
PACKAGES = ("echoset", "torch", "transformers", "tokenizers", "peft", "vllm", "openai", "pyarrow", "numpy")
MOST_BYTES = 1 << 23
"""A manifest that lists the files of 4096 shards takes half of it."""

_FILE_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}(/[A-Za-z0-9][A-Za-z0-9._-]{0,199})?", re.ASCII)


def _version_string(text: str) -> str:
    parse_version(text)
    return text


def _relative_path(text: str) -> str:
    # Manifests come from strangers: what they name is opened, so it must lie inside the artifact.
    if not _FILE_PATH.fullmatch(text) or text.split("/")[0].lower() == MANIFEST_FILE:
        raise ValueError(f"{text[:200]!r} is not the name of a file inside an artifact")
    return text


def _utc(text: str) -> str:
    when = datetime.fromisoformat(text)
    if when.utcoffset() != timedelta(0) or when.isoformat(timespec="seconds") != text:
        raise ValueError("is no time like 2026-01-31T09:30:00+00:00")
    return text


Version = Annotated[str, AfterValidator(_version_string)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(_Part):
    """The dataset that was labeled.

    Attributes:
        reference: Hub id with commit, or the base name of a local file or folder.
        digest: what fixes its content, see `sources/scan.py`.
        rows: rows that could be read from it (after a limit, where there was one).
        license: SPDX-like identifier, or None where nobody said.
    """

    reference: str
    digest: str
    rows: Count
    license: str | None = None


class Model(_Part):
    """The model that labeled.

    Attributes:
        reference: Hub id, or a local directory's own name.
        revision: commit of a Hub model, digest of config, weights and tokenizer of a local one.
        adapter: digest of its LoRA adapter, or empty.
        chat_template: digest of the chat template.
    """

    reference: str
    revision: str = ""
    adapter: str = ""
    dtype: str = ""
    quantization: str = ""
    chat_template: str = ""


class Labeler(_Part):
    """How labels were made: proposal x scorer x selector.

    Attributes:
        config: the method's whole configuration, JSON-like.
        config_digest: SHA-256 of the configuration's canonical JSON, filled in where it isn't given.
        dose: the probability with which a row kept the method's label rather than its self-sample; None for no mixture.
    """

    method: str
    proposal: str
    scorer: str | None = None
    selector: str
    config: dict[str, Any] = Field(default_factory=dict)
    config_digest: str = ""
    dose: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _digest_fits(self) -> Self:
        digest = sha256_hex(canonical_json(self.config))
        if not self.config_digest:
            object.__setattr__(self, "config_digest", digest)
        elif self.config_digest != digest:
            raise ValueError("config_digest is not the digest of config")
        return self


class Engine(_Part):
    """What generated, and what it promises about generating the same again.

    Attributes:
        lacks: what it could not tell, by name, such as `logprob`, each with its reason.
    """

    name: str
    version: str = ""
    determinism: str = ""
    lacks: dict[str, str] = Field(default_factory=dict)


class ScorerCheck(_Part):
    """How often a scorer was right on pairs that it had not seen.

    Attributes:
        accuracy: share of the pairs that it put in the right order.
        low: lower end of the accuracy's 95% interval.
        high: upper end.
        pairs: how many.
        data: where the pairs came from.
    """

    accuracy: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    pairs: int = Field(ge=1)
    data: str


class Parent(_Part):
    """The version that this one grew from."""

    version: Version
    logical_digest: Sha256


class Counts(_Part):
    """How many of what.

    Attributes:
        rows: source rows that could be read; `labeled + sum(dropped)` is larger by those that could not.
        dropped: rows without a label, by reason.
        prompt_tokens: tokens of the prompts as sent, or None where the engine can't tell.
        completion_tokens: tokens of all candidates, or None where the count of a successful one is unknown.
    """

    rows: Count
    labeled: Count
    dropped: dict[str, Count]
    candidates: Count
    prompt_tokens: Count | None
    completion_tokens: Count | None


class File(_Part):
    """One file of the artifact; `rows` where it is a table."""

    path: Annotated[str, AfterValidator(_relative_path)]
    sha256: Sha256
    bytes: Count
    rows: Count | None = None


class Manifest(_Part):
    """Lineage and hashes of an artifact; `manifest.json` is this, nothing more.

    Attributes:
        version: the artifact's own version; v0.0.0 where it was never published.
        repository: `ORG/NAME` of the Hub repository that this version was published in, or None.
        seeds: every seed by what it seeded, `run` first of all.
        scorers: each scorer's accuracy on held-out pairs, None where none was measured.
        scorer_settings: what else each scorer's scores depend on, such as a reward model.
        shards: Parquet files a table; a row's shard is a hash of its id.
        created: when it was written, ISO 8601 in UTC, to the second. Outside every digest.
        manifest_digest: SHA-256 of the canonical JSON of everything else here but `created`; an edit breaks it.
    """

    schema_version: int = SCHEMA_VERSION
    version: Version = UNPUBLISHED
    repository: str | None = None
    parent: Parent | None = None
    source: Source
    model: Model
    labeler: Labeler
    engine: Engine
    seeds: dict[str, int]
    packages: dict[str, str]
    scorers: dict[str, ScorerCheck | None] = Field(default_factory=dict)
    scorer_settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    counts: Counts
    shards: int = Field(ge=1, le=4096)
    files: Annotated[list[File], FailFast()]
    logical_digest: Sha256
    scores_digest: Sha256
    created: Annotated[str, AfterValidator(_utc)]
    manifest_digest: str = ""

    @model_validator(mode="after")
    def _files_unique(self) -> Self:
        if len({file.path.lower() for file in self.files}) != len(self.files):  # many disks know no case
            raise ValueError("a file is listed twice")
        return self

    def own_digest(self) -> str:
        """What `manifest_digest` has to be."""
        return sha256_hex(canonical_json(self.model_dump(exclude={"created", "manifest_digest"})))

    def sealed(self, **changes: Any) -> Manifest:
        """A copy with these fields replaced and its own digest made right."""
        changed = self.model_validate(self.model_dump() | _plain(changes))
        return changed.model_copy(update={"manifest_digest": changed.own_digest()})

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`: indented, UTF-8, fields in the order of this class."""
        return (json.dumps(self.model_dump(), ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()

    def folder(self, name: str) -> list[File]:
        """The entries of one folder, such as a table's, in the order of their names."""
        return sorted((file for file in self.files if file.path.startswith(f"{name}/")), key=lambda file: file.path)

    def file(self, path: str) -> File | None:
        """The entry of one file, or None."""
        return next((file for file in self.files if file.path == path), None)


def _plain(changes: dict[str, Any]) -> dict[str, Any]:
    def dump(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump()
        return [dump(item) for item in value] if isinstance(value, list) else value

    return {name: dump(value) for name, value in changes.items()}


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of an artifact.

    Raises:
        MissingError: there is none.
        IntegrityError: it isn't a manifest of this or an earlier schema.
    """
    path = folder / MANIFEST_FILE
    try:
        if not stat.S_ISREG(mode := path.lstat().st_mode):
            what = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
            raise IntegrityError(f"the manifest is {what}", where=str(path), remedy="Copy the artifact with its files")
        with open(path, "rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError("no artifact here, manifest.json is missing", where=str(folder)) from None
    except EchosetError:
        raise
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise StorageError(f"can't be read ({reason})", where=str(path)) from None
    return parse_manifest(raw, str(path))


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Check the bytes of a manifest; its own digest is left to who opens the artifact.

    Args:
        data: the file.
        where: what it is called in an error.

    Raises:
        IntegrityError: it isn't a manifest of this or an earlier schema.
    """
    restore = "Restore the artifact from its store"
    if len(data) > MOST_BYTES:
        raise IntegrityError(f"larger than {MOST_BYTES >> 20} MiB, no manifest is", where=where, remedy=restore)
    try:
        raw = json.loads(data.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"not JSON ({error})", where=where, remedy=restore) from None
    schema = raw.get("schema_version") if isinstance(raw, dict) else None
    if type(schema) is not int or schema < 1:
        raise IntegrityError("not a manifest (schema_version is no number from 1 up)", where=where, remedy=restore)
    if schema > SCHEMA_VERSION:
        raise IntegrityError(
            f"written by a later Echoset (schema {schema}, this one reads up to {SCHEMA_VERSION})",
            where=where,
            remedy="Upgrade echoset",
        )
    try:
        # Strict, or else a number in quotes would pass for the number that the digest was taken of.
        manifest = Manifest.model_validate(raw, strict=True)
        manifest.own_digest()
        manifest.to_json()
    except (ValueError, RecursionError) as error:  # of pydantic, of the digest, of a version
        raise IntegrityError(f"not a manifest ({_first_problem(error)})", where=where, remedy=restore) from None
    return manifest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of two fields of one name, programs would read now the one and now the other."""
    found = dict(pairs)
    if len(found) != len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{name[:80]!r} stands there twice")
    return found


def _first_problem(error: ValueError | RecursionError) -> str:
    if isinstance(error, ValidationError):
        if error.error_count() > 1000:  # a list of them all takes a hundred times the file
            return f"{error.error_count()} faults"
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'manifest'}: {first['msg']}"
    return error.what if isinstance(error, InputError) else str(error) or "nested too deep"


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, those that are installed."""
    found = {"python": python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
