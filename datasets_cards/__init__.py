"""Labeled datasets as artifacts: rows in, versioned folders with a manifest and a card out."""

from datasets_cards.artifact import Artifact, is_published
from datasets_cards.attaching import attach
from datasets_cards.cache import cache_dir
from datasets_cards.canonical import Digests, canonical_json, file_digest, sha256_hex
from datasets_cards.comparing.diff import Diff, diff
from datasets_cards.errors import (
    ConflictError,
    EchosetError,
    EngineError,
    InputError,
    IntegrityError,
    MissingError,
    StorageError,
)
from datasets_cards.manifest import Engine, Labeler, Manifest, Model, Parent, ScorerCheck, Source, package_versions
from datasets_cards.records import SELF_SAMPLE, Candidate, Dropped, Label, Message, Row, Score
from datasets_cards.sources.scan import Scan, scan_rows
from datasets_cards.stores.hub import Hub
from datasets_cards.stores.local_hub import LocalHub
from datasets_cards.stores.publishing import PlannedFile, Release, publish
from datasets_cards.stores.pulling import history, pull
from datasets_cards.stores.refs import is_artifact, is_reference, open_store, resolve_ref
from datasets_cards.stores.store import Store
from datasets_cards.verify import Finding, verify
from datasets_cards.versions import Bump
from datasets_cards.writing import ArtifactWriter, Draft, check_target, write_artifact

__all__ = [
    "SELF_SAMPLE",
    "Artifact",
    "ArtifactWriter",
    "Bump",
    "Candidate",
    "ConflictError",
    "Diff",
    "Digests",
    "Draft",
    "Dropped",
    "EchosetError",
    "Engine",
    "EngineError",
    "Finding",
    "Hub",
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
    "PlannedFile",
    "Release",
    "Row",
    "Scan",
    "Score",
    "ScorerCheck",
    "Source",
    "StorageError",
    "Store",
    "attach",
    "cache_dir",
    "canonical_json",
    "check_target",
    "diff",
    "file_digest",
    "history",
    "is_artifact",
    "is_published",
    "is_reference",
    "open_store",
    "package_versions",
    "publish",
    "pull",
    "resolve_ref",
    "scan_rows",
    "sha256_hex",
    "verify",
    "write_artifact",
]
