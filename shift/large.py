"""Ladders too long for every pair of answers: the same legs through random features, in time linear in the prompts.

A leg's U-form needs only the sum of its t_i and of their squared norms. Sums over groups of prompts stand in for
prompts in intervals and in the jackknife; tests are the exact ones of `shift.groups`. The features' inner product is a
kernel of its own, near the Gaussian mixture, so nothing of this is less exact than with that, only a little different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.gram import gram_of_features
from shift.groups import Groups
from shift.inference import redrawn_statistics
from shift.interval import Parts, interval_of_units
from shift.ladder import Ladder
from shift.progress import bar
from shift.random_features import RandomFeatures
from shift.samples import Samples

EXACT = 100_000
"""Answers up to which every pair is compared; beyond, random features."""
GROUPS = 512
BLOCK = 2048
PILOT = 2000

Float = NDArray[np.float64]


@dataclass(frozen=True)
class LongLeg:
    """One leg through random features.

    Attributes:
        n: prompts it is measured on.
        sums_GD: sum of t_i over each group of prompts.
        sizes_G: prompts of each group that it is measured on.
        squares_G: sum of |t_i|^2 over each group.
    """

    n: int
    sums_GD: Float
    sizes_G: NDArray[np.int64]
    squares_G: Float

    @property
    def value(self) -> float:
        """The paired U-form U(t, t)."""
        return float(((self.sums_GD.sum(axis=0) ** 2).sum() - self.squares_G.sum()) / (self.n * (self.n - 1)))

    @property
    def centered_GD(self) -> Float:
        """Each group's sum of t_i less the mean, scaled so that squares of their sum are unbiased."""
        mean_D = self.sums_GD.sum(axis=0) / self.n
        return (self.sums_GD - np.outer(self.sizes_G, mean_D)) / np.sqrt(self.n * (self.n - 1))

    def interval(self, redraws: int, rng: np.random.Generator) -> tuple[float, float]:
        """A 95% interval of the squared norm, groups as units."""
        units_GD, mean_D = self.centered_GD, self.sums_GD.sum(axis=0) / self.n
        return interval_of_units(units_GD @ units_GD.T, units_GD @ mean_D, self.value, redraws=redraws, rng=rng)

    def swapped_B(self, redraws: int, rng: np.random.Generator) -> Float:
        """The U-form as observed (first), then with the two ends of whole groups swapped at random."""
        signs_GB = rng.choice((-1.0, 1.0), (len(self.sizes_G), redraws))
        plain_B = ((self.sums_GD.T @ signs_GB) ** 2).sum(axis=0) - self.squares_G.sum()
        return np.append(self.value, plain_B / (self.n * (self.n - 1)))

    def null_B(self, redraws: int, rng: np.random.Generator) -> Float:
        """U-forms with random signs for the centered groups: what no shift at all still gives."""
        units_GD = self.centered_GD
        signs_GB = rng.choice((-1.0, 1.0), (len(units_GD), redraws))
        return ((units_GD.T @ signs_GB) ** 2).sum(axis=0) - (units_GD**2).sum()


def features_of(ladder: Ladder, sigma: float, *, seed: int) -> RandomFeatures:
    """Random features of the kernel with that middle bandwidth; a few points set where the center lies."""
    return RandomFeatures.fit(ladder.points_ND[:: len(ladder.points_ND) // PILOT + 1], sigma=sigma, seed=seed)


def measure_long(
    ladder: Ladder,
    features: RandomFeatures,
    legs: Mapping[str, tuple[Sequence[str], Sequence[str], NDArray[np.bool_]]],
    *,
    cross: tuple[str, str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[dict[str, LongLeg], Parts | None]:
    """Measure legs in one pass.

    Args:
        ladder: the points.
        features: of the kernel.
        legs: name -> (from rung or rungs, to rung or rungs, prompts it is measured on).
        cross: the two legs, on the same prompts, whose decomposition is wanted.
        seed: of the groups.
        progress: show a bar on stderr.
    """
    group_N = np.random.default_rng([seed, 7]).permutation(np.arange(ladder.n) % GROUPS)
    width = features(ladder.points_ND[:1]).shape[1]
    weights = {name: ladder.leg_M(*leg) for name, leg in legs.items()}
    sums = {name: np.zeros((GROUPS, width)) for name in legs}
    squares = {name: np.zeros(GROUPS) for name in legs}
    crosses_G = np.zeros(GROUPS)
    starts_N = np.searchsorted(ladder.prompt_M, np.arange(ladder.n + 1))
    cuts = np.searchsorted(starts_N, np.arange(0, starts_N[-1], BLOCK))
    spans = [(int(a), int(b)) for a, b in zip(cuts, [*cuts[1:], ladder.n], strict=True) if b > a]
    for first, last in bar(spans, f"compare {len(ladder.point_M)} answers", show=progress):
        slots = slice(starts_N[first], starts_N[last])
        found = features(ladder.points_ND[ladder.point_M[slots]])
        heads, group = starts_N[first:last] - starts_N[first], group_N[first:last]
        moves = {}
        for name, weight_M in weights.items():
            t = np.add.reduceat(found * weight_M[slots, None].astype(np.float32), heads, axis=0).astype(np.float64)
            np.add.at(sums[name], group, t)
            np.add.at(squares[name], group, np.einsum("nd,nd->n", t, t))
            moves[name] = t
        if cross is not None:
            np.add.at(crosses_G, group, np.einsum("nd,nd->n", moves[cross[0]], moves[cross[1]]))
    measured = {}
    for name, (_, _, keep_N) in legs.items():
        sizes_G = np.bincount(group_N, weights=keep_N, minlength=GROUPS).astype(np.int64)
        measured[name] = LongLeg(int(keep_N.sum()), sums[name], sizes_G, squares[name])
    parts = (
        None if cross is None or measured[cross[0]].n < 3 else _parts(measured[cross[0]], measured[cross[1]], crosses_G)
    )
    return measured, parts


def redrawn_long(
    ladder: Ladder, features: RandomFeatures, start: str, end: str, *, permutations: int, seed: int
) -> Float:
    """The U-form of a leg as observed (first) and under redrawn labels."""
    samples = Samples.from_ladder(ladder, start, end)
    rng = np.random.default_rng([seed, 5])
    groups = Groups.of(samples, rng)
    if samples.identical:
        return np.zeros(permutations + 1)
    rows = groups.arranged(samples)
    gram_SS = gram_of_features(lambda some: features(rows.points_MD[some]), *rows.layout)
    return redrawn_statistics(gram_SS, groups, permutations, rng)


def _parts(labeling: LongLeg, selection: LongLeg, crosses_G: Float) -> Parts:
    """(L^2, S^2, C) and their covariance by the delete-one-group jackknife (wide near zero, where it doubles noise)."""
    pairs = ((labeling, labeling, labeling.squares_G), (selection, selection, selection.squares_G))
    n, sizes_G = labeling.n, labeling.sizes_G
    left_N = (n - sizes_G) * (n - sizes_G - 1)
    estimates, without = [], []
    for a, b, same_G in (*pairs, (labeling, selection, crosses_G)):
        total_a, total_b = a.sums_GD.sum(axis=0), b.sums_GD.sum(axis=0)
        whole = float(total_a @ total_b)
        rest_G = whole - a.sums_GD @ total_b - b.sums_GD @ total_a + np.einsum("gd,gd->g", a.sums_GD, b.sums_GD)
        estimates.append((whole - same_G.sum()) / (n * (n - 1)))
        without.append((rest_G - (same_G.sum() - same_G)) / left_N)
    groups = int((sizes_G > 0).sum())
    covariance = np.cov(np.array(without)[:, sizes_G > 0], ddof=0) * (groups - 1)
    return Parts(np.array(estimates), covariance)
