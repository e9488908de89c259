"""MAUVE and the frontier integral: cases worked by hand, naive references, and what the buckets depend on."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from datasets_cards.errors import InputError
from shift.metrics.mauve import Mauve, MauveMetric, area, buckets, frontier_integral, mauve, principal

shares = st.lists(st.integers(0, 6), min_size=2, max_size=6).filter(any)


def kl(p: np.ndarray, r: np.ndarray) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p.tolist(), r.tolist(), strict=True) if a > 0)


def naive_area(p: np.ndarray, q: np.ndarray) -> float:
    corners = [(1.0, 0.0)]
    for w in np.linspace(1e-6, 1 - 1e-6, 25):
        r = w * p + (1 - w) * q
        corners.append((math.exp(-5 * kl(q, r)), math.exp(-5 * kl(p, r))))
    corners += [(0.0, 1.0), (0.0, 0.0)]
    # The shoelace formula, around the curve and back along both axes.
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in pairs)) / 2


@given(p=shares, q=shares)
@settings(max_examples=60, deadline=None)
def test_area_and_frontier_integral_are_their_definitions(p: list[int], q: list[int]) -> None:
    length = max(len(p), len(q))
    P, Q = (np.pad(np.array(a, float), (0, length - len(a))) / sum(a) for a in (p, q))
    assert area(P, Q) == pytest.approx(naive_area(P, Q), abs=1e-12)

    def along(w: float) -> float:
        r = w * P + (1 - w) * Q
        return 2 * (w * kl(P, r) + (1 - w) * kl(Q, r))

    assert frontier_integral(P, Q) == pytest.approx(quad(along, 0, 1)[0], abs=1e-7)


def test_they_are_what_the_reference_package_gives_for_these_shares() -> None:
    p, q = np.array([0.5, 0.3, 0.2, 0]), np.array([0.1, 0.3, 0.25, 0.35])
    # mauve-text 0.4.0, divergence curve of 25 mixtures, scaling 5.
    assert area(p, q) == pytest.approx(0.33285239043857207, abs=1e-13)
    assert frontier_integral(p, q) == pytest.approx(0.2756767096315277, abs=1e-13)


def test_samples_that_share_no_bucket_have_the_area_under_powers_of_the_mixture() -> None:
    p, q = np.array([1.0, 0]), np.array([0, 1.0])
    # The curve is ((1 - w)^5, w^5), whose area is 5 B(6, 5); trapezoids lie above it.
    exact = 5 * math.factorial(5) * math.factorial(4) / math.factorial(10)
    assert exact < area(p, q) < 1.03 * exact
    assert frontier_integral(p, q) == 1


def test_nearly_equal_shares_keep_their_digits() -> None:
    gap = 1e-5
    for share in np.linspace(0.1, 0.9, 33):
        p = np.array([share, 1 - share])
        # To second order the frontier integral is the sum of (p - q)^2 / 6 p.
        assert frontier_integral(p, p + [gap, -gap]) == pytest.approx((gap**2 / (6 * p)).sum(), rel=1e-3)  # noqa: RUF005
        assert frontier_integral(p, p) == 0 and area(p, p) == 1


def test_four_points_in_two_places_are_two_buckets_worked_by_hand() -> None:
    x, y = np.array([[0.0], [0], [0], [1]]), np.array([[0.0], [1], [1], [1]])
    p, q = np.array([0.75, 0.25]), np.array([0.25, 0.75])
    found = mauve(x, y)
    assert found.value == pytest.approx(naive_area(p, q), abs=1e-12)
    assert found.frontier_integral == pytest.approx(1 - 3 / 4 * math.log(3), abs=1e-12)
    assert found.seed_spread == 0
    weighted = mauve(np.array([[0.0], [1]]), np.array([[0.0], [1]]), x_weight_N=[3, 1], y_weight_M=[1, 3])
    assert weighted.value == pytest.approx(found.value, abs=1e-12)


def test_equal_samples_are_exactly_alike_in_whatever_order() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    assert mauve(x, x[rng.permutation(300)]) == Mauve(1.0, 0.0, 0.0)
    assert mauve(np.ones((5, 2)), np.ones((9, 2))).value == pytest.approx(1, abs=1e-12)


def test_clouds_far_apart_share_nothing_and_a_growing_shift_lowers_it() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(400, 5)), rng.normal(size=(500, 5))
    e = np.eye(5)[0]
    found = [mauve(x, y + shift * e) for shift in (0, 0.7, 1.5, 3, 50)]
    assert (np.diff([f.value for f in found]) < 0).all()
    assert (np.diff([f.frontier_integral for f in found]) > 0).all()
    assert found[0].value > 0.9 and found[-1].value < 0.0042 and found[-1].frontier_integral == pytest.approx(1)


def test_it_is_symmetric_and_unmoved_by_row_order_scale_and_a_common_shift_of_whole_numbers() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(150, 4)), rng.normal(size=(130, 4)) + 0.5
    plain = mauve(x, y)
    for other in (mauve(y, x), mauve(x[::-1], y[rng.permutation(130)]), mauve(4 * x, 4 * y)):
        assert other.value == pytest.approx(plain.value, abs=1e-12)
        assert other.frontier_integral == pytest.approx(plain.frontier_integral, abs=1e-12)
        assert other.seed_spread == pytest.approx(plain.seed_spread, abs=1e-12)
    # A common shift sorts the rows anew, so that k-means starts elsewhere: as another seed would.
    assert mauve(x + 1000, y + 1000).value == pytest.approx(plain.value, abs=4 * plain.seed_spread)


def test_values_are_means_over_seeds_and_the_spread_is_theirs() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(200, 4)), rng.normal(size=(200, 4)) + 0.5
    first, second, both = mauve(x, y, seeds=2, seed=0), mauve(x, y, seeds=2, seed=2), mauve(x, y, seeds=4, seed=0)
    assert both.value == pytest.approx((first.value + second.value) / 2)
    assert both.frontier_integral == pytest.approx((first.frontier_integral + second.frontier_integral) / 2)
    apart = first.seed_spread / 2**0.5  # two values lie so far from their mean
    values = [first.value - apart, first.value + apart]
    apart = second.seed_spread / 2**0.5
    values += [second.value - apart, second.value + apart]
    assert both.seed_spread == pytest.approx(np.std(values, ddof=1)) and both.seed_spread > 0
    assert mauve(x, y, seed=5) == mauve(x, y, seed=5) != mauve(x, y, seed=6)


def test_there_is_a_bucket_for_twenty_pooled_rows_up_to_the_number_asked_for() -> None:
    points = np.random.default_rng(4).normal(size=(1019, 3))
    for rows, clusters, expected in ((1019, 500, 50), (1019, 30, 30), (59, 500, 2), (60, 500, 3), (10, 500, 2)):
        found = buckets(points[:rows], clusters, 2, 0)
        assert [len(np.unique(b)) for b in found] == [expected] * 2
        assert found.shape == (2, rows)


def test_distinct_rows_that_are_no_more_than_the_buckets_are_a_bucket_each() -> None:
    points = np.repeat(np.random.default_rng(5).normal(size=(7, 3)), 30, axis=0)
    found = buckets(points, 500, 2, 0)
    assert [b.reshape(7, 30).std(axis=1).max() for b in found] == [0, 0]
    assert [len(np.unique(b)) for b in found] == [7, 7]
    zeros = np.repeat([[0.0], [-0.0], [1.0]], 30, axis=0)
    assert len(np.unique(buckets(zeros, 500, 2, 0))) == 2


def test_repeated_rows_pull_the_buckets_as_often_as_they_occur() -> None:
    places = np.repeat([0.0, 5.0, 7.0], [1, 29, 29])[:, None]
    found = buckets(places, 500, 20, 0)
    # Counted once each, 5 and 7 would be together, whichever of the rows k-means starts from.
    assert np.mean([b[1] != b[-1] for b in found]) > 0.7


def test_a_bucket_holds_what_is_close_together() -> None:
    rng = np.random.default_rng(6)
    centers = 100 * rng.normal(size=(3, 8))
    points = np.concatenate([c + rng.normal(size=(20, 8)) for c in centers])
    found = buckets(points, 500, 20, 0)  # k-means can start badly: most seeds must agree
    right = [len({*b[:20]}) == len({*b[20:40]}) == len({*b[40:]}) == 1 and len({*b.tolist()}) == 3 for b in found]
    assert np.mean(right) > 0.3


@pytest.mark.parametrize("width", [5, 300])
def test_principal_components_keep_nine_tenths_of_the_variance_and_no_more_than_needed(width: int) -> None:
    rng = np.random.default_rng(7)
    rows = np.pad(rng.normal(size=(100, 5)) * [8, 4, 2, 1, 0.5], ((0, 0), (0, width - 5))) + 3
    count = rng.integers(1, 4, 100)
    repeated = np.repeat(rows, count, axis=0)
    variance = np.sort(np.linalg.eigvalsh(np.cov(repeated.T)))[::-1]
    enough = np.cumsum(variance) >= 0.9 * variance.sum()
    found = principal(rows, count)
    assert found.shape[1] == np.argmax(enough) + 1
    kept = np.repeat(found, count, axis=0).astype(float)
    assert kept.var(axis=0).sum() * np.abs(rows - repeated.mean(axis=0)).max() ** 2 == pytest.approx(
        repeated.var(axis=0).sum() * np.cumsum(variance)[found.shape[1] - 1] / variance.sum(), rel=1e-4
    )


def test_more_columns_than_rows_are_clustered_as_the_same_points_in_fewer_columns() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(80, 4)), rng.normal(size=(70, 4)) + 0.7
    wide = mauve(*(np.pad(a, ((0, 0), (0, 200))) for a in (x, y)))
    assert wide.value == pytest.approx(mauve(x, y).value, abs=1e-12)


def test_one_column_repeated_rows_and_half_precision_are_taken() -> None:
    rng = np.random.default_rng(9)
    x, y = rng.integers(0, 40, (200, 1)).astype(np.float16), rng.integers(0, 40, (200, 1)).astype(np.float16)
    assert mauve(x, y) == mauve(x.astype(np.float32), y.astype(np.float32))
    # Rows that differ only where almost no variance is: fewer places than buckets once that is left out.
    x, y = (np.column_stack([rng.integers(0, 2, 200), 1e-6 * rng.normal(size=200)]) for _ in range(2))
    assert 0.9 < mauve(x, y).value <= 1


def test_the_metric_counts_two_weightings_in_buckets_that_depend_on_the_pooled_rows_alone() -> None:
    rng = np.random.default_rng(10)
    points = rng.normal(size=(240, 4)).astype(np.float32)
    points[120:] += 0.5
    statistic = MauveMetric().on(points, np.arange(240), seed=4)
    first, second = np.repeat([1 / 120, 0], 120), np.repeat([0, 1 / 120], 120)
    direct = mauve(points[:120], points[120:], seed=4)
    assert statistic(first, second) == pytest.approx(
        {"value": direct.value, "frontier_integral": direct.frontier_integral, "seed_spread": direct.seed_spread}
    )
    weight = [rng.dirichlet(np.ones(240)) for _ in range(2)]
    places = buckets(points, 500, 5, 4)
    shares = [[np.array([w[b == k].sum() for k in range(12)]) for w in weight] for b in places]
    assert statistic(*weight)["value"] == pytest.approx(np.mean([naive_area(p, q) for p, q in shares]), abs=1e-9)
    assert statistic(weight[0], weight[0]) == {"value": 1.0, "frontier_integral": 0.0, "seed_spread": 0.0}


@pytest.mark.parametrize(
    ("x", "y", "options", "said"),
    [
        (np.eye(2), np.array([[0.0, 1], [np.inf, 0]]), {}, "row 1 of y holds NaN, infinity"),
        (np.eye(2)[:1], np.eye(2), {}, "x has 1 row"),
        (np.eye(2), np.eye(3), {}, "x has 2 columns and y has 3"),
        (np.eye(2), np.eye(2), {"clusters": 1}, "1 cluster"),
        (np.eye(2), np.eye(2), {"seeds": 1}, "1 seed"),
        (np.eye(2), np.eye(2), {"x_weight_N": [1, -2]}, "row 1 of x has the weight -2"),
    ],
)
def test_bad_input_is_refused_by_name(x: np.ndarray, y: np.ndarray, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        mauve(x, y, **options)
