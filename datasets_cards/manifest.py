"""The manifest: what an artifact is made of and where it came from.

It names sources and models by their public id or base name and by digest, never by a path of the machine they lay on,
and it holds no environment value; `leaks.py` checks that before anything is written.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from datasets_cards.canonical import canonical_json, sha256_hex
from datasets_cards.errors import InputError, IntegrityError, MissingError, StorageError
from datasets_cards.versions import UNPUBLISHED, parse_version

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
PACKAGES = ("echoset", "torch", "transformers", "tokenizers", "peft", "vllm", "openai", "pyarrow", "numpy")
_FILE_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?", re.ASCII)


def _version_string(text: str) -> str:
    parse_version(text)
    return text


def _relative_path(text: str) -> str:
    # Manifests come from strangers: what they name is opened, so it must lie inside the artifact.
    if not _FILE_PATH.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a file inside an artifact")
    return text


Version = Annotated[str, AfterValidator(_version_string)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(_Part):
    """The dataset that was labeled.

    Attributes:
        reference: Hub id with commit, or the base name of a local file or folder.
        digest: what fixes its content, see `sources.scan_rows`.
        rows: rows that could be read from it (after a limit, where there was one).
        license: SPDX-like identifier, or None where nobody said.
    """

    reference: str
    digest: str
    rows: int = Field(ge=0)
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

    rows: int
    labeled: int
    dropped: dict[str, int]
    candidates: int
    prompt_tokens: int | None
    completion_tokens: int | None


class File(_Part):
    """One file of the artifact; `rows` where it is a table."""

    path: Annotated[str, AfterValidator(_relative_path)]
    sha256: Sha256
    bytes: int = Field(ge=0)
    rows: int | None = None


class Manifest(_Part):
    """Lineage and hashes of an artifact; `manifest.json` is this, nothing more.

    Attributes:
        version: the artifact's own version; v0.0.0 where it was never published.
        repository: `ORG/NAME` of the Hub repository that this version was published in, or None.
        seeds: every seed by what it seeded, `run` first of all.
        scorers: each scorer's accuracy on held-out pairs, None where none was measured.
        scorer_settings: what else each scorer's scores depend on, such as a reward model.
        shards: Parquet files a table; a row's shard is a hash of its id.
        created: when it was written, ISO 8601 in UTC. Outside every digest.
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
    files: list[File]
    logical_digest: Sha256
    scores_digest: Sha256
    created: str
    manifest_digest: str = ""

    @model_validator(mode="after")
    def _files_unique(self) -> Self:
        if len({file.path for file in self.files}) != len(self.files):
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
    if path.is_symlink():
        raise IntegrityError(
            "the manifest is a symbolic link", where=str(path), remedy="Copy the artifact with its files"
        )
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise MissingError("no artifact here, manifest.json is missing", where=str(folder)) from None
    except OSError as error:
        raise StorageError(f"can't be read ({error.strerror})", where=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            f"not JSON ({error})", where=str(path), remedy="Restore the artifact from its store"
        ) from None
    schema = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise IntegrityError(
            f"written by a later Echoset (schema {schema}, this one reads up to {SCHEMA_VERSION})",
            where=str(path),
            remedy="Upgrade echoset",
        )
    try:
        return Manifest.model_validate(raw)
    except (ValidationError, InputError) as error:
        raise IntegrityError(
            f"not a manifest ({_first_problem(error)})", where=str(path), remedy="Restore the artifact from its store"
        ) from None


def _first_problem(error: ValidationError | InputError) -> str:
    if isinstance(error, InputError):
        return error.what
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'manifest'}: {first['msg']}"


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, those that are installed."""
    found = {"python": python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
