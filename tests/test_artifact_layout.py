"""Digests don't see the layout; the layout sees nothing but a shard's own rows; parts share no row and lose none."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drafts import make_draft
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_artifact_writer import batch, finish

from datasets_cards import Artifact, ArtifactWriter, Candidate, Draft, InputError, Row, write_artifact
from datasets_cards.canonical import Digests, file_digest
from datasets_cards.tables import layout
from datasets_cards.tables.layout import ends_group, row_bytes, shards_for
from datasets_cards.tables.schemas import SCHEMAS, id_hash, read_table, shard_of, to_arrow


def written(out: Path, draft: Draft, cuts: list[int], **options) -> Artifact:
    with ArtifactWriter(out, rows=len(draft.rows), overwrite=True, **options) as writer:
        for start, end in pairwise([0, *sorted(cuts), len(draft.rows)]):
            writer.add(**batch(draft, start, end))
        return finish(writer, draft)


def digests(artifact: Artifact) -> tuple[str, str]:
    found = Digests()
    found.add(artifact.iter_original(), artifact.iter_candidates(), artifact.iter_labels(), artifact.iter_dropped())
    return found.logical(), found.scores()


def hashes(artifact: Artifact) -> dict[str, str]:
    return {file.path: file.sha256 for file in artifact.manifest.files if file.rows is not None}


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups and batches so small that a test's few rows fill many."""
    monkeypatch.setattr(layout, "GROUP_BYTES", 1_000)
    monkeypatch.setattr(layout, "BATCH_ROWS", 64)


# What the digests leave out.


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 8), st.integers(1, 50), st.integers(100, 20_000), st.lists(st.integers(0, 40), max_size=4))
def test_digests_are_those_of_the_rows_in_any_layout(tmp_path: Path, shards, row_group, group_bytes, cuts) -> None:
    draft = make_draft(rows=40, dropped=3)
    plain = Digests()
    plain.add(draft.rows, draft.candidates, draft.labels, draft.dropped)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "GROUP_BYTES", group_bytes)
        artifact = written(tmp_path / "a", draft, cuts, shards=shards, row_group=row_group)
    assert digests(artifact) == (plain.logical(), plain.scores())
    assert (artifact.manifest.logical_digest, artifact.manifest.scores_digest) == (plain.logical(), plain.scores())


def by_polars(path: Path) -> None:
    pl.read_parquet(path).write_parquet(path, compression="lz4", row_group_size=4, statistics=False)


def by_polars_uncompressed(path: Path) -> None:
    pl.read_parquet(path).write_parquet(path, compression="uncompressed")


def by_the_first_format(path: Path) -> None:
    pq.write_table(pq.ParquetFile(path).read(), path, version="1.0", compression="gzip", use_dictionary=False)


def by_the_latest_format(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    pq.write_table(table, path, version="2.6", data_page_version="2.0", compression="snappy", row_group_size=5)


def by_large_strings_and_other_column_order(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    wide = {pa.string(): pa.large_string()}
    kinds = [(field.name, wide.get(field.type, field.type)) for field in table.schema]
    table = table.cast(pa.schema(kinds)).select(table.column_names[::-1])
    pq.write_table(table, path, store_schema=False, write_batch_size=3)


@pytest.mark.parametrize(
    "rewrite",
    [
        by_polars,
        by_polars_uncompressed,
        by_the_first_format,
        by_the_latest_format,
        by_large_strings_and_other_column_order,
    ],
)
def test_digests_are_those_of_the_rows_whatever_wrote_the_files(tmp_path: Path, rewrite) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(rows=40, dropped=3), shards=3)
    manifest, files = artifact.manifest, []
    for file in manifest.files:
        path = artifact.path / file.path
        if file.rows is not None:
            rewrite(path)
            assert file_digest(path) != file.sha256
        files.append(file.model_copy(update={"sha256": file_digest(path), "bytes": path.stat().st_size}))
    (artifact.path / "manifest.json").write_bytes(manifest.sealed(files=files).to_json())
    assert digests(Artifact.open(artifact.path)) == (manifest.logical_digest, manifest.scores_digest)


# One row, one file a table.


def longer_text(draft: Draft) -> str:
    label = draft.labels[100]
    text = "A longer answer. " * 500  # more than a row group holds
    next(c for c in draft.candidates if (c.id, c.role, c.index) == (label.id, "candidate", 0)).text = text
    label.completion = [{"role": "assistant", "content": text}]
    return label.id


def another_score(draft: Draft) -> str:
    draft.candidates[201].logprob = -77.0
    return draft.candidates[201].id


def another_question(draft: Draft) -> str:
    draft.rows[100].prompt = draft.labels[100].prompt = [{"role": "user", "content": "Quite another question?"}]
    return draft.rows[100].id


def added_row(draft: Draft) -> str:
    other = make_draft(rows=1, dropped=0)
    for record in (*other.rows, *other.candidates, *other.labels):
        record.id = "new"
    draft.rows.insert(100, other.rows[0])
    draft.candidates += other.candidates
    draft.labels += other.labels
    return "new"


def removed_row(draft: Draft) -> str:
    id_ = draft.rows[100].id
    for name in ("rows", "candidates", "labels"):
        setattr(draft, name, [record for record in getattr(draft, name) if record.id != id_])
    return id_


@pytest.mark.parametrize(
    ("change", "tables"),
    [
        (longer_text, {"labels", "candidates"}),
        (another_score, {"candidates"}),
        (another_question, {"labels", "original"}),
        (added_row, {"labels", "candidates", "original"}),
        (removed_row, {"labels", "candidates", "original"}),
    ],
)
def test_one_row_changes_one_file_of_each_table_that_it_touches(
    tmp_path: Path, small_groups: None, change, tables: set[str]
) -> None:
    before = write_artifact(tmp_path / "a", make_draft(rows=500, dropped=9), shards=8)
    for table in ("labels", "candidates", "original"):
        assert all(pq.read_metadata(path).num_row_groups > 3 for path in before.table_files(table))
    draft = make_draft(rows=500, dropped=9)
    id_ = change(draft)
    after = write_artifact(tmp_path / "b", draft, shards=8)
    old, new = hashes(before), hashes(after)
    assert old.keys() == new.keys()
    shard = f"{shard_of(id_, 8):05d}-of-00008.parquet"
    assert {path for path in old if old[path] != new[path]} == {f"{table}/{shard}" for table in tables}


def groups(path: Path) -> list[bytes]:
    """The bytes of each row group's columns as they stand in the file."""
    data, metadata = path.read_bytes(), pq.read_metadata(path)
    found = []
    for number in range(metadata.num_row_groups):
        columns = [metadata.row_group(number).column(n) for n in range(metadata.num_columns)]
        found.append(b"".join(data[c.data_page_offset :][: c.total_compressed_size] for c in columns))
    return found


@pytest.mark.parametrize("change", [added_row, removed_row])
def test_in_that_file_all_row_groups_but_a_few_only_move(tmp_path: Path, small_groups: None, change) -> None:
    before = write_artifact(tmp_path / "a", make_draft(rows=500, dropped=0), shards=1)
    draft = make_draft(rows=500, dropped=0)
    change(draft)
    after = write_artifact(tmp_path / "b", draft, shards=1)
    for table in ("labels", "candidates", "original"):
        (old,), (new,) = before.table_files(table), after.table_files(table)
        assert len(groups(new)) > 40
        assert 1 <= len(set(groups(new)) - set(groups(old))) <= 4


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 150), max_size=5))
def test_writing_again_in_other_batches_gives_the_same_bytes(tmp_path: Path, small_groups: None, cuts) -> None:
    draft = make_draft(rows=150, dropped=5)
    first = written(tmp_path / "a", draft, [], shards=2)
    assert hashes(written(tmp_path / "b", draft, cuts, shards=2)) == hashes(first)


@pytest.mark.parametrize("row_group", [5, 8192])
def test_a_row_group_ends_where_its_own_rows_say(tmp_path: Path, small_groups: None, row_group: int) -> None:
    draft = make_draft(rows=300, dropped=0)
    draft.candidates[77].text = "x" * 10_000
    draft.labels[77].candidate = 1
    draft.labels[77].completion = [{"role": "assistant", "content": "Answer 1 of r77\n"}]
    artifact = write_artifact(tmp_path / "a", draft, shards=2, row_group=row_group)
    kinds = set()
    for table in ("labels", "candidates", "original"):
        for path in artifact.table_files(table):
            with pq.ParquetFile(path) as file:
                parts = [file.read_row_group(number) for number in range(file.num_row_groups)]
            for number, part in enumerate(parts):
                sizes, ids = row_bytes(part), part["id"].to_pylist()
                ends = ends_group(pa.array(map(id_hash, ids)).to_numpy(), sizes)
                assert not ends[:-1].any()
                assert sizes[:-1].sum() < 1_000
                assert len(ids) <= row_group
                reasons = {"said": ends[-1], "large": sizes.sum() >= 1_000, "long": len(ids) == row_group}
                kinds |= {name for name, holds in reasons.items() if holds}
                assert any(reasons.values()) or number == len(parts) - 1
    assert kinds == ({"said", "long", "large"} if row_group == 5 else {"said", "large"})


def test_row_groups_end_once_in_their_size_on_average() -> None:
    ids = pa.array([id_hash(f"row-{n}") for n in range(50_000)]).to_numpy()
    sizes = pa.array([500 + n % 1500 for n in range(50_000)]).to_numpy()
    assert sizes.sum() / layout.GROUP_BYTES == pytest.approx(ends_group(ids, sizes).sum(), rel=0.3)
    # An id's candidates are told apart by their sizes: or else a pool of eight would end a group eight times or never.
    first, second = (ends_group(ids * 0 + ids[7], sizes * 100 + n) for n in range(2))
    assert first.any()
    assert (first != second).any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=9), st.none() | st.lists(st.text(max_size=9), max_size=2)), max_size=5))
def test_a_rows_bytes_are_those_of_its_values(parts) -> None:
    def said(texts: list[str] | None) -> list | None:
        return None if texts is None else [{"role": "user", "content": text} for text in texts]

    rows = [Row(f"r{n}", said([text]) or [], said(texts), {"t": text}) for n, (text, texts) in enumerate(parts)]
    table = to_arrow(rows, "original")
    expected = [
        sum(len(text.encode()) for text in (row["id"], row["meta"]))
        + sum(len((m["role"] + m["content"]).encode()) for m in row["prompt"] + (row["completion"] or []))
        for row in table.to_pylist()
    ]
    assert row_bytes(table).tolist() == expected
    assert row_bytes(table.slice(1)).tolist() == expected[1:]


def test_a_candidates_bytes_count_its_tokens_and_numbers() -> None:
    c = Candidate("r", "pool", 0, "candidate", "plain", "üü", [1, 2, 3], "stop", -1.0, None, [], None)
    # index, three tokens and their count at 4 bytes, two log-probabilities at 8, the verdict at 1
    assert row_bytes(to_arrow([c], "candidates")).tolist() == [len("rpoolcandidateplainstop") + 4 + 5 * 4 + 2 * 8 + 1]


@pytest.mark.parametrize(
    ("rows", "shards"),
    [(0, 1), (10_000, 1), (20_000, 1), (20_001, 2), (40_000, 2), (40_001, 4), (1_000_000, 64), (10**9, 64)],
)
def test_shards_are_a_power_of_two_of_at_most_20_000_rows(tmp_path: Path, rows: int, shards: int) -> None:
    assert shards_for(rows) == shards
    assert ArtifactWriter(tmp_path / "a", rows=rows).shards == shards


def test_files_are_compressed_and_indexed(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft())
    for table in ("labels", "candidates", "original", "dropped"):
        (path,) = artifact.table_files(table)
        assert pq.read_schema(path).equals(SCHEMAS[table])
        group = pq.read_metadata(path).row_group(0)
        columns = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
        assert {column.compression for column in columns.values()} == {"ZSTD"}
        assert all(column.has_offset_index for column in columns.values())
        assert columns["id"].has_column_index
        assert not {"text", "meta", "detail"} & {name for name, c in columns.items() if c.is_stats_set}


# The column that says nothing new.


def test_messages_are_prompt_and_completion_and_readers_do_without(tmp_path: Path) -> None:
    draft = make_draft()
    artifact = write_artifact(tmp_path / "a", draft)
    assert artifact.labels()["messages"].to_list() == [label.prompt + label.completion for label in draft.labels]
    (path,) = artifact.table_files("labels")
    pq.write_table(pq.read_table(path).drop_columns(["messages", "row_digest"]), path)
    assert list(read_table(path, "labels")) == draft.labels


# Parts.


@pytest.mark.parametrize("of", [1, 2, 3, 4, 5, 8, 9, 16, 50])
def test_parts_share_no_row_lose_none_and_keep_together_what_is_of_one_row(tmp_path: Path, of: int) -> None:
    draft = make_draft(rows=200, dropped=40)
    artifact = write_artifact(tmp_path / "a", draft, shards=4)
    rows, labels, candidates, dropped, pools = [], [], [], [], []
    for part in range(of):
        own = list(artifact.iter_original(part, of))
        ids = {row.id for row in own}
        rows += own
        labels += (of_part := list(artifact.iter_labels(part=part, of=of)))
        candidates += (drawn := list(artifact.iter_candidates(part, of)))
        dropped += (without := list(artifact.iter_dropped(part, of)))
        assert {record.id for record in (*of_part, *without)} == {record.id for record in drawn} == ids
        pools += artifact.pools(part, of)
        assert [row for row, _ in artifact.pools(part, of)] == own
    assert sorted(map(repr, rows)) == sorted(map(repr, draft.rows))
    assert sorted(map(repr, labels)) == sorted(map(repr, draft.labels))
    assert sorted(map(repr, candidates)) == sorted(map(repr, draft.candidates))
    assert sorted(map(repr, dropped)) == sorted(map(repr, draft.dropped))
    assert sum(len(pool) for _, pool in pools) == len(draft.candidates)


def test_a_part_reads_only_its_own_files(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(rows=60, dropped=0), shards=4)
    third = [label.id for label in artifact.iter_labels(2, 4)]
    for number in (0, 1, 3):
        (artifact.path / f"labels/{number:05d}-of-00004.parquet").unlink()
    opened = Artifact.open(artifact.path)
    assert [label.id for label in opened.iter_labels(2, 4)] == third
    assert {label.id for n in (2, 6) for label in opened.iter_labels(n, 8)} == set(third)


@pytest.mark.parametrize(("part", "of"), [(1, 1), (-1, 2), (0, 0), (4, 4)])
def test_a_part_that_is_none_is_refused_at_once(tmp_path: Path, part: int, of: int) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft())
    for read in (artifact.iter_original, artifact.iter_labels, artifact.pools):
        with pytest.raises(InputError, match=f"no part {part} of {of}"):
            read(part, of)


# The `datasets` library.


def test_tables_become_datasets_without_a_cache_or_a_network(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "odd [name] *?" / "a=1", make_draft(rows=30), shards=4)
    script = f"""
import socket
reached = []
def nobody(*args, **options):
    reached.append(args)
    raise OSError("no network")
socket.getaddrinfo = socket.socket.connect = nobody
import datasets
from datasets.distributed import split_dataset_by_node
from datasets_cards import Artifact, InputError
artifact = Artifact.open({str(artifact.path)!r})
for table, rows in (("labels", 29), ("candidates", 90), ("original", 30), ("dropped", 1)):
    whole, stream = artifact.dataset(table), artifact.dataset(table, streaming=True)
    assert isinstance(whole, datasets.Dataset) and isinstance(stream, datasets.IterableDataset)
    assert whole.num_rows == rows and whole.features == stream.features, (whole, stream)
    assert stream.num_shards == 4 and list(stream) == list(whole)
labels = artifact.dataset()
assert labels[0]["messages"] == labels[0]["prompt"] + labels[0]["completion"]
assert labels._fingerprint == artifact.dataset("labels")._fingerprint != artifact.dataset("dropped")._fingerprint
assert labels.map(lambda row: {{"length": len(row["prompt"])}})["length"][:3] == [2, 2, 2]
streams = [split_dataset_by_node(artifact.dataset(streaming=True), rank=r, world_size=2) for r in range(2)]
assert [s.num_shards for s in streams] == [2, 2]
assert sorted(row["id"] for s in streams for row in s) == sorted(labels["id"])
try:
    artifact.dataset("answers")
except InputError as error:
    assert "no table 'answers'" in str(error)
else:
    raise AssertionError
assert not reached, reached
"""
    home = tmp_path / "home"
    home.mkdir()
    # A process of its own: `datasets` reads where its cache lies when it is imported.
    env = os.environ | {"HOME": str(home), "HF_HOME": str(home / "hf")}
    for name in ("HF_DATASETS_CACHE", "XDG_CACHE_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        env.pop(name, None)
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [path for path in home.rglob("*") if path.is_file()] == []
