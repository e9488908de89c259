"""What changed between two artifacts: every kind of change, against a slow and plain comparison of the records."""

import math
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from draft_edits import (
    EDITS,
    add_dropped_row,
    add_labeled_row,
    add_scorer,
    add_unreadable_row,
    change_meta,
    change_prompt,
    change_reason,
    change_text,
    change_verdict,
    choose_another,
    grow_pool,
    label_a_dropped,
    read_an_unreadable,
    remove_row,
    remove_scorer,
    rename_pools,
    reorder_scores,
    rescore_candidate,
    rescore_label,
    said,
)
from drafts import make_draft
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_diff import expected

from datasets_cards import (
    Artifact,
    Draft,
    Dropped,
    IntegrityError,
    MissingError,
    Score,
    attach,
    file_digest,
    verify,
    write_artifact,
)
from datasets_cards.comparing import table_changes as core
from datasets_cards.comparing.diff import Diff, diff, needed
from datasets_cards.comparing.words import summary, tables

Make = Callable[..., Artifact]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a draft as an artifact; each into a folder of its own."""

    def write(draft: Draft, **how) -> Artifact:
        return write_artifact(tmp_path / f"art-{len(list(tmp_path.iterdir()))}", draft, **how)

    return write


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    old=st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 40)), max_size=2),
    new=st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 40)), max_size=4),
    shards=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    part=st.sampled_from([1 << 30, 800]),
)
def test_any_edits_are_counted_as_a_plain_comparison_counts_them(make, monkeypatch, old, new, shards, part) -> None:
    monkeypatch.setattr(core, "PART_BYTES", part)
    first = make_draft(rows=5)
    for edit, n in old:
        edit(first, n)
    second = deepcopy(first)
    for edit, n in new:
        if second.rows and second.candidates:
            edit(second, n)
    agree(first, second, make(first, shards=shards[0]), make(second, shards=shards[1]))


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_alone_is_counted_as_a_plain_comparison_counts_it(make, edit) -> None:
    first = make_draft(rows=5)
    add_unreadable_row(first, 0)
    second = deepcopy(first)
    edit(second, 4)
    edit(second, 1)
    agree(first, second, make(first), make(second))


def agree(first: Draft, second: Draft, before: Artifact, after: Artifact) -> None:
    """Two drafts' difference is the plain one, both ways, and its step fits the digests."""
    one, two = before.manifest, after.manifest
    found = diff(before, after)
    same = one.logical_digest == two.logical_digest
    assert (found.bump in (None, "patch")) == same
    want = expected(first, second, one.scores_digest != two.scores_digest)
    assert (found.bump if not same else None) == want.pop("logical_bump")
    assert found.touched == want.pop("touched")
    for name, figures in want.items():
        assert close(getattr(found, name).model_dump(), figures), name
    back = diff(after, before)
    for name in ("rows", "labels", "candidates", "dropped"):
        there, home = getattr(found, name), getattr(back, name)
        assert (there.added, there.removed) == (home.removed, home.added)
    assert Diff.from_json(found.to_json()) == found


def close(found: dict, want: dict) -> bool:
    """Whether they are equal, floats but for their last bits."""
    if not isinstance(found, dict):
        return found == want or (isinstance(found, float) and math.isclose(found, want))
    return found.keys() == want.keys() and all(close(found[key], want[key]) for key in found)


@pytest.mark.parametrize(
    ("edit", "bump", "reason"),
    [
        (add_labeled_row, "minor", "1 row added"),
        (add_dropped_row, "minor", "1 row added"),
        (add_unreadable_row, "minor", "1 dropped row added"),
        (read_an_unreadable, "minor", "1 row added"),
        (remove_row, "major", "1 row removed"),
        (change_prompt, "major", "1 row changed"),
        (change_meta, "major", "1 row changed"),
        (grow_pool, "major", "1 row changed"),
        (label_a_dropped, "major", "1 row changed"),
        (change_reason, "major", "1 row changed"),
        (rescore_label, "patch", "the same rows with other scores"),
        (change_verdict, "patch", "the same rows with other scores"),
        (rename_pools, "patch", "the same rows in files with other bytes"),
        (reorder_scores, "patch", "the same rows in files with other bytes"),
    ],
)
def test_each_kind_of_change_is_the_step_that_it_is(make, edit, bump, reason) -> None:
    first = make_draft()
    first.dropped.append(Dropped("line-3", "not_json", "line 3"))
    second = deepcopy(first)
    edit(second, 1)
    found = diff(make(first), make(second))
    assert (found.bump, found.reason) == (bump, reason)


def test_an_artifact_and_its_copy_are_the_same_content(make) -> None:
    found = diff(make(make_draft()), make(make_draft()))
    assert (found.bump, found.reason, found.layout) == (None, "the same content", False)
    assert found.settings == [] and found.examples == [] and found.rows.added == found.rows.removed == 0


def test_the_same_rows_in_other_shards_or_row_groups_are_a_patch_and_nothing_is_read(make) -> None:
    first = make(make_draft(9))
    for other in (make(make_draft(9), shards=4), make(make_draft(9), row_group=2)):
        assert needed(first.manifest, other.manifest) == []
        shutil.rmtree(other.path / "candidates")
        found = diff(first, other)
        assert (found.bump, found.layout) == ("patch", True)


def test_a_larger_version_with_other_shards_is_still_compared_row_by_row(make) -> None:
    first, second = make_draft(20, dropped=2), make_draft(20, dropped=2)
    for n in range(5):
        add_labeled_row(second, n)
    for shards in ((2, 6), (1, 4), (3, 5)):
        found = diff(make(first, shards=shards[0]), make(second, shards=shards[1]))
        assert (found.bump, found.rows.added, found.touched) == ("minor", 5, 0)


def test_only_the_files_that_needed_names_are_read(make) -> None:
    first, second = make_draft(40), make_draft(40)
    choose_another(second, 1)
    second.labels[7].score = 0.25
    before, after = make(first, shards=8), make(second, shards=8)
    wanted = needed(before.manifest, after.manifest)
    assert 1 <= len(wanted) < 8 and {path.split("/")[0] for path in wanted} == {"labels"}
    for file in before.manifest.files:
        if file.path not in wanted:
            (before.path / file.path).unlink()
    found = diff(Artifact.open(before.path), after)
    assert (found.labels.changed, found.labels.score_only) == (1, 1)
    (before.path / wanted[0]).unlink()
    with pytest.raises(MissingError, match=Path(wanted[0]).name):
        diff(Artifact.open(before.path), after)


def test_rescoring_needs_no_file_of_rows_that_were_dropped_or_asked(make) -> None:
    second = make_draft()
    rescore_candidate(second, 1)
    wanted = needed(make(make_draft()).manifest, make(second).manifest)
    assert [path.split("/")[0] for path in wanted] == ["candidates"]


def test_settings_are_told_key_by_key_and_the_repository_alone_is_no_change(make) -> None:
    first, second = make_draft(), make_draft()
    second.labeler = second.labeler.model_copy(update={"config": {**second.labeler.config, "k": 2.0, "beams": None}})
    second.labeler = type(second.labeler).model_validate(second.labeler.model_dump() | {"config_digest": ""})
    second.seeds = {"run": 0, "pool": 7}
    second.scorers = {"mean_logprob": None}
    second.packages = dict(first.packages or {}, python="3.12")
    found = diff(make(first), make(second))
    told = {setting.path: (setting.change, setting.before, setting.after) for setting in found.settings}
    assert told.keys() == {
        "labeler.config.k",
        "labeler.config.beams",
        "seeds.pool",
        "scorers.reward",
        "packages.python",
    }
    assert told["labeler.config.k"] == ("changed", 2, 2.0)
    assert told["labeler.config.beams"] == ("added", None, None)
    assert told["scorers.reward"][0] == "removed" and told["scorers.reward"][1]["pairs"] == 120
    assert (found.bump, found.reason) == ("patch", "the same rows with other settings")

    here, there = make(first), make(first)
    there.manifest = there.manifest.sealed(repository="me/even")
    moved = diff(here, there)
    assert moved.bump is None and [setting.path for setting in moved.settings] == ["repository"]
    assert moved.after.name == "me/even"


def test_attached_reports_are_told_and_the_card_is_not(make) -> None:
    before, after = make(make_draft()), make(make_draft())
    attach(before, {"shift/report.json": b"{}", "effects/old.json": b"{}"})
    after = attach(after, {"shift/report.json": b"[]", "shift/new.svg": b"<svg/>"}, summary="It moved.")
    found = diff(Artifact.open(before.path), after)
    assert (found.bump, found.reason) == ("patch", "the same rows with other reports")
    assert found.files.added == ["shift/new.svg", "shift/summary.md"]
    assert (found.files.removed, found.files.changed) == (["effects/old.json"], ["shift/report.json"])


def test_the_first_changed_labels_are_shown_by_id_and_from_all_shards(make) -> None:
    first, second = make_draft(30), make_draft(30)
    for n in (25, 3, 17, 11):
        label = second.labels[n]
        label.candidate, label.completion, label.score = 1, said(f"Answer 1 of r{n}\n"), None
    found = diff(make(first, shards=8), make(second, shards=8))
    assert [example.id for example in found.examples] == ["r11", "r17", "r25"]
    example = found.examples[0]
    assert example.prompt == "Be brief.\nIs 11 even? ü"
    assert (example.before.text, example.before.candidate, example.before.score) == ("Answer 0 of r11\n", 0, -0.1)
    assert (example.after.text, example.after.candidate, example.after.score) == ("Answer 1 of r11\n", 1, None)
    assert diff(make(first), make(second), examples=0).examples == []


def test_labels_with_another_text_are_shown_before_those_of_the_same_text(make) -> None:
    first, second = make_draft(30), make_draft(30)
    for n in (2, 11, 13, 17, 25):
        second.labels[n].method = "dose"
    for n in (25, 8):
        second.labels[n].candidate, second.labels[n].completion = 1, said(f"Answer 1 of r{n}\n")
    for shards in (1, 8):
        found = diff(make(first, shards=shards), make(second, shards=shards), examples=4)
        assert [example.id for example in found.examples] == ["r25", "r8", "r11", "r13"]
        assert [one.before.text == one.after.text for one in found.examples] == [False, False, True, True]


def test_artifacts_with_nothing_in_common_say_so(make) -> None:
    first, second = make_draft(), make_draft()
    for records in (second.rows, second.candidates, second.labels, second.dropped):
        for record in records:
            record.id = f"other-{record.id}"
    second.model = second.model.model_copy(update={"reference": "another"})
    found = diff(make(first), make(second))
    assert (found.bump, found.reason, found.in_common) == ("major", "no row in common", 0)
    assert found.rows.added == found.rows.removed == 6 and found.labels.changed == 0


def test_artifacts_without_labels_and_without_rows_can_be_compared(make) -> None:
    full, unlabeled, empty = make_draft(), make_draft(dropped=6), make_draft()
    for records in (empty.rows, empty.candidates, empty.labels, empty.dropped):
        records.clear()
    found = diff(make(full), make(unlabeled))
    assert (found.labels.removed, found.dropped.newly_dropped, found.touched) == (5, 5, 5)
    assert diff(make(empty), make(full)).bump == "minor"
    assert diff(make(full), make(empty)).reason == "6 rows removed"
    assert diff(make(empty), make(empty)).bump is None


def test_a_scorer_that_was_not_there_is_told_by_name(make) -> None:
    second = make_draft()
    add_scorer(second, 0)
    remove_scorer(second, 0)
    found = diff(make(make_draft()), make(second)).candidates
    assert (found.scorers["late"].gained, found.scorers["late"].lost, found.scorers["late"].largest) == (18, 0, None)
    assert (found.scorers["reward"].gained, found.scorers["reward"].lost) == (0, 12)


def replaced(artifact: Artifact, path: str, data: bytes) -> Artifact:
    """The artifact with one file of other bytes, which its manifest lists as if they had always been there."""
    (artifact.path / path).write_bytes(data)
    files = [
        file.model_copy(update={"sha256": file_digest(artifact.path / path), "bytes": len(data)})
        if file.path == path
        else file
        for file in artifact.manifest.files
    ]
    (artifact.path / "manifest.json").write_bytes(artifact.manifest.sealed(files=files).to_json())
    return Artifact.open(artifact.path)


def test_scores_in_another_order_are_no_change(make) -> None:
    first = make_draft()
    first.candidates[0].scores = [Score("judge", 1.0), Score("rubric", 2.0)]
    second = deepcopy(first)
    second.candidates[0].scores.reverse()
    second.candidates[1].scores = [Score("mean_logprob", -0.25), Score("reward", None, "no reward model")]
    found = diff(make(first), make(second)).candidates
    assert (found.score_rows, list(found.scorers)) == (1, ["mean_logprob"])


def test_a_table_that_cannot_be_read_is_named(make, tmp_path: Path) -> None:
    second = make_draft(12)
    change_text(second, 1)
    before, after = make(make_draft(12)), make(second)
    path = "candidates/00000-of-00001.parquet"
    with pytest.raises(IntegrityError, match=path):
        diff(replaced(before, path, b"PAR1 no table PAR1"), after)
    pq.write_table(pa.table({"id": ["r1"], "text": [3]}), tmp_path / "odd.parquet")
    with pytest.raises(IntegrityError, match=path):
        diff(replaced(before, path, (tmp_path / "odd.parquet").read_bytes()), after)


def test_changed_bytes_and_lying_digests_are_refused(make) -> None:
    second = make_draft()
    change_text(second, 1)
    before, after = make(make_draft()), make(second)
    path = before.path / "candidates/00000-of-00001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(IntegrityError, match="not those recorded"):
        diff(before, after)
    lying = make(make_draft())
    lying.manifest = lying.manifest.sealed(logical_digest="0" * 64)
    with pytest.raises(IntegrityError, match="the digests differ and the tables agree"):
        diff(make(make_draft(), row_group=1), lying)


def test_what_a_footer_says_of_its_size_is_not_believed(make) -> None:
    second = make_draft()
    second.labels[0].method = "other"
    after, path = make(second), "labels/00000-of-00001.parquet"
    whole, group = (after.path / path).read_bytes(), pq.read_metadata(after.path / path).row_group(0)
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    footer, rows = whole[end:-8], field(group.num_rows)
    assert footer.count(field(group.total_byte_size) + rows) == 1
    footer = footer.replace(field(group.total_byte_size) + rows, field(1 << 61) + rows)
    after = replaced(after, path, whole[:end] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    assert pq.read_metadata(after.path / path).row_group(0).total_byte_size == 1 << 61 and verify(after.path) == []
    before = make(make_draft())
    (group_of_files,) = core.groups(before.manifest, after.manifest)
    assert core.Comparison(before, after, 0).parts(group_of_files) == 1
    assert diff(before, after).labels.choice == 1


def field(number: int) -> bytes:
    """A number of 64 bits as it stands in a footer, behind the field before it."""
    number, written = number << 1, b"\x16"
    while number > 127:
        number, written = number >> 7, written + bytes([number & 127 | 128])
    return written + bytes([number])


def shown(found: Diff, width: int = 120) -> str:
    from rich.console import Console

    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(summary(found), soft_wrap=True)
    for table in tables(found):
        console.print(table)
    return console.export_text()


def test_words_say_the_step_first_and_show_no_zeros(make) -> None:
    first, second = make_draft(), make_draft()
    for n in range(12):
        add_labeled_row(second, n)
    found = diff(make(first, version="v1.0.0"), make(second, version="v1.1.0"))
    text = shown(found)
    first_line = text.splitlines()[0]
    assert first_line.endswith("v1.1.0: 12 rows added, every old one as it was: a MINOR step.")
    assert " 0 " not in text and "setting" not in text and "largest" not in text
    same = diff(make(first), make(first))
    assert shown(same).strip().endswith("the same content, no step.") and list(tables(same)) == []


def test_words_show_what_changed_and_cut_long_texts_where_they_differ(make) -> None:
    first, second = make_draft(), make_draft()
    long = "a" * 3000
    for draft, end in ((first, "x"), (second, "y\x1b[31m")):
        draft.candidates[0].text = f"{long}{end}{long}"
        draft.labels[0].completion = said(draft.candidates[0].text)
    rescore_candidate(second, 4)
    second.seeds = {"run": 1}
    text = shown(diff(make(first), make(second)))
    assert "another completion 1" in text and "seeds.run" in text and "scores by reward" in text
    assert text.count("[...]") == 4 and "y\\u001b[31m" in text and "\x1b" not in text
    assert text.count("a" * 100) < 20
