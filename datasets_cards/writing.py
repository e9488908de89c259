"""Writing an artifact whole, and attaching to it later."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datasets_cards import manifest as m
from datasets_cards.artifact import STORE_FILE, Artifact, shard_of
from datasets_cards.canonical import file_digest, logical_digest, scores_digest, sha256_hex
from datasets_cards.card import CARD_FILE, render_card
from datasets_cards.errors import InputError, StorageError
from datasets_cards.leaks import refuse_leaks, strings
from datasets_cards.records import Candidate, Dropped, Label, Row
from datasets_cards.storage import exclusive, move_into_place, new_folder, replace_files, storage_errors
from datasets_cards.tables import write_table

ROWS_PER_SHARD = 50_000
_ATTACHED = re.compile(r"(shift|effects)/[A-Za-z0-9][A-Za-z0-9._-]*\.(json|md|png|svg|html)", re.ASCII)


@dataclass(slots=True)
class Draft:
    """Everything a labeler hands over to become an artifact.

    Attributes:
        rows: the source rows, in their order; labels and candidates are stored in it too.
        candidates: the whole pool, any order. (id, pool, role, view, index) is unique.
        labels: one a labeled row, any order; its completion is the text of a candidate of that row with that index.
        dropped: the rows without a label, each with its reason; and rows that could not be read.
        seeds: every seed by what it seeded.
        scorers: each scorer's held-out accuracy, or None where it has none.
        prompt_tokens: tokens of the prompts as sent, or None where unknown.
        packages: versions to record; those installed where not given.
    """

    rows: list[Row]
    candidates: list[Candidate]
    labels: list[Label]
    dropped: list[Dropped]
    source: m.Source
    model: m.Model
    labeler: m.Labeler
    engine: m.Engine
    seeds: dict[str, int]
    scorers: dict[str, float | None] = field(default_factory=dict)
    prompt_tokens: int | None = None
    packages: dict[str, str] | None = None


def write_artifact(
    out: str | Path,
    draft: Draft,
    *,
    overwrite: bool = False,
    shards: int | None = None,
    row_group: int = 8192,
    version: str = "v0.0.0",
    parent: m.Parent | None = None,
) -> Artifact:
    """Write an artifact in one step: either the whole folder is there afterwards, or nothing is.

    Args:
        out: the folder to make.
        draft: what goes into it.
        overwrite: replace an artifact that is already at `out`. Anything else there is never replaced.
        shards: Parquet files a table; one for every 50,000 rows where not given.
        row_group: rows a Parquet row group; touches no digest but the files' own.
        version: the artifact's version; a store sets it when it is published.
        parent: the version that this one grew from.

    Raises:
        InputError: the draft contradicts itself (each message names the id), or `out` is taken.
        StorageError: `out` can't be written, or the disk is full; nothing half-written stays.
    """
    out = Path(out) if Path(out).name not in ("", "..") else Path(out).resolve()
    labels, candidates = _in_row_order(draft)
    _check_draft(draft)
    shards = shards or max(1, -(-len(draft.rows) // ROWS_PER_SHARD))
    with storage_errors(out), new_folder(out) as work:
        check_target(out, overwrite)
        written: list[m.File] = []
        for table, records in (
            ("labels", labels), ("candidates", candidates), ("original", draft.rows), ("dropped", draft.dropped)
        ):  # fmt: skip
            written += _write_shards(work, table, records, shards, row_group)
        manifest = m.Manifest(
            version=version,
            parent=parent,
            source=draft.source,
            model=draft.model,
            labeler=draft.labeler,
            engine=draft.engine,
            seeds=draft.seeds,
            packages=m.package_versions() if draft.packages is None else draft.packages,
            scorers=draft.scorers,
            counts=_count(draft),
            shards=shards,
            files=written,
            logical_digest=logical_digest(draft.rows, candidates, labels, draft.dropped),
            scores_digest=scores_digest(candidates, labels),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        seal(work, manifest)
        move_into_place(work, out, replace=overwrite)
    return Artifact.open(out)


def attach(artifact: Artifact, files: Mapping[str, bytes], *, summary: str = "") -> Artifact:
    """Add reports and pictures: a new PATCH version of the same rows.

    Args:
        artifact: what to add to.
        files: contents by name, such as `shift/report.json` or `effects/plot.png`. A name that exists is replaced.
        summary: a few lines of Markdown on what they show, for the card; kept as `summary.md` beside the first file.

    Returns:
        The artifact as it is now; unchanged (same version) if it held all of this already.

    Raises:
        InputError: a name is of another shape, or the artifact is a published version, which nothing may change.
        StorageError: it can't be written; the artifact is then as it was, or attaching again completes it.
    """
    if (artifact.path.parent.parent / STORE_FILE).exists():
        raise InputError(
            "a published version never changes", where=str(artifact.path), remedy="Attach to a copy and publish that"
        )
    wanted = dict(files)
    if bad := next((name for name in wanted if not _ATTACHED.fullmatch(name)), None):
        raise InputError(f"{bad!r} can't be attached", remedy="Names look like shift/report.json or effects/plot.png")
    refuse_leaks([("summary", summary)])
    refuse_leaks((name, data.decode(errors="replace")) for name, data in wanted.items() if not name.endswith(".png"))
    if summary and wanted:
        wanted[f"{next(iter(wanted)).split('/')[0]}/summary.md"] = summary.strip().encode() + b"\n"
    fresh = {name: m.File(path=name, sha256=sha256_hex(data), bytes=len(data)) for name, data in wanted.items()}
    with storage_errors(artifact.path), exclusive(artifact.path):
        manifest = Artifact.open(artifact.path).manifest  # somebody may have attached since this one was opened
        entries = {file.path: file for file in manifest.files}
        if all(entries.get(name) == file for name, file in fresh.items()):
            return Artifact.open(artifact.path)
        major, minor, patch = m.parse_version(manifest.version)
        listed = list((entries | fresh).values())
        bumped = manifest.model_copy(update={"version": f"v{major}.{minor}.{patch + 1}", "files": listed})
        seal(artifact.path, bumped, wanted)
    return Artifact.open(artifact.path)


def seal(folder: Path, manifest: m.Manifest, attached: Mapping[str, bytes] | None = None) -> None:
    """Complete a folder whose tables are in place: what is attached, the card, then the manifest over all."""
    refuse_leaks(strings(manifest.model_dump(), "manifest"))
    fresh = dict(attached or {})
    listed = [file for file in manifest.files if file.path != CARD_FILE]
    summaries = {
        file.path.split("/")[0]: (fresh.get(file.path) or (folder / file.path).read_bytes()).decode()
        for file in listed
        if file.path.endswith("/summary.md")
    }
    card = render_card(manifest, summaries).encode()
    listed.append(m.File(path=CARD_FILE, sha256=sha256_hex(card), bytes=len(card)))
    sealed = manifest.sealed(files=sorted(listed, key=lambda file: file.path))
    contents = fresh | {CARD_FILE: card, m.MANIFEST_FILE: sealed.to_json()}
    replace_files({folder / name: data for name, data in contents.items()})


def _write_shards(work: Path, table: str, records: Iterable[Any], shards: int, row_group: int) -> list[m.File]:
    (work / table).mkdir()
    parts: list[list[Any]] = [[] for _ in range(shards)]
    for record in records:
        parts[shard_of(record.id, shards)].append(record)
    files = []
    for number, part in enumerate(parts):
        name = f"{table}/{number:05d}-of-{shards:05d}.parquet"
        rows = write_table(work / name, table, part, row_group=row_group)
        size = (work / name).stat().st_size
        files.append(m.File(path=name, sha256=file_digest(work / name), bytes=size, rows=rows))
    return files


def _in_row_order(draft: Draft) -> tuple[list[Label], list[Candidate]]:
    """Labels and candidates in the order of the rows, so that bytes don't depend on which sample finished first."""
    position = {row.id: number for number, row in enumerate(draft.rows)}
    if len(position) != len(draft.rows):
        twice = next(name for name, count in Counter(row.id for row in draft.rows).items() if count > 1)
        raise InputError("two rows have this id", where=twice, remedy="Ids are unique in a dataset")
    for record in (*draft.labels, *draft.candidates):
        if record.id not in position:
            raise InputError("a label or candidate of a row that isn't there", where=record.id)
    labels = sorted(draft.labels, key=lambda label: position[label.id])
    return labels, sorted(draft.candidates, key=lambda c: (position[c.id], c.role, c.pool, c.view, c.index))


def _check_draft(draft: Draft) -> None:
    """Every row is labeled or dropped, once; every label is a candidate."""
    labeled, dropped = Counter(label.id for label in draft.labels), Counter(item.id for item in draft.dropped)
    for row in draft.rows:
        if labeled[row.id] + dropped[row.id] != 1:
            what = (
                "neither labeled nor dropped"
                if not labeled[row.id] + dropped[row.id]
                else "labeled or dropped more than once"
            )
            raise InputError(f"the row is {what}", where=row.id, remedy="Each row gets one label or one reason")
    if twice := next((name for name, count in dropped.items() if count > 1), None):
        raise InputError("dropped twice", where=twice, remedy="Each row gets one label or one reason")
    refuse_leaks((f"detail of dropped row {item.id}", item.detail) for item in draft.dropped)
    refuse_leaks((f"error of a candidate of {c.id}", c.error) for c in draft.candidates if c.error)
    keys: set[tuple[Any, ...]] = set()
    texts: dict[tuple[str, int], set[str]] = {}
    for c in draft.candidates:
        key = (c.id, c.pool, c.role, c.view, c.index)
        if key in keys:
            raise InputError(f"two candidates with index {c.index} ({c.role}, {c.view}) in one pool", where=c.id)
        keys.add(key)
        if c.finish_reason != "error":
            texts.setdefault((c.id, c.index), set()).add(c.text)
    for label in draft.labels:
        if not label.completion or label.completion[-1]["content"] not in texts.get((label.id, label.candidate), ()):
            raise InputError(f"the label is not the text of candidate {label.candidate}", where=label.id)


def _count(draft: Draft) -> m.Counts:
    reasons = Counter(item.reason for item in draft.dropped)
    return m.Counts(
        rows=len(draft.rows),
        labeled=len(draft.labels),
        dropped=dict(sorted(reasons.items())),
        candidates=len(draft.candidates),
        prompt_tokens=draft.prompt_tokens,
        completion_tokens=sum(len(c.token_ids) for c in draft.candidates),
    )


def check_target(out: str | Path, overwrite: bool = False) -> None:
    """Whether an artifact may be written here; for asking before hours of labeling, not after.

    Raises:
        InputError: an artifact is there already, or it is a published version.
        StorageError: something else is in the way.
    """
    out = Path(out)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise StorageError("a file is in the way", where=str(out), remedy="Choose another place")
    if not out.exists() or not os.listdir(out):
        return
    if not (out / m.MANIFEST_FILE).exists():
        raise StorageError("holds other files, and no artifact", where=str(out), remedy="Choose an empty or new folder")
    if not overwrite:
        raise InputError(
            "an artifact is already here", where=str(out), remedy="Pass overwrite=True (--overwrite), or another folder"
        )
    if (out.parent.parent / STORE_FILE).exists():
        raise InputError("a published version never changes", where=str(out), remedy="Choose another place")
