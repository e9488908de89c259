"""Random features: unbiased for the kernel, an error that falls with their root, and MMD^2 near the exact one."""

import numpy as np
import pytest

from datasets_cards.errors import InputError
from shift.random_features import RandomFeatures, orthogonal_columns, random_feature_mmd


def mixture(x: np.ndarray, y: np.ndarray, sigma: float) -> np.ndarray:
    """The kernel by its definition, in float64."""
    squared = ((x[:, None].astype(np.float64) - y[None].astype(np.float64)) ** 2).sum(axis=-1)
    return np.mean([np.exp(-squared / (2 * (sigma * 2 ** (1 - k / 2)) ** 2)) for k in range(5)], axis=0)


def exact_mmd(x: np.ndarray, y: np.ndarray, sigma: float, *, paired: bool) -> float:
    n, m = len(x), len(y)
    xx, yy, xy = mixture(x, x, sigma), mixture(y, y, sigma), mixture(x, y, sigma)
    within = (xx.sum() - n) / (n * (n - 1)) + (yy.sum() - m) / (m * (m - 1))
    if paired:
        return within - 2 * (xy.sum() - xy.trace()) / (n * (n - 1))
    return within - 2 * xy.mean()


def sample(seed: int, n: int, d: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


def test_every_row_has_features_of_length_one() -> None:
    points = sample(0, 40, 6)
    for features in (10, 64, 2046):  # the five bandwidths share 5, 32 and 1023 frequencies
        f = RandomFeatures.fit(points, features=features)
        np.testing.assert_allclose((f(points).astype(np.float64) ** 2).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("d", [1, 3, 20])
def test_inner_products_are_unbiased_for_the_mixture_kernel(d: int) -> None:
    points = sample(1, 12, d)
    draws = []
    for seed in range(300):
        z = RandomFeatures.fit(points, features=24, sigma=1.5 * d**0.5, seed=seed)(points).astype(np.float64)
        draws.append(z @ z.T)
    error = np.mean(draws, axis=0) - mixture(points, points, 1.5 * d**0.5)
    standard = np.std(draws, axis=0, ddof=1) / len(draws) ** 0.5
    off = ~np.eye(12, dtype=bool)
    assert np.abs(error[off] / standard[off]).max() < 4.5
    assert np.mean((error[off] / standard[off]) ** 2) < 2
    assert standard.max() < 0.02  # tight enough to see a bandwidth that is off by a root of two


def test_the_error_falls_with_the_root_of_the_number_of_features() -> None:
    points = sample(2, 30, 20)
    K = mixture(points, points, RandomFeatures.fit(points).sigma)
    error = []
    for features in (128, 2048):
        found = [RandomFeatures.fit(points, features=features, seed=s)(points) for s in range(20)]
        error.append(np.sqrt(np.mean([(z @ z.T - K) ** 2 for z in found])))
    assert error[0] / error[1] == pytest.approx(4, rel=0.15)
    assert error[1] < 0.5 / 2048**0.5


def test_orthogonal_directions_leave_less_error_than_independent_ones() -> None:
    points = sample(3, 20, 64)
    K = mixture(points, points, 8.0)
    errors = {"orthogonal": [], "independent": []}
    for seed in range(30):
        f = RandomFeatures.fit(points, features=128, sigma=8.0, seed=seed)
        errors["orthogonal"].append(((f(points) @ f(points).T - K) ** 2).mean())
        # The same number of plain normal frequencies, as Rahimi and Recht have them.
        scale = np.array([8.0 * 2 ** (1 - k / 2) for k in np.arange(64) % 5])
        phase = points @ (np.random.default_rng([seed, 9]).normal(size=(64, 64)) / scale)
        wave = np.concatenate([np.cos(phase), np.sin(phase)], axis=1)
        errors["independent"].append(((wave * np.tile(f.weight_F, 2) @ wave.T - K) ** 2).mean())
    assert np.mean(errors["orthogonal"]) < 0.8 * np.mean(errors["independent"])


def test_orthogonal_columns_are_unit_vectors_orthogonal_in_runs_of_the_width() -> None:
    columns = orthogonal_columns(4, 10, np.random.default_rng(0))
    assert columns.shape == (4, 10)
    for run in (columns[:, :4], columns[:, 4:8], columns[:, 8:]):
        np.testing.assert_allclose(run.T @ run, np.eye(run.shape[1]), atol=1e-12)


@pytest.mark.parametrize("paired", [False, True])
def test_mmd_through_features_is_near_the_exact_one_and_its_stated_error_is_true(paired: bool) -> None:
    x, y = sample(4, 60, 8), sample(5, 60 if paired else 45, 8, shift=0.4)
    sigma = 4.0
    exact = exact_mmd(x, y, sigma, paired=paired)
    found = [random_feature_mmd(x, y, paired=paired, features=512, sigma=sigma, seed=s) for s in range(100)]
    assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found) / 10)
    assert np.std(found) < 0.1 * exact


def test_the_error_over_the_draw_of_features_is_estimated_from_one_draw() -> None:
    x, y = sample(6, 200, 8), sample(7, 200, 8, shift=0.5)
    values, stated = [], []
    for seed in range(60):
        f = RandomFeatures.fit(np.concatenate([x, y]), features=512, sigma=4.0, seed=seed)
        gap = (f(y).mean(axis=0, dtype=np.float64) - f(x).mean(axis=0, dtype=np.float64)).reshape(2, -1)
        square_F = (gap**2).sum(axis=0) / f.weight_F
        values.append((gap**2).sum())
        stated.append(f.approximation_error(square_F))
    # It is stated for independent frequencies; orthogonal ones do better, the more so the narrower the points.
    assert 0.3 * np.mean(stated) < np.std(values) < 1.1 * np.mean(stated)


def test_neither_far_points_nor_float16_change_the_features_of_what_float32_can_hold() -> None:
    points = np.random.default_rng(8).integers(-8, 8, (20, 5)).astype(np.float32) / 8
    plain = RandomFeatures.fit(points, features=64, sigma=1.0)
    far = RandomFeatures.fit(points + 4096, features=64, sigma=1.0)
    np.testing.assert_allclose(far(points + 4096) @ far(points + 4096).T, plain(points) @ plain(points).T, atol=1e-5)
    np.testing.assert_array_equal(plain(points.astype(np.float16)), plain(points))


def test_equal_pairs_are_exactly_zero_and_equal_points_have_no_bandwidth() -> None:
    x = sample(9, 30, 4)
    assert random_feature_mmd(x, x, paired=True) == 0.0
    same = np.ones((6, 3), np.float32)
    assert RandomFeatures.fit(same).degenerate
    assert random_feature_mmd(same, same) == pytest.approx(0, abs=1e-6)


def test_the_seed_fixes_the_features_and_blocks_of_rows_do_not_matter() -> None:
    points = sample(10, 5000, 3)
    f, g, h = (RandomFeatures.fit(points[:50], features=20, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(f(points), g(points))
    assert np.abs(f(points) - h(points)).max() > 0.1
    np.testing.assert_allclose(np.concatenate([f(points[:4100]), f(points[4100:])]), f(points), atol=1e-6)


def test_what_cannot_be_measured_is_refused_with_the_row() -> None:
    x = sample(11, 5, 3)
    bad = x.copy()
    bad[2, 1] = np.nan
    with pytest.raises(InputError, match="second sample, row 2.*NaN"):
        random_feature_mmd(x, bad)
    with pytest.raises(InputError, match="at least two rows"):
        random_feature_mmd(x[:1], x)
    with pytest.raises(InputError, match=r"\(5, 3\) and \(5, 2\)"):
        random_feature_mmd(x, x[:, :2])
    with pytest.raises(InputError, match="don't pair up"):
        random_feature_mmd(x, x[:4], paired=True)
    for features in (11, 8):
        with pytest.raises(InputError, match="even number of at least 10"):
            RandomFeatures.fit(x, features=features)
