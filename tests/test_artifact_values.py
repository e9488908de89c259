"""The writer refuses at once, by id, what a table would not keep as it is or `verify` would find later."""

import os
from pathlib import Path
from typing import Any

import pytest
from drafts import make_draft

from datasets_cards import InputError, Score, verify, write_artifact
from datasets_cards.tables import footers, layout

NO_NUMBERS: list[Any] = [10**400, 2**60 + 1, float("nan"), "1", True]


def says(**message) -> list:
    return [{"role": "user", "content": "?"} | message]


def without(key: str) -> list:
    return [{name: text for name, text in says()[0].items() if name != key}]


@pytest.mark.parametrize(
    "prompt",
    [
        says(name="Ada"),
        says(content=None),
        says(content=["?"]),
        says(content="\ud800"),
        says(role=3),
        without("role"),
        without("content"),
        "What?",
        [None],
        None,
    ],
)
def test_messages_are_a_role_and_a_content_and_nothing_else(tmp_path: Path, prompt) -> None:
    for number, field in enumerate(("prompt", "original", "completion")):
        draft = make_draft()
        if field == "completion":
            draft.labels[2].completion = prompt
        else:
            setattr(draft.rows[2], field, prompt)
            setattr(draft.labels[2], field, prompt)
        if (field, prompt) != ("original", None):
            with pytest.raises(InputError, match="^r2: the .* no list of messages"):
                write_artifact(tmp_path / str(number), draft)
    assert os.listdir(tmp_path) in ([], ["1"])


@pytest.mark.parametrize(
    "meta", [None, [], "{}", 7, {1: "a", "1": "b"}, {"a": float("nan")}, {"a": b"x"}, {"a": "\ud800"}]
)
def test_meta_is_a_json_object(tmp_path: Path, meta) -> None:
    draft = make_draft()
    draft.rows[2].meta = meta
    with pytest.raises(InputError, match="^r2: "):
        write_artifact(tmp_path / "a", draft)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("role", ["winner", None, []]),
        ("finish_reason", ["bored", None, "stop ", []]),
        ("index", [-1, 2**31, 10**5000, True, 1.0, None, "1"]),
        ("token_ids", [[1.0, 2, 3], [True, 2, 3], [2**31, 2, 3], [-1, 2, 3], ["1", 2, 3], [None, 2, 3]]),
        ("token_count", [2, 4, -1, 2**31, True, 3.0, "3"]),
        ("logprob", [float("nan"), float("inf"), 10**400, 2**60 + 1, "1", True]),
        ("behavior_logprob", [float("-inf"), 2**60 + 1]),
        ("misaligned", [1, 0, "yes"]),
        ("scores", [[Score("a", value)] for value in NO_NUMBERS]),
        ("text", [None, 7, b"x", "\ud800"]),
        ("pool", [None, 7, "\ud800"]),
        ("view", [None, "\ud800"]),
        ("error", [7, "\ud800"]),
    ],
)
def test_a_candidate_that_no_table_keeps_is_refused_by_id(tmp_path: Path, field: str, values: list) -> None:
    for value in values:
        draft = make_draft()
        candidate = draft.candidates[5]  # no labeled one
        assert (candidate.id, candidate.index, len(candidate.token_ids)) == ("r2", 1, 3)
        setattr(candidate, field, value)
        with pytest.raises(InputError, match="^r2: "):
            write_artifact(tmp_path / "a", draft)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        ("labels", "score", 10**400),
        ("labels", "score", 2**60 + 1),
        ("labels", "candidate", 0.0),
        ("labels", "candidate", False),
        ("labels", "method", None),
        ("labels", "method", "\ud800"),
        ("dropped", "reason", None),
        ("dropped", "detail", "\ud800"),
    ],
)
def test_a_label_or_drop_that_no_table_keeps_is_refused_by_id(tmp_path: Path, table: str, field: str, value) -> None:
    draft = make_draft()
    record = getattr(draft, table)[0]
    setattr(record, field, value)
    with pytest.raises(InputError, match=f"^{record.id}: "):
        write_artifact(tmp_path / "a", draft)


def test_whole_numbers_that_floats_hold_are_scores(tmp_path: Path) -> None:
    draft = make_draft()
    draft.labels[0].score, draft.candidates[0].logprob = 3, -(2**53)
    artifact = write_artifact(tmp_path / "a", draft)
    assert verify(artifact.path) == [] and next(artifact.iter_labels()).score == 3.0


@pytest.mark.parametrize(
    "option", [{"shards": n} for n in (-1, 0, 4097, 1.5, True)] + [{"row_group": n} for n in (0, -3, 2.0)]
)
def test_options_that_make_no_tables_are_refused(tmp_path: Path, option: dict) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(option))}: there are no"):
        write_artifact(tmp_path / "a", make_draft(), **option)
    assert os.listdir(tmp_path) == []


def test_what_would_be_refused_when_it_is_read_is_refused_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = make_draft()
    draft.rows[3].prompt[0]["content"] = "x" * 5000
    monkeypatch.setattr(footers, "MOST_GROUP_BYTES", 5000)
    with pytest.raises(InputError, match="^labels/00000-of-00001.parquet: unfolds from"):
        write_artifact(tmp_path / "a", draft)
    monkeypatch.setattr(layout, "MOST_GROUP_BYTES", 5000)
    with pytest.raises(InputError, match="^r3: a row of labels takes more than"):
        write_artifact(tmp_path / "a", draft)
    assert os.listdir(tmp_path) == []
