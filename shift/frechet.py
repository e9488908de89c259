"""Frechet distance between two rungs: Gaussians fitted to their points, printed beside what no shift would give.

    FD = |mean difference|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)            (Dowson and Landau 1982)

Sampling alone makes it positive (70 / n for 384-d sentence vectors), so a value without its floor says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.ladder import Ladder

REDRAWS = 8
WIDEST = 1024
"""The cost grows with the cube of the width; beyond this only the means are compared."""

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Frechet:
    """A Frechet distance in its parts.

    Attributes:
        mean_part: |mean difference|^2.
        covariance_part: the trace term; None for points too wide to take it.
        floor: the mean total over redraws in which no shift is left.
    """

    mean_part: float
    covariance_part: float | None
    floor: float

    @property
    def value(self) -> float:
        """The parts together."""
        return self.mean_part + (self.covariance_part or 0.0)


def frechet(ladder: Ladder, start: str, end: str, *, seed: int = 0, redraws: int = REDRAWS) -> Frechet:
    """Frechet distance between two rungs on the prompts that have both, and its floor.

    The floor redraws within prompts: which member of the pool (and the self-sample) stands on the one-point rung, or,
    between two one-point rungs, which of the two is which.
    """
    keep_N = ladder.has_N(start, end)
    points_MD = ladder.points_ND[ladder.point_M].astype(np.float64)
    points_MD -= points_MD.mean(axis=0)
    weights = [ladder.weight_M(rung) * keep_N[ladder.prompt_M] / keep_N.sum() for rung in (start, end)]
    mean_part, covariance_part = frechet_parts(points_MD, weights[0], weights[1])
    if (weights[0] == weights[1]).all():
        return Frechet(0.0, None if covariance_part is None else 0.0, 0.0)
    rng = np.random.default_rng(seed)
    null = []
    for _ in range(redraws):
        first_M, second_M = _redrawn(ladder, start, end, rng)
        scale_M = keep_N[ladder.prompt_M] / keep_N.sum()
        mean, covariance = frechet_parts(points_MD, first_M * scale_M, second_M * scale_M)
        null.append(mean + (covariance or 0.0))
    return Frechet(mean_part, covariance_part, float(np.mean(null)))


def frechet_parts(points_MD: Float, first_M: Float, second_M: Float) -> tuple[float, float | None]:
    """Mean and covariance part between two weightings (each summing to 1) of the same points."""
    means, factors, traces = [], [], []
    for weight_M in (first_M, second_M):
        used = weight_M > 0
        mean = weight_M @ points_MD
        rows = (points_MD[used] - mean) * np.sqrt(weight_M[used])[:, None]
        means.append(mean)
        factors.append(rows)
        traces.append(float((rows**2).sum()))
    mean_part = float(((means[0] - means[1]) ** 2).sum())
    if points_MD.shape[1] > WIDEST:
        return mean_part, None
    # With A = R'R the eigenvalues of A^1/2 B A^1/2 are those of R B R': no root of A is needed, of whatever rank.
    R = np.linalg.qr(factors[0], mode="r")
    overlap = R @ factors[1].T
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(overlap @ overlap.T), 0))
    return mean_part, max(traces[0] + traces[1] - 2 * float(roots.sum()), 0.0)


def _redrawn(ladder: Ladder, start: str, end: str, rng: np.random.Generator) -> tuple[Float, Float]:
    """Weights of both rungs after relabeling within prompts."""
    first_M, second_M = ladder.weight_M(start), ladder.weight_M(end)
    if "U" not in (start, end):
        swap_M = rng.integers(0, 2, ladder.n).astype(bool)[ladder.prompt_M]
        return np.where(swap_M, second_M, first_M), np.where(swap_M, first_M, second_M)
    single = start if end == "U" else end
    members_M = ladder.counts["U"] + (0 if single == "S" else ladder.counts[single])
    # One member per prompt: the first of exponential clocks, each running at its multiplicity.
    clock_M = np.where(members_M > 0, rng.exponential(size=len(members_M)) / np.maximum(members_M, 1), np.inf)
    order = np.lexsort((clock_M, ladder.prompt_M))
    first_slot = np.flatnonzero(np.diff(ladder.prompt_M, prepend=-1))
    drawn_M = np.zeros(len(members_M))
    drawn_M[order[first_slot]] = 1
    pool_M = ladder.counts["U"] if single == "S" else members_M - drawn_M
    size_N = np.bincount(ladder.prompt_M, weights=pool_M, minlength=ladder.n)
    pool_M = pool_M / np.maximum(size_N, 1)[ladder.prompt_M]
    return (drawn_M, pool_M) if single == start else (pool_M, drawn_M)
