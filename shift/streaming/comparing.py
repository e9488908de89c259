"""One pass over two samples: what each chunk adds, and the figures at the end."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.diversity import effective_number
from shift.inference import Null, p_value
from shift.interval import Z
from shift.kernels.inner import prepare
from shift.progress import bar
from shift.random_features import FEATURES, RandomFeatures, classical_form, paired_form
from shift.streaming.distances import (
    BLOCK,
    GROUPS,
    WIDEST,
    Directions,
    ExactBlocks,
    frechet_from_moments,
    sliced_square,
)
from shift.streaming.result import BlockMean, Frechet, Sliced, Streamed, Tested, untested
from shift.streaming.source import HEAD, Rows, Source
from shift.streaming.sums import BinSums, GroupSums, Samples, halvings, jackknife_error, redrawn

BINS = 256
MOST_BINS = 8 * BINS
PILOT = 2048
CHUNK = 4096
DIRECTIONS = 128

Float = NDArray[np.float64]
ALL = np.ones(GROUPS, bool)


def stream(
    before: Source,
    after: Source,
    *,
    paired: bool = False,
    seed: int = 0,
    permutations: int = 999,
    features: int = FEATURES,
    directions: int = DIRECTIONS,
    chunk: int = CHUNK,
    progress: bool = False,
) -> Streamed:
    """Compare two samples of any number of rows in one pass and constant memory.

    Rows are taken to be independent; with `paired`, pairs are. A source whose length is not known beforehand (a
    generator) gives its first rows to the pilot. What the longer sample then has beyond the shorter's bins can't be
    redrawn: where it is more than a twentieth there is no test and no interval, and `Streamed.reason` says why. The
    same holds where one sample is more than some 70 times as large as the other.

    Args:
        before: rows [n, d]: a `.npy` file, an array, or an iterable of either (shards, batches, a generator).
        after: rows [m, d].
        paired: row i of both samples belongs together, such as two answers to one prompt.
        seed: of features, directions, bins and redraws.
        permutations: B of the tests.
        features: how many random features.
        directions: how many directions sliced W2 is averaged over.
        chunk: about how many rows of each sample to hold at a time; it changes figures by rounding only.
        progress: show a bar on stderr, where both lengths are known.

    Raises:
        InputError: rows that are zero, not finite or beyond 1e-15 to 1e15 in their largest coordinate (with file and
            row), different widths, pairs of different length, fewer than two rows, a source that is none.
        MissingError: a file that does not exist.
    """
    if min(permutations, directions, chunk) < 1:
        raise InputError("permutations, directions and chunk are counts of at least 1")
    x_rows, y_rows = Rows(before, "before"), Rows(after, "after")
    if x_rows.width != y_rows.width:
        raise InputError(f"rows {x_rows.width} and {y_rows.width} wide", remedy="Embed both samples with one model.")
    n, m = x_rows.rows, y_rows.rows
    if paired and n is not None and m is not None:
        _check_pairs(n, m)
    bins = _bins(n, m, paired=paired)
    sums = _Pass(_pilot(x_rows, y_rows, bins), bins, paired, seed, features, directions)
    if n is not None and m is not None:
        prepare(float(n + m) * features * x_rows.width)
    cycles = max(1, chunk // max(bins))
    for _ in _steps(n, m, bins, cycles, progress=progress):
        x_ND, y_ND = x_rows.read(cycles * bins[0]), y_rows.read(cycles * bins[1])
        if not len(x_ND) and not len(y_ND):
            break
        if paired:
            _check_pairs(sums.rows[0] + len(x_ND), sums.rows[1] + len(y_ND))
        sums.add(x_ND, y_ND)
    return sums.result(permutations, chunk, x_rows.bytes_read + y_rows.bytes_read)


def _check_pairs(n: int, m: int) -> None:
    if n != m:
        raise InputError(f"pairs need equally many rows, not {n} and {m}", remedy="Leave out rows without a partner.")


def _bins(n: int | None, m: int | None, *, paired: bool) -> tuple[int, int]:
    """How many bins each sample is divided into, so that few rows are in none.

    In proportion to the rows where both numbers are known; else equally many, which fits samples of like size.
    """
    if n is None or m is None or paired:
        rows = m if n is None else n
        bins = BINS if rows is None else rows // -(-rows // BINS)
        return bins, bins
    largest = max(1, min((n + m) // (2 * BINS), min(n, m) // 16))

    def left_over(size: int) -> float:
        return max(1 - size * min(rows // size, MOST_BINS) / rows for rows in (n, m))

    size = min(range(largest, largest * 3 // 4, -1), key=left_over)
    return min(n // size, MOST_BINS), min(m // size, MOST_BINS)


def _pilot(x: Rows, y: Rows, bins: tuple[int, int]) -> NDArray[np.float32]:
    """A few whole cycles of both samples: across their length where it is known, else from the beginning.

    A whole cycle has one row of every bin, so no redraw changes the pilot, and the tests stay exact.
    """
    sides = list(zip((x, y), bins, strict=True))
    cycles = min((HEAD if rows.rows is None else rows.rows) // b for rows, b in sides)
    few = min(cycles, max(1, PILOT // sum(bins)))
    known = x.rows is not None and y.rows is not None
    picked = np.linspace(0, cycles - 1, few).astype(int).tolist() if known else range(few)
    return np.concatenate([rows.peek(c * b, c * b + b) for rows, b in sides for c in picked])


def _steps(n: int | None, m: int | None, bins: tuple[int, int], cycles: int, *, progress: bool) -> Iterable[int]:
    """One for each read; without end where a length is not known."""
    if n is None or m is None:
        return count()
    steps = max(-(-n // (cycles * bins[0])), -(-m // (cycles * bins[1])))
    return bar(range(steps), f"compare {n:,} and {m:,} rows", show=progress)


class _Pass:
    """What has been added up so far."""

    def __init__(
        self,
        pilot_ND: NDArray[np.float32],
        bins: tuple[int, int],
        paired: bool,
        seed: int,
        features: int,
        directions: int,
    ) -> None:
        width = pilot_ND.shape[1]
        self.bins, self.paired, self.seed, self.pilot = bins, paired, seed, len(pilot_ND)
        self.features = RandomFeatures.fit(pilot_ND, features=features, seed=seed)
        self.directions = Directions.fit(pilot_ND - self.features.center_D, directions, seed=seed)
        self.rows = [0, 0]
        self._cycle = 0
        # Pairs have one difference to sum, independent samples two sides.
        first, second = bins
        self.feature_sums: Samples = (BinSums(first, features, unit=not paired),)
        self.point_sums: Samples = (BinSums(first, width),)
        if not paired:
            self.feature_sums = (*self.feature_sums, BinSums(second, features, unit=True))
            self.point_sums = (*self.point_sums, BinSums(second, width))
        self.groups = [GroupSums(self.directions, wide=width > WIDEST) for _ in bins]
        self.blocks = ExactBlocks(self.features.sigma, paired=paired)

    def add(self, x_ND: NDArray[np.float32], y_ND: NDArray[np.float32]) -> None:
        """Add the next rows of both samples: equally many whole cycles of each, and more only where one ends."""
        cycles = min(len(x_ND) // self.bins[0], len(y_ND) // self.bins[1])
        features, centered, blocks = [], [], []
        for side, (rows, b) in enumerate(zip((x_ND, y_ND), self.bins, strict=True)):
            order_N = np.arange(len(rows))
            for c in range(cycles):
                order_N[c * b : (c + 1) * b] = c * b + self._order(self._cycle + c, b)
            rows = rows[order_N]
            # Bins take turns between the groups; rows in no bin do by their number in the sample.
            number_N = np.where(order_N < cycles * b, np.arange(len(rows)) % b, self.rows[side] + order_N)
            centered.append(rows - self.features.center_D)
            features.append(self.features(rows))
            binned = rows[: cycles * b].reshape(cycles, b, rows.shape[1])
            blocks.append(binned[:, : min(self.bins)].reshape(-1, rows.shape[1]))
            self.groups[side].add(rows, centered[side], number_N % GROUPS)
            self.rows[side] += len(rows)
        self.blocks.add(*blocks)
        for sums, vectors in ((self.feature_sums, features), (self.point_sums, centered)):
            for part, values in zip(sums, [vectors[1] - vectors[0]] if self.paired else vectors, strict=True):
                part.add(values, cycles)
        self._cycle += cycles

    def _order(self, cycle: int, bins: int) -> NDArray[np.int64]:
        """Which row of a cycle goes to each bin; the same on both sides where they have equally many bins."""
        return np.random.default_rng([self.seed, 0x4F52, cycle]).permutation(bins)

    def result(self, permutations: int, chunk: int, bytes_read: int) -> Streamed:
        """All figures."""
        n, m = self.rows
        sides = list(zip(self.groups, self.rows, strict=True))
        means = [group.moments(ALL).sum_D / rows + self.features.center_D for group, rows in sides]
        lengths = float(np.linalg.norm(means[0]) * np.linalg.norm(means[1]))
        second = [group.unit_DD / rows for group, rows in sides if group.unit_DD is not None]
        feature_error = self._feature_error()
        return Streamed(
            n=n,
            m=m,
            width=len(means[0]),
            paired=self.paired,
            sigma=self.features.sigma,
            mmd=self._tested(self.feature_sums, permutations, feature_error),
            features=2 * len(self.features.weight_F),
            feature_error=feature_error,
            blocks=self._block_mean(),
            centroid=self._tested(self.point_sums, permutations),
            cosine=float(means[0] @ means[1]) / lengths if lengths else None,
            frechet=self._frechet(),
            sliced_w2=self._sliced(),
            vendi=(effective_number(second[0]), effective_number(second[1])) if second else None,
            bins=self.bins,
            rows_per_bin=self._cycle,
            pilot=self.pilot,
            chunk=chunk,
            bytes_read=bytes_read,
        )

    def _tested(self, sums: Samples, permutations: int, further_error: float = 0.0) -> Tested:
        rows = self.rows[0], self.rows[1]
        if untested(rows, self.bins, self._cycle):
            value = float(redrawn(sums, 0, np.random.default_rng())[0])
            return Tested(value, None, None, None, None)
        value_B = redrawn(sums, permutations, np.random.default_rng([self.seed, 0x5245]))
        value, null = float(value_B[0]), Null.of(value_B[1:])
        half = Z * float(np.hypot(jackknife_error(sums), further_error))
        clear = value > null.high and value > half
        low, high = (value - half, value + half) if clear else (None, None)
        return Tested(value, low, high, null, p_value(value_B))

    def _feature_error(self) -> float:
        """The squared distance each frequency alone would give, and how far they spread."""
        weight_F = self.features.weight_F
        parts = [(s.total_D.reshape(2, -1).T, s.square * weight_F, s.rows) for s in self.feature_sums]
        if len(parts) == 1:
            value_F = paired_form(*parts[0])
        else:
            (x_sum, x_square, n), (y_sum, y_square, m) = parts
            value_F = classical_form(x_sum, x_square, y_sum, y_square, n, m)
        return self.features.approximation_error(value_F / weight_F)

    def _block_mean(self) -> BlockMean | None:
        values = np.array(self.blocks.values)
        if not len(values):
            return None
        low = high = None
        if len(values) > 1:
            from scipy.stats import t

            half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1)) / len(values) ** 0.5
            low, high = float(values.mean()) - half, float(values.mean()) + half
        return BlockMean(float(values.mean()), low, high, len(values), len(values) * BLOCK)

    def _frechet(self) -> Frechet:
        x, y = self.groups
        mean_part, covariance_part = frechet_from_moments(x.moments(ALL), y.moments(ALL))
        null = []
        for mine_J, scale in self._halvings():
            parts = frechet_from_moments(x.moments(mine_J) + y.moments(~mine_J), x.moments(~mine_J) + y.moments(mine_J))
            null.append(scale * (parts[0] + (parts[1] or 0.0)))
        value = mean_part + (covariance_part or 0.0)
        return Frechet(value, mean_part, covariance_part, Null.of(np.array(null)) if null else None)

    def _sliced(self) -> Sliced:
        x, y = self.groups
        step_L = self.directions.step_L
        value = sliced_square(x.histograms(ALL), y.histograms(ALL), step_L) ** 0.5
        null = [
            (
                scale
                * sliced_square(
                    x.histograms(mine_J) + y.histograms(~mine_J), x.histograms(~mine_J) + y.histograms(mine_J), step_L
                )
            )
            ** 0.5
            for mine_J, scale in self._halvings()
        ]
        # Mass spread over a level is at most step / sqrt(3) from where it was; the triangle inequality does the rest.
        moved = [
            float(np.sqrt((step_L**2).mean() / 3)) + float(np.sqrt((group.excess_L / rows).mean()))
            for group, rows in zip(self.groups, self.rows, strict=True)
        ]
        beyond = (x.beyond + y.beyond) / (len(step_L) * sum(self.rows))
        return Sliced(value, sum(moved), beyond, len(step_L), Null.of(np.array(null)) if null else None)

    def _halvings(self) -> list[tuple[NDArray[np.bool_], float]]:
        """Redraws by groups, and what to multiply a squared distance by where they change the samples' sizes."""
        x, y = self.groups
        n, m = self.rows
        found = []
        for mine_J in halvings(x, y, np.random.default_rng([self.seed, 0x4853])):
            first = int(x.count_J[mine_J].sum() + y.count_J[~mine_J].sum())
            second = n + m - first
            found.append((mine_J, (1 / n + 1 / m) / (1 / first + 1 / second)))
        return found
