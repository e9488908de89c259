"""Diversity: closed forms, equal numbers of answers, and words in any script."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_cards.errors import InputError
from shift import Ladder
from shift.diversity import distinct_n, measure_diversity, vendi, within_prompt


def test_vendi_counts_orthonormal_groups_of_equal_size() -> None:
    e = np.eye(10)
    for groups, size in ((1, 7), (4, 1), (4, 2), (4, 5), (10, 3)):
        assert vendi(np.repeat(e[:groups], size, axis=0)) == pytest.approx(groups)
    assert vendi(np.ones((1, 3))) == pytest.approx(1)
    assert vendi(np.array([[2.0], [5.0], [0.5]])) == pytest.approx(1)


def test_vendi_is_the_exponential_of_the_entropy_of_unequal_shares() -> None:
    share = np.array([0.5, 0.25, 0.25])
    expected = np.exp(-(share * np.log(share)).sum())
    assert vendi(np.eye(3)[[0, 0, 1, 2]]) == pytest.approx(expected)
    assert vendi(np.eye(3), weight_N=np.array([2, 1, 1])) == pytest.approx(expected)
    assert vendi(np.eye(5)[:3], weight_N=np.array([6, 3, 3])) == pytest.approx(expected)  # fewer rows than columns


def test_vendi_is_that_of_the_whole_similarity_matrix_on_either_side_of_the_dual() -> None:
    rng = np.random.default_rng(0)
    for n, d in ((30, 6), (6, 30), (12, 12)):
        X = rng.normal(size=(n, d)) + 0.5
        U = X / np.linalg.norm(X, axis=1, keepdims=True)
        share = np.linalg.eigvalsh(U @ U.T / n)
        share = share[share > 1e-12]
        assert vendi(X) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


@given(seed=st.integers(0, 10**6), n=st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_vendi_ignores_order_rotation_and_length_and_stays_within_its_bounds(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    moved = (X * rng.uniform(0.1, 50, (n, 1)))[rng.permutation(n)] @ rotation
    assert vendi(moved) == pytest.approx(vendi(X))
    assert 1 - 1e-9 <= vendi(X) <= min(n, 5) + 1e-9
    assert vendi(np.repeat(X, 3, axis=0)) == pytest.approx(vendi(X))
    weight = rng.integers(1, 4, n)
    assert vendi(X, weight_N=weight) == pytest.approx(vendi(np.repeat(X, weight, axis=0)))


def test_vendi_widens_float16_and_refuses_rows_without_a_direction() -> None:
    X = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float16)
    assert vendi(X) == pytest.approx(vendi(X.astype(np.float64)))
    for value, fault in ((np.nan, "NaN"), (np.inf, "infinity"), (0.0, "zero vector")):
        bad = X.copy()
        bad[4] = value
        with pytest.raises(InputError, match=f"row 4.*{fault}"):
            vendi(bad)
    with pytest.raises(InputError, match="at least one"):
        vendi(X[:0])
    for weight in ([1.0] * 5, [-1.0] + [1.0] * 5, [0.0] * 6, [np.nan] * 6):
        with pytest.raises(InputError, match="weight"):
            vendi(X, weight_N=np.array(weight))


def test_distinct_n_is_the_share_of_different_runs_of_words() -> None:
    texts = ["the cat saw the dog", "The cat!"]
    assert distinct_n(texts, 1) == pytest.approx(4 / 7)  # the cat saw dog
    assert distinct_n(texts, 2) == pytest.approx(4 / 5)  # the-cat twice
    assert distinct_n(texts, 3) == 1.0
    assert distinct_n(texts, 6) is None
    assert distinct_n([], 1) is None
    assert distinct_n(["same words here"] * 10, 2) == pytest.approx(2 / 20)
    with pytest.raises(InputError, match="at least 1"):
        distinct_n(texts, 0)


def test_words_are_words_in_any_script() -> None:
    assert distinct_n(["Straße STRASSE"], 1) == 0.5
    assert distinct_n(["cafe\u0301 caf\u00e9"], 1) == 0.5  # composed and decomposed
    assert distinct_n(["हिन्दी भाषा हिन्दी"], 1) == pytest.approx(2 / 3)  # vowel signs don't split a word
    assert distinct_n(["我爱我"], 1) == pytest.approx(2 / 3)
    assert distinct_n(["猫が好き"], 2) == 1.0
    assert distinct_n(["x+y", "x + z"], 1) == pytest.approx(4 / 6)
    assert distinct_n(["...", "!?"], 1) is None


def test_within_prompt_is_the_mean_over_pairs_then_over_prompts() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(9, 4))
    prompt = np.array([7, 7, 3, 3, 3, 7, 7, 5, 3])
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    each = []
    for p in (3, 7):
        rows = np.flatnonzero(prompt == p)
        each.append(np.mean([1 - U[i] @ U[j] for i in rows for j in rows if i < j]))
    found = within_prompt(X, prompt)
    assert found is not None and found.prompts == 2  # prompt 5 has a single answer
    assert found.mean == pytest.approx(np.mean(each))
    half = 12.706204736 * np.std(each, ddof=1) / 2**0.5
    assert (found.low, found.high) == (max(np.mean(each) - half, 0), pytest.approx(np.mean(each) + half))


def test_within_prompt_is_exactly_zero_for_equal_answers_and_one_for_orthogonal_ones() -> None:
    e = np.eye(4)
    same = within_prompt(np.repeat(e[:3] * 7, 3, axis=0), np.repeat(np.arange(3), 3))
    assert same is not None and (same.mean, same.low, same.high) == (0, 0, 0)
    apart = within_prompt(e, np.zeros(4, int))
    assert apart is not None and apart.mean == pytest.approx(1) and apart.low is None
    opposite = within_prompt(np.array([[1.0, 0], [-3.0, 0]]), np.zeros(2, int))
    assert opposite is not None and opposite.mean == pytest.approx(2)
    assert within_prompt(e, np.arange(4)) is None


def test_counts_stand_for_repeated_answers() -> None:
    rng = np.random.default_rng(3)
    X, prompt, count = rng.normal(size=(8, 3)), np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([1, 3, 2, 1, 1, 4, 1, 2])
    assert within_prompt(X, prompt, count_M=count) == within_prompt(
        np.repeat(X, count, axis=0), np.repeat(prompt, count)
    )


def test_the_interval_over_prompts_covers_the_true_mean() -> None:
    missed = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        # Two answers at an angle: 1 - cos is uniform on (0, 1), so its mean is one half.
        angle = np.arccos(1 - rng.uniform(size=25))
        X = np.stack([np.ones(25), np.zeros(25), np.cos(angle), np.sin(angle)], axis=1).reshape(50, 2)
        found = within_prompt(X, np.repeat(np.arange(25), 2))
        assert found is not None and found.low is not None and found.high is not None
        missed += not found.low <= 0.5 <= found.high
    assert 4 <= missed <= 30  # 15 expected


def rungs(n: int = 60, K: int = 4, d: int = 8, seed: int = 0) -> Ladder:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, K + 1, d))
    return Ladder.from_arrays(baseline=X[:, 0], pool=X[:, 1:], selected=rng.integers(0, K, n))


def test_rungs_are_compared_at_one_answer_a_prompt() -> None:
    points = rungs(n=12, K=6, d=40)
    found = {d.rung: d for d in measure_diversity(points)}
    assert set(found) == {"P", "U", "S"}
    assert all(d.n == 12 for d in found.values())
    # All rungs hold draws of one distribution, so at equal numbers they are as diverse; the pool as a whole is more.
    assert found["U"].vendi == pytest.approx(found["P"].vendi, rel=0.05)
    assert found["U"].pool_vendi is not None and found["U"].pool_vendi > 1.5 * found["U"].vendi
    assert found["U"].answers == 72 and found["P"].answers == 12
    assert found["U"].within is not None and found["U"].within.mean == pytest.approx(1, abs=0.1)
    for single in ("P", "S"):
        assert found[single].pool_vendi is None and found[single].within is None
    S = points.points_ND[points.point_M[points.counts["S"] > 0]]
    assert found["S"].vendi == pytest.approx(vendi(S))


def test_a_draw_takes_each_answer_as_often_as_it_is_in_the_pool() -> None:
    e = np.eye(2)
    points = Ladder.from_arrays(pool=np.stack([[e[0], e[0], e[0], e[1]]] * 400), selected=[0] * 400)
    pool = next(d for d in measure_diversity(points, draws=40) if d.rung == "U")
    share = np.array([0.75, 0.25])
    assert pool.vendi == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=0.02)
    assert pool.pool_vendi == pytest.approx(np.exp(-(share * np.log(share)).sum()))
    assert pool.within is not None and pool.within.mean == pytest.approx(0.5)


def test_prompts_that_lack_a_rung_are_left_out_of_every_rung() -> None:
    X = np.random.default_rng(4).normal(size=(10, 3, 5))
    points = Ladder.from_arrays(pool=X, selected=[0, 1, None, 2, 0, 0, None, 1, 1, 1])
    found = {d.rung: d for d in measure_diversity(points)}
    assert found["U"].n == found["S"].n == 8 and found["U"].answers == 24


def test_distinct_n_of_a_pool_is_at_one_answer_a_prompt_too() -> None:
    e = np.eye(8)
    points = Ladder.from_arrays(pool=np.stack([[e[2 * i], e[2 * i + 1]] for i in range(4)]), selected=[0] * 4)
    axis = points.points_ND.argmax(axis=1)
    texts = [f"prompt {'abcd'[a // 2]} word{a}" for a in axis]
    found = {d.rung: d for d in measure_diversity(points, texts=texts)}
    assert found["U"].distinct == found["S"].distinct == {1: pytest.approx(9 / 12), 2: 1.0, 3: 1.0}
    assert measure_diversity(points)[0].distinct is None
    short = measure_diversity(points, texts=["two words"] * 8)[0]
    assert short.distinct == {1: 0.25, 2: 0.25, 3: None}
    with pytest.raises(InputError, match="3 texts for 8 points"):
        measure_diversity(points, texts=["a"] * 3)


def test_draws_are_seeded() -> None:
    points = rungs(n=10, d=30)
    a, b, c = (measure_diversity(points, seed=s, draws=2) for s in (1, 1, 2))
    assert a == b and a != c
