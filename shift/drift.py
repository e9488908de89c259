"""Paired cosine drift: how far each prompt's answer has turned, 1 - cos, prompt by prompt.

Unlike MMD^2 this is not zero for two draws of the same model: it says how different single answers are, and the
nearest answer to another prompt says what "different" amounts to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.interval import Z
from shift.ladder import Ladder

Float = NDArray[np.float64]
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Drift:
    """Drift between two rungs, a mean over its points where a rung has several.

    Attributes:
        drift_N: 1 - cos for each prompt that has both rungs.
        other_N: at the first rung, the distance to the nearest answer of any other prompt.
    """

    drift_N: Float
    other_N: Float

    def interval(self) -> tuple[float, float, float]:
        """The mean and its 95% interval (normal, over prompts; a distance is not below 0)."""
        mean = float(self.drift_N.mean())
        half = Z * float(self.drift_N.std(ddof=1)) / len(self.drift_N) ** 0.5
        return mean, max(mean - half, 0.0), mean + half

    @property
    def tail_share(self) -> float:
        """Share of prompts whose answer has turned further than to the nearest answer of another prompt."""
        return float((self.drift_N > self.other_N).mean())


def drift(ladder: Ladder, start: str, end: str) -> Drift:
    """Drift of each prompt that has both rungs."""
    keep_N = ladder.has_N(start, end)
    mean, spread = zip(*(_unit_means(ladder, rung) for rung in (start, end)), strict=True)
    # E[1 - cos] = 1 - <mean a, mean b>, written so that equal points give exactly 0.
    drift_N = (((mean[0] - mean[1]) ** 2).sum(axis=1) + spread[0] + spread[1]) / 2
    return Drift(drift_N[keep_N], nearest_other(ladder, start)[keep_N])


def nearest_other(ladder: Ladder, rung: str, *, block: int = 1024) -> Float:
    """For each prompt, 1 - cos from its points to the nearest point of another prompt on the same rung (their mean)."""
    slots = np.flatnonzero(ladder.counts[rung])
    units = _units(ladder)[slots].astype(np.float32)
    prompt = ladder.prompt_M[slots]
    nearest = np.full(len(slots), -1.0, np.float32)
    for i in range(0, len(slots), block):
        for j in range(0, len(slots), block):
            cosine = units[i : i + block] @ units[j : j + block].T
            cosine[prompt[i : i + block, None] == prompt[j : j + block]] = -1
            np.maximum(nearest[i : i + block], cosine.max(axis=1), out=nearest[i : i + block])
    weight = ladder.weight_M(rung)[slots]
    distance = np.maximum(1 - nearest.astype(np.float64), 0)
    return np.bincount(prompt, weights=weight * distance, minlength=ladder.n).astype(np.float64)


def _units(ladder: Ladder) -> Float:
    points_MD = ladder.points_ND[ladder.point_M].astype(np.float64)
    return points_MD / np.linalg.norm(points_MD, axis=1, keepdims=True)


def _unit_means(ladder: Ladder, rung: str) -> tuple[Float, Float]:
    """Each prompt's mean unit vector on a rung, and 1 - |mean|^2 (exactly 0 for a single point)."""
    starts = np.flatnonzero(np.diff(ladder.prompt_M, prepend=-1))
    mean_ND = np.add.reduceat(_units(ladder) * ladder.weight_M(rung)[:, None], starts, axis=0)
    spread_N = np.maximum(1 - (mean_ND**2).sum(axis=1), 0)
    single_N = np.add.reduceat((ladder.counts[rung] > 0).astype(np.int64), starts) <= 1
    return mean_ND, np.where(single_N, 0.0, spread_N)
