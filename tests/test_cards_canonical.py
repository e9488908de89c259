"""The digests are a contract: recomputed here from the written specification alone."""

import hashlib
import json
import math
import random
import time
from copy import deepcopy

import pytest
from drafts import make_draft
from hypothesis import given
from hypothesis import strategies as st

from datasets_cards import Digests, InputError, Score, canonical_json, file_digest, sha256_hex

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def digests(draft) -> Digests:
    found = Digests()
    found.add(draft.rows, draft.candidates, draft.labels, draft.dropped)
    return found


def logical(draft) -> str:
    return digests(draft).logical()


def scores(draft) -> str:
    return digests(draft).scores()


@given(JSON)
def test_canonical_json_reads_back_as_what_it_was(value) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(TEXT, JSON, max_size=6), st.randoms())
def test_canonical_json_does_not_depend_on_the_order_of_keys(value, rng) -> None:
    keys = list(value)
    rng.shuffle(keys)
    assert canonical_json({key: value[key] for key in keys}) == canonical_json(value)


def test_canonical_json_is_written_as_specified() -> None:
    assert canonical_json({"b": [1, 1.0, None, True], "a": "é\n"}) == '{"a":"é\\n","b":[1,1.0,null,true]}'.encode()


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": -math.inf}, "\ud800", {1: 1, "a": 2}, object()])
def test_what_json_cannot_hold_is_refused(value) -> None:
    with pytest.raises(InputError, match="not plain JSON"):
        canonical_json(value)


def test_digests_follow_the_specification_written_in_canonical_py() -> None:
    draft = make_draft()

    def table(kind: str, name: str, records: list) -> str:
        digests = sorted(
            hashlib.sha256(json.dumps(r, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()).digest()
            for r in records
        )
        return hashlib.sha256(f"echoset {kind} {name} 1\n".encode() + b"".join(digests)).hexdigest()

    def combine(tables: dict) -> str:
        return hashlib.sha256(json.dumps(tables, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    assert logical(draft) == combine(
        {
            "labels": table(
                "logical",
                "labels",
                [[x.id, x.prompt, x.completion, x.original, x.method, x.candidate] for x in draft.labels],
            ),
            "candidates": table(
                "logical",
                "candidates",
                [[c.id, c.role, c.view, c.index, c.text, c.token_ids, c.finish_reason] for c in draft.candidates],
            ),
            "original": table("logical", "original", [[r.id, r.prompt, r.original, r.meta] for r in draft.rows]),
            "dropped": table("logical", "dropped", [[d.id, d.reason] for d in draft.dropped]),
        }
    )
    assert scores(draft) == combine(
        {
            "labels": table("scores", "labels", [[x.id, x.score] for x in draft.labels]),
            "candidates": table(
                "scores",
                "candidates",
                [
                    [
                        *(c.id, c.role, c.view, c.index, c.logprob, c.behavior_logprob),
                        sorted([s.scorer, s.value, s.reason] for s in c.scores),
                        c.misaligned,
                    ]
                    for c in draft.candidates
                ],
            ),
        }
    )


def test_digests_of_the_example_never_change() -> None:
    # A change here means that artifacts out in the world no longer verify: raise the schema version instead.
    draft = make_draft()
    assert logical(draft) == "bf4521ae3ff45b3bacdd0d3632d4182dd0a8ce5d4bc65271fb02339a2379a2b8"
    assert scores(draft) == "09944e19f5a2147f0f858d7d84830ebf55eb79f8aba7986a7a26efaec5c229b4"


@given(st.randoms())
def test_row_order_moves_neither_digest(rng: random.Random) -> None:
    draft = make_draft()
    before = logical(draft), scores(draft)
    for records in (draft.rows, draft.candidates, draft.labels, draft.dropped):
        rng.shuffle(records)
    assert (logical(draft), scores(draft)) == before


CHANGES = {
    "a token": lambda d: d.candidates[3].token_ids.append(1),
    "a text": lambda d: setattr(d.candidates[3], "text", "other"),
    "an index": lambda d: setattr(d.candidates[3], "index", 7),
    "a role": lambda d: setattr(d.candidates[3], "role", "draft"),
    "a view": lambda d: setattr(d.candidates[3], "view", "json"),
    "a finish reason": lambda d: setattr(d.candidates[3], "finish_reason", "length"),
    "a lost candidate": lambda d: d.candidates.pop(),
    "a candidate told twice": lambda d: d.candidates.append(d.candidates[0]),
    "a label's choice": lambda d: setattr(d.labels[0], "candidate", 1),
    "a label's text": lambda d: d.labels[0].completion[0].update(content="x"),
    "a method": lambda d: setattr(d.labels[0], "method", "random_pick"),
    "an original": lambda d: setattr(d.rows[1], "original", None),
    "a prompt": lambda d: d.rows[1].prompt[0].update(content="x"),
    "meta": lambda d: d.rows[1].meta.update(answer=99),
    "a reason": lambda d: setattr(d.dropped[0], "reason", "x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_logical_digest_sees(change: str) -> None:
    draft = make_draft()
    before = logical(draft)
    CHANGES[change](draft)
    assert logical(draft) != before


FLOATS = {
    "a logprob": lambda d: setattr(d.candidates[0], "logprob", math.nextafter(d.candidates[0].logprob, 0)),
    "a behavior logprob": lambda d: setattr(d.candidates[1], "behavior_logprob", -1.0),
    "a score": lambda d: setattr(d.candidates[0].scores[0], "value", -0.1 + 1e-12),
    "a score's reason": lambda d: setattr(d.candidates[0].scores[1], "reason", "other"),
    "a verdict": lambda d: setattr(d.candidates[0], "misaligned", False),
    "a label's score": lambda d: setattr(d.labels[0], "score", 0.5),
    "a further scorer": lambda d: d.candidates[0].scores.append(Score("length", 3.0)),
}


@pytest.mark.parametrize("change", FLOATS)
def test_only_the_scores_digest_sees(change: str) -> None:
    draft = make_draft()
    before = logical(draft), scores(draft)
    FLOATS[change](draft)
    assert logical(draft) == before[0]
    assert scores(draft) != before[1]


def test_the_order_of_scorers_and_the_type_of_a_number_do_not_matter() -> None:
    draft, other = make_draft(), make_draft()
    draft.candidates[0].scores[0].value = 3
    other.candidates[0].scores[0].value = 3.0
    other.candidates[0].scores.reverse()
    assert scores(draft) == scores(other)


def test_a_nan_log_probability_is_refused() -> None:
    draft = make_draft()
    draft.candidates[0].logprob = math.nan
    with pytest.raises(InputError):
        scores(draft)


def test_words_of_errors_and_pool_names_are_outside_both() -> None:
    draft, other = make_draft(), deepcopy(make_draft())
    other.dropped[0].detail, other.candidates[0].pool, other.candidates[0].error = "x", "y", "z"
    assert (logical(draft), scores(draft)) == (logical(other), scores(other))


def test_a_digest_costs_tens_of_microseconds_a_row_at_most() -> None:
    draft = make_draft(rows=2000, k=4)
    start = time.process_time()
    logical(draft)
    records = len(draft.rows) + len(draft.candidates) + len(draft.labels) + len(draft.dropped)
    assert (time.process_time() - start) / records < 40e-6  # measured below 10; room for a contended machine


def test_file_digest_is_that_of_the_bytes(tmp_path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert file_digest(tmp_path / "x") == sha256_hex(b"abc" * 100_000)
