"""Artifacts come from strangers: whatever they hold, one clear line says what is wrong, and nothing is opened, waited
for or unpacked that could do harm."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drafts import make_draft

from datasets_cards import (
    Artifact,
    Candidate,
    Draft,
    EchosetError,
    IntegrityError,
    attach,
    file_digest,
    verify,
    write_artifact,
)
from datasets_cards.manifest import MOST_BYTES, parse_manifest
from datasets_cards.tables import footers
from datasets_cards.tables.footers import check_footer
from datasets_cards.tables.pages import read_chunk
from datasets_cards.tables.schemas import SCHEMAS

LABELS, CANDIDATES, ORIGINAL, DROPPED = (
    f"{name}/00000-of-00001.parquet" for name in ("labels", "candidates", "original", "dropped")
)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return attach(write_artifact(tmp_path / "a", make_draft()), {"shift/report.json": b"{}"}, summary="Small.")


def found(artifact: Artifact) -> set[tuple[str, str]]:
    return {(finding.kind, finding.path) for finding in verify(artifact.path)}


def refused(data: bytes | dict) -> str:
    """The one line that a manifest of these bytes is refused with."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    with pytest.raises(IntegrityError) as caught:
        parse_manifest(raw, "a/manifest.json")
    line = str(caught.value)
    assert line.startswith("a/manifest.json: ") and line.isprintable() and len(line) < 600
    return line


def put(artifact: Artifact, name: str, data: bytes, **changes) -> None:
    """Place a file, with a manifest whose every hash fits."""
    (artifact.path / name).write_bytes(data)
    fresh = {"sha256": file_digest(artifact.path / name), "bytes": len(data)} | changes
    files = [f.model_copy(update=fresh) if f.path == name else f for f in artifact.manifest.files]
    (artifact.path / "manifest.json").write_bytes(artifact.manifest.sealed(files=files).to_json())


# Manifests


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "..",
        "/etc/passwd",
        "labels/../../x",
        "labels/..",
        "README.md/..",
        "./x",
        ".git/config",
        "labels/.hidden",
        "labels//x",
        "labels/",
        "labels/x/y",
        "a\\b",
        "C:\\x",
        "a\0b",
        "a\nb",
        "labels/x\n",
        "l\u0430bels/x",
        "\uff0e\uff0e/x",
        "x" * 5000,
        "",
        "manifest.json",
        "Manifest.JSON",
    ],
)
def test_a_manifest_can_name_no_file_outside_of_the_artifact(artifact: Artifact, path: str) -> None:
    raw = artifact.manifest.model_dump()
    raw["files"].append({"path": path, "sha256": "0" * 64, "bytes": 1, "rows": None})
    assert "is not the name of a file inside an artifact" in refused(raw)


def test_files_that_one_disk_takes_for_one_are_refused(artifact: Artifact) -> None:
    raw = artifact.manifest.model_dump()
    raw["files"].append(raw["files"][0] | {"path": "readme.MD"})
    assert "a file is listed twice" in refused(raw)


@pytest.mark.parametrize("version", [True, "1", 1.0, 1.5, 0, -1, None, [1]])
def test_a_schema_version_is_a_number_from_1_up(artifact: Artifact, version: object) -> None:
    assert "schema_version is no number from 1 up" in refused(
        artifact.manifest.model_dump() | {"schema_version": version}
    )


@pytest.mark.parametrize("version", [2, 2**70])
def test_a_manifest_of_the_future_says_to_upgrade(artifact: Artifact, version: int) -> None:
    line = refused(artifact.manifest.model_dump() | {"schema_version": version})
    assert f"written by a later Echoset (schema {version}" in line and "Upgrade echoset" in line


def test_bytes_that_are_no_manifest_are_refused(artifact: Artifact) -> None:
    sound = (artifact.path / "manifest.json").read_bytes()
    parse_manifest(sound, "a/manifest.json")
    assert "not JSON" in refused(b"") and "not JSON" in refused(sound[:-9])
    assert "BOM" in refused(b"\xef\xbb\xbf" + sound)
    assert "utf-8" in refused(sound.decode().encode("utf-16"))
    assert "utf-8" in refused(sound.replace(b"nucleus", b"nucl\xe9us"))
    assert "not a manifest" in refused(b"[]") and "not a manifest" in refused(b"null")


def test_bombs_in_json_are_refused_at_once(artifact: Artifact) -> None:
    sound = (artifact.path / "manifest.json").read_bytes()
    started = time.monotonic()
    assert "larger than 8 MiB" in refused(sound + b" " * MOST_BYTES)
    for brackets in (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 1_000_000 + b"]" * 1_000_000):
        assert "not JSON" in refused(brackets)
    assert "not JSON" in refused(sound.replace(b'"run": 0', b'"run": ' + b"9" * 100_000))
    assert "faults" in refused(sound.replace(b'"run": 0', b",".join(b'"s%d": ""' % n for n in range(100_000))))
    assert "not a manifest" in refused(sound.replace(b'"files": [', b'"files": [' + b"1," * 1_000_000))
    assert time.monotonic() - started < 10


def test_a_manifest_that_stays_open_for_a_gigabyte_is_not_read_to_its_end(artifact: Artifact) -> None:
    with open(artifact.path / "manifest.json", "r+b") as file:
        file.truncate(1 << 40)  # holes: it takes no room
    started = time.monotonic()
    with pytest.raises(IntegrityError, match="larger than"):
        Artifact.open(artifact.path)
    assert found(artifact) == {("bad_manifest", "manifest.json")} and time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("sound", "rubbish"),
    [
        (b'"run": 0', b'"run": 0, "run": 1'),
        (b'"run": 0', b'"run": "0"'),
        (b'"run": 0', b'"run": 0.0'),
        (b'"rows": 6', b'"rows": -6'),
        (b'"rows": 6', b'"rows": 10000000000000000000000'),
        (b'"top_p": 0.9', b'"top_p": NaN'),
        (b'"top_p": 0.9', b'"top_p": 1e999'),
        (b'"created": "', b'"created": "\\ud800'),
        (b'"created": "20', b'"created": "'),
        (b'+00:00"', b'"'),
        (b'+00:00"', b'Z"'),
        (b'+00:00"', b'+01:00"'),
        (b'+00:00"', b'.5+00:00"'),
        (b'"created": "20', b'"created": "yesterday, 20'),
        (b'"method": "self', b'"method": "\\udfffself'),
        (b'"schema_version": 1', b'"schema_version": 1, "more": 1'),
    ],
)
def test_a_manifest_says_one_thing_and_in_plain_json(artifact: Artifact, sound: bytes, rubbish: bytes) -> None:
    data = (artifact.path / "manifest.json").read_bytes()
    assert sound in data
    refused(data.replace(sound, rubbish, 1))


def test_control_characters_of_a_stranger_reach_no_terminal(artifact: Artifact) -> None:
    raw = artifact.manifest.model_dump()
    raw["counts"]["\x1b]0;owned\x07\n\u202e\x9b31m"] = 1
    assert "\\x1b]0;owned\\x07" in refused(raw)
    (artifact.path / "labels" / "\x1b[2J\nx\u202e").write_bytes(b"")
    os.mkdir(os.fsencode(artifact.path) + b"/\xff\xfe")
    Path(os.fsdecode(os.fsencode(artifact.path) + b"/\xff\xfe/x")).touch()
    lines = [str(finding) for finding in verify(artifact.path)]
    assert len(lines) == 2 and all(line.isprintable() for line in lines), lines
    assert "\\x1b[2J" in lines[1] or "\\x1b[2J" in lines[0]


# Files


def test_what_a_clone_brings_along_is_no_fault_and_all_else_is(artifact: Artifact) -> None:
    for name in (".gitattributes", ".git/HEAD", ".git/objects/aa/bb", ".cache/huggingface/download/README.md.metadata"):
        (artifact.path / name).parent.mkdir(parents=True, exist_ok=True)
        (artifact.path / name).write_text("x")
    assert found(artifact) == set()
    strays = [
        ".hidden",
        "labels/.gitattributes",
        "labels/.git/x",
        ".cache/x",
        ".github/x",
        "a/b/c/d",
        "data.py",
        "LICENSE",
    ]
    for name in strays:
        (artifact.path / name).parent.mkdir(parents=True, exist_ok=True)
        (artifact.path / name).write_text("x")
    assert found(artifact) == {("extra_file", name) for name in strays}


def test_the_folder_itself_may_be_reached_through_a_link(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(artifact.path)
    assert verify(tmp_path / "link") == []
    assert Artifact.open(tmp_path / "link").labels().height == 5


@pytest.mark.parametrize("target", ["/etc/passwd", "/nowhere/at/all", "00000-of-00001.parquet", "/dev/zero"])
@pytest.mark.parametrize("name", [LABELS, "README.md", "shift/report.json", "manifest.json"])
def test_a_link_is_named_and_never_followed(artifact: Artifact, name: str, target: str) -> None:
    (artifact.path / name).unlink()
    (artifact.path / name).symlink_to(target)
    kind = "bad_manifest" if name == "manifest.json" else "symbolic_link"
    assert found(artifact) == {(kind, name)}
    if name == LABELS:
        with pytest.raises(IntegrityError, match="symbolic link"):
            artifact.labels()


def test_a_table_folder_that_is_a_link_is_named(artifact: Artifact, tmp_path: Path) -> None:
    (artifact.path / "labels").rename(tmp_path / "elsewhere")
    (artifact.path / "labels").symlink_to(tmp_path / "elsewhere")
    assert found(artifact) == {("symbolic_link", LABELS), ("extra_file", "labels")}
    for inside in (".git", ".cache"):
        (artifact.path / inside).symlink_to("/etc")
    assert {("extra_file", ".git"), ("extra_file", ".cache")} <= found(artifact)


@pytest.mark.parametrize("name", [LABELS, "README.md", "manifest.json", "new"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder"])
def test_pipes_sockets_and_folders_in_the_place_of_files_are_named_and_not_waited_for(
    artifact: Artifact, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = artifact.path / name
    path.unlink(missing_ok=True)
    monkeypatch.chdir(path.parent)  # a socket's name has to be short
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(path.name)
    else:
        path.mkdir()
        (path / "x").touch()
    expected = {"manifest.json": ("bad_manifest", name), "new": ("extra_file", name)}.get(name, ("not_a_file", name))
    inside = {("extra_file", f"{name}/x")} if kind == "folder" and name != "manifest.json" else set()
    expected = set() if (kind, name) == ("folder", "new") else {expected}
    assert found(artifact) == expected | inside


def test_a_file_in_the_place_of_a_table_folder_is_named(artifact: Artifact) -> None:
    (artifact.path / LABELS).unlink()
    (artifact.path / "labels").rmdir()
    (artifact.path / "labels").write_bytes(b"x")
    assert found(artifact) == {("missing_file", LABELS), ("extra_file", "labels")}


def test_folders_nested_a_thousand_deep_are_walked(artifact: Artifact) -> None:
    before = os.getcwd()
    try:
        os.chdir(artifact.path)
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
        Path("x").touch()
        kinds = {kind for kind, _ in found(artifact)}
        assert kinds in ({"extra_file"}, {"unreadable_file"})  # some systems take no path of that length
        Path("x").unlink()
        while Path("../d").exists():
            os.chdir("..")
            os.rmdir("d")
    finally:
        os.chdir(before)


# Tables


def mixed(artifact: Artifact, other: Artifact, table: str) -> None:
    """Put a table of another artifact in, with a manifest that fits."""
    name = f"{table}/00000-of-00001.parquet"
    entry = other.manifest.file(name)
    assert entry
    put(artifact, name, (other.path / name).read_bytes(), rows=entry.rows)


@pytest.mark.parametrize(
    ("table", "kinds"),
    [
        ("labels", {"orphan_label", "logical_digest", "wrong_count", "unknown_id", "wrong_prompt", "scores_digest"}),
        ("candidates", {"orphan_label", "logical_digest", "wrong_count", "unknown_id", "scores_digest"}),
        ("original", {"unaccounted_row", "logical_digest", "wrong_count", "wrong_prompt"}),
    ],
)
def test_a_table_of_another_version_is_named(artifact: Artifact, tmp_path: Path, table: str, kinds: set[str]) -> None:
    draft = make_draft(rows=9)
    for row in draft.rows[:3]:
        row.prompt[1]["content"] = "Another question."
    for candidate in draft.candidates:
        candidate.text += "!"
    for label in draft.labels:
        label.completion[0]["content"] += "!"
    mixed(artifact, write_artifact(tmp_path / "b", draft), table)
    seen = {kind for kind, _ in found(artifact)}
    assert "logical_digest" in seen and len(seen & kinds) >= 3, seen


def test_shards_of_another_count_are_named(artifact: Artifact, tmp_path: Path) -> None:
    other = write_artifact(tmp_path / "b", make_draft(), shards=2)
    for entry in other.manifest.files:
        if entry.path.startswith("labels/"):
            (artifact.path / entry.path).write_bytes((other.path / entry.path).read_bytes())
    kept = [f for f in artifact.manifest.files if not f.path.startswith("labels/")]
    files = [*kept, *(f for f in other.manifest.files if f.path.startswith("labels/"))]
    (artifact.path / LABELS).unlink()
    (artifact.path / "manifest.json").write_bytes(artifact.manifest.sealed(files=files).to_json())
    assert found(artifact) == {("wrong_files", "manifest.json")}
    (artifact.path / "manifest.json").write_bytes(other.manifest.sealed(shards=1).to_json())
    assert ("wrong_files", "manifest.json") in found(artifact)


def test_a_script_that_the_manifest_lists_is_no_part_of_an_artifact(artifact: Artifact) -> None:
    (artifact.path / "load.py").write_bytes(b"print('hello')")
    entry = artifact.manifest.files[0].model_copy(
        update={"path": "load.py", "sha256": file_digest(artifact.path / "load.py"), "bytes": 14}
    )
    sealed = artifact.manifest.sealed(files=[*artifact.manifest.files, entry])
    (artifact.path / "manifest.json").write_bytes(sealed.to_json())
    assert found(artifact) == {("wrong_files", "manifest.json")}


def rewritten(artifact: Artifact, change, **settings) -> bytes:
    """The labels written anew as another table, by pyarrow's own defaults but for some."""
    sink = pa.BufferOutputStream()
    pq.write_table(change(pq.read_table(artifact.path / LABELS)), sink, **settings)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.drop_columns(["score"]),
        lambda t: t.append_column("more", pa.array([1] * len(t))),
        lambda t: t.select(t.column_names[::-1]),
        lambda t: t.rename_columns(["ID", *t.column_names[1:]]),
        lambda t: t.set_column(
            t.column_names.index("candidate"),
            pa.field("candidate", pa.int64(), nullable=False),
            t["candidate"].cast(pa.int64()),
        ),
        lambda t: t.cast(pa.schema([f.with_nullable(True) for f in t.schema])),
        lambda t: t.select([]),
    ],
)
def test_other_columns_orders_and_types_are_named(artifact: Artifact, change) -> None:
    put(artifact, LABELS, rewritten(artifact, change))
    assert found(artifact) == {("wrong_columns", LABELS)}


@pytest.mark.parametrize(
    "settings",
    [
        {},  # no chunks by content, no page index, snappy
        {"compression": "none", "use_dictionary": False},
        {"compression": "gzip", "data_page_version": "2.0", "row_group_size": 2},
        {"compression": "lz4", "version": "1.0", "data_page_size": 64, "write_statistics": False},
    ],
)
def test_a_table_of_an_older_writer_is_read(artifact: Artifact, settings: dict) -> None:
    put(artifact, LABELS, rewritten(artifact, lambda table: table, **settings))
    assert found(artifact) == set()
    assert Artifact.open(artifact.path).labels().height == 5


@pytest.mark.parametrize("notes", [{"huggingface": "{"}, {"huggingface": "{}"}, {"pandas": "{"}, {b"a": b"\xff"}])
def test_notes_on_the_columns_are_named_and_never_believed(artifact: Artifact, notes: dict) -> None:
    put(artifact, LABELS, rewritten(artifact, lambda table: table.replace_schema_metadata(notes)))
    assert found(artifact) == {("wrong_columns", LABELS)}
    for streaming in (False, True):
        with pytest.raises(IntegrityError, match="carries notes on its columns"):
            Artifact.open(artifact.path).dataset("labels", streaming=streaming)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.drop_columns(["messages"]),
        lambda t: t.append_column("evil", pa.array(["x"] * len(t))),
        lambda t: t.rename_columns(["ID", *t.column_names[1:]]),
        lambda t: t.set_column(6, "candidate", t["candidate"].cast(pa.int64())),
    ],
)
def test_reading_refuses_other_columns_as_verifying_does(artifact: Artifact, change) -> None:
    put(artifact, LABELS, rewritten(artifact, change))
    for read in (
        lambda a: a.labels(),
        lambda a: list(a.iter_labels()),
        lambda a: a.dataset("labels"),
        lambda a: a.dataset("labels", streaming=True),
    ):
        with pytest.raises(IntegrityError, match="its columns are not those of labels"):
            read(Artifact.open(artifact.path))


def test_columns_as_other_writers_write_them_are_read_in_order(artifact: Artifact) -> None:
    before = artifact.dataset("labels").to_list()
    wide = pa.schema(
        [pa.field(f.name, pa.large_string() if f.type == pa.string() else f.type) for f in SCHEMAS["labels"]]
    )
    put(artifact, LABELS, rewritten(artifact, lambda table: table.cast(wide).select(table.column_names[::-1])))
    opened = Artifact.open(artifact.path)
    assert opened.labels().columns == SCHEMAS["labels"].names
    assert opened.dataset("labels").to_list() == before == list(opened.dataset("labels", streaming=True))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1",
        b"PAR1PAR1",
        b"x" * 100,
        b"PAR1" + b"\xff" * 50 + b"\xff\xff\xff\xffPAR1",
        b"PAR1" + b"\0" * 90 + b"PARE",
    ],
)
def test_bytes_that_are_no_table_are_named(artifact: Artifact, data: bytes) -> None:
    put(artifact, LABELS, data)
    assert {kind for kind, _ in found(artifact)} <= {"unreadable_table", "unsafe_table"} and found(artifact)


def test_rows_of_another_number_than_listed_are_named_before_they_are_read(artifact: Artifact) -> None:
    put(artifact, LABELS, (artifact.path / LABELS).read_bytes(), rows=4)
    assert found(artifact) == {("wrong_count", LABELS)}


# Tables that unfold


def dictionary_bomb(rows: int, size: int) -> bytes:
    """A table of dropped rows whose texts are `rows` references to one text of `size` bytes."""
    kind = pa.dictionary(pa.int32(), pa.string())
    texts = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array(["x" * size]))
    schema = pa.schema([pa.field(name, kind, nullable=False) for name in ("id", "reason", "detail")])
    return _written(pa.Table.from_arrays([texts] * 3, schema=schema))


def run_bomb(rows: int, each: int) -> bytes:
    """A table of candidates with `each` equal tokens a row."""
    columns = []
    for field in SCHEMAS["candidates"]:
        if field.name == "token_ids":
            offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * each)
            columns.append(pa.ListArray.from_arrays(offsets, pa.array(np.zeros(rows * each, np.int32))))
        elif field.nullable:
            columns.append(pa.nulls(rows, field.type))
        else:
            empty = "x" if pa.types.is_string(field.type) else [] if pa.types.is_list(field.type) else 0
            columns.append(pa.array([empty] * rows, field.type))
    return _written(pa.Table.from_arrays(columns, schema=SCHEMAS["candidates"]))


def page_bomb(rows: int, size: int) -> bytes:
    """A table of dropped rows with long texts that compression makes small."""
    ids = pa.array([str(n) for n in range(rows)])
    table = pa.Table.from_arrays([ids, ids, pa.array(["y" * size] * rows)], schema=SCHEMAS["dropped"])
    return _written(table, use_dictionary=False)


def prefix_bomb(rows: int, size: int) -> bytes:
    """A table of dropped rows whose texts are each the one before and nothing more."""
    ids = pa.array([str(n) for n in range(rows)])
    table = pa.Table.from_arrays([ids, ids, pa.array(["y" * size] * rows)], schema=SCHEMAS["dropped"])
    return _written(table, use_dictionary=False, column_encoding={"detail": "DELTA_BYTE_ARRAY"})


def _written(table: pa.Table, **settings) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", store_schema=False, **settings)
    return sink.getvalue().to_pybytes()


BOMBS = {
    "dictionary": (lambda: dictionary_bomb(100_000, 100_000), DROPPED, 100_000),
    "dictionary of short texts": (lambda: dictionary_bomb(2_000_000, 200), DROPPED, 2_000_000),
    "runs": (lambda: run_bomb(1000, 20_000), CANDIDATES, 1000),
    "pages": (lambda: page_bomb(300, 1_000_000), DROPPED, 300),
    "prefixes": (lambda: prefix_bomb(300, 1_000_000), DROPPED, 300),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_table_that_would_fill_the_memory_is_refused(
    artifact: Artifact, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footers, "MOST_GROUP_BYTES", 1 << 28)  # so that the bombs are soon made
    make, path, rows = BOMBS[name]
    put(artifact, path, make(), rows=rows)
    assert found(artifact) == {("unreadable_table" if name == "prefixes" else "unsafe_table", path)}


def test_a_kilobyte_that_holds_ten_gigabytes_is_refused_in_little_memory(artifact: Artifact) -> None:
    put(artifact, DROPPED, dictionary_bomb(100_000, 100_000), rows=100_000)
    assert (artifact.path / DROPPED).stat().st_size < 2000
    code = (
        "import sys; from pathlib import Path; from datasets_cards import Artifact, verify\n"
        "from datasets_cards.tables.footers import check_footer\n"
        "import polars, resource\n"
        "verify(sys.argv[2])\n"  # so that every library is there before the limit
        "now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + (128 << 20),) * 2)\n"
        "print([finding.kind for finding in verify(sys.argv[1])])\n"
        "try:\n    check_footer(Path(sys.argv[1]) / sys.argv[3], None)\n"
        "except ValueError as error:\n    print(error)\n"
    )
    sound = write_artifact(artifact.path.parent / "sound", make_draft())
    command = [sys.executable, "-c", code, str(artifact.path), str(sound.path), DROPPED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    kinds, line = done.stdout.splitlines()
    assert kinds == "['unsafe_table']"
    assert "unfolds from" in line and "Restore it from its store" in line


def test_many_groups_that_fill_the_memory_together_are_refused(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(artifact, DROPPED, dictionary_bomb(2_000_000, 100), rows=2_000_000)  # two groups of 300 MB each
    check_footer(artifact.path / DROPPED, 2_000_000, "dropped")
    monkeypatch.setattr(footers, "FREE_BYTES", 1 << 29)
    assert found(artifact) == {("unsafe_table", DROPPED)}


def test_reading_refuses_a_bomb_as_verifying_does(artifact: Artifact) -> None:
    put(artifact, DROPPED, dictionary_bomb(100_000, 100_000), rows=100_000)
    opened = Artifact.open(artifact.path)
    for read in (opened.dropped, lambda: list(opened.iter_dropped()), lambda: opened.table_files("dropped")):
        with pytest.raises(IntegrityError, match="unfolds from .* bytes .*Restore it from its store"):
            read()


def test_empty_row_groups_without_end_are_refused(artifact: Artifact) -> None:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMAS["dropped"]) as writer:
        for _ in range(50):
            writer.write_table(SCHEMAS["dropped"].empty_table())
    put(artifact, DROPPED, sink.getvalue().to_pybytes(), rows=0)
    assert found(artifact) == {("unsafe_table", DROPPED)}


def test_columns_of_a_kind_that_no_table_has_are_not_read(tmp_path: Path) -> None:
    wide = pa.array([b"x" * 10_000] * 100, pa.binary(10_000))
    pq.write_table(pa.table({"id": wide}), tmp_path / "wide.parquet")
    with pytest.raises(IntegrityError, match="FIXED_LEN_BYTE_ARRAY"):
        check_footer(tmp_path / "wide.parquet", 100)


def test_many_rows_of_one_long_prompt_are_no_bomb(tmp_path: Path) -> None:
    draft = make_draft(rows=400)
    for row in draft.rows:
        row.prompt[0]["content"] = "Read this first. " * 1000  # 17 KB in each of 400 rows
    assert verify(write_artifact(tmp_path / "a", draft).path) == []


def one_long_prompt(draft: Draft) -> None:
    draft.labels[0].prompt = draft.rows[0].prompt = [{"role": "user", "content": "x" * 50_000_000}]


def a_log_as_prompt(draft: Draft) -> None:
    log = "2026-01-01 00:00:00 INFO request ok\n" * 600_000
    draft.labels[0].prompt = draft.rows[0].prompt = [{"role": "user", "content": log}]


def long_meta(draft: Draft) -> None:
    draft.rows[0].meta = {"page": "a" * 30_000_000}


def many_equal_tokens(draft: Draft) -> None:
    for index in range(2, 1000):
        tokens = [7] * 10_000
        draft.candidates.append(Candidate("r0", "pool-1", index, "candidate", "plain", "Loop", tokens, "length"))


@pytest.mark.parametrize("fill", [one_long_prompt, a_log_as_prompt, long_meta, many_equal_tokens])
def test_what_echoset_writes_echoset_reads_however_well_it_packs(tmp_path: Path, fill) -> None:
    draft = make_draft()
    fill(draft)
    artifact = write_artifact(tmp_path / "a", draft)
    assert sum(file.stat().st_size for file in artifact.path.glob("*/*.parquet")) < 2_000_000
    assert verify(artifact.path) == []
    assert artifact.labels().height == 5 and artifact.original().height == 6
    assert sum(1 for _ in artifact.iter_candidates()) == len(draft.candidates)


def test_a_footer_that_lies_about_its_rows_or_sizes_is_named(artifact: Artifact) -> None:
    data = (artifact.path / DROPPED).read_bytes()
    at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for position in range(at, len(data) - 8):
        for value in (0x00, 0x7F, 0xFF):
            lying = bytearray(data)
            lying[position] = value
            path = artifact.path / "lying.parquet"
            path.write_bytes(lying)
            try:
                check_footer(path, 1)
            except IntegrityError as error:
                assert str(error).isprintable()


def test_page_headers_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pages"
    generator = random.Random(0)
    for _ in range(300):
        path.write_bytes(generator.randbytes(200))
        with open(path, "rb") as file, pytest.raises(ValueError):
            read_chunk(file.fileno(), 0, 200)


# Everything at once


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Some bytes changed, lost or put in; more often near the end, where Parquet says what it holds."""
    fresh = bytearray(data)
    for _ in range(generator.choice([1, 1, 2, 8])):
        near_end = generator.random() < 0.5
        at = max(0, len(fresh) - 1 - generator.randrange(3000)) if near_end else generator.randrange(max(1, len(fresh)))
        how = generator.randrange(5)
        if how == 0:
            fresh[at : at + 1] = generator.randbytes(1)
        elif how == 1:
            fresh[at : at + 4] = generator.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"])
        elif how == 2:
            del fresh[at : at + generator.randrange(1, 20)]
        elif how == 3:
            fresh[at:at] = generator.randbytes(generator.randrange(1, 9))
        else:
            fresh[at : at + 1] = bytes([(fresh[at : at + 1] or b"x")[0] ^ 1 << generator.randrange(8)])
    return bytes(fresh)


@pytest.mark.parametrize("fitting", [False, True], ids=["changed", "with fitting hashes"])
def test_whatever_happens_to_a_file_verify_says_so_and_never_fails(artifact: Artifact, fitting: bool) -> None:
    names = [file.path for file in artifact.manifest.files] + ([] if fitting else ["manifest.json"])
    sound = {name: (artifact.path / name).read_bytes() for name in [*names, "manifest.json"]}
    before = {table: getattr(Artifact.open(artifact.path), table)() for table in SCHEMAS}
    generator = random.Random(1)
    for turn in range(200):
        name = generator.choice([n for n in names if n.endswith(".parquet")] if fitting else names)
        data = mutated(sound[name], generator)
        if fitting:
            put(artifact, name, data)
        else:
            (artifact.path / name).write_bytes(data)
        started = time.monotonic()
        findings = verify(artifact.path)
        assert time.monotonic() - started < 2, (turn, name)
        assert all(str(finding).isprintable() for finding in findings)
        if name.endswith(".parquet"):
            with suppress(EchosetError):
                getattr(Artifact.open(artifact.path), name.split("/")[0])()
        if not findings:  # then it says what it said before, or the change was in what no digest covers
            opened = Artifact.open(artifact.path)
            for table, frame in before.items():
                covered = [c for c in frame.columns if c not in ("pool", "token_count", "error", "detail")]
                assert getattr(opened, table)().select(covered).equals(frame.select(covered)), (turn, name)
            assert fitting or data == sound[name] or name == "manifest.json", (turn, name)
        for path, content in sound.items():
            (artifact.path / path).write_bytes(content)


def test_a_mutated_manifest_opens_or_is_refused_in_one_line(artifact: Artifact) -> None:
    path = artifact.path / "manifest.json"
    sound, generator = path.read_bytes(), random.Random(2)
    for _ in range(300):
        path.write_bytes(mutated(sound, generator))
        try:
            Artifact.open(artifact.path)
        except EchosetError as error:
            assert str(error).isprintable()
