"""`echoset diff` as a person meets it."""

import json
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
from drafts import make_draft
from hub_client import in_process
from hub_server import hub

from datasets_cards import Draft, Dropped, Hub, Row, publish, write_artifact
from echoset.cli import main


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a command; gives (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def relabeled(draft: Draft, rows: int) -> Draft:
    """The draft with the other candidate as the first labels."""
    draft = deepcopy(draft)
    for label in draft.labels[:rows]:
        label.candidate, label.score = 1, -0.2
        label.completion = [{"role": "assistant", "content": f"Answer 1 of {label.id}\n"}]
    return draft


def test_changed_labels_are_told_with_examples_and_their_shift(tiny_embedder, ran, tmp_path: Path) -> None:
    draft = make_draft(12)
    write_artifact(tmp_path / "one", draft)
    write_artifact(tmp_path / "two", relabeled(draft, 7))
    status, out, err = ran("diff", "one", "two", "--quiet", "--examples", "2")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "one v0.0.0 -> two v0.0.0: 7 rows changed: a MAJOR step."
    assert "Answer 0 of r1" in out and "Answer 1 of r1" in out and "Answer 1 of r2" not in out
    assert "labels after" in out and "squared shift" in out
    assert ran("diff", "one", "two", "--quiet", "--examples", "2") == (status, out, err)


def test_json_holds_the_difference_and_the_shift_and_nothing_else(tiny_embedder, ran, tmp_path: Path) -> None:
    draft = make_draft(12)
    write_artifact(tmp_path / "one", draft)
    write_artifact(tmp_path / "two", relabeled(draft, 7))
    status, out, err = ran("diff", "one", "two", "--json", "--quiet", "--seed", "3")
    found = json.loads(out)
    assert (status, err, found["bump"], found["labels"]["changed"]) == (0, "", "major", 7)
    assert found["shift_note"] is None and found["shift"]["seed"] == 3 and found["shift"]["legs"][0]["name"] == "A->B"
    assert [example["id"] for example in found["examples"]] == ["r0", "r1", "r2"]
    status, out, err = ran("diff", "one", "two", "--json", "--quiet", "--no-shift", "--examples", "0")
    found = json.loads(out)
    assert (found["shift"], found["shift_note"], found["examples"]) == (None, "not asked for", [])


def test_versions_of_a_store_are_compared_and_a_minor_step_is_called_so(ran, tmp_path: Path) -> None:
    first, second = make_draft(), make_draft(7, dropped=1)
    second.labels[5:], second.dropped[:] = [], deepcopy(first.dropped)
    second.rows[6:] = [Row("r6", [{"role": "user", "content": "More?"}])]
    second.candidates[:] = deepcopy(first.candidates)
    second.dropped.append(Dropped("r6", "no_agreement"))
    for draft in (first, second):
        publish(write_artifact(tmp_path / str(len(draft.rows)), draft), "store/even")
    status, out, err = ran("diff", "store/even@v1.0.0", "store/even@v1.1.0", "--quiet")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "even v1.0.0 -> v1.1.0: 1 row added, every old one as it was: a MINOR step."
    assert "Shift not measured: the 5 labels in common say the same." in out


def test_of_versions_on_the_hub_only_what_differs_is_fetched(ran, capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "cache"))
    draft = make_draft(40)
    with hub() as server, in_process(server.endpoint, None, tmp_path / "home"):
        for name, one in (("one", draft), ("two", relabeled(draft, 1))):
            publish(write_artifact(tmp_path / name, one, shards=4), "me/even", store=Hub(token="hf_me"))
        shutil.rmtree(tmp_path / "cache")
        capsys.readouterr()  # what publishing showed
        references = "hub:me/even@v1.0.0", "hub:me/even@v2.0.0"
        status, out, err = ran("diff", *references, "--quiet", "--no-shift")
        assert (status, err) == (0, "")
        assert out.splitlines()[0] == "me/even v1.0.0 -> v2.0.0: 1 row changed: a MAJOR step."
        fetched = [path.parent.name for path in (tmp_path / "cache").rglob("*.parquet")]
        assert fetched == ["labels", "labels"]
        assert [ran("verify", reference)[0] for reference in references] == [0, 0]  # the rest comes when it is read
    status, out, err = ran("diff", "store/even@v1.0.0", "store/even@v1.1.0", "--quiet", "--no-shift")
    assert (status, out) == (1, "") and err.startswith("echoset: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ("nothing", "the labels are the same"),
        ("ids", "no labeled row in common"),
        ("dose", "mixed with self-samples"),
        ("prompts", "asks something else"),
        ("large", "would have to be embedded; --shift does it"),
    ],
)
def test_a_shift_that_cannot_be_measured_is_told_in_one_line(
    tiny_embedder, ran, monkeypatch, tmp_path: Path, change: str, note: str
) -> None:
    first = make_draft(8)
    second = relabeled(first, 4) if change != "nothing" else first
    if change == "ids":
        for records in (second.rows, second.candidates, second.labels, second.dropped):
            for record in records:
                record.id = f"other-{record.id}"
    elif change == "dose":
        second.labels[0].candidate, second.labels[0].score = -1, None
        second.labels[0].completion = [{"role": "assistant", "content": "Perhaps."}]
    elif change == "prompts":
        for row, label in zip(second.rows, second.labels, strict=False):
            row.prompt = label.prompt = [{"role": "user", "content": f"And {row.id}?"}]
    elif change == "large":
        monkeypatch.setattr("echoset.commands.differences.MOST_CANDIDATES", 47)
    write_artifact(tmp_path / "one", first)
    write_artifact(tmp_path / "two", second)
    status, out, err = ran("diff", "one", "two", "--quiet")
    assert (status, err) == (0, "")
    last = out.strip().splitlines()[-1]
    assert last.startswith("Shift not measured: ") and note in last
    if change == "large":
        status, out, err = ran("diff", "one", "two", "--quiet", "--shift")
        assert status == 0 and "squared shift" in out


def test_what_is_no_artifact_or_damaged_is_told_in_one_line(ran, tmp_path: Path) -> None:
    draft = make_draft()
    one, two = write_artifact(tmp_path / "one", draft), write_artifact(tmp_path / "two", relabeled(draft, 1))
    status, out, err = ran("diff", "one", "nowhere", "--quiet")
    assert status == 1 and out == "" and err.startswith("echoset: ") and err.count("\n") == 1
    path = two.path / "labels/00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    status, out, err = ran("diff", "one", "two", "--quiet")
    assert status == 1 and "labels/00000-of-00001.parquet" in err and err.count("\n") == 1
    assert ran("diff", one.path)[0] == 2
