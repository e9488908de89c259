"""Is an artifact what its manifest says? Every departure is found and named; nothing stops at the first."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_cards.artifact import Artifact, shard_of
from datasets_cards.canonical import file_digest, logical_digest, scores_digest
from datasets_cards.card import CARD_FILE
from datasets_cards.errors import EchosetError
from datasets_cards.manifest import MANIFEST_FILE, Manifest, read_manifest
from datasets_cards.tables import SCHEMAS


@dataclass(frozen=True, slots=True)
class Finding:
    """One departure from the manifest.

    Attributes:
        kind: a short code, such as `changed_file`.
        path: the file it was found in, relative to the artifact.
        message: what is wrong, for people.
    """

    kind: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message} [{self.kind}]"


def verify(path: str | Path) -> list[Finding]:
    """Check an artifact byte by byte and row by row; an empty list means that it is sound.

    Args:
        path: the artifact's folder.

    Raises:
        MissingError: there is no artifact at all.
    """
    folder = Path(path)
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        raise
    except EchosetError as error:
        return [Finding("bad_manifest", MANIFEST_FILE, error.what)]
    findings = [*_manifest_findings(manifest), *_file_findings(folder, manifest)]
    # A table whose bytes changed is named above; what it says is only worth reading when it can be read.
    try:
        findings += _table_findings(folder, manifest)
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, ValueError, KeyError, TypeError) as error:
        if not any(finding.kind in ("changed_file", "missing_file") for finding in findings):
            findings.append(Finding("unreadable_table", MANIFEST_FILE, f"the tables can't be read ({error})"))
    return findings


def _manifest_findings(manifest: Manifest) -> Iterator[Finding]:
    if manifest.own_digest() != manifest.manifest_digest:
        yield Finding("edited_manifest", MANIFEST_FILE, "was edited, its own digest does not fit")
    listed = Counter(file.path.split("/")[0] for file in manifest.files)
    for table in SCHEMAS:
        if listed[table] != manifest.shards:
            yield Finding(
                "edited_manifest", MANIFEST_FILE, f"lists {listed[table]} files of {table}, not {manifest.shards}"
            )


def _file_findings(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    if manifest.file(CARD_FILE) is None:
        yield Finding("edited_manifest", MANIFEST_FILE, "does not list the card")
    for file in manifest.files:
        path = folder / file.path
        if path.is_symlink() or path.parent.is_symlink():
            yield Finding("symbolic_link", file.path, "is a symbolic link, not a file of the artifact")
        elif not path.is_file():
            yield Finding("missing_card" if file.path == CARD_FILE else "missing_file", file.path, "is missing")
        elif path.stat().st_size != file.bytes or file_digest(path) != file.sha256:
            yield Finding("changed_file", file.path, "its bytes are not those recorded")
    known = {file.path for file in manifest.files} | {MANIFEST_FILE}
    for where, folders, names in os.walk(folder):
        relative = Path(where).relative_to(folder)
        for name in sorted(names + [item for item in folders if (Path(where) / item).is_symlink()]):
            found = (relative / name).as_posix()
            if found not in known:
                yield Finding("extra_file", found, "does not belong to the artifact")


def _table_findings(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    artifact = Artifact(folder, manifest)
    frames = {}
    for table, schema in SCHEMAS.items():
        paths = artifact.table_files(table)
        for path in paths:
            if not pq.read_schema(path).equals(schema):
                yield Finding(
                    "wrong_columns", path.relative_to(folder).as_posix(), f"its columns are not those of {table}"
                )
                return
        parts = [pl.read_parquet(path, columns=_light_columns(table), glob=False) for path in paths]
        for number, (part, path) in enumerate(zip(parts, paths, strict=True)):
            name = path.relative_to(folder).as_posix()
            entry = manifest.file(name)
            if entry is not None and entry.rows != part.height:
                yield Finding("wrong_count", name, f"holds {part.height} rows, not {entry.rows}")
            if any(shard_of(row_id, manifest.shards) != number for row_id in part["id"]):
                yield Finding("wrong_shard", name, "holds a row of another shard")
        frames[table] = pl.concat(parts)
    yield from _id_findings(frames)
    yield from _count_findings(frames, manifest)
    found = logical_digest(artifact.rows(), artifact.pool(), artifact.label_records(), artifact.dropped_records())
    if found != manifest.logical_digest:
        yield Finding(
            "logical_digest", MANIFEST_FILE, f"the tables' logical digest is {found[:12]}..., not the one recorded"
        )
    if scores_digest(artifact.pool(), artifact.label_records()) != manifest.scores_digest:
        yield Finding("scores_digest", MANIFEST_FILE, "the tables' scores digest is not the one recorded")


def _light_columns(table: str) -> list[str]:
    keys = {
        "labels": ["id", "candidate", "completion", "method"],
        "candidates": ["id", "pool", "role", "view", "index", "text", "finish_reason"],
        "original": ["id"],
        "dropped": ["id", "reason"],
    }
    return keys[table]


def _id_findings(frames: dict[str, pl.DataFrame]) -> Iterator[Finding]:
    labels, candidates, original, dropped = (frames[name] for name in ("labels", "candidates", "original", "dropped"))
    keys = {"candidates": ["id", "pool", "role", "view", "index"]}
    for table, frame in frames.items():
        twice = frame.select(keys.get(table, ["id"]))
        if example := twice.filter(twice.is_duplicated()).head(1).rows():
            yield Finding("duplicate_id", table, f"{example[0][0]!r} stands there more than once")
    for table in ("labels", "candidates"):
        for (row_id,) in frames[table].join(original, on="id", how="anti").select("id").head(1).rows():
            yield Finding("unknown_id", table, f"{row_id!r} is no row of the original")
    told = pl.concat([labels.select("id"), dropped.select("id")])
    for (row_id,) in original.join(told, on="id", how="anti").select("id").head(1).rows():
        yield Finding("unaccounted_row", "original", f"{row_id!r} is neither labeled nor dropped")
    for (row_id,) in labels.join(dropped, on="id", how="semi").select("id").head(1).rows():
        yield Finding("unaccounted_row", "labels", f"{row_id!r} is labeled and dropped")
    finished = candidates.filter(pl.col("finish_reason") != "error").select("id", candidate="index", text="text")
    chosen = labels.select("id", "candidate", text=pl.col("completion").list.last().struct.field("content"))
    orphans = chosen.join(finished, on=["id", "candidate", "text"], how="anti")
    for row_id, index, _ in orphans.head(1).rows():
        yield Finding(
            "orphan_label",
            "labels",
            f"the label of {row_id!r} is not its candidate {index} ({orphans.height} such labels)",
        )


def _count_findings(frames: dict[str, pl.DataFrame], manifest: Manifest) -> Iterator[Finding]:
    counts = manifest.counts
    dropped = {reason: number for reason, number in frames["dropped"]["reason"].value_counts().rows()}
    found = {
        "rows": (frames["original"].height, counts.rows),
        "labeled": (frames["labels"].height, counts.labeled),
        "candidates": (frames["candidates"].height, counts.candidates),
        "dropped": (dropped, counts.dropped),
    }
    for name, (actual, said) in found.items():
        if actual != said:
            yield Finding("wrong_count", MANIFEST_FILE, f"counts.{name} says {said}, the tables hold {actual}")
