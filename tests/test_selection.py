"""Which candidate becomes the label: every method on pools worked out by hand, ties and rows of failures included."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scripted import candidate, failed, row

from datasets_cards import InputError
from labelers import METHODS, crossed, make_method, score_candidates, select
from labelers.proposals.views import JSON_ANSWER, STEP_BY_STEP, under_view
from labelers.scorers import generic_answer


def chosen(method, pool, rows=None, seed=0):
    rows = rows or [row()]
    made = make_method(method)
    if made.scorer and made.scorer.needs <= {"logprob"}:
        score_candidates(rows, pool, made.scorer)
    return select(rows, pool, made, seed=seed)


# Selection on pools worked out by hand.


@pytest.mark.parametrize(
    ("logprobs", "tokens", "index"),
    [
        ([-3.0, -2.0, -4.0], [2, 2, 2], 1),
        ([-3.0, -4.0, -2.0], [3, 8, 1], 1),  # means -1, -.5, -2: a token, not a sum
        ([-2.0, -2.0 + 1e-5, -9.0], [2, 2, 2], 0),  # means .5e-5 apart: tied, the lowest index wins
        ([-2.0, -2.0 + 3e-5, -9.0], [2, 2, 2], 1),
        ([-2.0, -2.0, -2.0], [2, 2, 2], 0),
    ],
)
def test_self_confidence_takes_the_best_mean_and_ties_go_to_the_lowest_index(logprobs, tokens, index):
    pool = [
        candidate(i, range(10 * i + 5, 10 * i + 5 + n), lp)
        for i, (lp, n) in enumerate(zip(logprobs, tokens, strict=True))
    ]
    labels, dropped = chosen("self_confidence", pool[::-1])
    assert [(x.candidate, x.completion[0]["content"]) for x in labels] == [(index, f"text {index}")] and not dropped
    assert labels[0].score == pytest.approx(logprobs[index] / tokens[index], abs=1e-4)


def test_one_token_sequence_has_one_score():
    pool = [candidate(0, (7, 1), -4.0), candidate(1, (5, 1), -2.0), candidate(2, (5, 1), -1.99)]
    assert chosen("self_confidence", pool)[0][0].candidate == 1
    assert [c.scores[0].value for c in pool] == [-2.0, -1.0, -1.0]


def test_failures_are_passed_over_and_a_row_of_failures_is_dropped_with_its_reason():
    pool = [failed(0), candidate(1, (5, 6), -9.0), candidate(2, (6, 7), None)]
    labels, _ = chosen("self_confidence", pool)
    assert labels[0].candidate == 1
    assert [c.scores[0].reason for c in pool] == [pool[0].error, None, "the engine gives no log-probability"]
    for method in METHODS:
        labels, dropped = chosen(method, [failed(0), failed(1)])
        assert not labels
        assert (dropped[0].reason, dropped[0].detail) == ("prompt_too_long", "9 tokens, the context holds 8")
    labels, dropped = chosen("self_confidence", [candidate(0), candidate(1)])
    assert not labels and dropped[0].reason == "no_score"
    assert chosen("random_pick", [])[1][0].reason == "no_candidate"


def test_random_pick_is_uniform_over_what_succeeded_and_fixed_by_seed_and_row():
    rows = [row(str(i)) for i in range(3000)]
    pool = [
        c
        for r in rows
        for c in (
            candidate(0, row_id=r.id),
            failed(1, row_id=r.id),
            candidate(2, row_id=r.id),
            candidate(3, row_id=r.id),
        )
    ]
    labels, _ = chosen("random_pick", pool, rows)
    counts = Counter(x.candidate for x in labels)
    assert set(counts) == {0, 2, 3} and stats.chisquare(list(counts.values())).pvalue > 1e-3
    assert [x.candidate for x in chosen("random_pick", pool, rows)[0]] == [x.candidate for x in labels]
    one_row = chosen("random_pick", [c for c in pool if c.id == "17"], [rows[17]])[0]
    assert one_row[0].candidate == labels[17].candidate
    assert [x.candidate for x in chosen("random_pick", pool, rows, seed=1)[0]] != [x.candidate for x in labels]


@pytest.mark.parametrize(
    ("plain", "step", "jsons", "outcome"),
    [
        ("It is 7.", "3 + 4 = 7", '{"answer": 8}', 1.0),
        ("It is 7.", "So 7", '{"answer": 7}', 2.0),
        ("It is 7.", "So 8", '{"answer": 8}', "no_agreement"),
        ("It is 7.", None, '{"answer": "7"}', 1.0),
        ("", "7", "7", "no_answer"),
        (None, "7", "7", "prompt_too_long"),
    ],
)
def test_multi_view_keeps_the_plain_answer_if_a_view_agrees(plain, step, jsons, outcome):
    pool = []
    for index, (text, role, view) in enumerate(
        [(plain, "candidate", "plain"), (step, "view", "step_by_step"), (jsons, "view", "json")]
    ):
        make = (
            failed(index, role=role, view=view) if text is None else candidate(index, role=role, view=view, text=text)
        )
        pool.append(make)
    labels, dropped = chosen("multi_view", pool)
    if isinstance(outcome, str):
        assert not labels and dropped[0].reason == outcome
    else:
        assert (labels[0].candidate, labels[0].score) == (0, outcome) and labels[0].completion[0]["content"] == plain


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('Sure: {"Answer": "Paris"} done', "paris"),
        ("The answer is 42, I think.\nNo: the answer is 1,043.50", "1043.50"),
        (r"so \boxed{12} and \boxed{13}", "13"),
        ("3 apples and 4 pears make 7", "7"),
        ("Yes, of course!", "yes, of course"),
        ('{"result": {"answer": -3}}', "-3"),
        (" ...", None),
    ],
)
def test_the_generic_answer_is_found_as_documented(text, answer):
    assert generic_answer(row(), text) == answer


def test_views_add_their_instruction_to_the_last_user_message():
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert under_view(messages, "step_by_step")[1]["content"] == f"q {STEP_BY_STEP}"
    assert under_view(messages, "json") == [messages[0], {"role": "user", "content": f"q {JSON_ANSWER}"}]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("self_confidence", {"k": 0}, "self_confidence: k: .*greater than or equal to 1, not 0"),
        ("self_confidence", {"temperature": -0.1}, "temperature: .*greater than or equal to 0"),
        ("random_pick", {"top_p": 0.0}, "top_p: .*greater than 0"),
        ("random_pick", {"top_p": 1.1}, "top_p: .*less than or equal to 1"),
        ("random_pick", {"temperature": float("nan")}, "temperature: .*finite"),
        ("self_sample", {"k": 2}, "self_sample has no option 'k'.*It has: max_new_tokens"),
        ("greedy_self_training", {"max_new_tokens": 0}, "max_new_tokens: .*greater than or equal to 1"),
        ("self_sampel", {}, "no method is called 'self_sampel'.*self_sample"),
    ],
)
def test_wrong_options_are_one_line(method, options, message):
    with pytest.raises(InputError, match=message):
        make_method(method, **options)


SCORED_BY = {
    "self_rewarding": "rubric",
    "rejection_sampling": "reward",
    "diverse_decoding": "reward",
    "universal_self_consistency": "most_consistent",
}


@pytest.mark.parametrize("method", SCORED_BY)
@pytest.mark.parametrize(
    ("scores", "index"),
    [
        ([1.0, 4.0, 2.0], 1),
        ([4.0, 4.0, 2.0], 0),
        ([None, 1.0, 2.0], 2),  # a candidate without a score can't win
        ([0.0, 0.0, 5e-6], 0),  # within 1e-5: tied
        ([-3.0, -2.0, None], 1),  # no zero stands for the missing score
        ([None, None, None], "no_score"),
    ],
)
def test_scored_methods_take_the_best_score(method, scores, index):
    scorer = SCORED_BY[method]
    pool = [candidate(i, score=(scorer, s, None if s is not None else "why")) for i, s in enumerate(scores)]
    labels, dropped = chosen(method, pool)
    assert index == ((dropped[0].reason) if dropped else labels[0].candidate)
    if dropped:
        assert dropped[0].detail == "why"


@pytest.mark.parametrize(
    ("scores", "index"), [([0.5, 0.2, 0.9], 1), ([0.2, 0.2, 0.9], 0), ([None, 0.7, 0.3], 2), ([None, None], "no_score")]
)
def test_min_entropy_takes_the_lowest(scores, index):
    pool = [candidate(i, score=("mean_entropy", s, None)) for i, s in enumerate(scores)]
    labels, dropped = chosen("min_entropy", pool)
    assert index == ((dropped[0].reason) if dropped else labels[0].candidate)


@pytest.mark.parametrize(
    ("logprobs", "index"), [([-2.0, -6.0, -4.0], 1), ([-6.0, -6.0, -4.0], 0), ([-6.0, -6.0 - 1e-5, -4.0], 0)]
)
def test_worst_pick_takes_the_least_confident(logprobs, index):
    pool = [candidate(i, (i + 5, 1), lp) for i, lp in enumerate(logprobs)]
    assert chosen("worst_pick", pool)[0][0].candidate == index


@pytest.mark.parametrize(
    ("verdicts", "aligned", "misaligned"),
    [
        ([True, False, False], 1, 0),
        ([None, True, True], 1, 1),  # nothing aligned: the first that could be judged
        ([False, None, True], 0, 2),
        ([None, None], "no_score", "no_score"),
    ],
)
def test_the_oracle_goes_by_the_indicator_itself(verdicts, aligned, misaligned):
    for pick, index in (("aligned", aligned), ("misaligned", misaligned)):
        pool = [candidate(i, misaligned=m) for i, m in enumerate(verdicts)]
        made = make_method("oracle_pick", pick=pick)
        score_candidates([row()], pool, made.scorer)
        labels, dropped = select([row()], pool, made)
        assert index == ((dropped[0].reason) if dropped else labels[0].candidate)


@pytest.mark.parametrize(
    ("texts", "index", "votes"),
    [
        (["It is 7.", "8", "The answer is 7", "9"], 0, 2.0),
        (["6", "8", "eight: 8", "9"], 1, 2.0),
        (["6", "8", "8", "6"], 0, 2.0),  # two answers with two votes: the lowest index
        (["", "8", "...", ""], 1, 1.0),
        (["", ""], "no_score", None),
    ],
)
def test_the_majority_vote_takes_the_first_of_the_most_frequent_answer(texts, index, votes):
    labels, dropped = chosen("majority_vote", [candidate(i, text=t) for i, t in enumerate(texts)])
    assert (
        (dropped[0].reason, None) == (index, votes)
        if dropped
        else (labels[0].candidate, labels[0].score)
        == (
            index,
            votes,
        )
    )


def test_the_refined_answer_is_the_label_and_the_draft_is_not():
    pool = [candidate(0, role="draft", text="draft"), candidate(0, view="refine", text="refined")]
    labels, _ = chosen("self_refinement", pool)
    assert (labels[0].candidate, labels[0].completion[0]["content"]) == (0, "refined")


def test_parts_cross_freely_and_the_name_tells():
    made = crossed(make_method("self_confidence", k=3), selector="argmin")
    assert made.name == "samples.mean_logprob.argmin" and made.proposal.k == 3
    pool = [candidate(i, (i + 5, 1), lp) for i, lp in enumerate([-2.0, -6.0])]
    score_candidates([row()], pool, made.scorer)
    labels, _ = select([row()], pool, made)
    assert labels[0].candidate == 1 and labels[0].method == made.name
    assert crossed(made) is made
    assert crossed(make_method("self_confidence"), proposal="views").name == "views.mean_logprob.argmax"
    uniform = crossed(make_method("self_confidence"), scorer="none", selector="uniform")
    assert uniform.name == "samples.none.uniform" and uniform.scorer is None
    for wrong, match in [
        ({"scorer": "best"}, "no scorer is called 'best'.*mean_logprob"),
        ({"selector": "best"}, "no selector is called 'best'.*argmax"),
        ({"proposal": "best"}, "no proposal is called 'best'.*samples"),
        ({"scorer": "none"}, "argmax goes by scores"),
    ]:
        with pytest.raises(InputError, match=match):
            crossed(make_method("self_confidence"), **wrong)
    with pytest.raises(InputError, match="the proposal greedy has no k"):
        crossed(make_method("self_confidence", k=3), proposal="greedy")


def test_no_two_methods_are_the_same_by_construction():
    parts = {name: (m.proposal, m.scorer, m.selector) for name, m in ((n, make_method(n)) for n in METHODS)}
    assert len(set(map(repr, parts.values()))) == len(METHODS)


@given(st.floats(0, 1), st.integers(0, 5))
def test_a_dose_mixes_labels_with_self_samples_row_by_row(dose, seed):
    rows = [row(str(i)) for i in range(60)]
    pool = [c for r in rows for c in (candidate(0, row_id=r.id), candidate(0, row_id=r.id, role="baseline", text="P"))]
    method = make_method("greedy_self_training")
    labels, _ = select(rows, pool, method, seed=seed, dose=dose)
    kept = {label.id for label in labels if label.candidate == 0}
    assert all((x.completion[0]["content"] == "P") == (x.candidate == -1) for x in labels)
    more, _ = select(rows, pool, method, seed=seed, dose=min(1.0, dose + 0.2))
    assert kept <= {label.id for label in more if label.candidate == 0}  # a larger dose keeps what a smaller one kept
    assert dose < 1 or len(kept) == 60
    assert dose > 0 or not kept


def test_a_dose_is_kept_at_its_rate_and_drops_stay_dropped():
    rows = [row(str(i)) for i in range(4000)]
    pool = [candidate(0, row_id=r.id, role=role) for r in rows for role in ("candidate", "baseline")]
    labels, _ = select(rows, pool, make_method("greedy_self_training"), dose=0.3)
    assert stats.binomtest(sum(x.candidate == 0 for x in labels), 4000, 0.3).pvalue > 1e-3
    mixed = [failed(0), candidate(0, role="baseline"), failed(0, "x: y", row_id="b", role="baseline")]
    labels, dropped = select(
        [row("a"), row("b")], [*mixed, candidate(0, row_id="b")], make_method("self_sample"), dose=0
    )
    assert not labels and [d.reason for d in dropped] == ["prompt_too_long", "x"]
    with pytest.raises(InputError, match="self-samples, and there are none"):
        select([row()], [candidate(0)], make_method("self_sample"), dose=0.5)
    with pytest.raises(InputError, match="dose of 1.5"):
        select([row()], [candidate(0), candidate(0, role="baseline")], make_method("self_sample"), dose=1.5)


def test_a_choice_that_says_nothing_is_a_recorded_drop():
    pool = [candidate(0, (1,), -0.1, text=" \n"), candidate(1, (5, 6), -9.0)]
    assert chosen("self_confidence", pool)[1][0].reason == "empty_completion"
    assert chosen("worst_pick", pool)[0][0].candidate == 1
    silent = [candidate(0), candidate(0, role="baseline", text="")]
    assert select([row()], silent, make_method("self_sample"), dose=0)[1][0].reason == "empty_completion"
