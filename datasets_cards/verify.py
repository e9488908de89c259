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

from datasets_cards.artifact import Artifact
from datasets_cards.canonical import Digests, file_digest
from datasets_cards.card import CARD_FILE
from datasets_cards.errors import EchosetError
from datasets_cards.manifest import MANIFEST_FILE, Manifest, read_manifest
from datasets_cards.records import SELF_SAMPLE
from datasets_cards.tables import SCHEMAS, shard_of


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
    paths = {table: artifact.table_files(table) for table in SCHEMAS}
    for table, files in paths.items():
        for path in files:
            if not pq.read_schema(path).equals(SCHEMAS[table]):
                yield Finding(
                    "wrong_columns", path.relative_to(folder).as_posix(), f"its columns are not those of {table}"
                )
                return
    rows: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    strays, of_ids = False, list[Finding]()
    # All that is said of one id lies in one shard, so a shard at a time tells everything.
    for number, shard in enumerate(zip(*paths.values(), strict=True)):
        frames = {}
        for table, path in zip(paths, shard, strict=True):
            name = path.relative_to(folder).as_posix()
            frames[table] = frame = pl.read_parquet(path, columns=_LIGHT_COLUMNS[table], glob=False)
            rows[table] += frame.height
            entry = manifest.file(name)
            if entry is not None and entry.rows != frame.height:
                yield Finding("wrong_count", name, f"holds {frame.height} rows, not {entry.rows}")
            if any(shard_of(row_id, manifest.shards) != number for row_id in frame["id"].unique()):
                strays = True
                yield Finding("wrong_shard", name, "holds a row of another shard")
        reasons.update(frames["dropped"]["reason"])
        of_ids += _id_findings(frames)
    if not strays:  # or else every one of them would be missed where it belongs
        yield from of_ids
    yield from _count_findings(rows, reasons, manifest)
    digests = Digests()
    digests.add(artifact.iter_original(), artifact.iter_candidates(), artifact.iter_labels(), artifact.iter_dropped())
    if (found := digests.logical()) != manifest.logical_digest:
        yield Finding(
            "logical_digest", MANIFEST_FILE, f"the tables' logical digest is {found[:12]}..., not the one recorded"
        )
    if digests.scores() != manifest.scores_digest:
        yield Finding("scores_digest", MANIFEST_FILE, "the tables' scores digest is not the one recorded")


_LIGHT_COLUMNS = {
    "labels": ["id", "candidate", "completion", "method"],
    "candidates": ["id", "pool", "role", "view", "index", "text", "finish_reason"],
    "original": ["id"],
    "dropped": ["id", "reason"],
}


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
    # A label names a pool member by its index, or the row's self-sample.
    self_sample = (pl.col("role") == "baseline") & (pl.col("index") == 0)
    finished = candidates.filter(
        (pl.col("finish_reason") != "error") & ((pl.col("role") == "candidate") | self_sample)
    ).select("id", "text", candidate=pl.when(self_sample).then(SELF_SAMPLE).otherwise("index"))
    chosen = labels.select("id", "candidate", text=pl.col("completion").list.last().struct.field("content"))
    orphans = chosen.join(finished, on=["id", "candidate", "text"], how="anti")
    for row_id, index, _ in orphans.head(1).rows():
        yield Finding(
            "orphan_label",
            "labels",
            f"the label of {row_id!r} is not its candidate {index} ({orphans.height} such labels)",
        )


def _count_findings(rows: Counter[str], reasons: Counter[str], manifest: Manifest) -> Iterator[Finding]:
    counts = manifest.counts
    found = {
        "rows": (rows["original"], counts.rows),
        "labeled": (rows["labels"], counts.labeled),
        "candidates": (rows["candidates"], counts.candidates),
        "dropped": (dict(reasons), counts.dropped),
    }
    for name, (actual, said) in found.items():
        if actual != said:
            yield Finding("wrong_count", MANIFEST_FILE, f"counts.{name} says {said}, the tables hold {actual}")
