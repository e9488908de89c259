"""Artifacts round-trip, refuse what contradicts itself, load with `datasets`, and never carry what is not theirs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from drafts import make_draft
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_cards import (
    Artifact,
    Candidate,
    Dropped,
    InputError,
    IntegrityError,
    Labeler,
    MissingError,
    Row,
    Score,
    StorageError,
    attach,
    verify,
    write_artifact,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
FLOAT = st.none() | st.floats(allow_nan=False, allow_infinity=False)
META = st.dictionaries(TEXT, st.none() | st.integers(-(2**60), 2**60) | TEXT | st.lists(TEXT, max_size=2), max_size=3)


def by_id(records):
    return sorted(records, key=lambda r: (r.id, getattr(r, "role", ""), getattr(r, "pool", ""), getattr(r, "index", 0)))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    draft = make_draft()
    artifact = write_artifact(tmp_path / "a", draft)
    assert list(artifact.iter_original()) == draft.rows
    assert list(artifact.iter_labels()) == draft.labels
    assert list(artifact.iter_dropped()) == draft.dropped
    assert by_id(artifact.iter_candidates()) == by_id(draft.candidates)
    counts = artifact.manifest.counts
    assert (counts.rows, counts.labeled, counts.dropped, counts.candidates) == (6, 5, {"no_agreement": 1}, 18)
    assert counts.completion_tokens == 6 * (2 * 3 + 1)
    assert verify(artifact.path) == []
    assert os.listdir(tmp_path) == ["a"]


def test_tables_come_as_frames_with_their_columns(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(dropped=0))
    assert artifact.labels().columns == [
        "id",
        "prompt",
        "completion",
        "original",
        "messages",
        "method",
        "candidate",
        "score",
        "row_digest",
    ]
    assert artifact.original().columns == ["id", "prompt", "completion", "meta"]
    assert artifact.dropped().columns == ["id", "reason", "detail"]
    assert artifact.dropped().height == 0
    assert artifact.candidates().filter(role="baseline").height == 6
    assert artifact.candidates()["behavior_logprob"].null_count() == 6
    assert artifact.labels().schema["prompt"] == pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(TEXT, TEXT, META, FLOAT, st.none() | st.booleans()), min_size=1, max_size=6),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_any_text_and_number_survives_in_any_layout(tmp_path: Path, parts, shards: int, row_group: int) -> None:
    draft = make_draft(rows=len(parts), dropped=0)
    for number, (id_, text, meta, value, verdict) in enumerate(parts):
        name = f"{id_}#{number}"
        draft.rows[number].id = draft.labels[number].id = name
        draft.rows[number].meta = meta
        draft.rows[number].prompt = draft.labels[number].prompt = [{"role": "user", "content": text}]
        for c in draft.candidates:
            if c.id == f"r{number}":
                c.id, c.logprob, c.misaligned = name, value, verdict
    artifact = write_artifact(tmp_path / "a", draft, shards=shards, row_group=row_group, overwrite=True)
    assert by_id(artifact.iter_original()) == by_id(draft.rows)
    assert by_id(artifact.iter_candidates()) == by_id(draft.candidates)
    assert by_id(artifact.iter_labels()) == by_id(draft.labels)
    assert verify(artifact.path) == []


def test_digests_do_not_depend_on_layout_or_order(tmp_path: Path) -> None:
    plain = write_artifact(tmp_path / "a", make_draft(rows=40)).manifest
    for shards, row_group in ((1, 3), (7, 8192), (5, 2)):
        draft = make_draft(rows=40)
        draft.candidates.reverse()
        draft.labels.reverse()
        other = write_artifact(tmp_path / f"{shards}-{row_group}", draft, shards=shards, row_group=row_group).manifest
        assert (other.logical_digest, other.scores_digest) == (plain.logical_digest, plain.scores_digest)
        assert {file.sha256 for file in other.files} != {file.sha256 for file in plain.files}
        assert sum(file.rows or 0 for file in other.files) == sum(file.rows or 0 for file in plain.files)


def test_the_order_in_which_samples_finished_does_not_move_a_byte(tmp_path: Path) -> None:
    draft = make_draft()
    draft.candidates.reverse()
    draft.labels.reverse()
    first = write_artifact(tmp_path / "a", make_draft()).manifest
    assert write_artifact(tmp_path / "b", draft).manifest.files == first.files


def duplicate_row(d):
    d.rows.append(d.rows[0])


def lost_row(d):
    d.labels.pop()


def labeled_and_dropped(d):
    d.dropped.append(Dropped("r0", "x"))


def label_without_candidate(d):
    d.labels[0].candidate = 5


def label_of_other_text(d):
    d.labels[0].completion = [{"role": "assistant", "content": "made up"}]


def label_of_a_failure(d):
    d.candidates[0].finish_reason = "error"


def stranger(d):
    d.candidates.append(Candidate("r99", "p", 0, "candidate", "plain", "x", [], "stop"))


def candidate_twice(d):
    d.candidates.append(d.candidates[0])


def dropped_twice(d):
    d.dropped += [Dropped("even.jsonl:9", "x")] * 2


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (duplicate_row, "r0"),
        (lost_row, "r4"),
        (labeled_and_dropped, "r0"),
        (label_without_candidate, "r0"),
        (label_of_other_text, "r0"),
        (label_of_a_failure, "r0"),
        (stranger, "r99"),
        (candidate_twice, "r0"),
        (dropped_twice, "even.jsonl:9"),
    ],
)
def test_a_draft_that_contradicts_itself_is_refused_by_id(tmp_path: Path, fault, names: str) -> None:
    draft = make_draft()
    fault(draft)
    with pytest.raises(InputError, match=f"^{names}: "):
        write_artifact(tmp_path / "a", draft)
    assert os.listdir(tmp_path) == []


def test_rows_that_could_not_be_read_are_told_beside_the_others(tmp_path: Path) -> None:
    draft = make_draft()
    draft.dropped.append(Dropped("even.jsonl:9", "broken_json", "not JSON"))
    artifact = write_artifact(tmp_path / "a", draft)
    assert artifact.manifest.counts.dropped == {"broken_json": 1, "no_agreement": 1}
    assert verify(artifact.path) == []


def test_an_artifact_is_not_overwritten_unless_told(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", make_draft(rows=3))
    with pytest.raises(InputError, match="already here.*overwrite"):
        write_artifact(tmp_path / "a", make_draft())
    assert write_artifact(tmp_path / "a", make_draft(), overwrite=True).manifest.counts.rows == 6
    assert os.listdir(tmp_path) == ["a"]


def test_what_is_not_an_artifact_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for out in ("thesis", "file", "file/below"):
        with pytest.raises(StorageError, match=f"{out}: .*(holds other files|in the way)"):
            write_artifact(tmp_path / out, make_draft(), overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"
    assert sorted(os.listdir(tmp_path)) == ["file", "thesis"]


def test_an_empty_folder_may_be_filled_and_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert verify(write_artifact(tmp_path / "a", make_draft()).path) == []
    assert verify(write_artifact(tmp_path / "runs/deep/a", make_draft()).path) == []


def test_attaching_bumps_the_patch_and_leaves_the_digests(tmp_path: Path) -> None:
    before = write_artifact(tmp_path / "a", make_draft())
    report = {"shift/report.json": b'{"mmd2": 0.1}\n', "shift/drift.png": b"\x89PNG"}
    after = attach(before, report, summary="MMD^2 is 0.10 [0.05, 0.15].")
    assert (before.manifest.version, after.manifest.version) == ("v0.0.0", "v0.0.1")
    assert after.manifest.logical_digest == before.manifest.logical_digest
    assert verify(after.path) == []
    card = (after.path / "README.md").read_text()
    assert "MMD^2 is 0.10" in card
    assert "(shift/drift.png)" in card
    assert attach(after, report, summary="MMD^2 is 0.10 [0.05, 0.15].").manifest == after.manifest
    # From a handle opened before: nothing that was attached since is lost.
    again = attach(before, {"effects/report.json": b"{}"})
    assert again.manifest.version == "v0.0.2"
    assert "MMD^2 is 0.10" in (after.path / "README.md").read_text()
    assert verify(after.path) == []


@pytest.mark.parametrize(
    "name",
    [
        "../x.json",
        "/etc/x.json",
        "labels/x.json",
        "shift/a/b.json",
        "shift/.x.json",
        "shift/x.pkl",
        f"shift/{'x' * 300}.json",
        f"shift/{'x' * 196}.json",
    ],
)
def test_only_reports_and_pictures_in_their_folders_are_attached(tmp_path: Path, name: str) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft())
    with pytest.raises(InputError, match="can't be attached"):
        attach(artifact, {name: b"x"})
    assert verify(artifact.path) == []


def test_the_longest_name_is_attached(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft())
    assert verify(attach(artifact, {f"shift/{'x' * 195}.json": b"{}"}).path) == []


def test_names_that_differ_in_upper_and_lower_case_alone_are_refused(tmp_path: Path) -> None:
    artifact = attach(write_artifact(tmp_path / "a", make_draft()), {"shift/report.json": b"{}"}, summary="It moved.")
    for names in (["shift/Report.json"], ["effects/a.png", "effects/A.png"], ["shift/SUMMARY.md"]):
        with pytest.raises(InputError, match=f"^{names[-1]}: differs from .* in upper and lower case alone"):
            attach(artifact, dict.fromkeys(names, b"x"))
    with pytest.raises(InputError, match=r"^effects/summary.md: differs from effects/Summary.md"):
        attach(artifact, {"effects/Summary.md": b"x"}, summary="y")
    assert Artifact.open(artifact.path).manifest == artifact.manifest and verify(artifact.path) == []


def test_a_summary_is_never_dropped_and_drops_no_other(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft())
    with pytest.raises(InputError, match="a summary of nothing"):
        attach(artifact, {}, summary="It moved.")
    with pytest.raises(InputError, match="^effects/summary.md: there are two summaries"):
        attach(artifact, {"effects/summary.md": b"One.", "effects/report.json": b"{}"}, summary="Two.")
    assert attach(artifact, {}, summary=" \n").manifest == artifact.manifest
    both = attach(artifact, {"shift/report.json": b"{}", "effects/summary.md": b"One."}, summary="Two.")
    card = (both.path / "README.md").read_text()
    assert "\n## Shift\n\nTwo.\n" in card and "\n## Effect of training on it\n\nOne.\n" in card


def edited(artifact: Artifact, **changes) -> Path:
    path = artifact.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return artifact.path


def test_a_manifest_from_the_future_says_so(tmp_path: Path) -> None:
    path = edited(write_artifact(tmp_path / "a", make_draft()), schema_version=2, what_is_this=1)
    with pytest.raises(IntegrityError, match="later Echoset.*Upgrade"):
        Artifact.open(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"version": "1.0"},
        {"shards": 0},
        {"shards": 10**9},
        {"files": [{"path": "../../etc/passwd", "sha256": "0" * 64, "bytes": 1, "rows": None}]},
        {"files": [{"path": "/etc/passwd", "sha256": "0" * 64, "bytes": 1, "rows": None}]},
        {"files": [{"path": "labels/..", "sha256": "0" * 64, "bytes": 1, "rows": None}]},
        {"counts": None},
        {"seeds": {"run": 1}},
    ],
)
def test_a_manifest_that_is_not_one_is_refused(tmp_path: Path, changes) -> None:
    path = edited(write_artifact(tmp_path / "a", make_draft()), **changes)
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        Artifact.open(path)
    assert verify(path)


def test_no_manifest_or_broken_json_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="manifest.json is missing"):
        Artifact.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match="not JSON"):
        Artifact.open(tmp_path)


def test_a_table_with_other_bytes_is_not_read(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft())
    file = artifact.path / "candidates" / "00000-of-00001.parquet"
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    opened = Artifact.open(artifact.path)
    assert opened.labels().height == 5
    with pytest.raises(IntegrityError, match="candidates/00000-of-00001.parquet: its bytes"):
        opened.candidates()
    with pytest.raises(IntegrityError):
        list(opened.iter_candidates())
    file.unlink()
    with pytest.raises(MissingError, match="candidates/00000-of-00001.parquet: is missing"):
        opened.candidates()


def test_every_config_loads_with_datasets(tmp_path: Path) -> None:
    full = write_artifact(tmp_path / "full", make_draft(rows=12), shards=3)
    bare = write_artifact(tmp_path / "bare", make_draft(dropped=0))
    attach(full, {"shift/report.json": b"{}", "shift/plot.png": b"x"}, summary="As it was.")
    script = f"""
import datasets
for config, rows in (("labels", 11), ("candidates", 36), ("original", 12), ("dropped", 1)):
    assert datasets.load_dataset({str(full.path)!r}, config, split="train").num_rows == rows, config
for config, rows in (("labels", 6), ("candidates", 18), ("original", 6)):
    assert datasets.load_dataset({str(bare.path)!r}, config, split="train").num_rows == rows, config
assert datasets.get_dataset_config_names({str(bare.path)!r}) == ["labels", "candidates", "original"]
row = datasets.load_dataset({str(full.path)!r})["train"].sort("id")[0]  # labels is the default config
assert row["prompt"][1] == {{"role": "user", "content": "Is 0 even? ü"}}, row
assert row["completion"] == [{{"role": "assistant", "content": "Answer 0 of r0\\n"}}], row
assert len(list(datasets.load_dataset({str(full.path)!r}, "labels", split="train", streaming=True))) == 11
"""
    # A process of its own: `datasets` reads where its cache lies when it is imported.
    env = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    env.pop("HF_DATASETS_CACHE", None)
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def every_byte(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_home_path_and_no_secret_of_the_environment_enters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "alice"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", "hf_planted0123456789")
    monkeypatch.setenv("SOME_SETTING", "planted-value-of-a-variable")
    monkeypatch.chdir(home)
    artifact = attach(write_artifact("out", make_draft()), {"shift/report.json": b"{}"}, summary="Small.")
    data = every_byte(artifact.path)
    for planted in (b"alice", b"hf_planted", b"planted-value", str(tmp_path).encode(), os.uname().nodename.encode()):
        assert planted not in data

    def model(d):
        d.model = d.model.model_copy(update={"reference": str(home / "models" / "organism")})

    def config(d):
        d.labeler = Labeler(method="m", proposal="p", selector="s", config={"a": ["hf_planted0123456789"]})

    def path_in_config(d):
        d.labeler = Labeler(method="m", proposal="p", selector="s", config={"store": str(tmp_path)})

    def detail(d):
        d.dropped[0].detail = f"no file {home}/model"

    def error(d):
        d.candidates[-1].error = "401 with hf_planted0123456789"

    for plant in (model, config, path_in_config, detail, error):
        draft = make_draft()
        plant(draft)
        with pytest.raises(InputError, match="place on this machine|secret environment variable") as caught:
            write_artifact("leaky", draft)
        assert "hf_planted" not in str(caught.value)
        assert not Path("leaky").exists()
    with pytest.raises(InputError, match=r"shift/report\.json"):
        attach(artifact, {"shift/report.json": f'{{"embedder": "{home}/minilm"}}'.encode()})


def test_a_candidate_keeps_its_failed_scores_and_its_error(tmp_path: Path) -> None:
    draft = make_draft(rows=1, dropped=0)
    failed = Candidate("r0", "pool-1", 2, "candidate", "plain", "", [], "error", error="longer than the context")
    draft.candidates.append(failed)
    back = {(c.role, c.index): c for c in write_artifact(tmp_path / "a", draft).iter_candidates()}
    assert back["candidate", 2] == failed
    assert back["candidate", 0].scores[1] == Score("reward", None, "no reward model")


def test_rows_without_an_original_stay_without(tmp_path: Path) -> None:
    draft = make_draft(rows=1, dropped=0)
    draft.rows[0] = Row("r0", [{"role": "user", "content": "?"}])
    draft.labels[0].prompt, draft.labels[0].original = draft.rows[0].prompt, None
    assert next(iter(write_artifact(tmp_path / "a", draft).iter_original())).original is None


def test_a_label_answers_its_own_row(tmp_path: Path) -> None:
    for name, value in (("prompt", [{"role": "user", "content": "another"}]), ("original", [])):
        draft = make_draft()
        setattr(draft.labels[0], name, value)
        with pytest.raises(InputError, match=f"{draft.labels[0].id}: the label's prompt or original is not its row's"):
            write_artifact(tmp_path / "a", draft)
