"""Pools: a proposal's candidates for some rows, the baseline rung beside them, judged and scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from datasets_cards.records import Candidate, Row, Score
from labelers.engines.protocol import Engine
from labelers.proposals import Proposal, self_samples
from labelers.sampler import Sampler
from labelers.scorers import Scorer, Tools
from labelers.store import SampleStore
from labelers.task import LabelTask


@dataclass(slots=True)
class Drawn:
    """What was drawn for some rows.

    Attributes:
        candidates: of every row, in row order; the baseline rung's last.
        prompt_tokens: tokens of the distinct prompts that were sent, or None where the engine can't tell.
        drawn: samples that were generated.
        reused: samples that the store had.
    """

    candidates: list[Candidate]
    prompt_tokens: int | None
    drawn: int
    reused: int


def draw_pool(
    rows: Sequence[Row],
    proposal: Proposal,
    engine: Engine | Sampler,
    store: SampleStore | None = None,
    *,
    seed: int = 0,
    task: LabelTask | None = None,
    baseline: bool = True,
) -> Drawn:
    """Draw a proposal's candidates for every row, the baseline rung beside them, and judge them where a task can.

    Args:
        engine: an engine, or one behind a store already.
        store: what it has is reused, and what is drawn is added to it; nothing is kept without one.
        baseline: one plain sample a row at T=1, top_p 1, of role `baseline`, from a stream of noise of its own.

    Raises:
        StorageError: the store can't be read or written.
    """
    # An empty store is false: it has a length.
    store = SampleStore(":memory:") if store is None else store
    sampler = engine if isinstance(engine, Sampler) else Sampler(engine, store)
    drawn, reused = sampler.store.drawn, sampler.store.reused
    candidates = proposal.draw(rows, sampler, seed)
    if baseline:
        candidates += self_samples(rows, sampler, seed, proposal.max_new_tokens)
    judge(rows, candidates, task)
    return Drawn(candidates, sampler.prompt_tokens, sampler.store.drawn - drawn, sampler.store.reused - reused)


def judge(rows: Sequence[Row], candidates: Iterable[Candidate], task: LabelTask | None) -> None:
    """Put the task's verdict on every candidate that did not fail; without a task nothing changes."""
    if not task:
        return
    by_id = {row.id: row for row in rows}
    for candidate in candidates:
        if candidate.finish_reason != "error":
            candidate.misaligned = task.is_misaligned(by_id[candidate.id], candidate.text)


def score_candidates(
    rows: Sequence[Row], candidates: Iterable[Candidate], scorer: Scorer | None, tools: Tools | None = None
) -> None:
    """Put a scorer's score on every candidate but the baseline, in place of an earlier one of the same name.

    A candidate that failed has no score, for the reason that it failed.

    Raises:
        InputError: something that the scorer needs is not at hand.
    """
    if not scorer:
        return
    tools = tools or Tools()
    tools.check(scorer.needs, scorer.name)
    pools = list(by_row(rows, (c for c in candidates if c.role != "baseline")))
    usable = [(row, [c for c in pool if c.finish_reason != "error"]) for row, pool in pools]
    for (_, pool), (_, scored), verdicts in zip(pools, usable, scorer.score(usable, tools), strict=True):
        for candidate in pool:
            candidate.scores = [score for score in candidate.scores if score.scorer != scorer.name]
            if candidate.finish_reason == "error":
                candidate.scores.append(Score(scorer.name, None, candidate.error or "it failed"))
        for candidate, verdict in zip(scored, verdicts, strict=True):
            if isinstance(verdict, str):
                candidate.scores.append(Score(scorer.name, None, verdict))
            elif verdict is not None:
                candidate.scores.append(Score(scorer.name, verdict))


def by_row(rows: Sequence[Row], candidates: Iterable[Candidate]) -> Iterable[tuple[Row, list[Candidate]]]:
    """Each row with its candidates, in the order of the rows."""
    pools: Mapping[str, list[Candidate]] = {row.id: [] for row in rows}
    for candidate in candidates:
        pools[candidate.id].append(candidate)
    return ((row, pools[row.id]) for row in rows)
