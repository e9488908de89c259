"""Promises about error rates, kept over repeated draws; benchmarks/shift_calibration.py holds the longer sweeps."""

import numpy as np
import pytest
from scipy.stats import binom

from shift import Ladder, measure
from shift.interval import squared_norm_interval
from shift.kernels import Gaussian
from shift.mmd import measure_legs


def answers(rng: np.random.Generator, n: int, k: int, d: int, rho: float = 0.5) -> np.ndarray:
    return np.sqrt(rho) * rng.normal(size=(n, 1, d)) + np.sqrt(1 - rho) * rng.normal(size=(n, k, d))


def within(count: int, runs: int, rate: float) -> bool:
    """Whether so many rejections are what this rate gives, all but one time in a thousand."""
    low, high = binom.interval(0.999, runs, rate)
    return bool(low <= count <= high)


@pytest.mark.parametrize("K", [1, 4])
def test_every_p_value_rejects_a_true_null_as_often_as_it_says(K: int) -> None:
    runs, rejected = 300, {}
    for seed in range(runs):
        rng = np.random.default_rng([seed, K])
        X = answers(rng, 24, K + 1, 4)
        points = Ladder.from_arrays(baseline=X[:, 0], pool=X[:, 1:], selected=rng.integers(0, K, 24))
        tests = ("labeling", "total", "selection")[: 3 if K > 1 else 2]
        legs = {"P->U": ("P", "U", np.ones(24, bool))}
        found = measure_legs(points, Gaussian.fit(points.points_ND), legs, redraws=tests, permutations=99, seed=seed)
        for name, test in found.redraws.items():
            rejected[name] = rejected.get(name, 0) + np.array([test.p <= 0.05, test.p <= 0.1])
    assert all(within(count[0], runs, 0.05) and within(count[1], runs, 0.1) for count in rejected.values()), rejected


def test_the_filter_test_rejects_a_true_null_as_often_as_it_says_and_sees_a_filter() -> None:
    runs, null, planted = 200, 0, 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, 11])
        X = answers(rng, 40, 2, 4, rho=0.9)
        kept = rng.permutation(40) < 28
        for filtered in (False, True):
            kept = X[:, 0, 0] > -0.6 if filtered else kept
            points = Ladder.from_arrays(baseline=X[:, 0], pool=X[:, 1:], selected=[0 if k else None for k in kept])
            legs = {"P->U": ("P", "U", np.ones(40, bool))}
            found = measure_legs(points, Gaussian.fit(points.points_ND), legs, split=True, permutations=99, seed=seed)
            assert found.split is not None
            null, planted = (
                null + (not filtered and found.split.p <= 0.05),
                planted + (filtered and found.split.p <= 0.05),
            )
    assert within(null, runs, 0.05)
    assert planted > 0.8 * runs


def test_redrawing_within_prompts_sees_what_shuffling_rows_cannot() -> None:
    runs, paired, shuffled = 60, 0, 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, 5])
        X = answers(rng, 150, 2, 20, rho=0.8)
        X[:, 1, 0] += 0.2
        points = Ladder.from_arrays(baseline=X[:, 0], pool=X[:, 1:])
        kernel = Gaussian.fit(points.points_ND)
        legs = {"P->U": ("P", "U", np.ones(150, bool))}
        found = measure_legs(points, kernel, legs, redraws=("labeling",), permutations=199, seed=seed)
        paired += found.redraws["labeling"].p <= 0.05
        K = kernel.block(points.point_M, points.point_M).astype(np.float64)
        np.fill_diagonal(K, 0)
        labels = np.where(points.counts["P"] > 0, 1.0, -1.0)
        draws = np.column_stack([labels, *(rng.permutation(labels) for _ in range(199))])
        statistic = np.einsum("ib,ib->b", draws, K @ draws)
        shuffled += (statistic[1:] >= statistic[0]).mean() < 0.05
    assert paired > 0.4 * runs  # .58 over 500 runs
    assert shuffled < 0.05 * runs


@pytest.mark.parametrize(("shift", "rho"), [(0.0, 0.5), (0.2, 0.8), (0.5, 0.5)])
def test_intervals_cover_the_true_shift(shift: float, rho: float) -> None:
    runs, missed, d = 100, 0, 20
    for seed in range(runs):
        X = answers(np.random.default_rng([seed, 13]), 150, 2, d, rho)
        X[:, 1, 0] += shift
        points = Ladder.from_arrays(baseline=X[:, 0], pool=X[:, 1:])
        kernel = Gaussian.fit(points.points_ND)
        legs = {"P->U": ("P", "U", np.ones(150, bool))}
        found = measure_legs(points, kernel, legs, permutations=399, seed=seed)
        low, high = squared_norm_interval(found.legs["P->U"], found.signs_NB)
        s2 = np.square(kernel.bandwidths)
        truth = np.mean(2 * (s2 / (s2 + 2)) ** (d / 2) * -np.expm1(-(shift**2) / (2 * (s2 + 2))))
        missed += not low <= truth <= high
    assert missed <= binom.ppf(0.999, runs, 0.06)
    if shift:
        assert missed >= 1  # an interval that never misses is too wide


@pytest.mark.parametrize("planted", ["labeling", "selection"])
def test_a_planted_shift_is_laid_at_the_right_door(planted: str) -> None:
    verdicts, shares, cross = [], [], []
    for seed in range(16):
        rng = np.random.default_rng([seed, 17])
        X = answers(rng, 120, 5, 8)
        X[:, 1:, 0] += 1.0 if planted == "labeling" else 0.0
        picked = X[:, 1:, 1].argmax(axis=1) if planted == "selection" else rng.integers(0, 4, 120)
        report = measure(
            Ladder.from_arrays(baseline=X[:, 0], pool=X[:, 1:], selected=picked),
            metrics=(),
            seed=seed,
            permutations=199,
        )
        p = {leg.name: leg.p for leg in report.legs}
        verdicts.append([p["P->U"] <= 0.05, p["U->S"] <= 0.05])
        parts = report.decomposition
        assert parts is not None and parts.labeling_share is not None
        shares.append(parts.labeling_share.value)
        cross.append(parts.cross.low <= 0 <= parts.cross.high)
    right, wrong = (0, 1) if planted == "labeling" else (1, 0)
    rates = np.mean(verdicts, axis=0)
    assert rates[right] == 1 and rates[wrong] <= 0.25  # 5 of 16 at .05 has probability .0009
    assert np.mean(shares) == pytest.approx(1.0 if planted == "labeling" else 0.0, abs=0.06)
    assert np.mean(cross) >= 0.8
