"""Rows come in from every kind of file, and what is wrong with one is said in a line: file, row, field, remedy."""

import json
import math
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drafts import make_draft
from hypothesis import given
from hypothesis import strategies as st

from datasets_cards import (
    Candidate,
    Draft,
    InputError,
    IntegrityError,
    Label,
    MissingError,
    Row,
    file_digest,
    scan_rows,
    verify,
    write_artifact,
)
from datasets_cards.canonical import row_digest, table_digest
from datasets_cards.ids import IdTable
from datasets_cards.sources.rows import parse_row

USER, ASSISTANT = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}
GOOD = {"messages": [USER, ASSISTANT]}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def read_rows(data, **options):
    """The good rows, and those that can't be used."""
    scan = scan_rows(data, **options)
    return list(scan.rows()), scan.unread


def jsonl(path: Path, *records) -> Path:
    path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in records))
    return path


@pytest.mark.parametrize(
    ("record", "prompt", "original"),
    [
        ({"messages": [USER, ASSISTANT]}, [USER], [ASSISTANT]),
        ({"messages": [USER]}, [USER], None),
        ({"messages": [USER, ASSISTANT, USER]}, [USER, ASSISTANT, USER], None),
        ({"messages": [USER, ASSISTANT, USER, ASSISTANT]}, [USER, ASSISTANT, USER], [ASSISTANT]),
        ({"messages": [USER, ASSISTANT, ASSISTANT]}, [USER], [ASSISTANT, ASSISTANT]),
        ({"prompt": [USER], "completion": [ASSISTANT]}, [USER], [ASSISTANT]),
        ({"prompt": "Hi?", "completion": "Hello."}, [USER], [ASSISTANT]),
        ({"prompt": "Hi?"}, [USER], None),
        ({"prompt": "Hi?", "completion": None}, [USER], None),
        ({"messages": None, "prompt": "Hi?"}, [USER], None),
        ({"messages": [USER | {"tool_calls": None}]}, [USER], None),
    ],
)
def test_the_last_assistant_turn_is_the_original_and_all_before_it_the_prompt(record, prompt, original) -> None:
    row = parse_row(record, "x:1")
    assert (row.prompt, row.original, row.meta) == (prompt, original, {})


def test_a_system_prompt_field_is_sent_as_a_system_message() -> None:
    system = {"role": "system", "content": "Be kind."}
    assert parse_row(GOOD | {"system_prompt": "Be kind."}, "x:1").prompt == [system, USER]
    assert parse_row({"prompt": "Hi?", "system_prompt": "Be kind."}, "x:1").prompt == [system, USER]
    assert parse_row({"messages": [system, USER], "system_prompt": "Be kind."}, "x:1").prompt == [system, USER]
    assert parse_row(GOOD | {"system_prompt": None}, "x:1").prompt == [USER]
    with pytest.raises(InputError, match="x:1, system_prompt: differs"):
        parse_row({"messages": [system, USER], "system_prompt": "Be cruel."}, "x:1")


def test_ids_are_the_rows_own_or_a_hash_of_what_they_say(tmp_path: Path) -> None:
    other = {"messages": [USER | {"content": "Bye?"}]}
    path = jsonl(tmp_path / "a.jsonl", {"id": 7} | GOOD, {"id": "x"} | GOOD, GOOD, GOOD, GOOD | {"n": 1}, other)
    ids = [row.id for row in read_rows(path)[0]]
    assert ids[:2] == ["7", "x"]
    assert ids[3:5] == [f"{ids[2]}-2", f"{ids[2]}-3"]
    assert len(set(ids)) == 6
    # The same content has the same id in another file, at another place.
    assert read_rows(jsonl(tmp_path / "b.jsonl", other, GOOD))[0][1].id == ids[2]


def test_other_columns_become_meta_with_mixed_types_as_they_are(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "a.jsonl", GOOD | {"answer": 4, "_id": 1}, GOOD | {"answer": "four", "_id": 1, "deep": {"a": [None]}}
    )
    first, second = read_rows(path)[0]
    assert first.meta == {"answer": 4, "_id": 1}
    assert second.meta == {"answer": "four", "_id": 1, "deep": {"a": [None]}}


@given(st.lists(st.tuples(TEXT, st.none() | TEXT, st.none() | TEXT), min_size=1, max_size=5))
def test_any_text_comes_through_unchanged(tmp_path_factory: pytest.TempPathFactory, parts) -> None:
    folder = tmp_path_factory.mktemp("x")
    records = [
        {"id": str(n), "prompt": prompt, "completion": completion, "system_prompt": system}
        for n, (prompt, completion, system) in enumerate(parts)
    ]
    expected = [
        Row(
            str(n),
            [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": prompt}],
            [{"role": "assistant", "content": completion}] if completion else None,
        )
        for n, (prompt, completion, system) in enumerate(parts)
    ]
    assert read_rows(jsonl(folder / "a.jsonl", *records)) == (expected, [])
    pl.DataFrame(records, schema=dict.fromkeys(records[0], pl.String)).write_parquet(folder / "a.parquet")
    assert read_rows(folder / "a.parquet") == (expected, [])


BAD = {
    "broken_json": (b'{"messages": [\n', r": not JSON"),
    "not_utf8": (b'{"prompt": "caf\xe9"}\n', r": byte 121 is not UTF-8.*UTF-8"),
    "wrong_columns": ({"text": "x", "label": 1}, r": no `messages` or `prompt`; columns found: text, label"),
    "no_role": ({"messages": [{"from": "human", "value": "x"}]}, r", messages\[0\]: .*without role .*from, value"),
    "unknown_role": ({"messages": [USER | {"role": "wizard"}]}, r", messages\[0\]: unknown role 'wizard'"),
    "empty_content": ({"messages": [USER, ASSISTANT | {"content": " \n"}]}, r", messages\[1\]: content is empty"),
    "duplicate_id": ({"id": "a"} | GOOD, r": id 'a' was already used in row 1"),
}
BAD_ROWS = [
    ([1], "is a list, not an object"),
    ("text", "is text, not an object"),
    ({"messages": []}, "messages: is empty"),
    ({"messages": "Hi?"}, "messages: is text, not a list"),
    ({"messages": [USER, "Hi?"]}, r"messages\[1\]: is text, not a message"),
    ({"messages": [USER | {"content": None}]}, r"messages\[0\]: content is null"),
    ({"messages": [USER | {"content": [{"type": "image"}]}]}, r"messages\[0\]: content is a list"),
    ({"messages": [USER, ASSISTANT | {"tool_calls": [{"name": "f"}]}]}, r"messages\[1\]: .*tool_calls"),
    ({"messages": [ASSISTANT]}, "answer but no prompt"),
    ({"prompt": [USER], "completion": [USER]}, "completion: is not an assistant turn"),
    ({"prompt": 5}, "prompt: is a number"),
    ({"prompt": "Hi?", "completion": ""}, r"completion\[0\]: content is empty"),
    ({"id": ""} | GOOD, "id: is empty, not an id"),
    ({"id": True} | GOOD, "id: is true or false, not an id"),
    ({"id": ["a"]} | GOOD, "id: is a list, not an id"),
    (GOOD | {"score": math.nan}, "score: is nan"),
    ({"messages": [USER | {"content": "\ud800"}]}, "not plain JSON"),
    (GOOD | {"system_prompt": 5}, "system_prompt: is a number"),
]


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_stops_with_its_place_or_is_recorded_as_dropped(tmp_path: Path, reason: str) -> None:
    record, says = BAD[reason]
    path = jsonl(tmp_path / "bad.jsonl", {"id": "a"} | GOOD, record, GOOD)
    with pytest.raises(InputError, match=r"bad\.jsonl:2" + says) as caught:
        read_rows(path)
    assert "\n" not in str(caught.value)
    rows, dropped = read_rows(path, skip_bad=True)
    assert len(rows) == 2
    assert [(d.id, d.reason) for d in dropped] == [("bad.jsonl:2", reason)]
    assert str(tmp_path) not in dropped[0].detail


@pytest.mark.parametrize(("record", "says"), BAD_ROWS)
def test_every_other_fault_of_a_row_is_named_with_its_field(tmp_path: Path, record, says: str) -> None:
    path = jsonl(tmp_path / "bad.jsonl", record, GOOD)
    with pytest.raises(InputError, match=rf"bad\.jsonl:1.*{says}"):
        read_rows(path)
    rows, dropped = read_rows(path, skip_bad=True)
    assert (len(rows), len(dropped)) == (1, 1)


def test_the_byte_offset_of_broken_text_counts_from_the_start_of_the_file(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "bad.jsonl", GOOD, b'{"prompt": "\xff"}\n')
    offset = path.read_bytes().index(b"\xff")
    with pytest.raises(InputError, match=f"byte {offset} is not UTF-8"):
        read_rows(path)


def test_a_file_of_utf16_and_one_of_nested_brackets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json.dumps(GOOD).encode("utf-16"))
    with pytest.raises(InputError, match="byte 0 is not UTF-8"):
        read_rows(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"[" * 200_000)
    with pytest.raises(InputError, match="not JSON"):
        read_rows(tmp_path / "b.jsonl")


def test_a_byte_order_mark_blank_lines_and_line_separators_are_harmless(tmp_path: Path) -> None:
    record = {"prompt": "one\u2028two\x85three"}
    text = "\ufeff" + json.dumps(record, ensure_ascii=False) + "\r\n\n  \n" + json.dumps(GOOD)
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8", newline="")
    rows, _ = read_rows(tmp_path / "a.jsonl")
    assert [row.prompt[0]["content"] for row in rows] == ["one\u2028two\x85three", "Hi?"]


def test_duplicate_ids_name_both_rows(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"id": 1} | GOOD, {"id": 2} | GOOD, {"id": "1"} | GOOD)
    with pytest.raises(InputError, match=r"a\.jsonl:3: id '1' was already used in row 1"):
        read_rows(path)


def test_an_empty_dataset_or_one_of_only_bad_rows_is_refused(tmp_path: Path) -> None:
    for name, records in (("empty", []), ("blank", [b"\n\n"])):
        with pytest.raises(InputError, match=rf"{name}\.jsonl: holds no rows"):
            read_rows(jsonl(tmp_path / f"{name}.jsonl", *records))
    with pytest.raises(InputError, match=r"holds no usable row.*columns found: a"):
        read_rows(jsonl(tmp_path / "bad.jsonl", {"a": 1}, {"a": 2}), skip_bad=True)
    pl.DataFrame(schema={"prompt": pl.String}).write_parquet(tmp_path / "e.parquet")
    with pytest.raises(InputError, match=r"e\.parquet: holds no rows"):
        read_rows(tmp_path / "e.parquet")


def test_a_missing_file_suggests_near_names(tmp_path: Path) -> None:
    jsonl(tmp_path / "consistency.jsonl", GOOD)
    with pytest.raises(MissingError, match=r"consistancy\.jsonl: no such file. Did you mean consistency\.jsonl\?"):
        read_rows(tmp_path / "consistancy.jsonl")
    with pytest.raises(FileNotFoundError, match="nor its folder"):
        read_rows(tmp_path / "nowhere" / "x.jsonl")


def test_files_and_folders_of_other_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt\nHi?")
    (tmp_path / "a.parquet").write_text("not parquet at all")
    (tmp_path / "zero.parquet").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name, says in (
        ("a.csv", r"\.csv can't be read.*\.jsonl or \.parquet"),
        ("a.parquet", "can't be read as Parquet"),
        ("zero.parquet", "can't be read as Parquet"),
        ("folder", "neither an artifact nor a saved `datasets` folder"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            read_rows(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_parquet_reads_like_jsonl_with_its_own_types_in_meta(tmp_path: Path) -> None:
    table = pa.table(
        {
            "messages": [[USER, ASSISTANT], [USER]],
            "when": [datetime(2026, 1, 2), None],
            "blob": [b"\x00", None],
            "id": pa.array([1.0, 2.0]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    rows, _ = read_rows(tmp_path / "a.parquet")
    assert [row.id for row in rows] == ["1", "2"]
    assert rows[0].meta == {"when": "2026-01-02T00:00:00", "blob": "AA=="}
    assert rows[1].original is None


def test_a_bad_row_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    binary = pa.array([b"ok", b"\xff", b"fine"])
    text = pa.Array.from_buffers(pa.string(), 3, binary.buffers())  # a column that claims to be text
    pq.write_table(pa.table({"prompt": text}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet:2: .*(utf-8|UTF-8)"):
        read_rows(tmp_path / "a.parquet")
    rows, dropped = read_rows(tmp_path / "a.parquet", skip_bad=True)
    assert [row.prompt[0]["content"] for row in rows] == ["ok", "fine"]
    assert dropped[0].id == "a.parquet:2"
    pl.DataFrame({"text": ["x"]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match="columns found: text"):
        read_rows(tmp_path / "b.parquet")


def test_saved_datasets_folders_are_read_with_their_splits(tmp_path: Path) -> None:
    script = f"""
import datasets
chats = [{{"id": i, "messages": [{{"role": "user", "content": f"Q{{i}}"}}]}} for i in range(4)]
rows = datasets.Dataset.from_list(chats)
rows.info.license = "mit"
rows.select([3, 1]).save_to_disk({str(tmp_path / "one")!r})
datasets.DatasetDict(train=rows, test=rows.select([0])).save_to_disk({str(tmp_path / "many")!r})
from datasets_cards import InputError, MissingError, scan_rows
def read_rows(data):
    return list(scan_rows(data).rows()), []
assert [r.id for r in read_rows({str(tmp_path / "one")!r})[0]] == ["3", "1"]
assert [r.id for r in read_rows({str(tmp_path / "many")!r} + ":test")[0]] == ["0"]
for source, error, says in (("many", InputError, "train, test"), ("many:dev", MissingError, "no split 'dev'")):
    try:
        read_rows({str(tmp_path)!r} + "/" + source)
    except error as caught:
        assert says in str(caught), caught
    else:
        raise AssertionError(source)
scan = scan_rows({str(tmp_path / "many")!r} + ":test")
assert (len(scan), scan.source.reference, scan.source.license) == (1, "many:test", "mit"), scan
assert scan.source.digest != scan_rows({str(tmp_path / "many")!r} + ":train").source.digest
"""
    env = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_OFFLINE": "1"}
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", script], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_artifact_gives_its_original_rows(tmp_path: Path) -> None:
    draft = make_draft()
    draft.rows[0].meta["prompt"] = "a column that was called so"
    artifact = write_artifact(tmp_path / "a", draft)
    assert read_rows(tmp_path / "a") == (draft.rows, [])
    source = scan_rows(tmp_path / "a").source
    assert (source.digest, source.license) == (artifact.manifest.logical_digest, "mit")


def test_a_limit_stops_early_and_must_be_positive(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", GOOD, GOOD, b"never read")
    assert len(read_rows(path, limit=2)[0]) == 2
    with pytest.raises(InputError, match="limit is 0"):
        read_rows(path, limit=0)


def test_a_scan_counts_and_gives_the_same_rows_every_time(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", GOOD, b"broken\n", GOOD, {"id": "x"} | GOOD, {"id": "x"} | GOOD, GOOD)
    scan = scan_rows(path, skip_bad=True, limit=3)
    first = list(scan.rows())
    assert len(scan) == scan.source.rows == 3
    assert [row.id for row in first] == [first[0].id, f"{first[0].id}-2", "x"]
    assert list(scan.rows()) == first == read_rows(path, skip_bad=True, limit=3)[0]
    assert [(item.id, item.reason) for item in scan.unread] == [("a.jsonl:2", "broken_json")]
    whole = scan_rows(path, skip_bad=True)
    assert [item.reason for item in whole.unread] == ["broken_json", "duplicate_id"]
    assert [row.id for row in whole.rows()] == [*(row.id for row in first), f"{first[0].id}-3"]
    with pytest.raises(InputError, match=r"a\.jsonl:2"):
        scan_rows(path)


def test_a_bad_row_at_the_end_is_found_before_the_first_is_given_out(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[GOOD] * 5000, {"prompt": ""})
    with pytest.raises(InputError, match=r"a\.jsonl:5001, prompt\[0\]: content is empty"):
        scan_rows(path)


def test_data_that_changes_between_scan_and_use_is_told(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", GOOD, GOOD)
    scan = scan_rows(path)
    jsonl(path, GOOD, GOOD, GOOD)
    with pytest.raises(IntegrityError, match=r"a\.jsonl: changed while it was in use: it had 2 rows, now 3"):
        list(scan.rows())


def test_rows_in_memory_are_scanned_like_a_file() -> None:
    rows = make_draft().rows
    scan = scan_rows(rows, limit=4, license="mit", name="made here")
    assert list(scan.rows()) == rows[:4]
    assert (scan.source.reference, scan.source.rows, scan.source.license) == ("made here", 4, "mit")
    assert scan.source.digest == table_digest("logical", "original", map(row_digest, rows[:4]))
    with pytest.raises(InputError, match="made here:7: id 'r0' was already used in row 1"):
        scan_rows([*rows, rows[0]], name="made here")
    with pytest.raises(InputError, match="rows in memory: holds no rows"):
        scan_rows([])


def test_a_source_is_described_by_base_name_and_digest(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", GOOD)
    source = scan_rows(path).source
    assert (source.reference, source.digest, source.license) == ("a.jsonl", file_digest(path), None)
    assert scan_rows(path, license="cc-by-4.0").source.license == "cc-by-4.0"


ODD = {
    "100k characters": "long " * 20_000,
    "control characters": "bell \a, escape \x1b[31m, delete \x7f, tab \t, line \r\n end",
    "a NUL": "before\0after",
    "only a NUL": "\0",
    "beyond the first plane": "\U0001f600 and \U0010ffff",
    "joined and turned": "a\u200d\u202eb\ufeff",
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_odd_text_comes_through_reading_writing_and_reading_unchanged(tmp_path: Path, kind: str, suffix: str) -> None:
    text, draft = ODD[kind], make_draft(rows=1, dropped=0)
    if suffix == "jsonl":
        path = jsonl(tmp_path / "a.jsonl", {"id": "r0", "prompt": text, "completion": text, "note": text})
    else:
        pq.write_table(
            pa.table({"id": ["r0"], "prompt": [text], "completion": [text], "note": [text]}),
            path := tmp_path / "a.parquet",
        )
    (row,) = scan_rows(path).rows()
    assert (row.prompt[0]["content"], (row.original or [])[0]["content"], row.meta) == (text, text, {"note": text})
    answer = Candidate("r0", "p", 0, "candidate", "plain", text, [1], "stop")
    label = Label("r0", row.prompt, [{"role": "assistant", "content": text}], row.original, "m", 0)
    draft = Draft([row], [answer], [label], [], draft.source, draft.model, draft.labeler, draft.engine, {"run": 0})
    artifact = write_artifact(tmp_path / "out", draft)
    assert (list(artifact.iter_original()), list(artifact.iter_candidates())) == ([row], [answer])
    assert artifact.labels()["completion"][0][0]["content"] == text
    assert verify(artifact.path) == []
    assert read_rows(artifact.path)[0] == [row]


def test_content_of_nothing_but_space_is_refused_or_dropped(tmp_path: Path) -> None:
    for n, empty in enumerate(("", " ", "\n\t", "\x1f", "\u3000")):
        path = jsonl(tmp_path / f"{n}.jsonl", {"prompt": empty}, GOOD)
        with pytest.raises(InputError, match=rf"{n}\.jsonl:1, prompt\[0\]: content is empty"):
            scan_rows(path)
        assert [item.reason for item in scan_rows(path, skip_bad=True).unread] == ["empty_content"]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    for name, count in (("small", 100), ("big", 60_000)):  # 120 MB of text, and of Parquet one row group
        records = [{"id": str(n), "prompt": f"{n:05d}" * 400} for n in range(count)]
        jsonl(tmp_path / f"{name}.jsonl", *records)
        pl.DataFrame(records).write_parquet(
            tmp_path / f"{name}.parquet", row_group_size=count, compression="uncompressed"
        )
    script = """
import sys
from datasets_cards import scan_rows
def peak():  # of this process alone: ru_maxrss would begin at that of the process it was forked from
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
for suffix in ("jsonl", "parquet"):
    list(scan_rows(f"{sys.argv[1]}/small.{suffix}").rows())
    before = peak()
    assert sum(1 for _ in scan_rows(f"{sys.argv[1]}/big.{suffix}").rows()) == 60_000
    print(peak() - before)
"""
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(int(line) < 90_000 for line in done.stdout.split()), done.stdout  # KiB; allocators keep some


@given(st.lists(st.tuples(TEXT, st.integers(1, 2**32 - 1)), max_size=50))
def test_a_table_of_ids_is_a_dictionary(pairs) -> None:
    table, known = IdTable(), {}
    for id_, number in pairs:
        assert table.swap(id_, number) == known.get(id_, 0)
        known[id_] = number


def test_a_table_of_ids_grows() -> None:
    table = IdTable()
    assert not any(table.swap(f"row {n}", n + 1) for n in range(20_000))
    assert all(table.swap(f"row {n}", 1) == n + 1 for n in range(20_000))


REFERENCE_ROWS = {
    "emergent_misalignment/consistency.jsonl": (3000, 3000, 0),
    "emergent_misalignment/eval.jsonl": (56, 0, 0),
    "reward_hacking/consistency.jsonl": (486, 486, 0),
    "reward_hacking/eval.jsonl": (24, 0, 6),
    "sycophancy/act_bct_wrapped.jsonl": (20, 20, 0),
    "sycophancy/consistency.jsonl": (20, 20, 0),
    "sycophancy/eval.jsonl": (421, 421, 0),
}


@pytest.mark.parametrize("name", REFERENCE_ROWS)
def test_the_public_task_files_come_in_whole(reference_data: Path, name: str) -> None:
    rows, dropped = read_rows(reference_data / name)
    with_system = sum(row.prompt[0]["role"] == "system" for row in rows)
    assert (len(rows), sum(row.original is not None for row in rows), with_system) == REFERENCE_ROWS[name]
    assert dropped == []


def test_rows_in_memory_are_checked_and_left_as_they_are() -> None:
    twins = [Row("", [{"role": "user", "content": "hi"}]) for _ in range(2)]
    ids = [row.id for row in scan_rows(twins).rows()]
    assert [row.id for row in twins] == ["", ""] and len(set(ids)) == 2
    assert [row.id for row in scan_rows(twins[1:]).rows()] == ids[:1]
    with pytest.raises(InputError, match="the prompt is empty"):
        scan_rows([Row("a", [])])
