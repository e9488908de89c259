"""Do effects go with shifts? Rank correlation over the cells of a study, with the caution its clusters ask for.

Two things repeat between cells: the organism (its weights, its prompts) and the method (whatever else sets it apart
from the others, besides how far it shifts). The interval resamples organisms; the test permutes methods alike in all
organisms, because a study of five methods holds five draws of "a method", however many organisms it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import polars as pl

from echoset.effects import ALPHA, method_cells

EXACT_PERMUTATIONS = 720  # all orders of 6 methods
DRAWS = 1999
BOOTSTRAPS = 999
BOOTSTRAP_CLUSTERS = 6  # a percentile bootstrap over fewer organisms is far too narrow to print


@dataclass(frozen=True, slots=True)
class Association:
    """Spearman's rho of effect on shift over organism x method cells, ranks taken within each task.

    Attributes:
        low, high: 95% percentile interval over organisms, for *these* methods (where methods differ for other reasons
            it excludes zero far too often to test anything with); None with fewer than six organisms.
        null_low, null_high: the middle 95% of rho when the methods are permuted: what no association looks like.
        p: two-sided, methods permuted alike in all organisms: what differs between methods is one draw per method.
        smallest_p: the smallest p that so many methods (and their ties) allow.
        reason: why rho is None.
    """

    leg: str
    temperature: float
    task: str | None
    rho: float | None
    low: float | None
    high: float | None
    null_low: float | None
    null_high: float | None
    cells: int
    organisms: int
    methods: int
    p: float | None
    smallest_p: float | None
    reason: str = ""


def association(results: pl.DataFrame, leg: str, temperature: float, task: str | None = None) -> Association:
    """Does effect go with shift? Spearman's rho over organism x method cells, ranks within each task.

    Args:
        results: the study's long table.
        leg: the shift column, `labeling` or `selection`.
        temperature: of the evaluation.
        task: one task, or None for all of them (ranks stay within tasks, so that tasks' levels play no part).
    """
    cells = method_cells(results, temperature, task).drop_nulls(["effect", leg])
    organisms = cells.select("task", "organism").unique(maintain_order=True)
    methods = list(cells["arm"].unique(maintain_order=True))
    shape = (leg, temperature, task)
    counts = (len(cells), len(organisms), len(methods))
    shift_OM = np.full((len(organisms), len(methods)), np.nan)
    effect_OM = shift_OM.copy()
    place = {key: index for index, key in enumerate(organisms.iter_rows())}
    for row in cells.iter_rows(named=True):
        at = place[row["task"], row["organism"]], methods.index(row["arm"])
        shift_OM[at], effect_OM[at] = row[leg], row["effect"]
    task_O = organisms["task"].to_numpy()

    rho = _rank_correlation(shift_OM, effect_OM, task_O)
    if rho is None:
        reason = "no cell has both a shift and an effect" if len(cells) == 0 else "shift or effect does not vary"
        return Association(*shape, None, None, None, None, None, *counts, None, None, reason)
    rng = np.random.default_rng(0)
    exact = math.factorial(len(methods)) <= EXACT_PERMUTATIONS
    orders = permutations(range(len(methods))) if exact else (rng.permutation(len(methods)) for _ in range(DRAWS))
    found = [_rank_correlation(shift_OM, effect_OM[:, list(order)], task_O) or 0.0 for order in orders]
    permuted = np.array(found if exact else [rho, *found])  # the identity is among all orders, not among draws
    low, high = _bootstrap(shift_OM, effect_OM, task_O, rng)
    null_low = float(np.quantile(permuted, ALPHA / 2, method="lower"))
    null_high = float(np.quantile(permuted, 1 - ALPHA / 2, method="higher"))
    far = np.abs(permuted)
    p, smallest = (float(np.mean(far >= bound - 1e-9)) for bound in (abs(rho), far.max()))
    return Association(*shape, rho, low, high, null_low, null_high, *counts, p, smallest)


def _bootstrap(
    shift_OM: np.ndarray, effect_OM: np.ndarray, task_O: np.ndarray, rng: np.random.Generator
) -> tuple[float | None, float | None]:
    if len(task_O) < BOOTSTRAP_CLUSTERS:
        return None, None
    draws = []
    for _ in range(BOOTSTRAPS):
        pick_O = rng.integers(len(task_O), size=len(task_O))
        rho = _rank_correlation(shift_OM[pick_O], effect_OM[pick_O], task_O[pick_O])
        if rho is not None:
            draws.append(rho)
    low, high = np.quantile(draws, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def _rank_correlation(shift_OM: np.ndarray, effect_OM: np.ndarray, task_O: np.ndarray) -> float | None:
    """Pearson's correlation of ranks that were taken and centered within each task; one task gives Spearman's rho."""
    shifts, effects = [np.zeros(0)], [np.zeros(0)]
    for task in np.unique(task_O):
        x, y = shift_OM[task_O == task].ravel(), effect_OM[task_O == task].ravel()
        known = np.isfinite(x) & np.isfinite(y)
        shifts.append(_centered_ranks(x[known]))
        effects.append(_centered_ranks(y[known]))
    x, y = np.concatenate(shifts), np.concatenate(effects)
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 1e-12 else None


def _centered_ranks(values_N: np.ndarray) -> np.ndarray:
    """Ranks in (-1/2, 1/2), ties averaged. scipy's rankdata takes ten times as long on so few values."""
    _, place, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place] / (len(values_N) + 1) - 0.5
