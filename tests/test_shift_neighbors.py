"""Nearest neighbors, and what is told by them: precision, recall, density, coverage and the k-NN divergence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_cards.errors import InputError
from shift.metrics.knn_kl import KnnKl, knn_kl
from shift.metrics.prdc import Prdc, prdc
from shift.neighbors import Neighbors, centered, distinct

PARTS = ("precision", "recall", "density", "coverage")


def gaussian(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng([seed, n, d]).normal(size=(n, d))


def wave(n: int, d: int, phase: float) -> np.ndarray:
    return np.sin(np.arange(1, n + 1)[:, None] * np.arange(1, d + 1) * 0.7 + phase) * np.arange(1, d + 1)


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(((x[:, None].astype(np.float64) - y[None].astype(np.float64)) ** 2).sum(axis=-1))


def naive_prdc(x: np.ndarray, y: np.ndarray, k: int) -> dict[str, float]:
    """The definition on all distances at once; radii and balls are those of distinct points."""
    balls_x, balls_y = np.unique(x, axis=0), np.unique(y, axis=0)
    radius_x, radius_y = (np.sort(distances(a, a), axis=1)[:, k] for a in (balls_x, balls_y))
    inside = distances(balls_x, y) <= radius_x[:, None] + 1e-9
    nearest = distances(x, y).min(axis=1)
    radius = radius_x[[int(np.flatnonzero((balls_x == row).all(axis=1))[0]) for row in x]]
    return {
        "precision": inside.any(axis=0).mean(),
        "recall": (distances(balls_y, x) <= radius_y[:, None] + 1e-9).any(axis=0).mean(),
        "density": inside.sum() / (k * len(y)),
        "coverage": (nearest <= radius + 1e-9).mean(),
    }


def sides(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Two plain samples as weightings of their pooled rows."""
    return np.repeat([1 / n, 0.0], [n, m]), np.repeat([0.0, 1 / m], [n, m])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 70), st.integers(1, 20), st.integers(0, 1000))
def test_the_lists_hold_the_nearest_whatever_the_block(n: int, d: int, depth: int, block: int, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    near = Neighbors.of(points, depth=depth, block=block)
    apart = distances(points, points) ** 2
    np.fill_diagonal(apart, np.inf)
    depth = min(depth, n - 1)
    np.testing.assert_allclose(near.squared_MT, np.sort(apart, axis=1)[:, :depth], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(apart, near.index_MT, axis=1), near.squared_MT, atol=1e-5)
    assert all(len(set(row)) == depth and i not in row for i, row in enumerate(near.index_MT.tolist()))


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 60), st.integers(1, 6), st.integers(1, 8), st.floats(0.05, 1), st.integers(0, 1000))
def test_short_lists_are_made_longer_until_the_kth_member_is_found(
    n: int, k: int, depth: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3)).astype(np.float32)
    member = rng.random(n) < share
    member[:2] = True
    apart = distances(points, points)
    np.fill_diagonal(apart, np.inf)
    seen = []
    for found in Neighbors.of(points, depth=depth, block=16).around(np.arange(n), member, k):
        for row, index, squared, kth, reach in zip(*found, strict=True):
            order = np.argsort(np.where(member, apart[row], np.inf))
            expected = order[min(k, member.sum() - member[row]) - 1]
            assert kth == expected
            assert reach == pytest.approx(apart[row, expected] ** 2, abs=1e-4)
            assert set(index[squared <= reach]) == set(np.flatnonzero(apart[row] <= apart[row, expected]))
            seen.append(row)
    assert sorted(seen) == list(range(n))


@pytest.mark.parametrize("depth", range(1, 12))
@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_neighbors_that_tie_with_the_kth_are_all_there(depth: int, k: int) -> None:
    points = np.stack(np.meshgrid(np.arange(5), np.arange(5)), axis=-1).reshape(-1, 2).astype(np.float32)
    apart = distances(points, points)
    np.fill_diagonal(apart, np.inf)
    for found in Neighbors.of(points, depth=depth, block=7).around(np.arange(25), np.ones(25, bool), k):
        for row, index, squared, _, reach in zip(*found, strict=True):
            assert set(index[squared <= reach]) == set(np.flatnonzero(apart[row] <= np.sort(apart[row])[k - 1]))


def test_equal_rows_are_one_point_and_so_are_both_zeros() -> None:
    rows = np.array([[1, 0], [2, 3], [1, -0.0], [2, 3], [0, 0]])
    (moved,), unit = centered(rows - rows.mean(axis=0))
    points, point = distinct(moved)
    assert len(points) == 3 and point[0] == point[2] and point[1] == point[3] and len(set(point)) == 3
    np.testing.assert_allclose(points[point] * unit, rows - rows.mean(axis=0), atol=1e-6)
    (signed,), _ = centered(np.array([[0.0, 1], [-0.0, 1], [0, -1], [0, -1]]))
    assert len(distinct(signed)[0]) == 2


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 90), st.integers(8, 90), st.integers(1, 8), st.integers(1, 7), st.integers(0, 1000))
def test_prdc_is_its_definition_on_points_without_ties(n: int, m: int, d: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) * rng.uniform(0.2, 2) + rng.normal()
    found = prdc(X, Y, k=k)
    assert found == pytest.approx(naive_prdc(X, Y, k), abs=1e-6)


def test_prdc_is_its_definition_where_one_sample_hides_in_the_midst_of_another() -> None:
    X, Y = gaussian(0, 7, 3) * 0.1, gaussian(1, 1500, 3) * 0.1
    assert prdc(X, Y) == pytest.approx(naive_prdc(X, Y, 5), abs=1e-6)
    assert prdc(Y, X) == pytest.approx(naive_prdc(Y, X, 5), abs=1e-6)


def test_it_agrees_with_the_prdc_package_where_nothing_ties() -> None:
    # compute_prdc of prdc 0.2
    X, Z = wave(40, 4, 0.0), wave(25, 4, 2.0)
    assert prdc(X, Z, k=3) == pytest.approx({"precision": 0, "recall": 1, "density": 0, "coverage": 0})
    assert prdc(X, Z, k=5) == pytest.approx({"precision": 0.92, "recall": 1, "density": 1.192, "coverage": 0.9})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=12, max_size=40), st.lists(st.integers(0, 30), min_size=12, max_size=40))
def test_boundaries_belong_to_their_balls_though_products_are_rounded(x: list[int], y: list[int]) -> None:
    X, Y = (np.array(side)[:, None] * [0.1, 0.7] + 100 for side in (x, y))
    if min(len(set(x)), len(set(y))) > 3:
        assert prdc(X, Y, k=3) == pytest.approx(naive_prdc(X, Y, 3), abs=1e-6)


def test_copies_of_every_row_change_nothing() -> None:
    X, Y = gaussian(2, 40, 3), gaussian(3, 30, 3) + 0.5
    found = prdc(np.repeat(X, 7, axis=0), np.repeat(Y, 6, axis=0))
    assert found == pytest.approx(prdc(X, Y), abs=1e-9)
    assert knn_kl(np.repeat(X, 7, axis=0), np.repeat(Y, 6, axis=0)) == pytest.approx(knn_kl(X, Y), abs=1e-5)


def test_repeated_rows_count_as_often_as_they_occur() -> None:
    X, Y = np.arange(8.0)[:, None], np.array([3.0, 3.0, 3.0, 100.0, 101.0, 102.0])[:, None]
    found = prdc(X, Y, k=1)
    assert found["precision"] == 0.5  # the three copies of 3
    assert found["density"] == pytest.approx(3 * 3 / 6)  # each lies in the balls around 2, 3 and 4
    assert found["coverage"] == pytest.approx(3 / 8)
    assert prdc(Y, X, k=1)["coverage"] == pytest.approx(0.5)  # the ball around 3 is three rows'


def test_equal_samples_hold_each_other_in_any_order() -> None:
    X = gaussian(4, 200, 16).astype(np.float32)
    found = prdc(X, X[::-1])
    assert found == pytest.approx({"precision": 1, "recall": 1, "density": 6 / 5, "coverage": 1}, abs=1e-9)
    assert knn_kl(X, X[::-1]) == pytest.approx(0, abs=1e-12)


def test_samples_far_apart_share_nothing() -> None:
    X = gaussian(5, 50, 4)
    assert prdc(X, X + 100) == dict.fromkeys(PARTS, 0.0)


def test_without_a_shift_density_is_1_and_coverage_is_1_less_a_half_to_the_k() -> None:
    drawn = [prdc(gaussian(2 * s, 300, 4), gaussian(2 * s + 1, 300, 4), k=3) for s in range(20)]
    assert np.mean([found["density"] for found in drawn]) == pytest.approx(1, abs=0.03)
    assert np.mean([found["coverage"] for found in drawn]) == pytest.approx(1 - 2**-3, abs=0.02)


def test_rows_that_are_all_equal_are_points_of_radius_0() -> None:
    one = np.ones((9, 3))
    assert prdc(one, one) == dict.fromkeys(PARTS, 1.0)
    assert prdc(one, one + 1) == dict.fromkeys(PARTS, 0.0)
    few = np.repeat([[0.0], [1.0], [5.0]], 4, axis=0)
    # Two neighbors at most: balls reach to the farthest one.
    assert prdc(few, np.full((6, 1), 4.0)) == pytest.approx(
        {"precision": 1, "recall": 0, "density": 3 / 2, "coverage": 1}
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 60), st.integers(8, 60), st.integers(2, 6), st.integers(0, 1000))
def test_order_rotation_origin_and_unit_change_nothing(n: int, m: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.3
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    expected, divergence = prdc(X, Y), knn_kl(X, Y)
    for change in (lambda a: a[::-1], lambda a: a @ turn, lambda a: a + 1e6, lambda a: a * 1e-25, lambda a: a * 1e25):
        assert prdc(change(X), change(Y)) == pytest.approx(expected, abs=1e-6)
        assert knn_kl(change(X), change(Y)) == pytest.approx(divergence, abs=2e-3)


def test_as_metrics_they_are_the_functions() -> None:
    X, Y = gaussian(6, 60, 3), gaussian(7, 45, 3) + 0.4
    pool = np.concatenate([X, Y]).astype(np.float32)
    order = np.random.default_rng(0).permutation(105)
    weights = [side[order] for side in sides(60, 45)]
    expected = prdc(X, Y)
    found = Prdc().on(pool[order], np.arange(105), seed=0)(*weights)
    assert found == pytest.approx({"value": expected["coverage"], **expected})
    assert KnnKl().on(pool[order], np.arange(105), seed=0)(*weights)["value"] == pytest.approx(knn_kl(X, Y), abs=1e-5)


def test_every_redraw_is_a_comparison_of_its_own() -> None:
    pool, rng = gaussian(8, 300, 3).astype(np.float32), np.random.default_rng(1)
    coverage, divergence = (metric.on(pool, np.arange(300), seed=0) for metric in (Prdc(), KnnKl()))
    for size in (6, 40, 150):
        member = np.isin(np.arange(300), rng.choice(300, size, replace=False))
        first, second = member / size, ~member / (300 - size)
        expected = prdc(pool[member], pool[~member])
        assert coverage(first, second) == pytest.approx({"value": expected["coverage"], **expected})
        assert divergence(first, second)["value"] == pytest.approx(knn_kl(pool[member], pool[~member]), abs=1e-4)


def test_weights_count_rows_and_membership_sets_the_radii() -> None:
    pool = np.array([0, 1, 2, 10, 11, 12, 1.5, 30, 31, 32])[:, None].astype(np.float32)
    first = np.array([0.4, 0.1, 0.1, 0.1, 0.1, 0.2, 0, 0, 0, 0])
    second = np.array([0, 0, 0, 0, 0, 0, 0.7, 0.1, 0.1, 0.1])
    found = Prdc(k=1).on(pool, np.arange(10), seed=0)(first, second)
    assert found["precision"] == pytest.approx(0.7)  # 1.5 is within 1 of the points 1 and 2
    assert found["density"] == pytest.approx(0.7 * 2)
    assert found["coverage"] == pytest.approx(0.2)
    assert found["recall"] == pytest.approx(1.0)  # the ball around 1.5 reaches to 30


def test_the_divergence_is_a_weighted_mean() -> None:
    pool, weight = gaussian(17, 60, 2).astype(np.float32), np.arange(1.0, 31) / np.arange(1, 31).sum()
    own, other = np.sort(distances(pool[:30], pool[:30]), axis=1)[:, 5], np.sort(distances(pool[:30], pool[30:]))[:, 4]
    first, second = np.append(weight, np.zeros(30)), np.repeat([0, 1 / 30], 30)
    found = KnnKl().on(pool, np.arange(60), seed=0)(first, second)["value"]
    assert found == pytest.approx(2 * weight @ np.log(other / own) + np.log(30 / 29), abs=1e-4)


def test_a_row_of_both_samples_lies_in_its_own_ball_and_is_no_neighbor_of_itself() -> None:
    pool = gaussian(9, 80, 3).astype(np.float32)
    picked = np.arange(80) < 20
    first, second = np.full(80, 1 / 80), picked / 20
    found = Prdc().on(pool, np.arange(80), seed=0)(first, second)
    expected = prdc(pool, pool[picked])
    assert found == pytest.approx({"value": expected["coverage"], **expected})
    assert found["precision"] == 1
    value = KnnKl().on(pool, np.arange(80), seed=0)(second, first)["value"]
    assert value == pytest.approx(knn_kl(pool[picked], pool), abs=1e-4)
    own, other = (np.sort(distances(pool[picked], a), axis=1)[:, 5] for a in (pool[picked], pool))
    assert value == pytest.approx(3 * np.mean(np.log(other / own)) + np.log(79 / 19), abs=1e-4)


def test_with_too_few_rows_a_metric_says_none() -> None:
    pool = gaussian(10, 20, 2).astype(np.float32)
    assert set(Prdc().on(pool, np.arange(20), seed=0)(*sides(5, 15)).values()) == {None}
    assert KnnKl().on(pool, np.arange(20), seed=0)(*sides(5, 15)) == {"value": None}
    assert KnnKl().on(pool, np.arange(20), seed=0)(*sides(16, 4)) == {"value": None}
    for n in (6, 15):
        assert KnnKl().on(pool, np.arange(20), seed=0)(*sides(n, 20 - n))["value"] is not None


@pytest.mark.parametrize("d", [2, 3, 4, 5])
def test_the_divergence_between_gaussians_is_the_closed_form(d: int) -> None:
    n, m, shift = 2000, 4000, 0.5
    for spread in (1.0, 1.5):
        truth = d * (np.log(spread) + 0.5 / spread**2 - 0.5) + shift**2 / (2 * spread**2)
        drawn = ((gaussian(2 * s, n, d), gaussian(2 * s + 1, m, d) * spread + shift * np.eye(d)[0]) for s in range(3))
        assert np.mean([knn_kl(X, Y, k=1) for X, Y in drawn]) == pytest.approx(truth, abs=0.12)


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 60), st.integers(8, 60), st.integers(1, 4), st.integers(1, 6), st.integers(0, 1000))
def test_the_divergence_is_its_formula_on_all_distances(n: int, m: int, d: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) * 2
    own, other = np.sort(distances(X, X), axis=1)[:, k], np.sort(distances(X, Y), axis=1)[:, k - 1]
    expected = d * np.mean(np.log(other / own)) + np.log(m / (n - 1))
    assert knn_kl(X, Y, k=k) == pytest.approx(expected, abs=2e-3)


def test_a_column_that_is_constant_is_no_dimension() -> None:
    X, Y = gaussian(11, 100, 3), gaussian(12, 100, 3) + 1
    flat = [np.column_stack([a, np.full(100, 5.0)]) for a in (X, Y)]
    assert knn_kl(*flat) == pytest.approx(knn_kl(X, Y), abs=1e-6)


def test_near_copies_keep_their_distances() -> None:
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(40, 3)), 2, axis=0)
    X[1::2] += 1e-5 * rng.normal(size=(40, 3))
    Y = rng.normal(size=(80, 3))
    own, other = np.sort(distances(X, X), axis=1)[:, 1], distances(X, Y).min(axis=1)
    assert knn_kl(X, Y, k=1) == pytest.approx(3 * np.mean(np.log(other / own)) + np.log(80 / 79), abs=0.05)


@pytest.mark.parametrize("measure", [prdc, knn_kl])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones((1, 2))}, "sample 1: a single row"),
        ({"y": np.ones((8, 3))}, "points of different widths: [2, 3]"),
        ({"y": np.array([[0, 1]] * 7 + [[0, np.nan]])}, "sample 2, row 7: NaN"),
        (
            {"x": np.array([[3.3e38, 0], *[[-3.3e38, 0]] * 7], np.float32)},
            "sample 1, row 0: NaN, infinity, or too large",
        ),
        ({"k": 8}, "k"),
        ({"k": 0}, "k = 0"),
    ],
)
def test_unusable_input_is_named(measure, change: dict, message: str) -> None:
    given = {"x": gaussian(0, 8, 2), "y": gaussian(1, 8, 2), **change}
    with pytest.raises(InputError) as caught:
        measure(given.pop("x"), given.pop("y"), **given)
    assert message in str(caught.value)


def test_a_sample_with_too_few_distinct_rows_has_no_divergence() -> None:
    X = np.repeat(gaussian(13, 5, 2), 10, axis=0)
    with pytest.raises(InputError, match="5 and 50 distinct rows don't have 5 neighbors each"):
        knn_kl(X, gaussian(14, 50, 2))


def test_half_precision_is_widened() -> None:
    X, Y = (np.round(gaussian(s, 40, 3) * 100) for s in (15, 16))
    assert prdc(X.astype(np.float16), Y.astype(np.float16)) == pytest.approx(prdc(X, Y))
