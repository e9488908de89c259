"""Labeled datasets as artifacts: rows in, versioned folders with a manifest and a card out."""

from datasets_cards.artifact import Artifact
from datasets_cards.attaching import attach
from datasets_cards.cache import cache_dir
from datasets_cards.canonical import Digests, canonical_json, file_digest, sha256_hex
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
from datasets_cards.manifest import Engine, Labeler, Manifest, Model, Parent, ScorerCheck, Source, package_versions
from datasets_cards.records import SELF_SAMPLE, Candidate, Dropped, Label, Message, Row, Score
from datasets_cards.refs import is_artifact, is_reference, resolve_ref
from datasets_cards.sources import Scan, scan_rows
from datasets_cards.verify import Finding, verify
from datasets_cards.writing import ArtifactWriter, Draft, check_target, write_artifact

__all__ = [
    "SELF_SAMPLE",
    "Artifact",
    "ArtifactWriter",
    "Candidate",
    "ConflictError",
    "Digests",
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
    "Scan",
    "Score",
    "ScorerCheck",
    "Source",
    "StorageError",
    "attach",
    "cache_dir",
    "canonical_json",
    "check_target",
    "file_digest",
    "is_artifact",
    "is_reference",
    "package_versions",
    "resolve_ref",
    "scan_rows",
    "sha256_hex",
    "verify",
    "write_artifact",
]
