"""Streams: equal to the same figures in memory, whatever the chunk; exact tests; bounded errors and memory."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import binom

from datasets_cards.errors import InputError, MissingError
from shift.diversity import vendi
from shift.random_features import RandomFeatures
from shift.streaming import stream
from shift.streaming.comparing import _bins, _pilot
from shift.streaming.distances import Directions, sliced_square
from shift.streaming.result import untested
from shift.streaming.source import HEAD, Rows
from shift.streaming.sums import BinSums, jackknife_error, redrawn

SMALL = {"features": 64, "directions": 6, "permutations": 19}


def sample(seed: int, n: int, d: int = 6, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng([seed, 1])
    X = rng.normal(size=(n, d)) @ np.diag(np.linspace(0.5, 2, d))
    X[:, 0] += shift
    return (X + 1).astype(np.float32)


def mixture(x: np.ndarray, y: np.ndarray, sigma: float) -> np.ndarray:
    squared = np.maximum((x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T, 0)
    return np.mean([np.exp(-squared / (2 * (sigma * 2 ** (1 - k / 2)) ** 2)) for k in range(5)], axis=0)


def features_of(x: np.ndarray, y: np.ndarray, *, paired: bool) -> RandomFeatures:
    """The features that a stream of these draws, from its pilot."""
    rows = Rows(x, "x"), Rows(y, "y")
    return RandomFeatures.fit(_pilot(*rows, _bins(len(x), len(y), paired=paired)), features=64, seed=0)


@pytest.mark.parametrize(("n", "m", "paired"), [(900, 900, True), (900, 900, False), (700, 2100, False)])
def test_every_figure_is_that_of_the_same_rows_in_memory(n: int, m: int, paired: bool) -> None:
    x, y = sample(0, n), sample(1, m, shift=0.3)
    if paired:
        y = (x + 0.4 * y).astype(np.float32)
    found = stream(x, y, paired=paired, chunk=500, **SMALL)
    X, Y = x.astype(np.float64), y.astype(np.float64)

    f = features_of(x, y, paired=paired)
    for z, t, tested in ((f(x).astype(np.float64), f(y).astype(np.float64), found.mmd), (X, Y, found.centroid)):
        if paired:
            gap = t - z
            expected = ((gap.sum(axis=0) ** 2).sum() - (gap**2).sum()) / (n * (n - 1))
        else:
            # |mean difference|^2 less what sampling adds to it
            noise = z.var(axis=0, ddof=1).sum() / n + t.var(axis=0, ddof=1).sum() / m
            expected = ((t.mean(axis=0) - z.mean(axis=0)) ** 2).sum() - noise
        assert tested.value == pytest.approx(expected, abs=1e-6)
    means = X.mean(axis=0), Y.mean(axis=0)
    assert found.cosine == pytest.approx(means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1]))

    A, B = np.cov(X.T), np.cov(Y.T)
    assert found.frechet.mean_part == pytest.approx(((means[0] - means[1]) ** 2).sum(), rel=1e-6)
    assert found.frechet.covariance_part == pytest.approx(np.trace(A + B - 2 * sqrtm(A @ B).real), abs=1e-6)
    assert found.frechet.value == found.frechet.mean_part + (found.frechet.covariance_part or 0)
    assert found.vendi == (pytest.approx(vendi(x)), pytest.approx(vendi(y)))
    assert (found.n, found.m, found.width, found.paired) == (n, m, 6, paired)
    assert found.bytes_read == (n + m) * 6 * 4


def quantiles_square(x: np.ndarray, y: np.ndarray) -> float:
    """W2^2 on a line for any two numbers of rows: both repeated to a common number."""
    size = int(np.lcm(len(x), len(y)))
    return float(((np.sort(np.repeat(x, size // len(x))) - np.sort(np.repeat(y, size // len(y)))) ** 2).mean())


@pytest.mark.parametrize("heavy", [False, True])
def test_sliced_w2_is_within_its_bound_of_the_sorted_rows_even_beyond_the_pilots_range(heavy: bool) -> None:
    x, y = sample(2, 3000), sample(3, 2000, shift=0.7)
    if heavy:  # far rows where the pilot has none
        y[1700:1710] *= 40
    found = stream(x, y, **SMALL)
    f = features_of(x, y, paired=False)
    pilot = _pilot(Rows(x, "x"), Rows(y, "y"), _bins(3000, 2000, paired=False))
    u = Directions.fit(pilot - f.center_D, 6, seed=0).direction_DL
    exact = np.sqrt(np.mean([quantiles_square(x @ u[:, k], y @ u[:, k]) for k in range(6)]))
    assert abs(found.sliced_w2.value - exact) <= found.sliced_w2.error_bound
    if heavy:
        assert 0 < found.sliced_w2.beyond < 0.01
        assert exact - found.sliced_w2.value > 0.05  # the bound is needed
    else:
        assert found.sliced_w2.value == pytest.approx(exact, rel=0.01)
        assert found.sliced_w2.error_bound < 0.05


def test_sliced_w2_of_histograms_is_exact_for_mass_spread_evenly_over_levels() -> None:
    def square(x: list[int], y: list[int], step: float = 1.0) -> float:
        return sliced_square(np.array([x]), np.array([y]), np.array([step]))

    assert square([5, 0, 0, 0], [0, 0, 0, 9]) == pytest.approx(9)  # moved by three levels
    assert square([5, 0, 0], [0, 7, 0], step=0.5) == pytest.approx(0.25)
    assert square([1, 2, 3], [2, 4, 6]) == 0
    # Uniform on [0, 1] against uniform on [0, 2]: the integral of (u - 2u)^2.
    assert square([3, 0], [2, 2]) == pytest.approx(1 / 3)
    # A gap in the middle: half stays, half moves by two.
    assert square([1, 1, 0, 0], [1, 0, 0, 1]) == pytest.approx(0.5 * 4)


def test_the_block_mean_is_the_mean_of_exact_values_over_blocks_of_all_rows_in_bins() -> None:
    for paired in (False, True):
        x, y = sample(4, 2048), sample(5, 2048, shift=0.3)
        found = stream(x, y, paired=paired, **SMALL)
        assert found.blocks is not None and (found.blocks.blocks, found.blocks.rows) == (2, 2048)
        values = []
        for i in (0, 1024):
            X, Y = x[i : i + 1024].astype(np.float64), y[i : i + 1024].astype(np.float64)
            xx, yy, xy = (mixture(a, b, found.sigma) for a, b in ((X, X), (Y, Y), (X, Y)))
            within = (xx.sum() + yy.sum() - 2048) / (1024 * 1023)
            between = (xy.sum() - xy.trace()) / (1024 * 1023) if paired else xy.mean()
            values.append(within - 2 * between)
        assert found.blocks.value == pytest.approx(np.mean(values), abs=1e-6)
        half = 12.706204736 * np.std(values, ddof=1) / 2**0.5
        assert found.blocks.low == pytest.approx(np.mean(values) - half, abs=1e-5)
        assert found.blocks.high == pytest.approx(np.mean(values) + half, abs=1e-5)
    assert stream(x[:1023], y[:1023], **SMALL).blocks is None


def test_blocks_hold_each_row_once_where_samples_differ_in_size() -> None:
    x, y = sample(6, 9000), sample(7, 3000)
    found = stream(x, y, **SMALL)
    assert found.blocks is not None and found.blocks.blocks == 2
    assert found.bins[0] == pytest.approx(3 * found.bins[1], abs=4)


def close(a: object, b: object, **tolerance: float) -> None:
    """Compare all numbers of two results."""
    if isinstance(a, (int, float)) and not isinstance(a, bool):
        assert a == pytest.approx(b, **tolerance)
    elif hasattr(a, "__dataclass_fields__"):
        for name in a.__dataclass_fields__:  # type: ignore[attr-defined]
            if name not in ("chunk", "bytes_read"):
                close(getattr(a, name), getattr(b, name), **tolerance)
    else:
        assert a == b or pytest.approx(b, **tolerance) == a


@pytest.mark.parametrize(("m", "paired"), [(2500, True), (1900, False), (45, False)])
def test_the_chunk_changes_nothing_but_rounding(m: int, paired: bool) -> None:
    x, y = sample(8, 2500), sample(9, m, shift=0.2)
    whole = stream(x, y, paired=paired, chunk=100_000, **SMALL)
    for chunk in (1, 700, 1100):
        close(stream(x, y, paired=paired, chunk=chunk, **SMALL), whole, rel=1e-6, abs=2e-7)


def test_files_maps_shards_and_generators_give_what_arrays_give(tmp_path: Path) -> None:
    x, y = sample(10, 6000), sample(11, 6000, shift=0.2)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "y0.npy", y[:1234])
    np.save(tmp_path / "y1.npy", y[1234:])
    whole = stream(x, y, **SMALL)
    for before, after in (
        (tmp_path / "x.npy", str(tmp_path / "y.npy")),
        (np.load(tmp_path / "x.npy", mmap_mode="r"), [tmp_path / "y0.npy", tmp_path / "y1.npy"]),
        (np.load(tmp_path / "x.npy", mmap_mode="c"), np.array_split(y, 7)),
    ):
        close(stream(before, after, **SMALL), whole, rel=1e-9, abs=1e-12)

    def batches(rows: np.ndarray) -> Iterator[np.ndarray]:
        yield from (rows[i : i + 333] for i in range(0, len(rows), 333))

    found = stream(batches(x), batches(y), **SMALL)  # the pilot is then taken from the beginning
    assert found.frechet.value == pytest.approx(whole.frechet.value, rel=1e-6)
    assert found.centroid.value == pytest.approx(whole.centroid.value, rel=1e-6)
    assert found.bins == (256, 256) and found.rows_per_bin == 23
    short = stream(batches(x[:600]), batches(y[:600]), **SMALL)  # short enough to know its length
    close(short, stream(x[:600], y[:600], **SMALL), rel=1e-9, abs=1e-12)


def test_a_part_of_a_map_is_read_from_where_it_is_and_private_changes_are_kept(tmp_path: Path) -> None:
    x = sample(12, 3000)
    np.save(tmp_path / "x.npy", x)
    part = np.load(tmp_path / "x.npy", mmap_mode="r")[500:1700]
    np.testing.assert_array_equal(Rows(part, "part").read(2000), x[500:1700])
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[7] = 5
    rows = Rows(private, "private")
    rows.read(5)
    assert (rows.read(5)[2] == 5).all()


def test_parts_are_read_on_from_one_to_the_next_without_losing_a_row() -> None:
    x = sample(20, 60)
    parts = [x[:7], x[7:8], x[8:8], x[8:30], x[30:]]
    for count in (1, 3, 6, 11, 100):
        for source in (parts, iter(parts)):
            rows = Rows(source, "parts")
            taken = [rows.read(count) for _ in range(-(-60 // count))]
            np.testing.assert_array_equal(np.concatenate(taken), x)
            assert len(rows.read(count)) == 0 and rows.rows == 60


def test_half_precision_is_widened_and_double_narrowed() -> None:
    x, y = sample(13, 600).astype(np.float16), sample(14, 600).astype(np.float16)
    half = stream(x, y, **SMALL)
    close(stream(x.astype(np.float64), y.astype(np.float64), **SMALL), half, rel=1e-9, abs=1e-12)
    assert half.bytes_read == 1200 * 6 * 2


def test_identical_pairs_are_exactly_zero_with_p_one() -> None:
    x = sample(15, 1500)
    found = stream(x, x.copy(), paired=True, **SMALL)
    for tested in (found.mmd, found.centroid):
        assert (tested.value, tested.p, tested.low) == (0, 1, None)
        assert tested.null.low == tested.null.high == 0
    assert found.sliced_w2.value == 0
    assert found.frechet.value == pytest.approx(0, abs=1e-9)
    assert found.blocks is not None and found.blocks.value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("paired", [False, True])
def test_points_that_all_coincide_show_no_shift(paired: bool) -> None:
    same = np.full((700, 3), 0.3, np.float32)
    found = stream(same, same[: 700 if paired else 500], paired=paired, **SMALL)
    for tested in (found.mmd, found.centroid):
        assert tested.value == pytest.approx(0, abs=1e-9) and tested.p == 1
    assert found.frechet.value == pytest.approx(0, abs=1e-9)
    assert found.sliced_w2.value == pytest.approx(0, abs=1e-9)
    assert found.vendi == (pytest.approx(1), pytest.approx(1))


def test_one_column_and_constant_columns_are_measured() -> None:
    x, y = sample(16, 800), sample(17, 800, shift=1.0)
    narrow = stream(x[:, :1], y[:, :1], **SMALL)
    assert narrow.centroid.value == pytest.approx(1, abs=0.2)
    assert narrow.sliced_w2.value == pytest.approx(1, abs=0.2)
    constant = np.float32([0, 3])
    padded = stream(*(np.hstack([z[:, :1], np.tile(constant, (800, 1))]) for z in (x, y)), **SMALL)
    assert padded.centroid.value == pytest.approx(narrow.centroid.value, rel=1e-5)
    assert padded.frechet.value == pytest.approx(narrow.frechet.value, rel=1e-5)
    assert padded.mmd.value == pytest.approx(narrow.mmd.value, abs=0.3 * narrow.mmd.value)


def test_a_few_rows_are_enough() -> None:
    found = stream(sample(18, 2), sample(19, 3), **SMALL)
    assert found.frechet.null is None and found.sliced_w2.null is None and found.blocks is None
    assert found.mmd.p > 0.05 and found.mmd.low is None


def test_a_redraw_is_the_statistic_of_permuted_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2 * 12 + 3, 4)).astype(np.float32)
    x, y = BinSums(3, 4), BinSums(3, 4)
    x.add(rows[:12], cycles=4)
    y.add(rows[12:], cycles=4)  # three rows left over
    found = redrawn((x, y), 200, np.random.default_rng(1))

    def mmd(first: list[int]) -> float:
        second = [i for i in range(27) if i not in first]
        G = rows.astype(np.float64) @ rows.T.astype(np.float64)
        value = -2 * G[np.ix_(first, second)].mean()
        for side in (first, second):
            K = G[np.ix_(side, side)]
            value += (K.sum() - K.trace()) / (len(side) * (len(side) - 1))
        return value

    bins = [[c * 3 + b for c in range(4)] for b in range(3)] + [[12 + c * 3 + b for c in range(4)] for b in range(3)]
    every = [
        mmd(sorted(bins[a] + bins[b] + bins[c])) for a in range(6) for b in range(a + 1, 6) for c in range(b + 1, 6)
    ]
    assert found[0] == pytest.approx(every[0])
    distance = np.abs(found[:, None] - np.array(every))
    assert distance.min(axis=1).max() < 1e-9
    assert len(set(distance.argmin(axis=1).tolist())) == 20  # all of them come up


def test_a_paired_redraw_swaps_the_pairs_of_whole_bins() -> None:
    t = np.random.default_rng(2).normal(size=(11, 4)).astype(np.float32)
    sums = BinSums(3, 4)
    sums.add(t, cycles=3)  # two pairs left over
    found = redrawn((sums,), 100, np.random.default_rng(3))
    every = []
    for signs in range(8):
        s = np.array([-1.0 if signs >> (i % 3) & 1 and i < 9 else 1.0 for i in range(11)])[:, None]
        signed = s * t.astype(np.float64)
        every.append(((signed.sum(axis=0) ** 2).sum() - (signed**2).sum()) / 110)
    assert found[0] == pytest.approx(every[0])
    distance = np.abs(found[:, None] - np.array(every))
    assert distance.min(axis=1).max() < 1e-6
    assert len(set(distance.argmin(axis=1).tolist())) == 8


def test_every_bin_has_one_row_of_every_cycle_and_the_pilot_has_whole_cycles() -> None:
    for n, m, paired in ((900, 900, True), (10_000, 900, False), (100_000, 100, False), (300, 300, False)):
        bins = _bins(n, m, paired=paired)
        x, y = np.arange(1, n + 1.0)[:, None], np.arange(1, m + 1.0)[:, None]
        pilot = _pilot(Rows(x, "x"), Rows(y, "y"), bins)[:, 0].astype(int) - 1
        split = int(np.flatnonzero(np.diff(pilot) < 0)[0]) + 1
        for part, b in ((pilot[:split], bins[0]), (pilot[split:], bins[1])):
            cycles, times = np.unique(part // b, return_counts=True)
            assert (times == b).all()
        assert len(set((pilot[:split] // bins[0]).tolist())) == len(set((pilot[split:] // bins[1]).tolist()))
        assert min(bins) >= 16 and max(bins) <= 2048
        found = stream(x, y, paired=paired, features=10, directions=1, permutations=1)
        assert found.never_redrawn == (n - bins[0] * found.rows_per_bin, m - bins[1] * found.rows_per_bin)
        assert (found.reason is None) == (n < 100 * m)


def within(found: int, runs: int, rate: float) -> bool:
    low, high = binom.interval(0.999, runs, rate)
    return bool(low <= found <= high)


@pytest.mark.parametrize(("n", "m", "paired"), [(60, 60, True), (120, 40, False)])
def test_p_values_reject_a_true_null_as_often_as_they_say(n: int, m: int, paired: bool) -> None:
    runs, rejected = 200, np.zeros((2, 2), int)
    for seed in range(runs):
        x, y = sample(2 * seed + 1000, n, 3), sample(2 * seed + 1001, m, 3)
        if paired:
            y = (0.8 * x + 0.6 * y).astype(np.float32)
            swap = np.random.default_rng(seed).integers(0, 2, n).astype(bool)
            x[swap], y[swap] = y[swap], x[swap]
        found = stream(x, y, paired=paired, seed=seed, features=20, directions=1, permutations=99)
        p = np.array([found.mmd.p, found.centroid.p])
        rejected += [p <= 0.05, p <= 0.2]
    assert all(within(k, runs, 0.05) for k in rejected[0]), rejected
    assert all(within(k, runs, 0.2) for k in rejected[1]), rejected


def test_a_planted_shift_is_found_and_its_intervals_cover_it() -> None:
    d, shift, runs = 4, 0.5, 40
    missed = {"mmd": 0, "centroid": 0}
    for seed in range(runs):
        rng = np.random.default_rng([seed, 3])
        x, y = rng.normal(size=(1000, d)).astype(np.float32), rng.normal(size=(1200, d)).astype(np.float32)
        y[:, 0] += shift
        found = stream(x, y, seed=seed, features=200, directions=1, permutations=39)
        s2 = found.sigma**2 * 2.0 ** (2 - np.arange(5))
        truth = np.mean(2 * (s2 / (s2 + 2)) ** (d / 2) * -np.expm1(-(shift**2) / (2 * (s2 + 2))))
        for name, tested, value in (("mmd", found.mmd, truth), ("centroid", found.centroid, shift**2)):
            assert tested.p == pytest.approx(1 / 40) and tested.value > tested.null.high
            assert tested.low is not None and tested.high is not None
            missed[name] += not tested.low <= value <= tested.high
    assert all(count <= binom.ppf(0.999, runs, 0.06) for count in missed.values()), missed


def test_pairs_show_what_shuffling_rows_cannot() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2000, 5)).astype(np.float32)
    y = (x + 0.1 * rng.normal(size=x.shape) + 0.02).astype(np.float32)
    assert stream(x, y, paired=True, **SMALL).centroid.p == pytest.approx(0.05)
    assert stream(x, y, **SMALL).centroid.p > 0.3


@pytest.mark.parametrize(("n", "m"), [(2000, 2000), (4000, 1000)])
def test_frechet_and_sliced_w2_stand_at_their_null_where_nothing_shifted(n: int, m: int) -> None:
    figures = []
    for seed in range(8):
        x, y = sample(seed + 50, n, 24), sample(seed + 70, m, 24)
        found = stream(x, y, seed=seed, features=10, directions=24, permutations=1)
        assert found.frechet.null is not None and found.sliced_w2.null is not None
        figures.append([found.frechet.value, found.frechet.null.mean, found.sliced_w2.value, found.sliced_w2.null.mean])
    frechet, frechet_null, sliced, sliced_null = np.mean(figures, axis=0)
    assert frechet == pytest.approx(frechet_null, rel=0.12)
    assert sliced == pytest.approx(sliced_null, rel=0.06)


def test_the_null_of_frechet_has_none_of_the_shift_in_it() -> None:
    x = sample(30, 3000)
    still, moved = (stream(x, sample(31, 3000, shift=s), **SMALL).frechet for s in (0.0, 3.0))
    assert still.null is not None and moved.null is not None
    assert moved.value > 8
    assert moved.null.mean < 4 * still.null.mean


def test_rows_that_come_in_a_rhythm_do_not_raise_the_null() -> None:
    x, y = sample(32, 4000), sample(33, 4000)
    x[::8] += 3  # as where every eighth row answers another kind of prompt
    mixed = x[np.random.default_rng(0).permutation(4000)]
    rhythmic, shuffled = (stream(z, y, **SMALL).frechet.null for z in (x, mixed))
    assert rhythmic is not None and shuffled is not None
    assert rhythmic.mean < 2 * shuffled.mean


def test_rows_that_cannot_be_measured_are_named(tmp_path: Path) -> None:
    x = sample(40, 4000)
    for value, fault in ((np.nan, "NaN"), (-np.inf, "infinity"), (0.0, "zero vector")):
        bad = x.copy()
        bad[3210] = value
        with pytest.raises(InputError, match=f"after, row 3210: .*{fault}"):
            stream(x, bad, chunk=300, **SMALL)
        np.save(tmp_path / "b.npy", bad[1000:])
        with pytest.raises(InputError, match=f"b.npy, row 2210: .*{fault}"):
            stream([x[:1000], tmp_path / "b.npy"], x, chunk=300, **SMALL)
        with pytest.raises(InputError, match=f"before, part 3, row 210: .*{fault}"):
            stream((bad[i : i + 1000] for i in range(0, 4000, 1000)), x, chunk=300, **SMALL)
    for value, said in ((1e-30, "1e-30"), (-1e25, "1e\\+25"), (2e15, "2e\\+15"), (9e-16, "9e-16"), (1e300, "1e\\+300")):
        bad = x.astype(np.float64)
        bad[3210] = value  # neither zero nor infinite, even where float32 would have it so
        with pytest.raises(InputError, match=f"after, row 3210: has {said} as its largest coordinate.*Multiply"):
            stream(x, bad, chunk=300, **SMALL)
    edge = x.copy()
    edge[5], edge[6] = [9e-16, 0, 0, 0, 0, 1.1e-15], [9e14, 0, 0, 0, 0, -9.9e14]
    assert len(Rows(edge, "edge").read(4000)) == 4000


@pytest.mark.parametrize("scale", [1e-13, 1e13])
def test_the_scale_of_rows_within_float32s_reach_changes_nothing(scale: float) -> None:
    x, y = sample(45, 900), sample(46, 900, shift=0.7)
    plain, scaled = stream(x, y, **SMALL), stream(x * np.float32(scale), y * np.float32(scale), **SMALL)
    assert scaled.mmd.value == pytest.approx(plain.mmd.value, rel=1e-3) and scaled.mmd.p == plain.mmd.p == 0.05
    assert scaled.centroid.value == pytest.approx(plain.centroid.value * scale**2, rel=1e-4)
    assert scaled.frechet.value == pytest.approx(plain.frechet.value * scale**2, rel=1e-3)
    assert scaled.sliced_w2.value == pytest.approx(plain.sliced_w2.value * scale, rel=1e-3)
    assert scaled.vendi == pytest.approx(plain.vendi)
    with pytest.raises(InputError, match="before, row 0: has .* as its largest coordinate"):
        stream(x * np.float32(1e-30), y * np.float32(1e-30), **SMALL)


def in_parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Rows whose number nobody knows beforehand."""
    yield from (rows[i : i + 500] for i in range(0, len(rows), 500))


def test_bins_leave_few_rows_over_whatever_the_sizes() -> None:
    for m in [*range(2, 700), 1023, 4999, 100_003]:
        for n in (m, m + 7, 3 * m + 1, 30 * m + 5, 60 * m):
            a, b = _bins(n, m, paired=False)
            assert untested((n, m), (a, b), min(n // a, m // b)) is None or n > 2048, (n, m)
        for n, known, paired in ((None, m, False), (m, None, False), (m, m, True)):
            bins = _bins(n, known, paired=paired)
            assert bins[0] == bins[1] <= 256 and m - m // bins[0] * bins[0] <= max(m / 128, 0), m
    found = stream(in_parts(sample(47, 6000)), sample(48, 6000), **SMALL)
    assert found.bins == (250, 250) and found.never_redrawn == (0, 0) and found.reason is None
    shortest = stream(in_parts(sample(49, HEAD + 255)), in_parts(sample(50, HEAD + 255)), **SMALL)
    assert shortest.never_redrawn == (255, 255) and shortest.mmd.p is not None


def test_nothing_is_tested_where_redraws_would_hold_the_shift() -> None:
    x, y = sample(51, 6000), sample(52, 511, shift=1.0)
    for before, after in ((in_parts(x), y), (y, in_parts(x))):
        found = stream(before, after, **SMALL)
        assert max(found.never_redrawn) > 5000
        for tested in (found.mmd, found.centroid):
            assert (tested.null, tested.p, tested.low, tested.high) == (None, None, None, None)
            assert tested.value > 0.01
        assert found.reason is not None and "5,490 of 6,000 rows" in found.reason
        assert "no null, p and interval" in found.regime and found.reason in found.regime
    known = stream(x, y, **SMALL)
    assert known.reason is None and known.centroid.null is not None and known.centroid.null.high < 0.1
    assert known.centroid.value == pytest.approx(found.centroid.value, rel=1e-5)
    # Of two samples of like size a few rows left over are fine, and one in twenty is the limit.
    assert untested((1000, 1000), (50, 50), 19) is None
    assert untested((1001, 1000), (50, 50), 19) is not None and untested((1000, 1001), (50, 50), 19) is not None


@pytest.mark.parametrize("known", [True, False])
def test_intervals_cover_where_one_length_is_unknown(known: bool) -> None:
    runs, covered = 60, 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, 5])
        x, y = (rng.normal(size=(n, 2)).astype(np.float32) + 3 for n in (5500, 5600))
        y[:, 0] += 0.5
        found = stream(x if known else in_parts(x), y, permutations=9, features=10, directions=1, seed=seed).centroid
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.25 <= found.high
    assert covered >= binom.ppf(0.001, runs, 0.94)


def test_the_standard_error_takes_in_rows_in_no_bin() -> None:
    rng = np.random.default_rng(8)
    errors: list[list[float]] = [[], []]
    for _ in range(30):
        t = rng.normal(size=(4000, 2)).astype(np.float32) + 5
        for side, cycles in enumerate((40, 20)):  # all rows in bins, and half of them
            sums = BinSums(100, 2)
            sums.add(t, cycles)
            errors[side].append(jackknife_error((sums,)))
    # The distance is |mean|^2, of variance (2 |mean|)^2 / n along the mean.
    expected = 2 * 50**0.5 / 4000**0.5
    assert np.mean(errors[0]) == pytest.approx(expected, rel=0.06)
    assert np.mean(errors[1]) == pytest.approx(expected, rel=0.06)
    x, y = BinSums(100, 2), BinSums(100, 2)
    x.add(rng.normal(size=(4000, 2)).astype(np.float32) + 5, 40)
    y.add(np.zeros((2000, 2), np.float32), 20)
    assert jackknife_error((x, y)) == pytest.approx(expected, rel=0.3)
    assert jackknife_error((y, x)) == pytest.approx(jackknife_error((x, y)))


def test_what_is_no_source_is_told_in_one_line(tmp_path: Path) -> None:
    import torch

    x = sample(53, 600)
    for source, error, said in (
        (None, InputError, "before: is NoneType, not rows.*numpy array"),
        (5, InputError, "before: is int, not rows"),
        (torch.tensor(x), InputError, "before: is Tensor, not rows.*cpu"),
        ([torch.tensor(x, requires_grad=True)], InputError, "before, part 0: is Tensor, not rows"),
        ([[[1.0, 2.0], [3.0]]], InputError, "before, part 0: is list, not rows"),
        ([None], InputError, "before, part 0: .*floating-point"),
        ("no such path", MissingError, "no such path: no such file.*numpy.save"),
        ("x" * 5000, MissingError, "no such file"),
        ("two\nlines\0", MissingError, "no such file"),
        (tmp_path, MissingError, "no such file"),
    ):
        with pytest.raises(error, match=said) as raised:
            stream(source, x, **SMALL)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 400
    with pytest.raises(InputError, match="after: is NoneType"):
        stream(x, None, **SMALL)  # type: ignore[arg-type]


def test_sources_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    x = sample(41, 5000)
    with pytest.raises(InputError, match="6 and 5 wide"):
        stream(x, x[:, :5])
    with pytest.raises(InputError, match="part 1: is 5 wide after rows of 6"):
        stream(x, [x, x[:, :5]], **SMALL)
    with pytest.raises(InputError, match="5000 and 4999"):
        stream(x, x[1:], paired=True)
    with pytest.raises(InputError, match="equally many rows"):
        stream(iter([x]), iter([x[:4500]]), paired=True, chunk=256, **SMALL)
    for source in (x[:1], [], iter([]), x[:0], [x[:1]]):
        with pytest.raises(InputError, match="at least two rows"):
            stream(source, x)
    for source in (x[0], x.astype(int), [x, x[0]], [["a"]]):
        with pytest.raises(InputError, match="floating-point rows"):
            stream(source, x, **SMALL)
    with pytest.raises(InputError, match="at least 1"):
        stream(x, x, permutations=0)


def test_files_that_are_not_rows_are_refused(tmp_path: Path) -> None:
    x = sample(42, 50)
    with pytest.raises(MissingError, match=r"none\.npy: no such file"):
        stream(tmp_path / "none.npy", x)
    (tmp_path / "text.npy").write_text("hello")
    np.savez(tmp_path / "two.npz", a=x, b=x)
    np.save(tmp_path / "torn.npy", x)
    whole = (tmp_path / "torn.npy").read_bytes()
    (tmp_path / "torn.npy").write_bytes(whole[:-40])
    np.save(tmp_path / "columns.npy", np.asfortranarray(x))
    for name, fault in (
        ("text.npy", "not a whole .npy file"),
        ("torn.npy", "not a whole .npy file"),
        ("two.npz", "several arrays"),
        ("columns.npy", "column by column"),
    ):
        with pytest.raises(InputError, match=f"{name}: .*{fault}"):
            stream(tmp_path / name, x)


def test_the_result_says_in_words_how_it_was_made() -> None:
    x, y = sample(43, 3000), sample(44, 3100)
    words = stream(x, y, **SMALL).regime
    for part in (
        "3,000 and 3,100 rows",
        "all of them count",
        "pilot of ",
        "64 random features",
        "2 blocks",
        "2,048 rows",
    ):
        assert part in words
    assert "1,000 pairs" in stream(x[:1000], y[:1000], paired=True, **SMALL).regime
    wide = np.random.default_rng(0).normal(size=(40, 1100)).astype(np.float32)
    found = stream(wide, wide + 1, **SMALL)
    assert found.vendi is None and found.frechet.covariance_part is None and "too wide" in found.regime


def test_a_source_of_unknown_length_holds_back_no_more_than_its_head() -> None:
    drawn = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal drawn
        while True:
            drawn += 100
            yield sample(drawn, 100)

    rows = Rows(endless(), "endless")
    assert rows.rows is None and drawn == HEAD // 100 * 100 + 100
    np.testing.assert_array_equal(rows.peek(90, 110), np.concatenate([sample(100, 100), sample(200, 100)])[90:110])
    first = rows.read(250)
    assert len(first) == 250 and drawn == HEAD // 100 * 100 + 100
    np.testing.assert_array_equal(first[100:200], sample(200, 100))


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("x", "y"):
        file = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float16, (40_000, 512))
        file[:] = np.tile(rng.normal(size=(4000, 512)).astype(np.float16), (10, 1))
        file.flush()
    script = """
import numpy as np, sys
from shift.streaming import stream
n = int(sys.argv[2])
x, y = (np.load(f"{sys.argv[1]}/{name}.npy", mmap_mode="r")[:n] for name in "xy")
stream(x, y, features=10, directions=1, permutations=9, chunk=2048)
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])
"""
    if not Path("/proc/self/status").is_file():
        pytest.skip("needs /proc")
    peak = []
    for n in (5_000, 40_000):
        ran = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), str(n)], capture_output=True, text=True, check=True
        )
        peak.append(int(ran.stdout) / 1024)
    # 72 MB more were read.
    assert peak[1] - peak[0] < 20, peak
