"""Kernels and their sums over states: naive references, closed forms, and what must not change them."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_cards.errors import InputError
from shift.gram import gram_of_features, gram_of_states
from shift.kernels import Distance, Gaussian, Kernel, Linear, Product, Squares, inner
from shift.kernels.rows import median_distance

SIGMA = 1.5


def naive(name: str, X: np.ndarray, prompts: np.ndarray | None = None) -> np.ndarray:
    """Every kernel in float64, pair by pair."""
    X = X.astype(np.float64)
    apart = np.sqrt(((X[:, None] - X) ** 2).sum(axis=-1))
    gaussian = np.mean([np.exp(-(apart**2) / (2 * (SIGMA * 2 ** (1 - k / 2)) ** 2)) for k in range(5)], axis=0)
    if name == "linear":
        return (X - X.mean(axis=0)) @ (X - X.mean(axis=0)).T
    if name == "product":
        assert prompts is not None
        between = np.sqrt(((prompts[:, None] - prompts) ** 2).sum(axis=-1))
        return gaussian * np.exp(-(between**2) / (2 * np.median(between[np.triu_indices(len(prompts), 1)] ** 2)))
    return gaussian if name == "gaussian" else -apart


def made(name: str, X: np.ndarray, prompts: np.ndarray | None = None) -> Kernel:
    if name == "product":
        assert prompts is not None
        return Product.fit(prompts, np.arange(len(X)), Gaussian.fit(X, sigma=SIGMA))
    return {"gaussian": Gaussian.fit(X, sigma=SIGMA), "distance": Distance.fit(X), "linear": Linear.fit(X)}[name]


def by_state(K: np.ndarray, state: np.ndarray, prompt: np.ndarray, states: int) -> np.ndarray:
    K = np.where(prompt[:, None] == prompt, 0, K)
    member = state[:, None] == np.arange(states)
    return member.T.astype(float) @ K @ member


def u_statistic(G: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Classical MMD^2 between two sets of states, one row each."""
    n, m = first.sum(), second.sum()
    within = first @ G @ first / (n * (n - 1)) + second @ G @ second / (m * (m - 1))
    return float(within - 2 * first @ G @ second / (n * m))


def classical(kernel: Kernel, n: int, block: int = 1024) -> float:
    rows = np.arange(len(kernel))
    G = gram_of_states(kernel, (rows >= n).astype(int), rows, 2, block=block)
    m = len(kernel) - n
    return float(G[0, 0] / (n * (n - 1)) + G[1, 1] / (m * (m - 1)) - 2 * G[0, 1] / (n * m))


def unit_rows(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    X = rng.standard_normal((n, d), dtype=np.float32)
    X[:, : d // 16 + 1] *= 3
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["gaussian", "distance", "linear", "product"])
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 40),
    d=st.integers(1, 5),
    states=st.integers(1, 30),
    prompts=st.integers(1, 40),
    block=st.sampled_from([1, 3, 8, 1024]),
)
@settings(max_examples=25, deadline=None)
def test_sums_over_states_are_the_double_sum_over_pairs_of_rows_whose_prompts_differ(
    name: str, seed: int, n: int, d: int, states: int, prompts: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + 2, d)).astype(np.float32)  # two rows more, so that prompts have a median distance
    P = rng.normal(size=(n + 2, 3))
    state, prompt = np.sort(rng.integers(0, states, n + 2)), rng.integers(-5, prompts, n + 2)
    found = gram_of_states(made(name, X, P), state, prompt, states, block=block)
    # A root of rounding errors: two near rows are told apart to a thousandth of their distance from the mean.
    atol = 1e-4 if name != "distance" else 2e-3 * max(np.abs(X - X.mean(axis=0)).max(), 1)
    np.testing.assert_allclose(found, by_state(naive(name, X, P), state, prompt, states), rtol=1e-5, atol=atol)
    np.testing.assert_array_equal(found, found.T)


@given(seed=st.integers(0, 10**6), block=st.sampled_from([1, 7, 16, 4096]), prompts=st.sampled_from([1, 3, 20, 500]))
@settings(max_examples=25, deadline=None)
def test_features_give_the_sums_of_their_kernel_wherever_equal_prompts_stand(
    seed: int, block: int, prompts: int
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    state, prompt = np.sort(rng.integers(0, 12, 60)), rng.integers(0, prompts, 60)
    if seed % 2:
        prompt = np.sort(prompt)
    found = gram_of_features(Linear.fit(X).features, state, prompt, 12, block=block)
    np.testing.assert_allclose(found, by_state(naive("linear", X), state, prompt, 12), atol=2e-4)


@pytest.mark.parametrize("prompt, visits", [(np.arange(96) // 2, 1), (np.arange(96) % 48, 2), (np.arange(96), 1)])
def test_features_are_computed_once_and_twice_only_where_a_prompt_reaches_beyond_its_block(
    prompt: np.ndarray, visits: int
) -> None:
    kernel, times, largest = Linear.fit(np.random.default_rng(0).normal(size=(96, 3))), np.zeros(96, int), 0

    def features(rows: slice | np.ndarray) -> np.ndarray:
        nonlocal largest
        found = kernel.features(rows)
        largest = max(largest, len(found))
        times[rows] += 1
        return found

    gram_of_features(features, np.arange(96) // 8, prompt, 12, block=16)
    assert times.max() == times.min() == visits
    assert largest <= 16


def test_with_a_state_for_each_row_it_is_the_gram_matrix_and_exactly_zero_where_prompts_are_equal() -> None:
    rng = np.random.default_rng(1)
    X, prompt = rng.normal(size=(300, 6)), rng.permutation(300) // 2
    G = gram_of_states(Gaussian.fit(X, sigma=SIGMA), np.arange(300), prompt, 300, block=64)
    same = prompt[:, None] == prompt
    assert same.sum() == 600 and (G[same] == 0).all()
    np.testing.assert_allclose(G[~same], naive("gaussian", X)[~same], atol=1e-6)


def test_slices_and_index_arrays_name_the_same_rows() -> None:
    X, P = np.random.default_rng(3).normal(size=(2, 20, 4))
    rows, cols = slice(3, 9), slice(10, 20)
    for name in ("gaussian", "distance", "linear", "product"):
        kernel = made(name, X, P)
        assert len(kernel) == 20
        block = kernel.block(rows, cols)
        assert block.dtype == np.float32
        np.testing.assert_array_equal(block, kernel.block(np.arange(3, 9), np.arange(10, 20)))


def test_mmd_energy_and_centroid_are_unbiased_for_their_closed_forms_between_gaussians() -> None:
    d, shift, n, m = 3, 0.8, 40, 25
    bandwidths = np.array([SIGMA * 2 ** (1 - k / 2) for k in range(5)]) ** 2
    truth = {
        "gaussian": np.mean(
            2 * (bandwidths / (bandwidths + 2)) ** (d / 2) * -np.expm1(-(shift**2) / (2 * (bandwidths + 2)))
        ),
        "linear": shift**2,
        # E|N(s, 2)| in one dimension; the energy distance is checked there
        "distance": 2 * (2 / np.sqrt(np.pi) * np.exp(-(shift**2) / 4) + shift * _erf(shift / 2)) - 4 / np.sqrt(np.pi),
    }
    found = {name: [] for name in truth}
    for seed in range(400):
        rng = np.random.default_rng([seed, 4])
        X = rng.normal(size=(n + m, d))
        X[n:, 0] += shift
        found["gaussian"].append(classical(Gaussian.fit(X, sigma=SIGMA), n))
        found["linear"].append(classical(Linear.fit(X), n))
        found["distance"].append(classical(Distance.fit(X[:, :1]), n))
    for name, values in found.items():
        error = np.std(values) / len(values) ** 0.5
        assert np.mean(values) == pytest.approx(truth[name], abs=4 * error), name
        assert error < 0.04 * truth[name], name


def _erf(x: float) -> float:
    from math import erf

    return erf(x)


def test_the_conditional_kernel_sees_shifts_that_cancel_over_prompts_and_the_marginal_one_does_not() -> None:
    rng = np.random.default_rng(5)
    n = 400
    prompts = np.repeat([[0.0], [10.0]], n // 2, axis=0) + 0.1 * rng.normal(size=(n, 1))
    sign = np.where(prompts[:, 0] > 5, 1, -1)
    X = np.concatenate([rng.normal(size=n) + sign, rng.normal(size=n) - sign])[:, None]
    prompt = np.tile(np.arange(n), 2)
    state = np.arange(2 * n) // n
    responses = Gaussian.fit(X)
    value = {}
    for name, kernel in (("marginal", responses), ("conditional", Product.fit(prompts, prompt, responses))):
        G = gram_of_states(kernel, state, prompt, 2) / (n * (n - 1))
        value[name] = G[0, 0] + G[1, 1] - 2 * G[0, 1]
    assert abs(value["marginal"]) < 0.01 < 0.08 < value["conditional"]


@pytest.mark.parametrize("width", [1, 384])
def test_mmd_is_within_a_hundredth_of_its_null_standard_deviation_of_float64(width: int) -> None:
    rng = np.random.default_rng(6)
    n, states = 2000, 400
    X = unit_rows(rng, 2 * n, width) if width > 1 else rng.normal(size=(2 * n, 1)).astype(np.float32)
    X[n:, 0] += 0.002
    state = np.arange(2 * n) * states // (2 * n)
    kernel = Gaussian.fit(X)
    G = gram_of_states(kernel, state, np.arange(2 * n), states)

    Z = X.astype(np.float64)
    square = (Z**2).sum(axis=1)
    power = np.maximum(square[:, None] + square - 2 * Z @ Z.T, 0) / (-2 * kernel.bandwidths[0] ** 2)
    K = np.exp(power)
    reference = K.copy()
    for _ in range(4):
        K *= K
        reference += K
    reference /= 5
    np.fill_diagonal(reference, 0)
    R = np.add.reduceat(np.add.reduceat(reference, np.arange(0, 2 * n, 10), axis=0), np.arange(0, 2 * n, 10), axis=1)

    first = np.arange(states) < states // 2
    labels = np.array([first, *(rng.permutation(first) for _ in range(200))]).astype(float)

    def mmd(G: np.ndarray) -> np.ndarray:
        q = np.einsum("bs,bs->b", labels @ G, labels)
        r = np.einsum("bs,bs->b", (1 - labels) @ G, 1 - labels)
        return (q + r) / (n * (n - 1)) - (G.sum() - q - r) / n**2

    exact = mmd(R)
    assert np.abs(mmd(G) - exact).max() < 0.01 * exact[1:].std()


@given(seed=st.integers(0, 10**6), block=st.sampled_from([5, 32, 1024]))
@settings(max_examples=10, deadline=None)
def test_neither_rotation_nor_translation_nor_the_order_of_rows_nor_block_size_changes_the_sums(
    seed: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    n, m, d = 30, 21, 4
    X = rng.normal(size=(n + m, d))
    order = np.concatenate([rng.permutation(n), n + rng.permutation(m)])
    moved = (X @ np.linalg.qr(rng.normal(size=(d, d)))[0] + 30)[order]
    for name in ("gaussian", "distance", "linear"):
        assert classical(made(name, moved), n, block) == pytest.approx(classical(made(name, X), n), abs=3e-6), name
    exchanged = np.concatenate([X[n:], X[:n]])
    assert classical(Gaussian.fit(exchanged), m) == pytest.approx(classical(Gaussian.fit(X), n), abs=1e-6)


def test_a_huge_mean_costs_no_digits_beyond_those_its_own_rows_have_lost() -> None:
    X = np.random.default_rng(7).normal(size=(200, 8)).astype(np.float32) + np.float32(1e4)
    rows = np.arange(200)
    for name, unit in (("gaussian", 1), ("distance", 4), ("linear", 8)):
        found = gram_of_states(made(name, X), rows, rows, 200)
        K = naive(name, X)
        np.fill_diagonal(K, 0)
        assert np.abs(found - K).max() < 1e-5 * unit, name


def test_neighbors_far_from_all_other_rows_are_still_told_apart() -> None:
    rng = np.random.default_rng(8)
    X = rng.normal(size=(40, 3))
    X[30:] += 3000
    X = np.concatenate([X, X[30:]])  # and duplicates out there
    rows = np.arange(50)
    for name in ("gaussian", "distance"):
        K = by_state(naive(name, X), rows, rows, 50)
        np.testing.assert_allclose(gram_of_states(made(name, X), rows, rows, 50), K, atol=2e-4)
    assert Squares.of(X, SIGMA).left_ND.dtype == np.float64
    assert Squares.of(X[:30], SIGMA).left_ND.dtype == np.float32


def test_where_all_points_coincide_every_kernel_calls_them_equal_and_every_statistic_is_exactly_zero() -> None:
    X = np.full((50, 3), 0.7, np.float32)
    gaussian = Gaussian.fit(X)
    assert gaussian.degenerate and gaussian.sigma == 1
    assert (gaussian.block(slice(0, 9), slice(0, 9)) == 1).all()
    for kernel in (gaussian, Distance.fit(X), Linear.fit(X)):
        assert classical(kernel, 20) == 0
    assert not Gaussian.fit(np.arange(4.0)[:, None]).degenerate
    lone = gram_of_states(Gaussian.fit(X[:1]), np.zeros(1, int), np.zeros(1, int), 1)
    np.testing.assert_array_equal(lone, [[0]])


def test_a_row_given_twice_counts_as_a_pair_at_distance_zero() -> None:
    X = unit_rows(np.random.default_rng(9), 50, 384)
    twice = np.concatenate([X, X])
    rows = np.arange(100)
    gaussian = gram_of_states(Gaussian.fit(twice, sigma=SIGMA), rows, rows, 100)
    np.testing.assert_allclose(gaussian[rows[:50], rows[50:]], 1, atol=1e-6)
    distance = gram_of_states(Distance.fit(twice), rows, rows, 100)
    assert (distance <= 0).all() and distance[rows[:50], rows[50:]].min() > -2e-3


def test_half_precision_is_widened_and_changes_nothing_else() -> None:
    X = np.random.default_rng(10).normal(size=(30, 4)).astype(np.float16)
    for name in ("gaussian", "distance", "linear"):
        assert classical(made(name, X), 12) == classical(made(name, X.astype(np.float32)), 12)


def test_the_bandwidth_is_the_median_over_pairs_that_differ_and_seeded_where_it_samples() -> None:
    X = np.array([[0.0], [0.0], [3.0], [10.0]])  # distances 0, 3, 3, 7, 10, 10
    assert median_distance(X) == pytest.approx(7)
    assert median_distance(X[:2]) is None
    many = np.random.default_rng(11).normal(size=(1500, 2))
    assert Gaussian.fit(many, seed=1).sigma == Gaussian.fit(many, seed=1).sigma != Gaussian.fit(many, seed=2).sigma
    np.testing.assert_allclose(Gaussian.fit(many, sigma=2).bandwidths, [4, 8**0.5, 2, 2**0.5, 1])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda X: Gaussian.fit(np.where(np.arange(12).reshape(6, 2) == 7, np.nan, X)), "row 3: .*NaN"),
        (lambda X: Distance.fit(np.where(np.arange(12).reshape(6, 2) == 4, np.inf, X)), "row 2: .*infinity"),
        (lambda X: Linear.fit(X[0]), "shape"),
        (lambda X: Linear.fit(X[:0]), "shape"),
        (lambda X: Gaussian.fit(X, sigma=-1), "bandwidth of -1"),
        (lambda X: Gaussian.fit(X + (np.arange(6) == 2)[:, None], sigma=1e-200), "row 2: .*beyond float64"),
        (lambda X: Product.fit(X, np.arange(5), Linear.fit(X)), "6 rows and 5 prompts"),
        (lambda X: Product.fit(X[:4], np.arange(6), Linear.fit(X)), "row 4: its prompt is 4 of 4"),
        (lambda X: gram_of_states(Linear.fit(X), np.array([0, 1, 1, 3, 2, 3]), np.arange(6), 4), "row 4: .*below"),
        (
            lambda X: gram_of_states(Linear.fit(X), np.arange(6), np.arange(6), 5),
            "states from 0 to 5 where there are 5",
        ),
        (lambda X: gram_of_states(Linear.fit(X), np.arange(6) - 1, np.arange(6), 6), "states from -1 to 4"),
        (lambda X: gram_of_states(Linear.fit(X), np.arange(5), np.arange(6), 6), "5 states and 6 prompts"),
        (lambda X: gram_of_states(Linear.fit(X), np.arange(6), np.arange(6), 6, block=0), "blocks of 0"),
        (lambda X: gram_of_features(Linear.fit(X).features, np.arange(6), np.arange(5), 6), "5 prompts"),
    ],
)
def test_bad_input_is_refused_by_row(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(np.ones((6, 2)))


def test_memory_is_a_few_blocks_and_the_states_not_the_pairs() -> None:
    rng = np.random.default_rng(12)
    X, rows = rng.standard_normal((12_000, 4), dtype=np.float32), np.arange(12_000)
    Gaussian.fit(X)
    tracemalloc.start()
    kernel = Gaussian.fit(X)
    gram_of_states(kernel, rows // 100, rows, 120, block=512)
    peak = tracemalloc.get_traced_memory()[1]
    gram_of_features(Linear.fit(X).features, rows // 100, rows // 2, 120)
    also = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6 and also < 30e6  # all pairs are 576 MB


def test_the_number_of_threads_changes_the_sums_by_rounding_only() -> None:
    code = (
        "import numpy as np; from shift.gram import gram_of_states; from shift.kernels import Gaussian;"
        "X = np.random.default_rng(0).standard_normal((600, 96), dtype=np.float32); r = np.arange(600);"
        "print(gram_of_states(Gaussian.fit(X), r // 150, r // 2, 4).ravel().tolist())"
    )
    found = []
    for threads in "12":
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        output = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        found.append(np.array(eval(output.stdout)))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_onednn_is_there_and_multiplies_in_full_precision() -> None:
    left, right = np.random.default_rng(13).normal(size=(2, 70, 33)).astype(np.float32)
    np.testing.assert_allclose(inner.by_onednn(left, right[:50]), left @ right[:50].T, atol=1e-4)


def test_a_library_is_chosen_once_and_never_one_that_rounds_more_or_is_no_faster(monkeypatch) -> None:
    def sloppy(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return (left.astype(np.float16) @ right.astype(np.float16).T).astype(np.float32)

    def missing(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        raise AttributeError("no such operator")

    def exact(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return left @ right.T

    seconds = {inner.by_numpy: 1.0, sloppy: 0.1, exact: 0.1}
    monkeypatch.setattr(inner, "_seconds", lambda multiply, *arrays: seconds[multiply])
    for candidate, chosen in ((sloppy, inner.by_numpy), (missing, inner.by_numpy), (exact, exact)):
        monkeypatch.setattr(inner, "by_onednn", candidate)
        assert inner.fastest() is chosen
    seconds[exact] = 0.95
    assert inner.fastest() is inner.by_numpy

    monkeypatch.setattr(inner, "_fastest", None)
    inner.prepare(1e9)
    assert inner._fastest is None  # a small job isn't worth the timing
    inner.prepare(1e12)
    assert inner._fastest is inner.by_numpy
    seconds[exact] = 0.1
    inner.prepare(1e12)
    assert inner._fastest is inner.by_numpy
