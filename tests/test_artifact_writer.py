"""An artifact written batch by batch is the one written whole; what contradicts an earlier batch is refused."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from drafts import make_draft
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_cards import (
    SELF_SAMPLE,
    Artifact,
    ArtifactWriter,
    Candidate,
    Draft,
    Dropped,
    InputError,
    IntegrityError,
    Row,
    Score,
    StorageError,
    check_target,
    verify,
    write_artifact,
)

TESTS = Path(__file__).parent


def batch(draft: Draft, start: int, end: int) -> dict:
    """What belongs to some rows of a draft."""
    rows = draft.rows[start:end]
    ids = {row.id for row in rows}
    of_them = {name: [r for r in getattr(draft, name) if r.id in ids] for name in ("candidates", "labels", "dropped")}
    return {"rows": rows} | of_them


def finish(writer: ArtifactWriter, draft: Draft) -> Artifact:
    names = ("source", "model", "labeler", "engine", "seeds", "scorers", "prompt_tokens", "packages")
    return writer.finish(**{name: getattr(draft, name) for name in names})


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 30), max_size=4), st.integers(1, 3), st.integers(1, 40))
def test_however_it_is_cut_into_batches_not_a_byte_moves(tmp_path: Path, cuts, shards: int, row_group: int) -> None:
    draft = make_draft(rows=30, dropped=4)
    options = {"shards": shards, "row_group": row_group, "overwrite": True}
    whole = write_artifact(tmp_path / "whole", draft, **options)
    with ArtifactWriter(tmp_path / "parts", rows=30, **options) as writer:
        edges = [0, *sorted(cuts), 30]
        for start, end in pairwise(edges):
            writer.add(**batch(draft, start, end))
        parts = finish(writer, draft)
    assert parts.manifest.sealed(created=whole.manifest.created) == whole.manifest
    assert verify(parts.path) == []


def test_leaving_without_finishing_leaves_nothing(tmp_path: Path) -> None:
    draft = make_draft()
    with ArtifactWriter(tmp_path / "a", rows=6) as writer:
        writer.add(**batch(draft, 0, 3))
    assert os.listdir(tmp_path) == []
    # An error of the caller's own stays what it is.
    with pytest.raises(ConnectionError, match="server away"), ArtifactWriter(tmp_path / "a", rows=6) as writer:
        writer.add(**batch(draft, 0, 3))
        raise ConnectionError("server away")
    assert os.listdir(tmp_path) == []


def test_the_old_artifact_stays_until_the_new_one_is_finished(tmp_path: Path) -> None:
    draft = make_draft()
    write_artifact(tmp_path / "a", make_draft(rows=3))
    with ArtifactWriter(tmp_path / "a", rows=6, overwrite=True) as writer:
        writer.add(**batch(draft, 0, 6))
        assert Artifact.open(tmp_path / "a").manifest.counts.rows == 3
        assert finish(writer, draft).manifest.counts.rows == 6
    assert os.listdir(tmp_path) == ["a"]


def test_somebody_who_took_the_place_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    draft = make_draft()
    with pytest.raises(InputError, match="already here"), ArtifactWriter(tmp_path / "a", rows=6) as writer:
        writer.add(**batch(draft, 0, 6))
        write_artifact(tmp_path / "a", make_draft(rows=3))
        finish(writer, draft)
    assert Artifact.open(tmp_path / "a").manifest.counts.rows == 3
    assert os.listdir(tmp_path) == ["a"]


def again(draft: Draft) -> dict:
    return batch(draft, 0, 1)


def dropped_after_its_label(draft: Draft) -> dict:
    return {"dropped": [Dropped("r0", "x")]}


def unread_twice(draft: Draft) -> dict:
    return {"dropped": [Dropped("even.jsonl:9", "x")]}


def label_of_an_earlier_row(draft: Draft) -> dict:
    return {"labels": [draft.labels[0]]}


def candidate_of_an_earlier_row(draft: Draft) -> dict:
    return {"candidates": [draft.candidates[0]]}


def row_without_its_label(draft: Draft) -> dict:
    return batch(draft, 3, 4) | {"labels": []}


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (again, "r0"),
        (dropped_after_its_label, "r0"),
        (unread_twice, "even.jsonl:9"),
        (label_of_an_earlier_row, "r0"),
        (candidate_of_an_earlier_row, "r0"),
        (row_without_its_label, "r3"),
    ],
)
def test_a_batch_that_contradicts_an_earlier_one_is_refused_by_id(tmp_path: Path, fault, names: str) -> None:
    draft = make_draft()
    with ArtifactWriter(tmp_path / "a", rows=6) as writer:
        writer.add(dropped=[Dropped("even.jsonl:9", "broken_json")])
        writer.add(**batch(draft, 0, 3))
        with pytest.raises(InputError, match=f"^{names}: "):
            writer.add(**fault(draft))
    assert os.listdir(tmp_path) == []


def test_rows_that_could_not_be_read_may_come_in_any_batch(tmp_path: Path) -> None:
    draft = make_draft()
    with ArtifactWriter(tmp_path / "a", rows=6) as writer:
        writer.add(dropped=[Dropped("even.jsonl:1", "not_utf8")])
        writer.add(**batch(draft, 0, 4))
        writer.add(dropped=[Dropped("even.jsonl:9", "broken_json")])
        writer.add(**batch(draft, 4, 6))
        artifact = finish(writer, draft)
    assert artifact.manifest.counts.dropped == {"broken_json": 1, "no_agreement": 1, "not_utf8": 1}
    assert verify(artifact.path) == []


# Self-samples as labels.


def take_self_sample(draft: Draft, number: int = 0) -> None:
    draft.labels[number].candidate = SELF_SAMPLE
    draft.labels[number].completion = [{"role": "assistant", "content": "Perhaps."}]


def test_a_label_may_be_the_rows_self_sample(tmp_path: Path) -> None:
    draft = make_draft()
    take_self_sample(draft)
    artifact = write_artifact(tmp_path / "a", draft)
    assert list(artifact.iter_labels()) == draft.labels
    assert verify(artifact.path) == []


def no_baseline(d: Draft) -> None:
    d.candidates = [c for c in d.candidates if c.role != "baseline"]


def another_text(d: Draft) -> None:
    d.labels[0].completion = [{"role": "assistant", "content": "Answer 0 of r0\n"}]


def failed_baseline(d: Draft) -> None:
    next(c for c in d.candidates if c.role == "baseline").finish_reason = "error"


def second_baseline(d: Draft) -> None:
    next(c for c in d.candidates if c.role == "baseline").index = 1


@pytest.mark.parametrize("fault", [no_baseline, another_text, failed_baseline, second_baseline])
def test_a_self_sample_that_is_not_the_baseline_candidate_is_refused(tmp_path: Path, fault) -> None:
    draft = make_draft()
    take_self_sample(draft)
    fault(draft)
    with pytest.raises(InputError, match="^r0: the label is not the text of the row's self-sample"):
        write_artifact(tmp_path / "a", draft)


@pytest.mark.parametrize("role", ["view", "draft", "baseline"])
def test_only_members_of_the_pool_are_named_by_an_index(tmp_path: Path, role) -> None:
    draft = make_draft()
    draft.candidates[0].role = role
    if role == "baseline":
        draft.candidates = [c for c in draft.candidates if c.role != "baseline" or c.pool == "pool-1"]
    with pytest.raises(InputError, match="^r0: the label is not the text of candidate 0"):
        write_artifact(tmp_path / "a", draft)


def test_a_candidate_has_no_index_below_0(tmp_path: Path) -> None:
    draft = make_draft()
    draft.candidates[1].index = -1
    with pytest.raises(InputError, match="^r0: a candidate has the index -1"):
        write_artifact(tmp_path / "a", draft)


# Token counts.


def test_a_candidate_has_one_score_of_a_scorer(tmp_path: Path) -> None:
    draft = make_draft()
    draft.candidates[0].scores += [Score("reward", 0.5)]
    with pytest.raises(InputError, match="r0: candidate 0 has two scores of one scorer"):
        write_artifact(tmp_path / "a", draft)


def test_token_counts_are_kept_and_summed_or_unknown(tmp_path: Path) -> None:
    draft = make_draft(rows=2, dropped=0)
    for c in draft.candidates:
        c.token_ids, c.token_count = [], 11
    draft.candidates.append(Candidate("r0", "pool-1", 9, "candidate", "plain", "", [], "error", error="too long"))
    known = write_artifact(tmp_path / "known", draft)
    assert known.manifest.counts.completion_tokens == 66
    assert known.candidates()["token_count"].to_list().count(11) == 6
    draft.candidates[0].token_count = None
    unknown = write_artifact(tmp_path / "unknown", draft)
    assert unknown.manifest.counts.completion_tokens is None
    assert sorted(map(repr, unknown.iter_candidates())) == sorted(map(repr, draft.candidates))
    assert unknown.manifest.logical_digest == known.manifest.logical_digest
    assert unknown.manifest.scores_digest == known.manifest.scores_digest
    assert verify(unknown.path) == []


# Reading in constant memory.


def test_pools_join_rows_and_candidates_shard_by_shard(tmp_path: Path) -> None:
    draft = make_draft(rows=40, dropped=0)
    bare = Row("bare", [{"role": "user", "content": "?"}])
    draft.rows.insert(7, bare)
    draft.dropped.append(Dropped("bare", "prompt_too_long"))
    artifact = write_artifact(tmp_path / "a", draft, shards=3)
    pools = list(artifact.pools())
    assert [row for row, _ in pools] == list(artifact.iter_original())
    assert [c for _, pool in pools for c in pool] == list(artifact.iter_candidates())
    assert all(c.id == row.id for row, pool in pools for c in pool)
    assert [len(pool) for row, pool in pools if row.id == "bare"] == [0]


def test_candidates_out_of_place_are_not_joined_silently(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft())
    path = artifact.path / "candidates/00000-of-00001.parquet"
    table = pq.read_table(path)
    artifact.table_files("candidates")
    pq.write_table(table.take([*range(3, table.num_rows), 0, 1, 2]), path)
    with pytest.raises(IntegrityError, match="candidates of 'r0' do not stand where its row does"):
        list(artifact.pools())


def test_memory_does_not_grow_with_the_rows_but_for_digests(tmp_path: Path) -> None:
    script = """
import sys
from drafts import make_draft
from test_artifact_writer import batch, finish
from datasets_cards import ArtifactWriter
def peak():  # of this process alone: ru_maxrss would begin at that of the process it was forked from
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
def write(rows):
    with ArtifactWriter(f"{sys.argv[1]}/{rows}", rows=rows, shards=4, row_group=1000) as writer:
        for start in range(0, rows, 500):
            draft = make_draft(rows=500, dropped=0)
            for record in (*draft.rows, *draft.candidates, *draft.labels):
                record.id = f"{start}-{record.id}"
            for candidate in draft.candidates:
                candidate.token_ids, candidate.token_count = list(range(1000, 1400)), 400
            writer.add(rows=draft.rows, candidates=draft.candidates, labels=draft.labels)
        artifact = finish(writer, draft)
    assert sum(1 for _, pool in artifact.pools() for _ in pool) == 3 * rows
write(4_000)
before = peak()
write(20_000)
print(peak() - before)
"""
    env = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (
        int(done.stdout) < 90_000
    )  # KiB; the candidates' tokens alone are 96 MB of Arrow columns, and more as objects


def test_long_rows_are_read_and_verified_one_group_at_a_time(tmp_path: Path) -> None:
    draft = make_draft(rows=150, dropped=0, k=1)
    text = "The quick brown fox. " * 50_000  # a megabyte in each of 150 rows, and next to nothing on disk
    draft.candidates = [c for c in draft.candidates if c.role == "candidate"]
    for record in draft.candidates:
        record.text = text
    for label in draft.labels:
        label.completion = [{"role": "assistant", "content": text}]
    small, large = write_artifact(tmp_path / "small", make_draft()), write_artifact(tmp_path / "large", draft)
    script = """
import sys
from datasets_cards import Artifact, verify
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
for path in sys.argv[1:]:
    before = peak()
    assert verify(path) == [] and sum(1 for _ in Artifact.open(path).iter_labels()) > 0
print(peak() - before)
"""
    command = [sys.executable, "-c", script, str(small.path), str(large.path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(TESTS.parent)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 80_000  # KiB


# Asking before anything is spent.


def test_a_place_that_cannot_be_written_is_found_beforehand(tmp_path: Path) -> None:
    for out in ("/proc/echoset", "/proc/echoset/deep"):
        with pytest.raises(StorageError, match="/proc/echoset"):
            check_target(out)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="in the way"):
        check_target(tmp_path / "file" / "below")
    check_target(tmp_path / "not" / "yet" / "there")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_found_beforehand(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no permission"):
        check_target(tmp_path / "a")
