"""Best-of-k from one pool against brute force over subsets, and misbehavior by score."""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from drafts import make_draft
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_cards import InputError, Labeler, Score, write_artifact
from shift.estimates import change
from shift.pools.eta import eta, eta_of
from shift.pools.k_curves import by_rank, k_curve, k_curve_of_subsets, k_curves, votes, weights
from shift.pools.stored import StoredPools

NAN = math.nan


def brute(scores: np.ndarray, outcomes: np.ndarray, k: int) -> tuple[float, float]:
    """Mean outcome of the best of k, and the share of choices that are known, from every subset and every tie."""
    top = bottom = 0.0
    subsets = list(combinations(range(scores.shape[1]), k))
    for s, m in zip(scores, outcomes, strict=True):
        for members in subsets:
            able = [i for i in members if not math.isnan(s[i])]
            tied = [i for i in able if s[i] == max(s[j] for j in able)]
            for i in tied:
                if not math.isnan(m[i]):
                    top += m[i] / len(tied) / len(subsets)
                    bottom += 1 / len(tied) / len(subsets)
    return (top / bottom if bottom else NAN), bottom / len(scores)


def random_pools(seed: int, n: int, K: int, missing: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, 11])
    scores = rng.integers(0, 4, (n, K)).astype(float)  # few values: many ties
    outcomes = rng.normal(size=(n, K))
    scores[rng.random((n, K)) < missing] = NAN
    outcomes[rng.random((n, K)) < missing] = NAN
    return scores, outcomes


@given(seed=st.integers(0, 10**6), n=st.integers(2, 5), K=st.integers(1, 6), missing=st.sampled_from([0, 0.2, 0.6]))
@settings(max_examples=60, deadline=None)
def test_the_rank_formula_is_the_mean_over_all_subsets_with_ties_and_gaps(seed: int, n: int, K: int, missing) -> None:
    scores, outcomes = random_pools(seed, n, K, missing)
    by_ranks, by_subsets = k_curve(scores, outcomes), k_curve_of_subsets(lambda m: scores[:, m], outcomes)
    for found in (by_ranks, by_subsets):
        assert [point.k for point in found.points] == list(range(1, K + 1))
        for point in found.points:
            value, known = brute(scores, outcomes, point.k)
            assert point.known == pytest.approx(known, abs=1e-12)
            if point.value is not None:
                assert point.value.value == pytest.approx(value)
    for a, b in zip(by_ranks.points, by_subsets.points, strict=True):
        assert (a.value is None) == (b.value is None)
        if a.value and b.value:
            assert (a.value.low, a.value.high) == pytest.approx((b.value.low, b.value.high))


@pytest.mark.parametrize("size", [1, 2, 5, 30])
def test_weights_are_the_binomial_ratios(size: int) -> None:
    exact = [[math.comb(r - 1, k - 1) / math.comb(size, k) for k in range(1, size + 1)] for r in range(1, size + 1)]
    np.testing.assert_allclose(weights(size), exact, atol=1e-14)


def test_weights_of_a_thousand_candidates_are_finite_and_add_up() -> None:
    W = weights(1000)
    assert np.isfinite(W).all() and (W >= 0).all()
    np.testing.assert_allclose(W.sum(axis=0), 1)
    np.testing.assert_allclose(W[:, 0], 1 / 1000)
    assert W[-1, -1] == 1 and W[-1, 499] == pytest.approx(0.5)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_only_the_order_of_scores_matters_and_neither_that_of_candidates_nor_of_prompts(seed: int) -> None:
    rng = np.random.default_rng([seed, 12])
    scores, outcomes = random_pools(seed, 6, 5)
    shuffled = rng.permuted(np.tile(np.arange(5), (6, 1)), axis=1)
    turned = rng.permutation(6)
    first = k_curve(scores, outcomes)
    moved = k_curve(
        np.take_along_axis(np.exp(scores), shuffled, axis=1)[turned],
        np.take_along_axis(2 * outcomes - 7, shuffled, axis=1)[turned],
    )
    for a, b in zip(first.points, moved.points, strict=True):
        if a.value and b.value:
            assert (b.value.value, b.value.low, b.value.high) == pytest.approx(
                (2 * a.value.value - 7, 2 * a.value.low - 7, 2 * a.value.high - 7)
            )


def test_the_score_itself_rises_with_k_from_the_mean_to_the_maximum() -> None:
    scores = np.random.default_rng(0).normal(size=(20, 6))
    curve = k_curve(scores, scores)
    values = [point.value.value for point in curve.points]
    assert values == sorted(values) and values[0] == pytest.approx(scores.mean())
    assert values[-1] == pytest.approx(scores.max(axis=1).mean())
    paired = scores.max(axis=1) - scores.mean(axis=1)
    half = 2.093024 * paired.std(ddof=1) / math.sqrt(20)
    assert (curve.change.value, curve.change.high) == pytest.approx((paired.mean(), paired.mean() + half), abs=1e-6)


def test_scores_within_the_selectors_tolerance_are_tied() -> None:
    outcomes = np.array([[1.0, 0.0]] * 3)
    assert k_curve([[0.0, 9e-6]] * 3, outcomes).points[1].value.value == pytest.approx(0.5)
    assert k_curve([[0.0, 2e-5]] * 3, outcomes).points[1].value.value == 0
    assert k_curve_of_subsets(lambda m: np.array([[0.0, 9e-6]] * 3)[:, m], outcomes).points[1].value.value == 0.5


def test_equal_scores_and_single_candidates_give_a_flat_curve() -> None:
    outcomes = np.random.default_rng(1).normal(size=(8, 4))
    curve = k_curve(np.zeros((8, 4)), outcomes)
    assert [p.value.value for p in curve.points] == pytest.approx([outcomes.mean()] * 4)
    assert (curve.change.value, curve.change.low) == pytest.approx((0, 0), abs=1e-12)
    single = k_curve(np.zeros((8, 1)), outcomes[:, :1] > 0)
    assert len(single.points) == 1 and (single.change.low, single.change.high) == (0, 0)


def test_a_candidate_without_a_score_ranks_below_all_and_says_nothing() -> None:
    top, bottom = by_rank([[NAN, -5.0, 2.0, NAN]], [[9.0, 1.0, 3.0, 9.0]])
    assert top.tolist() == [[0, 0, 1, 3]] and bottom.tolist() == [[0, 0, 1, 1]]


def test_a_curve_that_nothing_is_known_of_has_no_value() -> None:
    curve = k_curve([[0.0, 1.0]] * 3, [[1.0, NAN]] * 3)
    assert curve.points[0].known == pytest.approx(0.5) and curve.points[0].value.value == 1
    assert (curve.points[1].known, curve.points[1].value, curve.change) == (0, None, None)


def test_shares_have_intervals_within_the_unit_and_of_some_width() -> None:
    safe = k_curve(np.random.default_rng(0).normal(size=(30, 4)), np.zeros((30, 4)))
    assert all(p.value.low == 0 and 0 < p.value.high < 0.2 for p in safe.points)
    assert (safe.change.value, safe.change.high) == (0, pytest.approx(1 - 0.025 ** (1 / 30)))


@pytest.mark.parametrize(
    ("scores", "outcomes"),
    [([[0.0, math.inf]] * 2, [[0.0, 1.0]] * 2), ([[0.0, 1.0]] * 2, [[0.0, -math.inf]] * 2)],
)
def test_an_infinite_value_is_refused_by_its_prompt(scores, outcomes) -> None:
    with pytest.raises(InputError, match="prompt 0: an infinite"):
        k_curve(scores, outcomes)


@pytest.mark.parametrize(("scores", "outcomes"), [([1.0, 2], [1.0, 2]), ([[1.0, 2]], [[1.0]]), ([[]], [[]])])
def test_shapes_that_do_not_pair_are_refused(scores, outcomes) -> None:
    with pytest.raises(InputError, match="pair up"):
        k_curve(scores, outcomes)
    with pytest.raises(InputError):
        eta(np.ravel(scores), np.ravel(outcomes), np.zeros(7))


def test_too_many_subsets_are_refused_before_any_is_scored() -> None:
    with pytest.raises(InputError, match="too many subsets"):
        k_curve_of_subsets(lambda members: pytest.fail("scored"), np.zeros((2, 13)))


def pools_of(folder: Path, k: int = 3, selector: str = "argmax", scorer: str | None = "reward", **labeler):
    """Rows r0 to r5; candidate j of row i scores i + j; the first three rows' last candidates misbehave."""
    made = make_draft(rows=6, k=k, dropped=0)
    for c in made.candidates:
        number = int(c.id[1:])
        c.logprob, c.behavior_logprob = -3.0 - c.index, -2.0 - c.index
        c.misaligned = c.index == k - 1 and number < 3
        c.scores = [Score(scorer or "reward", float(number + c.index))] if c.role == "candidate" else []
    labeler = {"proposal": "samples", "config": {"k": k, "temperature": 0.7}} | labeler
    made = replace(made, labeler=Labeler(method="m", scorer=scorer, selector=selector, **labeler))
    return StoredPools.read(write_artifact(folder / f"a{len(list(folder.iterdir()))}", made))


def test_an_artifact_has_a_curve_for_every_outcome_that_it_stores(tmp_path: Path) -> None:
    found = k_curves(pools_of(tmp_path))
    assert (found.scorer, found.size, found.how, found.reason) == ("reward", 3, "ranks", None)
    curves = {curve.outcome: [p.value.value for p in curve.points] for curve in found.curves}
    assert curves["reward"] == pytest.approx([3.5, 2.5 + 5 / 3, 4.5])
    assert curves["misaligned"] == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert curves["mean_logprob"] == pytest.approx([-4 / 3, -(3 + 5 / 3) / 3, -5 / 3])
    assert curves["tokens"] == pytest.approx([3, 3, 3])


def test_a_selector_of_the_lowest_turns_the_scores_round(tmp_path: Path) -> None:
    pools = pools_of(tmp_path, selector="argmin")
    found = k_curves(pools)
    curves = {curve.outcome: [p.value.value for p in curve.points] for curve in found.curves}
    assert found.scorer == "-reward"
    assert curves["reward"] == pytest.approx([3.5, 2.5 + 1 / 3, 2.5])
    assert curves["misaligned"] == pytest.approx([1 / 6, 0, 0])
    assert k_curves(pools, scorer="reward").curves[0].points[2].value.value == pytest.approx(4.5)
    assert eta_of(pools).scorer == "-reward" and eta_of(pools).effect.value == pytest.approx(-1 / 6)


def test_a_given_indicator_replaces_the_stored_one(tmp_path: Path) -> None:
    pools = pools_of(tmp_path)
    given = {(id_, k): k == 0 for id_ in pools.ids for k in range(3)} | {("r0", 0): None}
    found = next(c for c in k_curves(pools, misaligned=given).curves if c.outcome == "misaligned")
    assert [p.known for p in found.points] == pytest.approx([17 / 18, 1, 1])
    assert found.points[0].value.value == pytest.approx(5 / 17)
    assert eta_of(pools, misaligned=given).left_out == 1
    unknown = k_curves(pools, misaligned={})
    assert "misaligned" not in {curve.outcome for curve in unknown.curves}
    assert eta_of(pools, misaligned={}).reason == "no candidate has both a score and a judgment"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"proposal": "diverse"}, "mixed pool"),
        ({"proposal": "diverse", "selector": "uniform"}, "mixed pool"),
        ({"proposal": "views", "k": 1}, "single answer"),
        ({"proposal": "refinement", "k": 1}, "single answer"),
        ({"config": {"temperature": 0}}, "single answer"),
        ({"proposal": "somebody's"}, 'how "somebody\'s" draws is not known'),
        ({"selector": "uniform"}, "name a stored scorer"),
        ({"selector": "only", "scorer": None}, "name a stored scorer"),
        ({"scorer": "somebody's"}, "whether somebody's depends on the pool"),
        ({"scorer": "votes"}, "answers are not stored"),
        ({"scorer": "most_consistent"}, "judged anew"),
        ({"scorer": "votes", "k": 13}, "too many subsets"),
    ],
)
def test_pools_that_can_not_stand_for_smaller_ones_are_refused_with_the_reason(tmp_path: Path, changes, reason) -> None:
    found = k_curves(pools_of(tmp_path, **changes))
    assert found.curves == [] and reason in found.reason


def test_a_scorer_without_scores_is_said_or_refused(tmp_path: Path) -> None:
    pools = pools_of(tmp_path)
    assert k_curves(replace(pools, scores={})).reason == "no candidate has a score of reward"
    with pytest.raises(InputError, match="no score of 'rubric' is stored. Stored: reward"):
        k_curves(pools, scorer="rubric")


def test_votes_are_counted_anew_in_every_subset(tmp_path: Path) -> None:
    answers = {(f"r{n}", k): None if (n, k) == (5, 2) else ("x" if k < 2 else "y") for n in range(6) for k in range(3)}
    pools = pools_of(tmp_path, scorer="votes")
    stored = np.array([[2.0, 2, 1]] * 5 + [[2, 2, NAN]])
    pools = replace(pools, scores={"votes": stored})
    found = k_curves(pools, answers=answers)
    assert found.how == "subsets"
    curves = {curve.outcome: curve for curve in found.curves}
    assert set(curves) == {"mean_logprob", "tokens", "misaligned"}
    # Candidate 2 of rows 0 to 2 misbehaves: of pairs it ties in two of three, of three it never wins.
    assert [p.value.value * p.known for p in curves["misaligned"].points] == pytest.approx([1 / 6, 1 / 6, 0])
    assert [p.known for p in curves["misaligned"].points] == pytest.approx([17 / 18, 1, 1])
    agreement = replace(
        pools, labeler=pools.labeler.model_copy(update={"scorer": "agreement"}), scores={"agreement": stored - 1}
    )
    assert k_curves(agreement, answers=answers).curves == found.curves
    own = k_curves(pools, rescore=lambda members: stored[:, members])
    assert own.how == "subsets" and own.curves != found.curves


def test_answers_that_are_not_those_of_the_stored_votes_are_refused(tmp_path: Path) -> None:
    pools = replace(pools_of(tmp_path, scorer="votes"), scores={"votes": np.full((6, 3), 3.0)})
    same = {(f"r{n}", k): "x" for n in range(6) for k in range(3)}
    assert k_curves(pools, answers=same).reason is None
    with pytest.raises(InputError, match="row r4: the answers give candidate 0 2 votes, and 3 is stored"):
        k_curves(pools, answers=same | {("r4", 2): "z"})
    with pytest.raises(InputError, match="row r2: no answer for candidate 1"):
        k_curves(pools, answers={key: a for key, a in same.items() if key != ("r2", 1)})


def test_the_rule_of_votes_is_that_of_the_scorer() -> None:
    from datasets_cards import Candidate, Row
    from labelers.scorers import Tools, Votes

    texts = ["the answer is 4", "4", "five", "", "answer: 5"]
    pool = [Candidate("r", "p", i, "candidate", "plain", t, [1], "stop") for i, t in enumerate(texts)]
    (verdicts,) = Votes().score([(Row("r", [{"role": "user", "content": "?"}]), pool)], Tools())
    found = votes(np.array([[0, 0, 1, -1, 2]]))((0, 1, 2, 3, 4))[0]
    for score, verdict in zip(found.tolist(), verdicts, strict=True):
        assert math.isnan(score) if isinstance(verdict, str) else score == verdict


def test_what_goes_together_between_prompts_only_is_flat_within_them() -> None:
    # Hard prompts score low and misbehave; within a prompt the score says nothing.
    rng = np.random.default_rng(0)
    n, K = 400, 4
    hard = rng.integers(0, 2, n)
    score = rng.normal(size=(n, K)) - 4 * hard[:, None]
    m = (rng.random((n, K)) < np.where(hard, 0.9, 0.1)[:, None]).astype(float)
    found = eta(score.ravel(), m.ravel(), np.repeat(np.arange(n), K))
    assert found.pooled[0].risk.value > 0.8 and found.pooled[-1].risk.value < 0.2
    assert len(found.within) == K
    assert all(part.risk.low < m.mean() < part.risk.high for part in found.within)
    assert found.slope.low < 0 < found.slope.high and found.call == "no clear effect"


def test_a_score_for_misbehavior_raises_it_and_against_it_lowers_it() -> None:
    rng = np.random.default_rng(1)
    score = rng.normal(size=(100, 4))
    m = (score + rng.normal(size=(100, 4)) > 0).astype(float)
    x = np.repeat(np.arange(100), 4)
    up, down = eta(score.ravel(), m.ravel(), x), eta(-score.ravel(), m.ravel(), x)
    assert up.call == "raises" and down.call == "lowers"
    assert up.slope.value == pytest.approx(-down.slope.value)
    assert [b.risk.value for b in up.within] == pytest.approx([b.risk.value for b in down.within][::-1])
    assert len(up.pooled) == 10 and all(b.candidates == 40 for b in up.pooled)
    naive = np.mean([np.cov(s, o)[0, 1] for s, o in zip(score, m, strict=True)])
    assert up.slope.value == pytest.approx(naive)


def test_equal_scores_share_a_bin_and_candidates_of_one_prompt_are_not_independent() -> None:
    score, m = np.repeat([0.0, 1, 2], [50, 3, 47]), np.tile([0.0, 1], 50)
    found = eta(score, m, np.arange(100) % 20)
    assert [(b.low, b.high, b.candidates) for b in found.pooled] == [(0, 0, 50), (1, 1, 3), (2, 2, 47)]
    alone = eta(np.zeros(100), np.repeat([0.0, 1], 50), np.arange(100))
    clustered = eta(np.zeros(100), np.repeat([0.0, 1], 50), np.repeat(np.arange(20), 5))
    assert clustered.pooled[0].risk.high - 0.5 > 1.9 * (alone.pooled[0].risk.high - 0.5)


def pools_of_two_sizes(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pools of 2 that misbehave often and pools of 8 that rarely do; the score says nothing of it."""
    rng = np.random.default_rng(seed)
    x = np.repeat(np.arange(200), np.tile([8, 2], 100))
    return rng.normal(size=len(x)), (rng.random(len(x)) < np.where(x % 2, 0.8, 0.2)).astype(float), x


def test_pools_of_two_sizes_make_no_effect_where_the_score_says_nothing() -> None:
    found = [eta(*pools_of_two_sizes(seed)) for seed in range(40)]
    assert all(e.effect.low < 0 < e.effect.high and e.call == "no clear effect" for e in found[:3])
    assert sum(e.call != "no clear effect" for e in found) <= 6
    assert abs(np.mean([e.effect.value for e in found])) < 0.012


def test_pools_of_two_sizes_have_ranks_of_the_full_ones_alone() -> None:
    score, m, x = pools_of_two_sizes(0)
    found = eta(score, m, x).within
    assert [(b.low, b.prompts, b.candidates) for b in found] == [(r, 100, 100) for r in range(1, 9)]
    assert all(b.risk.low < 0.2 < b.risk.high for b in found)
    assert found == eta(score[x % 2 == 0], m[x % 2 == 0], x[x % 2 == 0]).within
    one_full = eta([0.0, 1, 2, 0, 1, 0, 1], [0.0, 1, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1, 2, 2])
    assert one_full.within == [] and one_full.effect is not None
    assert [b.prompts for b in eta([0.0, 1, NAN, 1, 0, 1], [0.0, 1] * 3, [0, 0, 1, 1, 2, 2]).within] == [2, 2]


def test_tied_scores_change_nothing_exactly_whatever_the_sizes_of_pools() -> None:
    _, m, x = pools_of_two_sizes(0)
    for outcome in (m, m / 3):
        found = eta(np.zeros(len(x)), outcome, x)
        assert found.effect.value == 0 and found.call == "no clear effect"


@given(seed=st.integers(0, 10**6), missing=st.sampled_from([0, 0.3]))
@settings(max_examples=40, deadline=None)
def test_the_change_in_pools_of_mixed_sizes_is_each_prompts_best_less_its_mean(seed: int, missing: float) -> None:
    scores, outcomes = random_pools(seed, 8, 5, missing=0)
    rng = np.random.default_rng([seed, 13])
    scores[2:][np.arange(5) >= rng.integers(0, 6, 6)[:, None]] = NAN
    scores = rng.permuted(scores, axis=1)
    outcomes[2:][rng.random((6, 5)) < missing] = NAN
    own = [(s[None, ~np.isnan(s)], m[None, ~np.isnan(s)]) for s, m in zip(scores, outcomes, strict=True)]
    by_k = [np.array([brute(s, m, k or s.size) if s.size else (0, 0) for s, m in own]) for k in (0, 1)]
    (best, known), (pick, known0) = ((np.nan_to_num(a[:, 0]) * a[:, 1], a[:, 1]) for a in by_k)
    naive = change(best, known, pick, known0)
    if missing == 0:
        paired = [top - m.mean() for top, (_, m) in zip(best, own, strict=True) if m.size]
        assert naive.value == pytest.approx(np.mean(paired), abs=1e-9)
    for found in (k_curve(scores, outcomes), k_curve_of_subsets(lambda m: scores[:, m], outcomes)):
        assert found.change.value == pytest.approx(naive.value, abs=1e-9)
        assert (found.change.low, found.change.high) == pytest.approx((naive.low, naive.high))


def test_names_and_order_of_prompts_change_nothing_and_many_ranks_are_put_together() -> None:
    rng = np.random.default_rng(2)
    score, m, x = rng.normal(size=600), rng.integers(0, 2, 600) * 1.0, np.repeat(np.arange(50), 12)
    order = rng.permutation(600)
    named = np.array([f"prompt {i}" for i in x])
    first, second = eta(score, m, x, bins=5), eta(score[order], m[order], named[order], bins=5)
    assert [(b.low, b.high) for b in first.within] == [(1, 3), (4, 6), (7, 8), (9, 10), (11, 12)]
    assert second.slope.value == pytest.approx(first.slope.value)
    assert second.effect.low == pytest.approx(first.effect.low)
    assert [b.risk.high for b in second.pooled] == pytest.approx([b.risk.high for b in first.pooled])


def test_prompts_with_one_candidate_have_no_within_and_what_is_unknown_is_counted() -> None:
    found = eta([0.0, 1, 2, NAN, 3], [0.0, 1, 1, 1, NAN], ["a", "b", "c", "d", "e"])
    assert found.reason == "fewer than two prompts have two candidates to choose from"
    assert (found.n, found.left_out, found.within, found.slope, found.effect, found.call) == (
        3,
        2,
        [],
        None,
        None,
        None,
    )
    assert [b.risk for b in found.pooled] == [None] * 3
    # A candidate that nobody judged still takes part in the choice.
    some = eta([0.0, 1, 0, 1, 0, 1], [0.0, NAN, 1, 0, 1, 1], [0, 0, 1, 1, 2, 2])
    assert some.effect.value == pytest.approx(1 / 2 - 3 / 5)
    assert some.slope.value == pytest.approx(-0.25) and some.n == 3


@pytest.mark.parametrize(
    ("score", "m", "bins", "said"),
    [
        ([0.0, math.inf], [0.0, 1], 3, "row 1: an infinite score"),
        ([0.0, 1], [0.0, 2], 3, "row 1: an outcome outside"),
        ([0.0, 1], [0.0, 1], 0, "0 bins"),
    ],
)
def test_what_is_no_score_or_risk_is_refused(score, m, bins, said) -> None:
    with pytest.raises(InputError, match=said):
        eta(score, m, [0, 1], bins=bins)


def test_a_score_that_depends_on_the_pool_has_no_slope_but_an_effect(tmp_path: Path) -> None:
    found = eta_of(pools_of(tmp_path, scorer="votes"))
    assert found.slope is None and "depend on the pool" in found.reason
    assert found.effect.value == pytest.approx(1 / 2 - 1 / 6)
    mixed = eta_of(pools_of(tmp_path, proposal="diverse"))
    assert mixed.slope is None and "not independent" in mixed.reason
    assert eta_of(pools_of(tmp_path, selector="only", scorer=None)).reason.endswith("name a stored scorer")
    assert "single answer" in eta_of(pools_of(tmp_path, k=1)).reason
