"""Is an artifact what its manifest says? Every departure is found and named; nothing stops at the first."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_cards.artifact import ATTACHED
from datasets_cards.canonical import file_digest
from datasets_cards.cards.card import CARD_FILE, DERIVED
from datasets_cards.errors import EchosetError, one_line
from datasets_cards.manifest import MANIFEST_FILE, File, Manifest, read_manifest
from datasets_cards.row_checks import Tally, Unreadable, shard_faults
from datasets_cards.tables.footers import table_fault
from datasets_cards.tables.layout import file_names
from datasets_cards.tables.schemas import SCHEMAS

CLONE_FILES, CLONE_FOLDERS = frozenset({".gitattributes"}), frozenset({".git", ".cache/huggingface"})
"""What stands beside a version after `git clone` or `hf download --local-dir`: no part of it, and no fault."""


@dataclass(frozen=True)
class Finding:
    """One departure from the manifest.

    Attributes:
        kind: a short code, such as `changed_file`.
        path: the file or table it was found in, relative to the artifact.
        message: what is wrong, for people.
    """

    kind: str
    path: str
    message: str

    def __str__(self) -> str:
        return one_line(f"{self.path}: {self.message} [{self.kind}]")


def verify(path: str | Path) -> list[Finding]:
    """Check an artifact byte by byte and row by row; an empty list means that it is sound.

    It is safe on an artifact from a stranger: nothing but plain files inside the folder is opened. In memory are one
    row group at a time, of 1 GiB at most, the ids and other short columns of one shard, and 64 bytes a record.

    Args:
        path: the artifact's folder.

    Raises:
        MissingError: there is no artifact at all.
        StorageError: the folder can't be read.
    """
    folder = Path(path)
    try:
        manifest = read_manifest(folder)
    except OSError:  # MissingError and StorageError
        raise
    except EchosetError as error:
        return [Finding("bad_manifest", MANIFEST_FILE, error.what)]
    in_files = [*_manifest_findings(folder, manifest), *_file_findings(folder, manifest)]
    # What rows say is only worth reading where the tables are those that the manifest names.
    if any(finding.path.split("/")[0] in SCHEMAS and finding.kind != "extra_file" for finding in in_files):
        return in_files
    if any(finding.kind == "wrong_files" for finding in in_files):
        return in_files
    return [*in_files, *_table_findings(folder, manifest)]


def _paths(table: str, shards: int) -> list[str]:
    return [f"{table}/{name}" for name in file_names(shards)]


def _manifest_findings(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    if manifest.own_digest() != manifest.manifest_digest:
        yield Finding("edited_manifest", MANIFEST_FILE, "was edited, its own digest does not fit")
    elif (folder / MANIFEST_FILE).read_bytes() != manifest.to_json():
        yield Finding("edited_manifest", MANIFEST_FILE, "was edited, Echoset writes the same in other bytes")
    listed: dict[str, list[File]] = {}
    for file in manifest.files:
        listed.setdefault(file.path.split("/")[0], []).append(file)
    for table in SCHEMAS:
        files = listed.pop(table, [])
        if [file.path for file in files] != _paths(table, manifest.shards):
            what = f"its files of {table} are not those of {manifest.shards} shards in their order"
            yield Finding("wrong_files", MANIFEST_FILE, what)
        elif any(file.rows is None for file in files):
            yield Finding("wrong_files", MANIFEST_FILE, f"does not say how many rows the files of {table} have")
    for file in [file for files in listed.values() for file in files]:
        if file.path not in DERIVED and not ATTACHED.fullmatch(file.path):
            yield Finding("wrong_files", MANIFEST_FILE, f"lists {file.path}, which is no file of an artifact")
    for name in DERIVED:
        if manifest.file(name) is None:
            yield Finding("edited_manifest", MANIFEST_FILE, f"does not list {name}")


def _file_findings(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    for file in manifest.files:
        if fault := _file_fault(folder, file):
            yield Finding(*fault)
    yield from _extra_findings(folder, {file.path for file in manifest.files} | {MANIFEST_FILE})


def _file_fault(folder: Path, file: File) -> tuple[str, str, str] | None:
    path = folder / file.path
    missing = "missing_card" if file.path == CARD_FILE else "missing_file", file.path, "is missing"
    try:
        if "/" in file.path and path.parent.is_symlink():
            return "symbolic_link", file.path, "lies behind a symbolic link, not in the artifact"
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return "symbolic_link", file.path, "is a symbolic link, not a file of the artifact"
        if not stat.S_ISREG(found.st_mode):
            return "not_a_file", file.path, "is no plain file"
        if found.st_size != file.bytes or file_digest(path) != file.sha256:
            return "changed_file", file.path, "its bytes are not those recorded"
    except (FileNotFoundError, NotADirectoryError):
        return missing
    except OSError as error:
        return "unreadable_file", file.path, f"can't be read ({error.strerror})"
    return None


def _extra_findings(folder: Path, known: set[str]) -> Iterator[Finding]:
    """Whatever else lies in the folder, by name; links are named and not followed."""
    waiting = [""]
    while waiting:
        inside = waiting.pop(0)
        try:
            entries = sorted(os.scandir(folder / inside), key=lambda entry: entry.name)
        except OSError as error:
            yield Finding("unreadable_file", inside, f"can't be read ({error.strerror})")
            continue
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting += [name] if name not in CLONE_FOLDERS else []
            elif name not in known and not (name in CLONE_FILES and entry.is_file(follow_symlinks=False)):
                yield Finding("extra_file", name, "does not belong to the artifact")


def _table_findings(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    unsafe = False
    rows = {file.path: file.rows for file in manifest.files}
    names = {table: _paths(table, manifest.shards) for table in SCHEMAS}
    for table in SCHEMAS:
        for name in names[table]:
            if fault := table_fault(folder / name, rows[name], table):
                unsafe = True
                yield Finding(fault[0], name, fault[1])
    if unsafe:
        return
    tally = Tally()
    for number in range(manifest.shards):
        files = {table: folder / names[table][number] for table in SCHEMAS}
        try:
            for kind, table, what in shard_faults(files, number, manifest.shards, tally):
                yield Finding(kind, table, what)
        except Unreadable as error:
            yield Finding("unreadable_table", names[error.table][number], f"its rows can't be read ({error})")
            return
    yield from _count_findings(tally, manifest)
    if (found := tally.digests.logical()) != manifest.logical_digest:
        what = f"the tables' logical digest is {found[:12]}..., not the one recorded"
        yield Finding("logical_digest", MANIFEST_FILE, what)
    if tally.digests.scores() != manifest.scores_digest:
        yield Finding("scores_digest", MANIFEST_FILE, "the tables' scores digest is not the one recorded")


def _count_findings(tally: Tally, manifest: Manifest) -> Iterator[Finding]:
    counts = manifest.counts
    found = {
        "rows": (tally.rows["original"], counts.rows),
        "labeled": (tally.rows["labels"], counts.labeled),
        "candidates": (tally.rows["candidates"], counts.candidates),
        "dropped": (dict(tally.reasons), counts.dropped),
        "completion_tokens": (tally.completion_tokens, counts.completion_tokens),
    }
    for name, (actual, said) in found.items():
        if actual != said:
            yield Finding("wrong_count", MANIFEST_FILE, f"counts.{name} says {said}, the tables hold {actual}")
