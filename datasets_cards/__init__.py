"""Labeled datasets as artifacts: rows in, versioned folders with a manifest and a card out."""

from datasets_cards.artifact import Artifact
from datasets_cards.cache import cache_dir
from datasets_cards.canonical import canonical_json, file_digest, logical_digest, scores_digest, sha256_hex
from datasets_cards.errors import (
    ConflictError,
    EchosetError,
    EngineError,
    InputError,
    IntegrityError,
    MissingError,
    StorageError,
)
from datasets_cards.local_hub import LocalHub, Release
from datasets_cards.manifest import Engine, Labeler, Manifest, Model, Parent, Source, package_versions
from datasets_cards.records import Candidate, Dropped, Label, Message, Row, Score
from datasets_cards.refs import is_artifact, is_reference, resolve_ref
from datasets_cards.sources import describe_source, iter_rows, read_rows
from datasets_cards.verify import Finding, verify
from datasets_cards.writing import Draft, attach, check_target, write_artifact

__all__ = [
    "Artifact",
    "Candidate",
    "ConflictError",
    "Draft",
    "Dropped",
    "EchosetError",
    "Engine",
    "EngineError",
    "Finding",
    "InputError",
    "IntegrityError",
    "Label",
    "Labeler",
    "LocalHub",
    "Manifest",
    "Message",
    "MissingError",
    "Model",
    "Parent",
    "Release",
    "Row",
    "Score",
    "Source",
    "StorageError",
    "attach",
    "cache_dir",
    "canonical_json",
    "check_target",
    "describe_source",
    "file_digest",
    "is_artifact",
    "is_reference",
    "iter_rows",
    "logical_digest",
    "package_versions",
    "read_rows",
    "resolve_ref",
    "scores_digest",
    "sha256_hex",
    "verify",
    "write_artifact",
]
