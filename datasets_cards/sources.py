"""Reading rows to label: JSONL, Parquet, a saved `datasets` folder, or the original rows of an artifact."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets_cards.canonical import canonical_json, file_digest, sha256_hex
from datasets_cards.errors import EchosetError, InputError, MissingError, StorageError
from datasets_cards.manifest import MANIFEST_FILE, Source
from datasets_cards.records import Dropped, Row
from datasets_cards.rows import FORMS, RowError, parse_row

JSONL_SUFFIXES = (".jsonl", ".ndjson")
BATCH_ROWS = 1024


def read_rows(
    source: str | Path, *, limit: int | None = None, skip_bad: bool = False
) -> tuple[list[Row], list[Dropped]]:
    """Read a dataset into memory.

    Args:
        source: a .jsonl or .parquet file, a folder written by `datasets.save_to_disk` (`FOLDER:SPLIT` for one split of
            several), or an artifact.
        limit: stop after this many good rows.
        skip_bad: record a bad row as dropped (its id is then `FILE:ROW`) instead of stopping at it.

    Returns:
        The rows, and those dropped on the way (none unless `skip_bad`).

    Raises:
        MissingError: there is no such file, folder or split.
        InputError: the file or a row can't be used, or there are no rows.
    """
    rows: list[Row] = []
    dropped: list[Dropped] = []
    for item in iter_rows(source, limit=limit, skip_bad=skip_bad):
        if isinstance(item, Row):
            rows.append(item)
        else:
            dropped.append(item)
    return rows, dropped


def iter_rows(source: str | Path, *, limit: int | None = None, skip_bad: bool = False) -> Iterator[Row | Dropped]:
    """Like `read_rows`, one at a time; only the ids seen are held in memory."""
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}", remedy="Ask for at least one row")
    path, records = _open(source)
    seen: dict[str, int] = {}  # id -> row number, to name both of a pair
    repeats: Counter[str] = Counter()
    good, first_error = 0, None
    for number, record in records:
        where = f"{path}:{number}"
        try:
            if isinstance(record, RowError):
                raise record
            row = record if isinstance(record, Row) else parse_row(record, where)
            if not row.id:
                name = sha256_hex(canonical_json([row.prompt, row.original]))[:16]
                repeats[name] += 1
                row.id = name if repeats[name] == 1 else f"{name}-{repeats[name]}"
            if row.id in seen:
                raise RowError(
                    "duplicate_id",
                    f"id {row.id!r} was already used in row {seen[row.id]}",
                    where=where,
                    remedy="Make ids unique, or drop the id column to number rows by content",
                )
        except RowError as error:
            if not skip_bad:
                raise
            first_error = first_error or error
            yield Dropped(f"{path.name}:{number}", error.reason, error.what)
            continue
        seen[row.id] = number
        good += 1
        yield row
        if good == limit:
            return
    if first_error and not good:
        raise InputError("holds no usable row", where=str(path), remedy=f"The first problem: {first_error}")
    if not good:
        raise InputError("holds no rows", where=str(path), remedy=FORMS)


def describe_source(source: str | Path, rows: int, license: str | None = None) -> Source:
    """What the manifest says of a dataset: base name, digest, rows, license.

    The digest is the SHA-256 of a file; of a saved folder that of its files' names and digests; of an artifact its
    logical digest. A license that isn't given is taken from the artifact, or from the folder's `dataset_info.json`;
    else it is unknown.
    """
    path, split = _locate(source)
    reference = path.resolve().name + (f":{split}" if split else "")
    if not path.is_dir():
        return Source(reference=reference, digest=file_digest(path), rows=rows, license=license)
    if (path / MANIFEST_FILE).exists():
        from datasets_cards.artifact import Artifact  # artifact reads nothing of ours back: no circle at import time

        manifest = Artifact.open(path).manifest
        inherited = manifest.source.license
        return Source(reference=reference, digest=manifest.logical_digest, rows=rows, license=license or inherited)
    folder = path / split if split else path
    files = {file.name: file_digest(file) for file in sorted(folder.iterdir()) if file.is_file()}
    info = json.loads((folder / "dataset_info.json").read_bytes())
    return Source(
        reference=reference,
        digest=sha256_hex(canonical_json(files)),
        rows=rows,
        license=license or info.get("license") or None,
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


def _open(source: str | Path) -> tuple[Path, Iterator[tuple[int, Any]]]:
    """The numbered records of a source, counted from 1 (lines, in JSONL); an unreadable one is its RowError."""
    path, split = _locate(source)
    if path.is_file():
        if path.suffix.lower() in JSONL_SUFFIXES:
            return path, _jsonl(path)
        if path.suffix.lower() == ".parquet":
            return path, _parquet(path)
        raise InputError(
            f"{path.suffix or 'a file without suffix'} can't be read", where=str(path), remedy="Give .jsonl or .parquet"
        )
    if (path / MANIFEST_FILE).exists():
        return path, _artifact(path)
    if (path / "dataset_dict.json").exists() and not split:
        splits = json.loads((path / "dataset_dict.json").read_bytes())["splits"]
        raise InputError(
            f"holds several splits ({', '.join(splits)})",
            where=str(path),
            remedy=f"Name one, such as {path}:{splits[0]}",
        )
    if split or (path / "state.json").exists():
        return path, _saved_dataset(path / split)
    raise InputError(
        "is neither an artifact nor a saved `datasets` folder",
        where=str(path),
        remedy="Give a .jsonl or .parquet file, an artifact, or a folder written by save_to_disk",
    )


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
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield from enumerate(_records(batch, path, number), number + 1)
                number += batch.num_rows
    except pa.ArrowException as error:
        raise InputError(
            f"can't be read as Parquet ({_first_line(error)})", where=str(path), remedy="Write the file again"
        ) from None
    except OSError as error:
        raise StorageError(f"can't be read ({error.strerror or _first_line(error)})", where=str(path)) from None


def _records(table: Any, path: Path, before: int) -> Iterator[Any]:
    """The records of an Arrow table or batch; one that Python can't hold becomes its RowError."""
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
                reason, f"can't be read ({error})", where=f"{path}:{before + position + 1}", remedy="Mend the row"
            )


def _saved_dataset(path: Path) -> Iterator[tuple[int, Any]]:
    import datasets  # seconds to import: only when a saved folder is read
    import pyarrow as pa

    number = 0
    try:
        saved = datasets.load_from_disk(str(path))
        assert isinstance(saved, datasets.Dataset)  # a DatasetDict was told apart in _open
        for table in saved.with_format("arrow").iter(BATCH_ROWS):
            yield from enumerate(_records(table, path, number), number + 1)
            number += len(table)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, EchosetError):
            raise
        raise InputError(
            f"can't be read ({_first_line(error)})", where=str(path), remedy="Save the dataset again"
        ) from None


def _artifact(path: Path) -> Iterator[tuple[int, Any]]:
    from datasets_cards.artifact import Artifact

    yield from enumerate(Artifact.open(path).rows(), 1)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
