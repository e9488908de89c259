"""The Frechet distance: closed forms, naive references, its bias and how much of it the extrapolation takes away."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from datasets_cards.errors import InputError
from shift.metrics import frechet
from shift.metrics.frechet import FrechetMetric, frechet_distance, frechet_infinity
from shift.metrics.two_samples import TwoSamples


def with_moments(rng: np.random.Generator, n: int, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Points with exactly these moments, so that nothing is left to sampling."""
    Z = rng.normal(size=(n, len(mean)))
    Z -= Z.mean(axis=0)
    Z = Z @ np.linalg.inv(np.linalg.cholesky(Z.T @ Z / (n - 1)).T)
    return Z @ np.linalg.cholesky(covariance).T + mean


def naive(x: np.ndarray, y: np.ndarray, x_weight=None, y_weight=None) -> tuple[float, float]:
    x, y = x.astype(np.float64), y.astype(np.float64)
    A, B = np.cov(x.T, aweights=x_weight), np.cov(y.T, aweights=y_weight)
    A, B = np.atleast_2d(A), np.atleast_2d(B)
    variance, axes = np.linalg.eigh(A)
    root = axes * np.sqrt(np.maximum(variance, 0)) @ axes.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ B @ root), 0)).sum()
    shift = np.average(x, axis=0, weights=x_weight) - np.average(y, axis=0, weights=y_weight)
    return float(shift @ shift), float(np.trace(A) + np.trace(B) - 2 * overlap)


def test_it_is_the_closed_form_between_gaussians_whose_covariances_do_not_commute() -> None:
    rng = np.random.default_rng(0)
    A, B = (M @ M.T + np.eye(4) for M in rng.normal(size=(2, 4, 4)))
    truth = np.trace(A + B) - 2 * np.trace(sqrtm(A @ B).real)
    found = frechet_distance(with_moments(rng, 60, np.zeros(4), A), with_moments(rng, 90, np.array([3.0, 0, 4, 0]), B))
    assert found.mean_part == pytest.approx(25)
    assert found.covariance_part == pytest.approx(truth, rel=1e-5)
    assert found.value == found.mean_part + found.covariance_part


def test_in_one_dimension_it_compares_means_and_standard_deviations() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 1)), 3 * rng.normal(size=(41, 1)) + 2
    found = frechet_distance(x, y)
    assert found.mean_part == pytest.approx((x.mean() - y.mean()) ** 2, rel=1e-6)
    assert found.covariance_part == pytest.approx((x.std(ddof=1) - y.std(ddof=1)) ** 2, rel=1e-5)


@pytest.mark.parametrize(("n", "m", "d"), [(50, 80, 6), (5, 7, 20), (5, 60, 20), (20, 21, 20), (2, 2, 1)])
def test_it_is_what_a_matrix_root_gives_whatever_the_numbers_of_rows_and_columns(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng([n, m, d])
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) * rng.uniform(0.5, 2, d) + 0.3
    found = frechet_distance(x, y)
    mean_part, covariance_part = naive(x, y)
    assert found.mean_part == pytest.approx(mean_part, rel=1e-5)
    assert found.covariance_part == pytest.approx(covariance_part, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("d", [3, 60])
def test_weights_count_as_in_weighted_covariances_and_rows_without_weight_are_not_there(d: int) -> None:
    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(40, d)), rng.normal(size=(30, d)) + 0.5
    x_weight, y_weight = rng.uniform(0.1, 5, 40), rng.uniform(0.1, 5, 30)
    x_weight[:4] = 0
    found = frechet_distance(x, y, x_weight_N=x_weight, y_weight_M=y_weight)
    assert (found.mean_part, found.covariance_part) == pytest.approx(naive(x, y, x_weight, y_weight), rel=1e-5)
    without = frechet_distance(x[4:], y, x_weight_N=x_weight[4:], y_weight_M=y_weight)
    assert found.value == pytest.approx(without.value, rel=1e-9)
    assert found.value == pytest.approx(frechet_distance(x, y, x_weight_N=7 * x_weight, y_weight_M=y_weight).value)


def test_equal_samples_are_exactly_zero_apart_and_reordered_ones_up_to_rounding() -> None:
    rng = np.random.default_rng(2)
    for n, d in [(4, 3), (9, 30), (50, 4), (80, 11)] * 5:
        x = rng.normal(size=(n, d))
        assert frechet_distance(x, x.copy()).value == 0
    x = rng.normal(size=(300, 12)).astype(np.float32)
    assert frechet_distance(x, x[::-1]).value == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x[:10], x[9::-1]).value == pytest.approx(0, abs=1e-12)
    assert frechet_infinity(x, x).value == 0


def test_points_that_all_coincide_leave_the_other_samples_spread() -> None:
    rng = np.random.default_rng(3)
    still, y = np.full((9, 4), 2.0), rng.normal(size=(50, 4))
    found = frechet_distance(still, y)
    assert found.mean_part == pytest.approx(((2 - y.mean(axis=0)) ** 2).sum(), rel=1e-6)
    assert found.covariance_part == pytest.approx(y.var(axis=0, ddof=1).sum(), rel=1e-6)
    assert frechet_distance(still, still[:3] + 1).value == 4


def test_constant_and_repeated_columns_and_repeated_rows_are_no_special_case() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(50, 3)), 2 * rng.normal(size=(60, 3))
    plain = frechet_distance(x, y)

    def wide(a: np.ndarray) -> np.ndarray:
        return np.column_stack([a, np.full(len(a), 7.0), a])

    found = frechet_distance(wide(x), wide(y))
    assert found.value == pytest.approx(2 * plain.value, rel=1e-5)
    repeated = np.repeat(x, 2, axis=0)
    assert frechet_distance(repeated, y).value == pytest.approx(sum(naive(repeated, y)), rel=1e-5)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 40), m=st.integers(2, 40), d=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_rotation_translation_row_order_and_exchange_change_nothing_and_scale_squares(
    seed: int, n: int, m: int, d: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) * 1.5 + 0.2
    plain = frechet_distance(x, y)
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    moved = frechet_distance(3 * (y @ rotation + 1)[rng.permutation(m)], 3 * (x @ rotation + 1)[rng.permutation(n)])
    assert moved.mean_part == pytest.approx(9 * plain.mean_part, rel=1e-4, abs=1e-6)
    assert moved.covariance_part == pytest.approx(9 * plain.covariance_part, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("n", [20, 400])
def test_a_huge_common_mean_costs_no_digits(n: int) -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(n, 30)), 1.3 * rng.normal(size=(n, 30))
    far = frechet_distance(x + 1e6, y + 1e6)
    assert far.value == pytest.approx(frechet_distance(x, y).value, rel=1e-4)
    x, y = (x * 64).round().astype(np.float32), (y * 64).round().astype(np.float32)
    assert frechet_distance(x + 2**15, y + 2**15).value == pytest.approx(frechet_distance(x, y).value, rel=1e-5)


def test_means_that_are_far_apart_cost_the_covariances_no_digits() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(300, 5)), 1.5 * rng.normal(size=(300, 5))
    assert frechet_distance(x, y + 1e5).covariance_part == pytest.approx(naive(x, y)[1], rel=1e-4)


def test_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(70, 4)) + 1
    whole = frechet_distance(x, y)
    monkeypatch.setattr(frechet, "BLOCK", 9)
    blocked = frechet_distance(x, y)
    assert blocked.mean_part == pytest.approx(whole.mean_part, rel=1e-6)
    assert blocked.covariance_part == pytest.approx(whole.covariance_part, rel=1e-4)


def test_half_precision_is_widened() -> None:
    rng = np.random.default_rng(8)
    x, y = (rng.normal(size=(30, 4)).astype(np.float16) for _ in range(2))
    assert frechet_distance(x, y) == frechet_distance(x.astype(np.float32), y.astype(np.float32))


def test_the_extrapolation_takes_the_bias_away_where_there_are_four_rows_a_column() -> None:
    d, n, sizes = 32, 128, np.linspace(1, 2, 32)
    plain, infinite = [], []
    for seed in range(60):
        x, y = (np.random.default_rng([seed, i]).normal(size=(n, d)) * sizes for i in (0, 1))
        plain.append((frechet_distance(x, y).mean_part, frechet_distance(x, y).covariance_part))
        found = frechet_infinity(x, y, repeats=2, seed=seed)
        assert found.value == pytest.approx(found.mean_part + found.covariance_part)
        infinite.append((found.mean_part, found.covariance_part))
    bias = np.mean(plain, axis=0)
    assert bias[0] == pytest.approx(2 * (sizes**2).sum() / n, rel=0.1)  # tr A / n + tr B / m
    left, noise = np.mean(infinite, axis=0), np.std(infinite, axis=0) / 60**0.5
    assert (np.abs(left) < 0.04 * bias + 3 * noise).all()
    assert (noise < 0.06 * bias).all()


def test_the_extrapolation_is_about_the_true_distance_where_the_plain_one_is_above_it() -> None:
    d, n = 8, 200
    truth = np.array([0.25, d * 0.2**2])
    drawn = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(n, d)), 1.2 * rng.normal(size=(2 * n, d))
        y[:, 0] += 0.5
        found = frechet_infinity(x, y, repeats=2, seed=seed)
        drawn.append((found.mean_part, found.covariance_part, frechet_distance(x, y).value))
    mean, error = np.mean(drawn, axis=0), np.std(drawn, axis=0) / 60**0.5
    assert (np.abs(mean - [*truth, truth.sum()])[:2] < 3.5 * error[:2]).all()
    assert mean[2] > truth.sum() + 3.5 * error[2]


def test_the_standard_error_is_how_much_other_draws_of_the_subsamples_would_give() -> None:
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(80, 5)), rng.normal(size=(60, 5)) + 0.3
    found = [frechet_infinity(x, y, repeats=6, seed=seed) for seed in range(60)]
    for value, error in (
        ("value", "standard_error"),
        ("mean_part", "mean_error"),
        ("covariance_part", "covariance_error"),
    ):
        spread = np.std([getattr(f, value) for f in found])
        assert np.sqrt(np.mean([getattr(f, error) ** 2 for f in found])) == pytest.approx(spread, rel=0.3)


def test_the_intercept_is_that_of_least_squares_through_whole_halves_and_quarters() -> None:
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(130, 3)), rng.normal(size=(130, 3)) * 2
    prompts = np.arange(130)
    first = np.repeat([1 / 130, 0], 130)
    statistic = FrechetMetric().on(np.concatenate([x, y]), np.tile(prompts, 2), seed=3)(first, first[::-1].copy())
    quarter = TwoSamples.of(x, y, None, None, prompts, prompts).deal(4, np.random.default_rng(3))[:130]
    values = [frechet_distance(x, y).value]
    for parts in (2, 4):
        keep = [quarter % parts == k for k in range(parts)]
        values.append(float(np.mean([frechet_distance(x[k], y[k]).value for k in keep])))
    assert statistic["infinity"] == pytest.approx(np.polyfit([1, 2, 4], values, 1)[1], rel=1e-3)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 40), m=st.integers(2, 40), shared=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_prompts_are_dealt_whole_and_evenly_for_each_sample(seed: int, n: int, m: int, shared: int) -> None:
    rng = np.random.default_rng(seed)
    shared = min(shared, n, m)
    x_prompt = np.repeat(np.arange(n), 2)
    y_prompt = np.repeat(np.arange(n - shared, n - shared + m), 3)
    x, y = rng.normal(size=(2 * n, 2)), rng.normal(size=(3 * m, 2))
    part = TwoSamples.of(x, y, None, None, x_prompt, y_prompt).deal(4, rng)
    of = dict(zip([*x_prompt.tolist(), *y_prompt.tolist()], part.tolist(), strict=True))
    assert [of[p] for p in [*x_prompt.tolist(), *y_prompt.tolist()]] == part.tolist()
    for prompts in (set(x_prompt.tolist()), set(y_prompt.tolist())):
        sizes = np.bincount([of[p] for p in prompts], minlength=4)
        assert sizes.max() - sizes.min() <= 1


def test_answers_to_one_prompt_stay_together_so_that_their_likeness_does_not_pass_for_more_rows() -> None:
    left = {True: [], False: []}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = (np.repeat(rng.normal(size=(48, 3)), 3, axis=0) for _ in range(2))
        prompts = {"x_prompt_N": np.repeat(np.arange(48), 3), "y_prompt_M": np.repeat(np.arange(48, 96), 3)}
        for whole in (True, False):
            left[whole].append(frechet_infinity(x, y, repeats=2, seed=seed, **(prompts if whole else {})).mean_part)
    noise = np.std(left[True]) / 60**0.5
    assert abs(np.mean(left[True])) < 3 * noise
    assert np.mean(left[False]) > 5 * noise


def test_the_metric_gives_the_distance_between_two_weightings_of_its_rows() -> None:
    rng = np.random.default_rng(11)
    points = rng.normal(size=(60, 3)).astype(np.float32)
    prompts = np.tile(np.arange(20), 3)
    first, second = np.zeros(60), np.zeros(60)
    first[:40], second[30:] = rng.uniform(1, 2, 40), rng.uniform(1, 2, 30)
    first, second = first / first.sum(), second / second.sum()
    statistic = FrechetMetric().on(points, prompts, seed=0)
    found = dict(statistic(first, second))
    mean_part, covariance_part = naive(points, points, first, second)
    assert found["mean_part"] == pytest.approx(mean_part, rel=1e-4)
    assert found["covariance_part"] == pytest.approx(covariance_part, rel=1e-4)
    assert found["value"] == pytest.approx(mean_part + covariance_part, rel=1e-4)
    assert set(found) == {"value", "mean_part", "covariance_part", "infinity"}
    assert found["infinity"] is None
    assert dict(statistic(first, first)) == dict.fromkeys(found, 0.0)


@pytest.mark.parametrize(
    ("n", "width", "rows_a_prompt", "enough"),
    [(128, 32, 1, True), (128, 33, 1, False), (128, 2, 1, True), (127, 2, 1, False), (128, 2, 2, False)],
)
def test_the_metric_extrapolates_where_a_sample_has_128_prompts_and_four_a_column(
    n: int, width: int, rows_a_prompt: int, enough: bool
) -> None:
    points = np.random.default_rng(12).normal(size=(2 * n, width)).astype(np.float32)
    first = np.repeat([1 / n, 0], n)
    found = FrechetMetric().on(points, np.arange(2 * n) // rows_a_prompt, seed=0)(first, first[::-1])
    assert (found["infinity"] is not None) == enough


def test_redraws_which_ask_for_the_value_alone_pay_for_no_extrapolation(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(12).normal(size=(300, 2)).astype(np.float32)
    first = np.repeat([1 / 150, 0], 150)
    monkeypatch.setattr(frechet, "_intercept", None)
    found = FrechetMetric().on(points, np.arange(300), seed=0)(first, first[::-1])
    assert found["value"] is not None
    with pytest.raises(TypeError):
        dict(found)


def test_points_too_wide_for_redraws_are_compared_by_their_means_alone_and_have_no_value() -> None:
    rng = np.random.default_rng(13)
    points = rng.normal(size=(80, 9)).astype(np.float32)
    first = np.repeat([1 / 40, 0], 40)
    found = FrechetMetric(widest=8).on(points, np.arange(80), seed=0)(first, first[::-1])
    assert found["value"] is None and found["covariance_part"] is None and found["infinity"] is None
    assert found["mean_part"] == pytest.approx(naive(points[:40], points[40:])[0], rel=1e-4)
    few = np.repeat([1 / 8, 0], [8, 72])
    assert FrechetMetric(widest=8).on(points, np.arange(80), seed=0)(few, first[::-1])["value"] is not None


def with_a(value: float, row: int) -> np.ndarray:
    x = np.zeros((5, 2))
    x[row, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "options", "said"),
    [
        (with_a(np.nan, 3), np.eye(2), {}, "row 3 of x holds NaN"),
        (np.eye(2), with_a(np.inf, 1), {}, "row 1 of y holds NaN, infinity"),
        (with_a(1e200, 2), np.eye(2), {}, "row 2 of x holds NaN, infinity or a huge"),
        (with_a(1e19, 2), np.eye(2), {}, "row 2 of x holds NaN, infinity or a huge"),
        (np.eye(2)[:1], np.eye(2), {}, "x has 1 row"),
        (np.eye(3), np.eye(2), {}, "x has 3 columns and y has 2"),
        (np.arange(4), np.eye(2), {}, "x has shape"),
        (np.zeros((4, 0)), np.zeros((4, 0)), {}, "x has shape"),
        (np.array([["a"], ["b"]]), np.eye(2), {}, "x has shape"),
        (np.eye(2), np.eye(2), {"x_weight_N": [1, 2, 3]}, "x has 2 rows and weights of shape"),
        (np.eye(2), np.eye(2), {"y_weight_M": [1, -1]}, "row 1 of y has the weight -1"),
        (np.eye(2), np.eye(2), {"y_weight_M": [np.nan, 1]}, "row 0 of y has the weight nan"),
        (np.eye(2), np.eye(2), {"y_weight_M": [0, 1]}, "fewer than two rows of y"),
    ],
)
def test_bad_input_is_refused_by_name(x: np.ndarray, y: np.ndarray, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        frechet_distance(x, y, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"repeats": 1}, "1 repeat"),
        ({"x_prompt_N": np.arange(8)}, "only one of the samples has prompts"),
        ({"x_prompt_N": np.arange(7), "y_prompt_M": np.arange(8)}, "prompts of shapes"),
        ({"x_prompt_N": np.arange(8) // 2, "y_prompt_M": np.arange(8)}, "4 prompts in a sample"),
    ],
)
def test_the_extrapolation_refuses_what_it_cannot_deal(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        frechet_infinity(np.eye(8), 2 * np.eye(8), **options)
