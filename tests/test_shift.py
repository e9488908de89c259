"""The measures themselves: closed forms, naive references and what must not change them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift import Ladder, measure
from shift.drift import drift, nearest_other
from shift.inference import p_value
from shift.interval import decompose, squared_norm_interval
from shift.kernels import Gaussian
from shift.mmd import measure_legs

PAIRS = ("OP", "PU", "US", "PS", "OS")


def answers(rng: np.random.Generator, n: int, k: int, d: int, rho: float = 0.5) -> np.ndarray:
    return np.sqrt(rho) * rng.normal(size=(n, 1, d)) + np.sqrt(1 - rho) * rng.normal(size=(n, k, d))


def ladder(seed: int = 0, n: int = 30, K: int = 3, d: int = 5, shift: float = 0.5) -> Ladder:
    rng = np.random.default_rng([seed, 7])
    X = answers(rng, n, K + 2, d)
    X[:, 1:, 0] += shift
    return Ladder.from_arrays(
        original=X[:, 0], baseline=X[:, 1], pool=X[:, 2:], selected=X[:, 2:, 1].argmax(axis=1).tolist()
    )


def run(points: Ladder, *, sigma: float | None = None, block: int = 1024, permutations: int = 99, **options):
    kernel = Gaussian.fit(points.points_ND, sigma=sigma)
    legs = {f"{a}->{b}": (a, b, points.has_N(a, b)) for a, b in PAIRS if points.has_N(a, b).any()}
    return measure_legs(points, kernel, legs, permutations=permutations, block=block, **options)


def gaussian_mixture(x: np.ndarray, y: np.ndarray, sigma: float) -> float:
    squared = float(((x.astype(np.float64) - y.astype(np.float64)) ** 2).sum())
    return float(np.mean([np.exp(-squared / (2 * (sigma * 2 ** (1 - k / 2)) ** 2)) for k in range(5)]))


def test_the_paired_u_form_is_the_double_sum_over_prompts_of_the_kernel_between_leg_ends() -> None:
    rng = np.random.default_rng(0)
    n, K, d = 7, 3, 4
    pool, P = answers(rng, n, K, d), rng.normal(size=(n, d))
    points = Ladder.from_arrays(pool=pool, selected=[0] * n, baseline=P)
    found = run(points, sigma=2.0, cross=("P->U", "U->S"))
    rungs = {"P": [[p] for p in P], "U": [list(c) for c in pool], "S": [[c[0]] for c in pool]}

    def between(a: str, b: str, i: int, j: int) -> float:
        return float(np.mean([gaussian_mixture(x, y, 2.0) for x in rungs[a][i] for y in rungs[b][j]]))

    def product(leg: str, other: str, i: int, j: int) -> float:
        (a, b), (c, e) = leg.split("->"), other.split("->")
        return between(b, e, i, j) - between(b, c, i, j) - between(a, e, i, j) + between(a, c, i, j)

    def u_form(leg: str, other: str) -> float:
        return sum(product(leg, other, i, j) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    for name, leg in found.legs.items():
        assert leg.value == pytest.approx(u_form(name, name), abs=1e-7)
    assert found.cross is not None
    assert found.cross.row_N.sum() / (n * (n - 1)) == pytest.approx(u_form("P->U", "U->S"), abs=1e-7)


def test_the_u_form_is_unbiased_for_the_closed_form_between_gaussians_though_rows_are_paired() -> None:
    d, shift, sigma = 3, 0.8, 2.0
    bandwidths = np.array([sigma * 2 ** (1 - k / 2) for k in range(5)]) ** 2
    truth = np.mean(2 * (bandwidths / (bandwidths + 2)) ** (d / 2) * -np.expm1(-(shift**2) / (2 * (bandwidths + 2))))
    values = []
    for seed in range(300):
        X = answers(np.random.default_rng(seed), 20, 2, d, rho=0.8)
        X[:, 1, 0] += shift
        values.append(run(Ladder.from_arrays(baseline=X[:, 0], pool=X[:, 1:]), sigma=sigma).legs["P->U"].value)
    assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / len(values) ** 0.5)
    assert np.std(values) / len(values) ** 0.5 < 0.03 * truth  # tight enough to see the usual correction's bias


@given(seed=st.integers(0, 10**6), block=st.sampled_from([1, 7, 40, 1024]))
@settings(max_examples=10, deadline=None)
def test_neither_block_size_nor_row_order_nor_rotation_nor_translation_changes_a_leg(seed: int, block: int) -> None:
    rng = np.random.default_rng([seed, 3])
    X = answers(rng, 12, 5, 4)
    picked = rng.integers(0, 3, 12)
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    order = rng.permutation(12)
    moved = (X @ rotation + 3.0)[order]
    plain = run(Ladder.from_arrays(original=X[:, 0], baseline=X[:, 1], pool=X[:, 2:], selected=picked))
    changed = run(
        Ladder.from_arrays(original=moved[:, 0], baseline=moved[:, 1], pool=moved[:, 2:], selected=picked[order]),
        block=block,
    )
    for name, leg in plain.legs.items():
        other = changed.legs[name]
        assert other.value == pytest.approx(leg.value, abs=2e-6)
        np.testing.assert_allclose(other.row_N, leg.row_N[order], atol=2e-5)
        np.testing.assert_allclose(other.diag_N, leg.diag_N[order], atol=2e-6)


@given(seed=st.integers(0, 10**6), block=st.sampled_from([5, 23]))
@settings(max_examples=4, deadline=None)
def test_block_size_changes_no_statistic_of_any_test_or_interval(seed: int, block: int) -> None:
    points = ladder(seed)
    options = {"redraws": ("labeling", "selection", "total"), "cross": ("P->U", "U->S"), "seed": 1}
    whole, blocked = run(points, **options), run(points, block=block, **options)
    for name, leg in whole.legs.items():
        np.testing.assert_allclose(blocked.legs[name].signs_B, leg.signs_B, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(blocked.legs[name].sketch_AA, leg.sketch_AA, rtol=1e-3, atol=1e-4)
        assert blocked.legs[name].squares == pytest.approx(leg.squares, rel=1e-4)
    for name, test in whole.redraws.items():
        np.testing.assert_allclose(blocked.redraws[name].quad_B, test.quad_B, atol=2e-6)
    assert whole.cross is not None and blocked.cross is not None
    np.testing.assert_allclose(blocked.cross.products, whole.cross.products, rtol=1e-3, atol=1e-6)


def test_the_observed_statistic_of_every_test_is_the_leg_it_tests() -> None:
    found = run(ladder(1), redraws=("labeling", "selection", "total"))
    for test, leg in (("labeling", "P->U"), ("selection", "U->S"), ("total", "P->S")):
        assert found.redraws[test].quad_B[0] == pytest.approx(found.legs[leg].value, abs=1e-7)


def test_centered_sign_sums_are_those_of_the_centered_gram_matrix() -> None:
    points = ladder(2, n=9)
    found = run(points)
    kernel = Gaussian.fit(points.points_ND)
    G = kernel.block(points.point_M, points.point_M).astype(np.float64)
    T = np.zeros((len(points.point_M), 9))
    T[np.arange(len(T)), points.prompt_M] = found.legs["P->U"].weight_M
    center = np.eye(9) - 1 / 9
    C = center @ T.T @ G @ T @ center
    np.testing.assert_allclose(
        found.legs["P->U"].signs_B, np.einsum("ib,ij,jb->b", found.signs_NB, C, found.signs_NB), atol=1e-4
    )


def test_identical_rungs_are_exactly_zero_and_p_is_exactly_one() -> None:
    rng = np.random.default_rng(5)
    X = answers(rng, 20, 1, 6)
    report = measure(
        Ladder.from_arrays(original=X[:, 0], baseline=X[:, 0], pool=np.repeat(X, 3, axis=1), selected=[1] * 20),
        permutations=99,
    )
    for leg in report.legs:
        assert (leg.value, leg.low, leg.high) == (0.0, 0.0, 0.0)
        assert leg.p == (1.0 if leg.name == "P->U" or leg.name == "P->S" or leg.name == "U->S" else None)
    assert [d.mean for d in report.drift] == [0.0] * 5
    assert {m.value for m in report.metrics if m.metric in ("mmd", "energy", "centroid")} == {0.0}
    assert {m.p for m in report.metrics if m.metric == "energy" and "O" not in (m.start, m.end)} == {1.0}
    assert report.decomposition is not None and report.decomposition.labeling_share is None


def test_p_counts_ties_against_the_observation_and_is_never_zero() -> None:
    assert p_value(np.array([5.0, 1, 2, 3])) == 0.25
    assert p_value(np.array([2.0, 1, 2, 3])) == 0.75
    assert p_value(np.zeros(100)) == 1.0


def test_the_parts_add_up_to_the_total() -> None:
    found = run(ladder(3, n=40), cross=("P->U", "U->S"))
    assert found.cross is not None
    parts = decompose(found.legs["P->U"], found.legs["U->S"], found.cross)
    assert parts.estimate @ [1, 1, 2] == pytest.approx(found.legs["P->S"].value, abs=1e-7)
    labeling, selection = parts.share(0), parts.share(1)
    assert labeling is not None and selection is not None
    assert labeling[0] + selection[0] == pytest.approx(1)
    assert labeling[1] + selection[2] == pytest.approx(1)


def test_the_interval_holds_the_estimate_and_starts_at_zero_where_nothing_moved() -> None:
    moved, still = run(ladder(4, n=80, shift=1.5), permutations=299), run(ladder(4, n=80, shift=0), permutations=299)
    low, high = squared_norm_interval(moved.legs["O->P"], moved.signs_NB)
    assert 0 < low < moved.legs["O->P"].value < high
    low, high = squared_norm_interval(still.legs["O->P"], still.signs_NB)
    assert low == 0 <= max(still.legs["O->P"].value, 0) < high


def test_drift_is_one_less_the_cosine_averaged_over_a_pool() -> None:
    e = np.eye(3)
    points = Ladder.from_arrays(
        original=np.stack([e[0], e[1]]),
        baseline=np.stack([e[0] * 5, -e[1]]),
        pool=np.stack([[e[0], e[1]], [e[2], e[2] * 2]]),
        selected=[1, 0],
    )
    np.testing.assert_allclose(drift(points, "O", "P").drift_N, [0, 2], atol=1e-12)
    np.testing.assert_allclose(drift(points, "O", "U").drift_N, [0.5, 1], atol=1e-12)
    np.testing.assert_allclose(drift(points, "U", "S").drift_N, [0.5, 0], atol=1e-12)
    np.testing.assert_allclose(nearest_other(points, "O"), [1, 1], atol=1e-6)
    assert drift(points, "O", "P").tail_share == 0.5


def test_bandwidths_halve_in_square_around_the_median_and_a_subsample_is_seeded() -> None:
    points = np.array([[0.0], [1.0], [3.0]], np.float32)
    kernel = Gaussian.fit(points)
    assert kernel.sigma == pytest.approx(2)
    np.testing.assert_allclose(np.square(kernel.bandwidths), [16, 8, 4, 2, 1])
    many = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    assert Gaussian.fit(many, sample=50, seed=1).sigma == Gaussian.fit(many, sample=50, seed=1).sigma
    assert Gaussian.fit(many, sample=50).sigma == pytest.approx(Gaussian.fit(many).sigma, rel=0.2)


def test_kernel_values_keep_float32_accuracy_far_from_the_origin() -> None:
    X = np.random.default_rng(0).normal(size=(20, 8)) + 1000
    kernel = Gaussian.fit(X.astype(np.float32), sigma=3.0)
    found = kernel.block(np.arange(20), np.arange(20))
    expected = [[gaussian_mixture(x, y, 3.0) for y in X.astype(np.float32)] for x in X.astype(np.float32)]
    np.testing.assert_allclose(found, expected, atol=5e-6)


def test_equal_texts_in_a_pool_count_as_often_as_they_were_drawn() -> None:
    a, b = np.eye(2)
    repeated = Ladder.from_arrays(pool=np.stack([[a, a, b]] * 4), selected=[0] * 4, baseline=np.stack([b] * 4))
    twice = repeated.counts["S"] == 1
    assert repeated.counts["U"].tolist() == np.where(twice, 2, 1).tolist()
    assert repeated.size_N("U").tolist() == [3] * 4
    np.testing.assert_allclose(repeated.weight_M("U"), np.where(twice, 2 / 3, 1 / 3))
