"""The classifier two-sample test: the Bayes classifier, references, and why folds go by prompt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from datasets_cards.errors import InputError
from shift.metrics.classifier import ClassifierMetric, classifier_two_sample, weighted_auc
from shift.metrics.two_samples import TwoSamples


def paired(n: int) -> dict[str, np.ndarray]:
    return {"x_prompt_N": np.arange(n), "y_prompt_M": np.arange(n)}


def test_with_many_rows_it_reaches_the_best_that_any_classifier_can_do_between_shifted_gaussians() -> None:
    rng = np.random.default_rng(0)
    shift = np.array([0.6, 0, -0.8, 0])
    found = classifier_two_sample(rng.normal(size=(6000, 4)), rng.normal(size=(6000, 4)) + shift)
    assert found.auc == pytest.approx(norm.cdf(1 / 2**0.5), abs=0.015)
    assert found.accuracy == pytest.approx(norm.cdf(0.5), abs=0.015)


@given(
    x=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=20),
    y=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_the_auc_is_the_chance_that_y_scores_above_x_with_ties_counting_half(
    x: list[tuple[int, int]], y: list[tuple[int, int]]
) -> None:
    above = sum(v * w * ((b > a) + 0.5 * (b == a)) for a, v in x for b, w in y)
    x_weight, y_weight = (np.array([w for _, w in side]) / sum(w for _, w in side) for side in (x, y))
    scores = np.array([s for s, _ in x + y], float)
    total = sum(v for _, v in x) * sum(w for _, w in y)
    assert weighted_auc(scores, x_weight, y_weight) == pytest.approx(above / total)


@pytest.mark.parametrize("m", [80, 31])
def test_it_is_what_scikit_learn_gives_on_the_same_folds(m: int) -> None:
    rng = np.random.default_rng(m)
    x, y = rng.normal(size=(80, 6)), rng.normal(size=(m, 6)) + 0.1
    y[: m // 2] += 2  # so that x is put right more often than y
    prompts = {"x_prompt_N": np.arange(80), "y_prompt_M": np.arange(m)}
    found = classifier_two_sample(x, y, folds=4, seed=7, **prompts)
    fold = TwoSamples.of(x, y, None, None, *prompts.values()).deal(4, np.random.default_rng(7))
    points, label = np.concatenate([x, y]), np.repeat([0, 1], [80, m])
    points -= points.mean(axis=0)
    points /= np.sqrt((points**2).sum(axis=1).mean())
    score = np.empty(len(label))
    for k in range(4):
        model = LogisticRegression(class_weight="balanced", tol=1e-8).fit(points[fold != k], label[fold != k])
        score[fold == k] = model.decision_function(points[fold == k])
    assert found.auc == pytest.approx(roc_auc_score(label, score), abs=2e-3)
    right = (score > 0) == label
    assert found.accuracy == pytest.approx((right[:80].mean() + right[80:].mean()) / 2, abs=0.02)
    assert m == 80 or abs(found.accuracy - right.mean()) > 0.03


def test_folds_that_split_prompts_would_see_the_prompt_instead_of_the_sample() -> None:
    likeness, own = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        # No shift at all: both samples answer the same prompts, and answers to one prompt are alike.
        prompt = rng.normal(size=(60, 40))
        x, y = (prompt + 0.3 * rng.normal(size=(60, 40)) for _ in range(2))
        likeness.append([classifier_two_sample(x, y, **paired(60)).auc, classifier_two_sample(x, y).auc])
        # Nor here: each sample has four answers to every one of its own prompts.
        x, y = (np.repeat(rng.normal(size=(30, 40)), 4, axis=0) + 0.3 * rng.normal(size=(120, 40)) for _ in range(2))
        prompts = {"x_prompt_N": np.repeat(np.arange(30), 4), "y_prompt_M": np.repeat(np.arange(30, 60), 4)}
        own.append([classifier_two_sample(x, y, **prompts).auc, classifier_two_sample(x, y).auc])
    by_prompt, by_row = np.mean(likeness, axis=0)
    assert by_prompt == pytest.approx(0.5, abs=0.04) and by_row < 0.3
    by_prompt, by_row = np.mean(own, axis=0)
    assert by_prompt == pytest.approx(0.5, abs=0.06) and by_row > 0.8


def test_samples_of_different_sizes_weigh_alike() -> None:
    found = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(600, 4)), rng.normal(size=(60, 4)) + 0.5
        found.append(classifier_two_sample(x, y))
    assert np.mean([f.accuracy for f in found]) == pytest.approx(norm.cdf(0.5), abs=0.03)  # |shift| = 1
    assert np.mean([f.auc for f in found]) == pytest.approx(norm.cdf(1 / 2**0.5), abs=0.03)


def test_weights_say_how_much_rows_count() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    y[100:, 0] += 4
    prompts = paired(200)
    only = np.repeat([1.0, 0.0], 100)
    plain = classifier_two_sample(x, y, y_weight_M=np.full(200, 3.0), **prompts)
    assert plain == classifier_two_sample(x, y, **prompts)
    assert plain.auc > 0.7
    alike = classifier_two_sample(x, y, y_weight_M=only, **prompts)
    assert alike == classifier_two_sample(x, y[:100], x_prompt_N=np.arange(200), y_prompt_M=np.arange(100))
    assert alike.auc < 0.6
    mostly = classifier_two_sample(x, y, y_weight_M=only + 0.01, **prompts)
    assert mostly.auc == pytest.approx(alike.auc, abs=0.06)


def test_equal_paired_samples_and_points_that_all_coincide_cannot_be_told_apart() -> None:
    x = np.random.default_rng(2).normal(size=(61, 7)).astype(np.float32)
    found = classifier_two_sample(x, x.copy(), **paired(61))
    assert found.auc == pytest.approx(0.5, abs=1e-12) and found.accuracy == pytest.approx(0.5, abs=1e-12)
    found = classifier_two_sample(np.full((9, 3), 5.0), np.full((4, 3), 5.0))
    assert found.auc == pytest.approx(0.5, abs=1e-12) and found.accuracy == pytest.approx(0.5, abs=1e-12)


@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-6, 1.0, 1e6]), mean=st.sampled_from([0.0, 1e4]))
@settings(max_examples=15, deadline=None)
def test_rotation_translation_scale_and_row_order_change_nothing(seed: int, scale: float, mean: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 5)) + 0.4
    rotation, order = np.linalg.qr(rng.normal(size=(5, 5)))[0], rng.permutation(40)
    moved = [(scale * (a @ rotation + mean))[order] for a in (x, y)]
    plain = classifier_two_sample(x, y, **paired(40))
    found = classifier_two_sample(*moved, x_prompt_N=order, y_prompt_M=order)
    assert found.auc == pytest.approx(plain.auc, abs=5e-3)
    assert found.accuracy == pytest.approx(plain.accuracy, abs=0.04)


def test_exchanging_the_samples_changes_nothing_where_they_are_paired() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 4)) + 0.3
    assert classifier_two_sample(y, x, **paired(50)).auc == pytest.approx(
        classifier_two_sample(x, y, **paired(50)).auc, abs=3e-3
    )


def test_one_column_constant_columns_half_precision_and_repeated_rows_are_taken() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(60, 1)), rng.normal(size=(60, 1)) + 1
    plain = classifier_two_sample(x, y, **paired(60))
    assert plain.auc == pytest.approx(norm.cdf(1 / 2**0.5), abs=0.1)
    constant = np.full((60, 2), 3.0)
    wider = classifier_two_sample(np.hstack([x, constant]), np.hstack([y, constant]), **paired(60))
    assert wider.auc == pytest.approx(plain.auc, abs=3e-3)
    half = classifier_two_sample(x.astype(np.float16), y.astype(np.float16), **paired(60))
    assert half.auc == pytest.approx(plain.auc, abs=0.01)
    twice = np.tile(np.arange(60), 2)
    repeated = classifier_two_sample(np.tile(x, (2, 1)), np.tile(y, (2, 1)), x_prompt_N=twice, y_prompt_M=twice)
    assert repeated.auc == pytest.approx(plain.auc, abs=0.02)


def test_the_seed_decides_the_folds_and_nothing_else_does() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(40, 4)) + 0.3
    assert classifier_two_sample(x, y, seed=1) == classifier_two_sample(x, y, seed=1)
    assert classifier_two_sample(x, y, seed=1).auc != classifier_two_sample(x, y, seed=2).auc


@pytest.mark.parametrize("folds", [2, 5])
def test_two_prompts_a_sample_are_enough(folds: int) -> None:
    x, y = np.zeros((4, 2)), np.ones((4, 2))
    pairs = np.array([0, 0, 1, 1])
    for y_prompt in (pairs, pairs + 1, pairs + 2):
        found = classifier_two_sample(x, y, x_prompt_N=pairs, y_prompt_M=y_prompt, folds=folds)
        assert found.auc == found.accuracy == 1


def test_the_metric_is_the_test_between_two_weightings_and_a_row_may_be_in_both() -> None:
    rng = np.random.default_rng(6)
    points = rng.normal(size=(90, 4)).astype(np.float32)
    points[60:] += 0.5
    prompts = np.tile(np.arange(30), 3)
    statistic = ClassifierMetric().on(points, prompts, seed=3)
    first, second = np.repeat([1 / 60, 0], [60, 30]), np.repeat([0, 1 / 30], [60, 30])
    found = statistic(first, second)
    direct = classifier_two_sample(points[:60], points[60:], x_prompt_N=prompts[:60], y_prompt_M=prompts[60:], seed=3)
    assert found["value"] == pytest.approx(direct.auc) and found["accuracy"] == pytest.approx(direct.accuracy)
    everyone, picked = np.full(90, 1 / 90), np.zeros(90)
    picked[rng.permutation(90)[:30]] = 1 / 30
    for weight in (everyone, picked):
        same = statistic(weight, weight)
        assert same["value"] == pytest.approx(0.5, abs=1e-12)
    assert statistic(everyone, second)["value"] > 0.55


@pytest.mark.parametrize(
    ("x", "y", "options", "said"),
    [
        (np.array([[0.0], [np.nan], [1]]), np.eye(2)[:, :1], {}, "row 1 of x holds NaN"),
        (np.eye(2), np.eye(2)[:1], {}, "y has 1 row"),
        (np.eye(2), np.eye(3), {}, "x has 2 columns and y has 3"),
        (np.eye(2), np.eye(2), {"folds": 1}, "1 fold"),
        (np.eye(2), np.eye(2), {"x_prompt_N": [0, 0], "y_prompt_M": [0, 1]}, "a sample has one prompt"),
        (np.eye(2), np.eye(2), {"y_prompt_M": [0, 1]}, "only one of the samples has prompts"),
        (np.eye(2), np.eye(2), {"x_weight_N": [1, 0]}, "fewer than two rows of x"),
    ],
)
def test_bad_input_is_refused_by_name(x: np.ndarray, y: np.ndarray, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        classifier_two_sample(x, y, **options)
