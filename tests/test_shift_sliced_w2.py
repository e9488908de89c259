"""Sliced Wasserstein-2: closed forms, naive quantile functions, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from datasets_cards.errors import InputError
from shift.metrics import sliced_w2 as module
from shift.metrics.sliced_w2 import SlicedW2, orthogonal, sliced_w2, transport

MULTIPLICITIES = st.lists(st.integers(0, 4), min_size=2, max_size=12).filter(any)


def gaussian(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng([seed, n, d]).normal(size=(n, d))


def wave(n: int, d: int, phase: float) -> np.ndarray:
    return np.sin(np.arange(1, n + 1)[:, None] * np.arange(1, d + 1) * 0.7 + phase) * np.arange(1, d + 1)


def line_w2_squared(x: np.ndarray, y: np.ndarray) -> float:
    """W2^2 on a line with both samples repeated to the same number of rows."""
    return float(np.mean((np.repeat(np.sort(x), len(y)) - np.repeat(np.sort(y), len(x))) ** 2))


@pytest.mark.parametrize("d", [1, 2, 7])
def test_a_translation_moves_by_its_length_over_the_root_of_the_width(d: int) -> None:
    X, shift = gaussian(0, 50, d), np.arange(1, d + 1.0)
    expected = np.linalg.norm(shift) / d**0.5
    assert sliced_w2(X, X + shift, directions=3 * d) == pytest.approx(expected, rel=1e-5)
    assert sliced_w2(X + shift, X, directions=3 * d) == pytest.approx(expected, rel=1e-5)
    doubled = np.concatenate([X, X]) + shift
    assert sliced_w2(X, doubled, directions=3 * d) == pytest.approx(expected, rel=1e-5)


def test_a_scaling_about_a_point_has_the_spread_times_the_change_as_distance() -> None:
    X = gaussian(1, 60, 4) + 3
    expected = 0.5 * np.sqrt((X**2).sum(axis=1).mean() / 4)
    assert sliced_w2(X, 1.5 * X, directions=8) == pytest.approx(expected, rel=1e-5)


def test_it_is_the_root_mean_square_over_directions_of_the_distance_between_normals() -> None:
    from scipy.stats import norm

    grid = norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    assert sliced_w2(grid, 2 * grid + 3) == pytest.approx(np.sqrt(3**2 + (2 - 1) ** 2), rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    stn.arrays(np.float64, st.integers(2, 9), elements=st.floats(-5, 5, width=32)),
    stn.arrays(np.float64, st.integers(2, 9), elements=st.floats(-5, 5, width=32)),
)
def test_on_a_line_samples_of_any_size_match_quantile_by_quantile(x: np.ndarray, y: np.ndarray) -> None:
    assert sliced_w2(x[:, None], y[:, None]) ** 2 == pytest.approx(line_w2_squared(x, y), rel=1e-4, abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(MULTIPLICITIES, MULTIPLICITIES, st.integers(0, 100))
def test_a_weight_is_a_number_of_copies(x_counts: list[int], y_counts: list[int], seed: int) -> None:
    X, Y = gaussian(seed, len(x_counts), 1), gaussian(seed + 1, len(y_counts), 1)
    expected = line_w2_squared(np.repeat(X[:, 0], x_counts), np.repeat(Y[:, 0], y_counts))
    weighted = sliced_w2(X, Y, x_weight_N=np.array(x_counts), y_weight_M=np.array(y_counts) * 0.1)
    assert weighted**2 == pytest.approx(expected, rel=1e-4, abs=1e-10)


def test_weights_on_one_side_only_and_several_directions_are_matched_line_by_line() -> None:
    X, Y, count = gaussian(2, 30, 3), gaussian(3, 20, 3) + 1, np.arange(30) % 4
    expected = sliced_w2(np.repeat(X, count, axis=0), Y, directions=9)
    assert sliced_w2(X, Y, x_weight_N=count, directions=9) == pytest.approx(expected, rel=1e-5)
    assert sliced_w2(Y, X, y_weight_M=count, directions=9) == pytest.approx(expected, rel=1e-5)


def test_it_agrees_with_pot_along_given_directions() -> None:
    # ot.sliced_wasserstein_distance of POT 0.9.7 with projections=np.eye(4)
    X, Y, Z = wave(40, 4, 0.0), wave(40, 4, 1.0) + 0.3, wave(25, 4, 2.0)
    lines = [a.T.astype(np.float32) for a in (X, Y, Z)]
    rising, falling = np.arange(1, 41) / 820, np.arange(25, 0, -1) / 325
    for other, weights, expected in (
        (1, (None, None), 0.4648737072442589),
        (2, (None, None), 0.40741047512459944),
        (2, (rising, falling), 0.5083578538217368),
    ):
        found = transport(lines[0].copy(), lines[other].copy(), *weights)
        assert np.sqrt(found / 4) == pytest.approx(expected, rel=1e-5)


def test_directions_are_unit_vectors_orthogonal_in_blocks_and_drawn_from_the_seed() -> None:
    along = orthogonal(5, 12, 0).astype(np.float64)
    assert along.shape == (12, 5)
    for block in (along[:5], along[5:10], along[10:]):
        np.testing.assert_allclose(block @ block.T, np.eye(len(block)), atol=1e-6)
    assert abs(along[:5] @ along[5:10].T).max() < 0.999
    assert (orthogonal(5, 12, 0) == along.astype(np.float32)).all()
    assert (orthogonal(5, 12, 1) != along.astype(np.float32)).all()
    many = np.concatenate([orthogonal(3, 3, seed) for seed in range(2000)]).astype(np.float64)
    np.testing.assert_allclose(many.T @ many / len(many), np.eye(3) / 3, atol=1e-6)
    assert (many**4).mean() == pytest.approx(3 / 15, rel=0.03)  # of the uniform distribution on the sphere


def test_orthogonal_directions_scatter_less_than_independent_ones() -> None:
    X, shift = gaussian(4, 40, 6), np.eye(6)[0]
    values = np.array([sliced_w2(X, X + shift, directions=5, seed=seed) ** 2 for seed in range(200)])
    assert values.mean() == pytest.approx(1 / 6, rel=0.1)
    # Independent ones: u_0^2 has the variance 2 (d - 1) / (d^2 (d + 2)).
    assert values.var() < 0.5 * (2 * 5 / (36 * 8)) / 5


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 6), st.integers(0, 1000))
def test_order_origin_unit_and_side_change_nothing(n: int, m: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5
    value = sliced_w2(X, Y, directions=10)
    assert sliced_w2(X[rng.permutation(n)], Y[rng.permutation(m)], directions=10) == pytest.approx(value, rel=1e-4)
    assert sliced_w2(Y, X, directions=10) == pytest.approx(value, rel=1e-4)
    assert sliced_w2(X + 1e6, Y + 1e6, directions=10) == pytest.approx(value, rel=1e-4)
    assert sliced_w2(X * 1e-30, Y * 1e-30, directions=10) == pytest.approx(value * 1e-30, rel=1e-4)
    assert sliced_w2(X * 1e30, Y * 1e30, directions=10) == pytest.approx(value * 1e30, rel=1e-4)


def test_a_rotation_changes_no_more_than_another_draw_of_directions() -> None:
    X, Y = gaussian(5, 80, 3), gaussian(6, 70, 3) * [1, 2, 3]
    turn = np.linalg.qr(gaussian(7, 3, 3))[0]
    values = [sliced_w2(A, B, directions=3000) for A, B in ((X, Y), (X @ turn, Y @ turn))]
    assert values[0] == pytest.approx(values[1], rel=0.02)


def sides(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Two plain samples as weightings of their pooled rows."""
    return np.repeat([1 / n, 0.0], [n, m]), np.repeat([0.0, 1 / m], [n, m])


@pytest.mark.parametrize(("n", "m", "d"), [(30, 30, 5), (30, 20, 5), (2, 300, 5), (30, 20, 1)])
def test_as_a_metric_it_is_the_function_with_the_same_directions(n: int, m: int, d: int) -> None:
    X, Y = gaussian(8, n, d), gaussian(9, m, d) + 0.2
    found = SlicedW2().on(np.concatenate([X, Y]).astype(np.float32), np.arange(n + m), seed=3)(*sides(n, m))
    assert found["value"] == pytest.approx(sliced_w2(X, Y, directions=100, seed=3), rel=1e-4)
    assert found["squared"] == pytest.approx(found["value"] ** 2)


def test_as_a_metric_it_takes_any_weights_and_rows_that_are_in_both_samples() -> None:
    pool, rng = gaussian(10, 40, 5).astype(np.float32), np.random.default_rng(0)
    first, second = (rng.integers(0, 3, 40) + np.eye(1, 40)[0] for _ in range(2))
    found = SlicedW2().on(pool, np.arange(40), seed=0)(first / first.sum(), second / second.sum())
    expected = sliced_w2(pool, pool, x_weight_N=first, y_weight_M=second, directions=100)
    assert found["value"] == pytest.approx(expected, rel=1e-4)


def test_portions_of_directions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y, weight = gaussian(11, 30, 4), gaussian(12, 20, 4), np.arange(1, 31)
    statistic = SlicedW2().on(np.concatenate([X, Y]).astype(np.float32), np.arange(50), seed=0)

    def values() -> list[float | None]:
        weighted = sliced_w2(X, Y, x_weight_N=weight, directions=50)
        return [sliced_w2(X, Y, directions=50), weighted, statistic(*sides(30, 20))["value"]]

    expected = values()
    monkeypatch.setattr(module, "BLOCK", 400)
    assert values() == pytest.approx(expected, rel=1e-6)


def test_equal_samples_are_exactly_zero_apart_wherever_their_rows_are() -> None:
    X = gaussian(13, 300, 20).astype(np.float32)
    assert sliced_w2(X, X) == 0
    order = np.random.default_rng(0).permutation(600)
    statistic = SlicedW2().on(np.concatenate([X, X])[order], np.arange(600), seed=0)
    assert statistic(*(side[order] for side in sides(300, 300)))["value"] == 0
    weight = np.arange(1.0, 301) / np.arange(1, 301).sum()
    assert SlicedW2().on(X, np.arange(300), seed=0)(weight, weight.copy())["value"] == 0


def test_redrawn_labels_find_a_shift_and_only_a_shift() -> None:
    rng = np.random.default_rng(0)

    def rank(shift: float) -> float:
        X, Y = rng.normal(size=(40, 8)), rng.normal(size=(40, 8)) + shift
        statistic = SlicedW2().on(np.concatenate([X, Y]).astype(np.float32), np.arange(80), seed=0)
        first, second = sides(40, 40)
        orders = [np.arange(80), *(rng.permutation(80) for _ in range(19))]
        values = [statistic(first[order], second[order])["value"] or 0.0 for order in orders]
        return float(np.mean(np.array(values) >= values[0]))

    assert np.mean([rank(0.8) == 0.05 for _ in range(10)]) >= 0.9
    assert np.mean([rank(0.0) for _ in range(60)]) == pytest.approx(0.525, abs=0.13)


def test_points_without_spread_or_with_constant_columns_are_fine() -> None:
    one = np.ones((5, 3))
    assert sliced_w2(one, one) == 0
    assert sliced_w2(one, one + np.eye(3)[0], directions=3) == pytest.approx(3**-0.5)
    X, Y = gaussian(14, 20, 1), gaussian(15, 20, 1)
    flat = [np.column_stack([a, np.full(20, 7.0)]) for a in (X, Y)]
    assert sliced_w2(*flat, directions=2) == pytest.approx(sliced_w2(X, Y) / 2**0.5, rel=1e-5)


def test_half_precision_and_whole_numbers_are_widened() -> None:
    X, Y = (np.round(gaussian(seed, 20, 3) * 4) for seed in (16, 17))
    expected = sliced_w2(X, Y)
    assert sliced_w2(X.astype(np.float16), Y.astype(np.int8)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones((1, 3))}, "sample 1: a single row"),
        ({"y": np.ones((1, 3))}, "sample 2: a single row"),
        ({"y": np.ones((4, 2))}, "points of different widths: [2, 3]"),
        ({"y": np.ones(4)}, "sample 2: shape (4,)"),
        ({"y": np.ones((4, 0))}, "sample 2: shape (4, 0)"),
        ({"y": np.array([["a", "b", "c"]] * 4)}, "type <U1"),
        ({"y": np.array([[1, 2, 3], [1, np.nan, 3], [1, 2, 3]])}, "sample 2, row 1: NaN"),
        ({"x": np.array([[1, 2, 3], [1, 2, 3], [np.inf, 2, 3], [-np.inf, 2, 3]])}, "sample 1, row 2: NaN, infinity"),
        ({"directions": 0}, "0 directions"),
        ({"x_weight_N": np.ones(3)}, "x_weight_N: shape (3,) for 4 rows"),
        ({"x_weight_N": np.array([1, 1, -1, 1])}, "x_weight_N: the weight -1.0 of row 2"),
        ({"y_weight_M": np.array([1, np.nan, 1, 1])}, "y_weight_M: the weight nan of row 1"),
        ({"y_weight_M": np.zeros(4)}, "y_weight_M: all weights are 0"),
    ],
)
def test_unusable_input_is_named(change: dict, message: str) -> None:
    given = {"x": np.arange(12.0).reshape(4, 3), "y": np.ones((4, 3)), **change}
    with pytest.raises(InputError) as caught:
        sliced_w2(given.pop("x"), given.pop("y"), **given)
    assert message in str(caught.value)
