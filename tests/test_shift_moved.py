"""The rows that moved most: their order, what is marked, what is left out and what a terminal is spared."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from drafts import make_draft
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from datasets_cards import InputError, write_artifact
from shift.drift import drift
from shift.moved import MovedRow, compared, how_far, most_moved, moved_rows, moved_table, word_diff
from shift.reading import read_texts

TEXTS = st.lists(st.sampled_from(["a", "b", "the", "one", "天", "気", ".", "\n"]), max_size=12).map(" ".join) | st.text(
    max_size=30
)


def row(before: str = "one two", after: str = "one three", **changes) -> MovedRow:
    (found,) = most_moved([0.5], ["r1"], ["Which?"], [before], [after])
    return found.model_copy(update=changes)


def shown(found: MovedRow, **options) -> str:
    from rich.console import Console

    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(moved_table(found, **options))
    return console.export_text()


def letters(texts: list[str]) -> np.ndarray:
    return np.array([[1 + text.count(c) for c in "aeinor0123456789."] for text in texts], np.float32)


def test_rows_come_by_how_far_they_moved_and_ties_keep_their_order() -> None:
    texts = [f"t{i}" for i in range(5)]
    found = most_moved([0.1, 0.9, 0.4, 0.9, 0.0], list("abcde"), texts, texts, texts, nearest_other=np.arange(5), top=4)
    assert [r.id for r in found] == ["b", "d", "c", "a"]
    assert [r.rank for r in found] == [1, 2, 3, 4] and {r.of for r in found} == {5}
    assert [r.prompt for r in found] == ["t1", "t3", "t2", "t0"]
    assert [r.nearest_other for r in found] == [1, 3, 2, 0]
    drifts = np.array([0.1, 0.9, 0.4, 0.9, 0.0])
    assert found[2].z == pytest.approx((0.4 - drifts.mean()) / drifts.std(ddof=1))
    assert len(most_moved(drifts, list("abcde"), texts, texts, texts, top=99)) == 5


def test_drifts_that_are_all_alike_have_no_z() -> None:
    for drifts in ([0.3, 0.3, 0.3], [0.0, 0.0, 0.0], [0.2]):
        texts = ["t"] * len(drifts)
        assert all(r.z is None for r in most_moved(drifts, texts, texts, texts, texts))
    assert most_moved([], [], [], [], []) == []


def test_input_that_does_not_pair_up_is_named() -> None:
    two = ["x", "y"]
    with pytest.raises(InputError, match="don't pair up"):
        most_moved([0.1, 0.2], two, two, two, ["x"])
    with pytest.raises(InputError, match="don't pair up"):
        most_moved([0.1, 0.2], two, two, two, two, nearest_other=[0.1])
    with pytest.raises(InputError, match="row y: a drift is not a number"):
        most_moved([0.1, np.nan], two, two, two, two)
    with pytest.raises(InputError, match="0 rows"):
        most_moved([0.1, 0.2], two, two, two, two, top=0)


def test_how_far_says_which_side_of_the_nearest_answer_it_is_on() -> None:
    said = how_far(row(drift=0.5, z=2.0, nearest_other=0.4))
    assert said.startswith("drift 0.500, 2.0 standard deviations above the mean; further than to the nearest")
    assert said.endswith("(0.400)")
    assert "no further than" in how_far(row(drift=0.5, nearest_other=0.5))
    assert "1.5 standard deviations below" in how_far(row(z=-1.5))


@given(before=TEXTS, after=TEXTS)
@example(before="a a b", after="b a a")
def test_spans_make_up_both_texts_and_the_same_words_are_the_same(before: str, after: str) -> None:
    spans = word_diff(before, after)
    assert ["".join(s.text for s in side) for side in spans] == [before, after]
    same = [re.sub(r"\s", "", "".join(s.text for s in side if s.kind == "same")) for side in spans]
    assert same[0] == same[1]
    if before == after:
        assert all(s.kind == "same" for side in spans for s in side)
    assert all(x.kind != y.kind for side in spans for x, y in pairwise(side))


def test_only_the_words_that_differ_are_marked_with_the_spaces_between_them() -> None:
    before, after = word_diff("It is a very good day.", "It is a rather bad day.")
    assert [s.text for s in before] == ["It is a ", "very good", " day."]
    assert [s.text for s in after if s.kind == "changed"] == ["rather bad"]
    assert [s.text for s in word_diff("今日は雨", "今日は雪")[1]] == ["今日は", "雪"]
    assert [s.kind for s in word_diff("", "new")[1]] == ["changed"] and word_diff("", "new")[0] == []


def test_long_texts_are_compared_in_bounded_time() -> None:
    rng = np.random.default_rng(0)
    a, b = (" ".join(map(str, rng.integers(0, 50, 20_000))) for _ in range(2))
    before, after = word_diff("same start " + a, "same start " + b)
    assert before[0].text.startswith("same start") and [s.kind for s in before] in (
        ["same", "changed"],
        ["same", "changed", "same"],
    )
    assert "".join(s.text for s in after) == "same start " + b


@pytest.mark.parametrize("limit", [50, 300, 10_000])
def test_what_is_left_out_is_counted_to_the_character(limit: int) -> None:
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in rng.integers(0, 1000, 400)]
    other = [w if i % 100 else "changed!" for i, w in enumerate(words)]
    texts = " ".join(words), " ".join(other)
    for text, spans in zip(texts, compared(*texts, limit=limit), strict=True):
        kept = sum(len(s.text) for s in spans if s.kind != "left out")
        hidden = [int(re.sub(r"\D", "", s.text)) for s in spans if s.kind == "left out"]
        assert kept <= limit and kept + sum(hidden) == len(text)
        assert hidden and hidden == [s.hidden for s in spans if s.kind == "left out"]
        changed = sum(s.kind == "changed" for s in spans)
        assert changed == 4 if limit == 10_000 else changed >= 1


def test_a_change_at_the_end_of_long_texts_is_still_seen() -> None:
    before, after = compared("x" + " same" * 2000 + " old", "x" + " same" * 2000 + " new", limit=200)
    assert before[-1] == ("old", "changed", 0) and after[-1] == ("new", "changed", 0)


def test_a_text_that_did_not_change_is_shown_from_its_start() -> None:
    (span,), _ = compared("short and equal", "short and equal")
    assert span == ("short and equal", "same", 0)
    first, rest = compared("y" * 2000, "y" * 2000)[0]
    assert (len(first.text), rest.text) == (1500, "[… 500 more characters]")


def test_the_terminal_shows_texts_as_they_are_and_obeys_none_of_them() -> None:
    found = row("plain [bold red]not markup[/] \x1b[31mred\x1b[0m\r\nnext \u202eover\x9b", "[/nope]", id="[i]id")
    said = shown(found)
    assert "[bold red]not markup[/]" in said and "[/nope]" in said and "[i]id" in said
    assert "␛[31mred␛[0m" in said and "⟨202e⟩over⟨009b⟩" in said
    assert "␍" not in said
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", said)
    assert "(empty)" in shown(row("", "something"))


def test_the_terminal_names_both_sides_and_states_what_it_cut() -> None:
    said = shown(row("w" * 400, "v" * 30), before="self-sample", after="selected", limit=40)
    assert "self-sample" in said and "selected" in said and "Which?" in said
    assert "w" * 40 + "[…" in said and "360 more" in said and "v" * 30 in said


def test_rows_survive_json() -> None:
    adapter = TypeAdapter(list[MovedRow])
    rows = [row(z=None, nearest_other=0.25)]
    assert adapter.validate_json(adapter.dump_json(rows)) == rows


def test_an_artifact_shows_the_texts_of_its_rungs(tmp_path: Path) -> None:
    draft = make_draft(rows=9, k=2, dropped=2)
    draft.candidates[2 * 3].text = "Something else entirely 0123456789"  # r3's first candidate, its label
    draft.labels[3].completion[0]["content"] = "Something else entirely 0123456789"
    texts = read_texts(write_artifact(tmp_path / "a", draft))
    ladder = texts.ladder(letters)
    top = moved_rows(ladder, texts, "P", "S", top=3)
    found = drift(ladder, "P", "S")
    assert [r.of for r in top] == [7] * 3 and top[0].drift == pytest.approx(found.drift_N.max())
    by_id = {r.id: r for r in moved_rows(ladder, texts, "P", "S", found=found, top=99)}
    assert "r8" not in by_id and len(by_id) == 7
    assert (by_id["r3"].before, by_id["r3"].after) == ("Perhaps.", "Something else entirely 0123456789")
    assert "Is 3 even?" in by_id["r3"].prompt
    pooled = {r.id: r for r in moved_rows(ladder, texts, "P", "U", top=99)}
    assert pooled["r1"].after == "[0] Answer 0 of r1\n\n[1] Answer 1 of r1\n"
    original = moved_rows(ladder, texts, "O", "P", top=99)
    assert {r.id: r.before for r in original}["r4"] == "Yes."
