"""What may be said about a study's effects, and how surely.

Pure functions over arrays and over the study's long results table. Two kinds of uncertainty are kept apart:
the interval of one cell comes from its prompts (would other prompts say the same of *this* trained model?), everything
that is claimed about a method comes from its organisms (would other organisms say the same?). Organisms are the
clusters: cells of one organism share its weights and its prompts, so that they never count as independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import polars as pl

from organisms.evaluate import Z95, interval
from shift.inference import holm

ALPHA = 0.05
CONTROLS = ("self_sample", "random_pick")
"""The null controls: labels that carry no selection. `self_sample` is the true null of training."""

EXACT_CLUSTERS = 16  # 2^16 sign patterns take a few milliseconds; beyond, a seeded draw of them
DRAWS = 9999


@dataclass(frozen=True, slots=True)
class Effect:
    """A mean paired difference (after - before) over prompts, in [-1, 1], with its 95% interval.

    Attributes:
        value: the mean difference; None where no prompt was judged on both sides.
        n: prompts that count.
        excluded: prompts left out because one side is absent or has no verdict.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    excluded: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over organisms with its t interval and its sign-flip p.

    Attributes:
        low, high: 95% t interval over organisms; None with one organism, or where all values are equal (no spread to
            learn from, so that a width of zero would be a lie).
        p: two-sided sign-flip p; None without organisms.
        smallest_p: the smallest p that so many non-zero values allow, 2 / 2^n.
        missing: organisms left out because a value is unknown.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None
    smallest_p: float
    missing: int = 0


class StatedContrast(TypedDict):
    """A comparison written down before the run, as it stands in study.json."""

    method: str
    against: str
    temperature: float


@dataclass(frozen=True, slots=True)
class Contrast:
    """A stated contrast and its outcome: mean over organisms of effect(method) - effect(against).

    Attributes:
        task: the task it is restricted to; None for the stated contrast itself, over all tasks.
        p_holm: p corrected over its family (all stated contrasts; the per-task breakdown is a second family).
        smallest_holm: smallest_p times the family's size, the best first place in Holm's order could be.
        null_low, null_high: range of the null controls' single-organism effects on the same tasks and temperature.
    """

    method: str
    against: str
    temperature: float
    task: str | None
    estimate: Estimate
    p_holm: float | None
    smallest_holm: float
    null_low: float | None
    null_high: float | None


@dataclass(frozen=True, slots=True)
class SignTest:
    """The paper's sign test over organism x method cells, and the same count with organisms as the unit.

    Attributes:
        falls, rises, ties: cells whose effect is below, above, exactly 0; ties are left out of both tests.
        p: two-sided binomial over cells. Cells share organisms, so its level is nominal only.
        p_cluster: the same count under sign flips of whole organisms.
        smallest_p: the smallest p_cluster that so many organisms allow.
    """

    task: str
    temperature: float
    falls: int
    rises: int
    ties: int
    unknown: int
    organisms: int
    p: float | None
    p_cluster: float | None
    smallest_p: float


def paired_effect(before_N: Iterable[float | bool | None], after_N: Iterable[float | bool | None]) -> Effect:
    """Mean of after - before over the same prompts, with a 95% interval that holds near 0 and 1 and for few prompts.

    The interval is Bonett and Price's adjusted Wald for paired proportions (J. Educ. Behav. Stat. 37(4), 2012): one
    pseudo-pair in each discordant cell. Written with differences, those are two more rows, +1 and -1, so that it also
    takes a prompt's mean over several samples; for 0/1 verdicts it is the published formula.

    Args:
        before_N: verdicts in [0, 1] before training, one per prompt; None or NaN where there is none.
        after_N: the same prompts after training.
    """
    before, after = floats(before_N), floats(after_N)
    known = np.isfinite(before) & np.isfinite(after)
    difference_N = (after - before)[known]
    n, excluded = len(difference_N), int((~known).sum())
    if n == 0:
        return Effect(None, None, None, 0, excluded)
    center = difference_N.sum() / (n + 2)
    variance = (np.square(difference_N).sum() + 2) / (n + 2) - center**2
    half = Z95 * math.sqrt(max(variance, 0.0) / (n + 2))
    return Effect(float(difference_N.mean()), max(-1.0, center - half), min(1.0, center + half), n, excluded)


def wilson(verdicts_N: Iterable[float | bool | None]) -> tuple[float | None, float | None, float | None, int]:
    """A rate with its 95% score interval (Wilson, JASA 22, 1927), over 0/1 verdicts, one per prompt.

    Returns:
        (rate, low, high, verdicts that count); None where nothing was judged, and an unjudged prompt counts nowhere.
    """
    verdicts_N = floats(verdicts_N)
    known_N = verdicts_N[np.isfinite(verdicts_N)]
    n = len(known_N)
    if n == 0:
        return None, None, None, 0
    rate, low, high = interval([[verdict] for verdict in known_N.tolist()])
    return rate, low, high, n


def cell_effect(before: pl.DataFrame, after: pl.DataFrame, verdict: str = "misaligned") -> Effect:
    """`paired_effect` of two tables of completions (columns `id` and the verdict), samples averaged within a prompt."""
    sides = [frame.group_by("id").agg(pl.col(verdict).cast(pl.Float64).mean()) for frame in (before, after)]
    both = sides[0].join(sides[1], on="id", how="full", coalesce=True, suffix="_after").sort("id")
    return paired_effect(both[verdict], both[f"{verdict}_after"])


def sign_flip(values_N: np.ndarray, *, seed: int = 0) -> tuple[float | None, float]:
    """Two-sided sign-flip p for a mean of zero, and the smallest p that these clusters allow.

    Valid when each value is symmetric about zero under the null and clusters are independent. Exact over all 2^n
    patterns up to 16 clusters; beyond, (1 + hits) / (1 + draws) over seeded draws.

    Returns:
        (p, smallest p). Values of exactly zero can't be flipped and don't lower the smallest p; no values: (None, 1).
    """
    values_N = np.asarray(values_N, dtype=float)
    n, moving = len(values_N), values_N[values_N != 0]
    if n == 0:
        return None, 1.0
    if len(moving) == 0:
        return 1.0, 1.0
    if n <= EXACT_CLUSTERS:
        sums = np.zeros(1)
        for value in moving:  # doubles at every step: all sign patterns, no table of signs
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(_at_least(sums, moving.sum(), values_N))), 2.0 ** (1 - len(moving))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(DRAWS, len(moving)))
    hits = int(_at_least(signs @ moving, moving.sum(), values_N).sum())
    return (1 + hits) / (1 + DRAWS), max(2.0 ** (1 - len(moving)), 1 / (1 + DRAWS))


def over_organisms(values: Iterable[float | None], *, seed: int = 0) -> Estimate:
    """Mean over organisms, one value each, with t interval and sign-flip p. None values are counted as missing."""
    values_N = floats(values)
    known_N = values_N[np.isfinite(values_N)]
    n, missing = len(known_N), len(values_N) - len(known_N)
    p, smallest = sign_flip(known_N, seed=seed)
    if n == 0:
        return Estimate(None, None, None, 0, p, smallest, missing)
    mean = float(known_N.mean())
    if n == 1 or np.ptp(known_N) == 0:
        return Estimate(mean, None, None, n, p, smallest, missing)
    from scipy import stats

    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) * float(known_N.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, max(-2.0, mean - half), min(2.0, mean + half), n, p, smallest, missing)


def arm_effect(results: pl.DataFrame, arm: str, temperature: float, task: str | None = None) -> Estimate:
    """Mean effect of one method over organisms, of one task or of all."""
    return over_organisms(method_cells(results, temperature, task).filter(pl.col("arm") == arm)["effect"])


def null_range(
    results: pl.DataFrame, temperature: float, task: str | None = None
) -> tuple[float | None, float | None, int]:
    """Lowest and highest effect of a null control on one organism, and how many such cells there are."""
    cells = method_cells(results, temperature, task).filter(pl.col("arm").is_in(CONTROLS))
    effects = floats(cells["effect"])
    effects = effects[np.isfinite(effects)]
    return (float(effects.min()), float(effects.max()), len(effects)) if len(effects) else (None, None, 0)


def contrasts(results: pl.DataFrame, stated: Sequence[StatedContrast], *, by_task: bool = False) -> list[Contrast]:
    """Outcome of every stated contrast, paired by organism, Holm-corrected over the whole list.

    Args:
        results: the study's long table; columns task, organism, arm, kind, temperature, effect.
        stated: the contrasts written down before the run.
        by_task: the breakdown by task, corrected as a family of its own, instead of the contrasts over all tasks.
    """
    tasks: list[str | None] = [*results["task"].unique(maintain_order=True)] if by_task else [None]
    outcomes: list[tuple[StatedContrast, str | None, Estimate]] = []
    for contrast in stated:
        for task in tasks:
            cells = method_cells(results, contrast["temperature"], task)
            sides = [
                cells.filter(pl.col("arm") == arm).select("task", "organism", "effect")
                for arm in (contrast["method"], contrast["against"])
            ]
            paired = sides[0].join(sides[1], on=["task", "organism"], how="full", coalesce=True, suffix="_against")
            difference = paired.select(pl.col("effect") - pl.col("effect_against")).to_series()
            outcomes.append((contrast, task, over_organisms(difference)))
    corrected = holm([estimate.p for *_, estimate in outcomes])
    return [
        Contrast(
            contrast["method"],
            contrast["against"],
            contrast["temperature"],
            task,
            estimate,
            p_holm,
            min(1.0, estimate.smallest_p * len(outcomes)),
            *null_range(results, contrast["temperature"], task)[:2],
        )
        for (contrast, task, estimate), p_holm in zip(outcomes, corrected, strict=True)
    ]


def sign_tests(results: pl.DataFrame, temperature: float) -> list[SignTest]:
    """Per task: in how many organism x method cells did misbehavior fall? The null controls are left out."""
    return [
        _sign_test(method_cells(results, temperature, task).filter(~pl.col("arm").is_in(CONTROLS)), task, temperature)
        for task in results["task"].unique(maintain_order=True)
    ]


def _sign_test(cells: pl.DataFrame, task: str, temperature: float) -> SignTest:
    known = cells.drop_nulls("effect").with_columns(sign=pl.col("effect").sign())
    falls, rises = int((known["sign"] < 0).sum()), int((known["sign"] > 0).sum())
    organisms = known.group_by("organism", maintain_order=True).agg(pl.col("sign").sum())
    p_cluster, smallest = sign_flip(organisms["sign"].to_numpy())
    p = None
    if falls + rises:
        from scipy import stats

        p = float(stats.binomtest(falls, falls + rises).pvalue)
    return SignTest(
        task, temperature, falls, rises, len(known) - falls - rises, len(cells) - len(known), len(organisms), p,
        p_cluster, smallest,
    )  # fmt: skip


def method_cells(results: pl.DataFrame, temperature: float, task: str | None) -> pl.DataFrame:
    """The method cells of one temperature, of one task or of all."""
    cells = results.filter((pl.col("kind") == "method") & (pl.col("temperature") == temperature))
    return cells if task is None else cells.filter(pl.col("task") == task)


def floats(values: Iterable[float | bool | None]) -> np.ndarray:
    """Values as float64, None as NaN."""
    return np.array([np.nan if value is None else float(value) for value in values])


def _at_least(sums: np.ndarray, observed: float, values_N: np.ndarray) -> np.ndarray:
    """Sums as far from zero as the observed one; equal patterns summed in another order must count as equal."""
    return np.abs(sums) >= abs(observed) - 1e-9 * np.abs(values_N).sum()
