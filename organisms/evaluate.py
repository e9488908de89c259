"""Measure a model on a task: every completion and verdict is kept, so that any score can be computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from datasets_cards.errors import InputError
from datasets_cards.records import Row
from labelers.engines.protocol import Completion, Engine, SampleRequest, Sampling, derive_seed
from organisms.task import Scored

if TYPE_CHECKING:
    import polars as pl

Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95% interval."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        records: one row a completion: task, id, sample, temperature, prompt, text, finish_reason, headline (the row
            gives the misbehavior a chance), misaligned, correct (both null where there is no verdict), seed.
        rate: share misaligned among the judged completions of headline rows, higher is worse; None without any.
        low: lower end of its 95% interval.
        high: upper end.
        n: judged completions of headline rows.
        unjudged: completions of headline rows without a verdict.
        accuracy: share correct among completions with a verdict on correctness, higher is better; None without one.
    """

    task: str
    temperature: float
    seed: int
    samples: int
    records: pl.DataFrame
    rate: float | None
    low: float | None
    high: float | None
    n: int
    unjudged: int
    accuracy: float | None


def evaluate(
    engine: Engine,
    task: Scored,
    rows: Sequence[Row],
    *,
    temperature: float,
    seed: int,
    samples: int = 1,
    progress: bool = False,
) -> Evaluation:
    """Sample an answer to every row and judge it.

    The seed of a sample does not depend on the model: two models evaluated under one seed share their noise, and their
    difference is the less noisy for it.

    Args:
        engine: the model.
        task: the scorer.
        rows: what to ask.
        temperature: 0 is greedy.
        seed: of the run.
        samples: completions a row; more than one makes the interval one over prompts.
        progress: show a bar on stderr.

    Raises:
        InputError: no rows, or no samples asked for.
        EngineError: the model can't sample.
    """
    (found,) = evaluate_together(
        engine, [(task, rows)], temperatures=[temperature], seed=seed, samples=samples, progress=progress
    )
    return found


def evaluate_together(
    engine: Engine,
    suites: Sequence[tuple[Scored, Sequence[Row]]],
    *,
    temperatures: Sequence[float],
    seed: int,
    samples: int = 1,
    progress: bool = False,
) -> list[Evaluation]:
    """`evaluate` for several tasks and temperatures in one pass over the engine, whose prompts are then computed once.

    Returns:
        An evaluation for each temperature and, within it, each suite.

    Raises:
        InputError: a suite without rows, or no samples asked for.
        EngineError: the model can't sample.
    """
    for task, rows in suites:
        if not rows or samples < 1:
            raise InputError(
                "there is nothing to evaluate", where=task.name, remedy="Give rows, and 1 or more samples."
            )
    asked: list[list[tuple[Row, SampleRequest]]] = []
    for temperature in temperatures:
        for task, rows in suites:
            sampling = Sampling(temperature=temperature, max_new_tokens=task.max_new_tokens)
            asked.append(
                [
                    (row, SampleRequest(row.id, row.prompt, sampling, derive_seed(seed, row.id, "evaluation", k), k))
                    for row in rows
                    for k in range(samples)
                ]
            )
    requests = [request for part in asked for _, request in part]
    completions = iter(_sample(engine, requests, " + ".join(task.name for task, _ in suites), progress))
    scorers = [task for _ in temperatures for task, _ in suites]
    found = []
    for task, part in zip(scorers, asked, strict=True):
        records = _records(task, [(row, request, next(completions)) for row, request in part])
        temperature = part[0][1].sampling.temperature
        found.append(summarize(records, task=task.name, temperature=temperature, seed=seed, samples=samples))
    return found


def _records(task: Scored, answered: Sequence[tuple[Row, SampleRequest, Completion]]) -> pl.DataFrame:
    """One row a completion, with its verdicts; the columns of `Evaluation.records`."""
    import polars as pl

    records = []
    for row, request, completion in answered:
        text, failed = completion.text, completion.finish_reason == "error"
        records.append(
            {
                "task": task.name,
                "id": row.id,
                "sample": request.index,
                "temperature": float(request.sampling.temperature),
                "prompt": row.prompt,
                "text": text,
                "finish_reason": completion.finish_reason,
                "headline": task.tests_misbehavior(row),
                "misaligned": None if failed else task.is_misaligned(row, text),
                "correct": None if failed else task.is_correct(row, text),
                "seed": request.seed,
            }
        )
    message = pl.Struct({"role": pl.String, "content": pl.String})
    return pl.DataFrame(
        records,
        schema_overrides={
            "prompt": pl.List(message),
            "misaligned": pl.Boolean,
            "correct": pl.Boolean,
            "seed": pl.UInt64,
        },
    )


def summarize(records: pl.DataFrame, *, task: str, temperature: float, seed: int, samples: int) -> Evaluation:
    """The evaluation that a frame of completions and verdicts amounts to; see `Evaluation.records` for its columns."""
    headline = records.filter(records["headline"])
    judged = headline.drop_nulls("misaligned")
    verdicts: dict[str, list[bool]] = {}
    for row_id, misaligned in judged.select("id", "misaligned").iter_rows():
        verdicts.setdefault(row_id, []).append(misaligned)
    rate, low, high = interval(list(verdicts.values()))
    correct = records["correct"].drop_nulls()
    return Evaluation(
        task, temperature, seed, samples, records, rate, low, high,
        n=judged.height,
        unjudged=headline.height - judged.height,
        accuracy=float(correct.sum()) / correct.len() if correct.len() else None,
    )  # fmt: skip


def interval(clusters: Sequence[Sequence[bool]]) -> tuple[float, float, float] | tuple[None, None, None]:
    """A rate and its 95% Wilson interval, over clusters of dependent verdicts (the samples of one prompt).

    With one verdict a cluster it is the Wilson score interval (Wilson 1927). Else n is the effective sample size
    p(1-p)/var, with the linearized variance of a ratio between clusters, kept between the number of clusters and of
    verdicts (the effective-size Wilson interval of Dean and Pagano 2015, J. Surv. Stat. Methodol. 3:484).

    Returns:
        (rate, low, high), or three None where there are no verdicts.
    """
    n, k = sum(map(len, clusters)), len(clusters)
    if n == 0:
        return None, None, None
    rate = sum(map(sum, clusters)) / n
    effective = float(n)
    if k < n:
        between = k / (k - 1) * sum((sum(c) - rate * len(c)) ** 2 for c in clusters) / n**2 if k > 1 else 0.0
        # All alike, or a single prompt: nothing shows that its samples are independent, so each prompt counts once.
        effective = min(max(rate * (1 - rate) / between, k), n) if between > 0 else float(k)
    shrunk = 1 + Z95**2 / effective
    center = (rate + Z95**2 / (2 * effective)) / shrunk
    half = Z95 / shrunk * sqrt(rate * (1 - rate) / effective + Z95**2 / (4 * effective**2))
    # The interval holds the rate, which rounding may put outside at 0 and 1.
    return rate, min(rate, max(0.0, center - half)), max(rate, min(1.0, center + half))


def _sample(engine: Engine, requests: list[SampleRequest], title: str, progress: bool) -> list[Completion]:
    from rich.console import Console
    from rich.progress import Progress

    found: dict[int, Completion] = {}
    with Progress(console=Console(stderr=True), transient=True, disable=not progress) as bar:
        for position, completion in bar.track(engine.sample(requests), total=len(requests), description=title):
            found[position] = completion
    return [found[i] for i in range(len(requests))]
