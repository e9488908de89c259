"""Where rows come from on this machine: JSONL, Parquet, saved `datasets` folders and artifacts, each streamed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets_cards.artifact import Artifact
from datasets_cards.canonical import canonical_json, file_digest, sha256_hex
from datasets_cards.errors import EchosetError, InputError, MissingError, StorageError
from datasets_cards.manifest import MANIFEST_FILE
from datasets_cards.sources.rows import RowError

JSONL_SUFFIXES = (".jsonl", ".ndjson")
BATCH_ROWS = 1024
BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """A dataset that was found but not read yet.

    Attributes:
        where: what messages call it.
        name: its base name; a row that can't be read has the id `NAME:ROW`.
        reference: what the manifest calls it.
        records: starts a pass over its numbered records, counted from 1 (lines, in JSONL); a record is a dictionary of
            columns, a Row, or the RowError of one that could not be read.
        digest: computes what fixes its content.
        license: the one it states, or None.
    """

    where: str
    name: str
    reference: str
    records: Callable[[], Iterator[tuple[int, Any]]]
    digest: Callable[[], str]
    license: str | None = None


def local_origin(source: str | Path) -> Origin:
    """Find a file or folder.

    Raises:
        MissingError: there is no such file, folder or split.
        InputError: it is of a kind that can't be read.
    """
    path, split = _locate(source)
    reference = path.resolve().name + (f":{split}" if split else "")
    here = partial(Origin, str(path), path.name, reference)
    if path.is_file():
        readers = dict.fromkeys(JSONL_SUFFIXES, _jsonl) | {".parquet": _parquet}
        reader = readers.get(path.suffix.lower())
        if reader is None:
            kind = path.suffix or "a file without suffix"
            raise InputError(f"{kind} can't be read", where=str(path), remedy="Give .jsonl or .parquet")
        return here(partial(reader, path), partial(_readable_digest, path))
    if (path / MANIFEST_FILE).exists():
        artifact = Artifact.open(path)
        rows = partial(_numbered, artifact)
        return here(rows, lambda: artifact.manifest.logical_digest, artifact.manifest.source.license)
    if (path / "dataset_dict.json").exists() and not split:
        splits = json.loads((path / "dataset_dict.json").read_bytes())["splits"]
        raise InputError(
            f"holds several splits ({', '.join(splits)})",
            where=str(path),
            remedy=f"Name one, such as {path}:{splits[0]}",
        )
    if split or (path / "state.json").exists():
        folder = path / split
        info = json.loads((folder / "dataset_info.json").read_bytes())
        return here(partial(_saved_dataset, folder), partial(_folder_digest, folder), info.get("license") or None)
    raise InputError(
        "is neither an artifact nor a saved `datasets` folder",
        where=str(path),
        remedy="Give a .jsonl or .parquet file, an artifact, or a folder written by save_to_disk",
    )


def _locate(source: str | Path) -> tuple[Path, str]:
    """The path of a source and, for `FOLDER:SPLIT`, the split."""
    path = Path(source)
    if path.exists():
        return path, ""
    folder, colon, split = str(source).rpartition(":")
    if colon and (Path(folder) / "dataset_dict.json").exists():
        splits = json.loads((Path(folder) / "dataset_dict.json").read_bytes())["splits"]
        if split not in splits:
            raise MissingError(f"has no split {split!r}", where=folder, remedy=f"Its splits: {', '.join(splits)}")
        return Path(folder), split
    parent = path.parent
    if not parent.is_dir():
        raise MissingError("no such file, nor its folder", where=str(path), remedy="Check the path")
    near = difflib.get_close_matches(path.name, sorted(item.name for item in parent.iterdir()), n=3, cutoff=0.5)
    raise MissingError(
        "no such file", where=str(path), remedy=f"Did you mean {' or '.join(near)}?" if near else "Check the path"
    )


def _readable_digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise StorageError(
            f"can't be read ({error.strerror})", where=str(path), remedy="Check its permissions"
        ) from None


def _folder_digest(folder: Path) -> str:
    files = {file.name: file_digest(file) for file in sorted(folder.iterdir()) if file.is_file()}
    return sha256_hex(canonical_json(files))


def _numbered(artifact: Artifact) -> Iterator[tuple[int, Any]]:
    return enumerate(artifact.iter_original(), 1)


def _jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    offset = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _json_line(line, f"{path}:{number}", offset)
                offset += len(line)
    except OSError as error:
        raise StorageError(
            f"can't be read ({error.strerror})", where=str(path), remedy="Check its permissions"
        ) from None


def _json_line(line: bytes, where: str, offset: int) -> Any:
    try:
        text = line.decode("utf-8-sig" if offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        return RowError(
            "not_utf8", f"byte {offset + error.start} is not UTF-8", where=where, remedy="Save the file as UTF-8"
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return RowError("broken_json", f"not JSON ({error})", where=where, remedy="Each line holds one JSON object")


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        # Buffered, and not fetched ahead: a row group of any size is read a piece at a time.
        with pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield from enumerate(table_records(batch, str(path), number), number + 1)
                number += batch.num_rows
    except pa.ArrowException as error:
        raise InputError(
            f"can't be read as Parquet ({first_line(error)})", where=str(path), remedy="Write the file again"
        ) from None
    except OSError as error:
        raise StorageError(f"can't be read ({error.strerror or first_line(error)})", where=str(path)) from None


def _saved_dataset(folder: Path) -> Iterator[tuple[int, Any]]:
    import datasets  # seconds to import: only when a saved folder is read
    import pyarrow as pa

    number = 0
    try:
        saved = datasets.load_from_disk(str(folder))  # memory-mapped
        assert isinstance(saved, datasets.Dataset)  # a DatasetDict was told apart before
        for table in saved.with_format("arrow").iter(BATCH_ROWS):
            yield from enumerate(table_records(table, str(folder), number), number + 1)
            number += len(table)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, EchosetError):
            raise
        raise InputError(
            f"can't be read ({first_line(error)})", where=str(folder), remedy="Save the dataset again"
        ) from None


def table_records(table: Any, where: str, before: int) -> Iterator[Any]:
    """The records of an Arrow table or batch; one that Python can't hold becomes its RowError.

    Args:
        where: the file, for messages.
        before: rows of the file that came before this table.
    """
    try:
        yield from table.to_pylist()
        return
    except ValueError:  # text that isn't UTF-8, dates beyond Python's: find the row
        pass
    for position in range(table.num_rows):
        try:
            yield table.slice(position, 1).to_pylist()[0]
        except ValueError as error:
            reason = "not_utf8" if isinstance(error, UnicodeDecodeError) else "bad_row"
            yield RowError(
                reason, f"can't be read ({error})", where=f"{where}:{before + position + 1}", remedy="Mend the row"
            )


def first_line(error: Exception) -> str:
    """The first line of another library's message, which may have many."""
    return (str(error).splitlines() or [type(error).__name__])[0]
