"""The dry run: what a labeling would ask for, before anything is spent. It walks the same code as the real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from datasets_cards import Row, cache_dir, scan_rows
from labelers.accuracy import held_out_accuracy
from labelers.chunks import in_chunks
from labelers.engines import load_engine
from labelers.engines.protocol import ABILITIES, Completion, Engine, SampleRequest
from labelers.method import Method, crossed
from labelers.methods import choose_method
from labelers.pools import draw_pool, score_candidates
from labelers.sampler import Sampler
from labelers.scorers import Tools
from labelers.store import SampleStore
from labelers.task import LabelTask

TRIAL_ROWS = 32
"""Rows of a trial of speed."""


@dataclass
class Plan:
    """What a run would ask of its engine.

    Attributes:
        rows: rows to label.
        unread: rows that can't be read.
        requests: completions to draw, those of graders and judges included.
        stored: of these, how many the store has.
        prompt_tokens: tokens of all prompts to send, None where only the server knows. Prompts that quote an answer
            which is not drawn yet (refinement, grading) are counted with a few dozen tokens in its place.
        most_completion_tokens: if every completion ran to its limit.
        seconds: expected time, by the speed at which this model's samples were drawn into the store so far; None where
            none were.
    """

    rows: int = 0
    unread: int = 0
    requests: int = 0
    stored: int = 0
    prompt_tokens: int | None = 0
    most_completion_tokens: int = 0
    seconds: float | None = None


class Planner(Sampler):
    """A sampler that counts instead of drawing; what is not in the store comes back as an empty completion."""

    def __init__(self, engine: Engine, store: SampleStore) -> None:
        super().__init__(engine, store)
        self.plan = Plan()
        self._seen: set[bytes] = set()

    def remembered(
        self,
        kinds: Sequence[str],
        names: Sequence[object],
        compute: Callable[[list[int]], Sequence[tuple[float, ...]]],
    ) -> list[tuple[float, ...]]:
        """Zeros, which nobody sees: scoring what is stored would take the time that is asked about."""
        return [(0.0,) * len(kinds)] * len(names)

    def sample(self, requests: Sequence[SampleRequest]) -> list[Completion]:
        """Stored completions, and in the place of those to draw one that no other is like.

        Prompts that quote it (refinement, grading) are then as many as they will be.
        """
        keys = [self._key(request) for request in requests]
        found = self.store.get_many(sorted({key for key in keys if key}))
        answers = []
        for request, key in zip(requests, keys, strict=True):
            answers.append(found.get(key) or Completion(key.hex(), [], "stop", None, None, token_count=0))
            if key in self._seen:
                continue
            if key:
                self._seen.add(key)
            self.plan.requests += 1
            if key in found:
                self.plan.stored += 1
            elif key:
                tokens = self.engine.prompt(request.messages).tokens
                known = tokens is not None and self.plan.prompt_tokens is not None
                self.plan.prompt_tokens = (self.plan.prompt_tokens or 0) + (tokens or 0) if known else None
                self.plan.most_completion_tokens += request.sampling.max_new_tokens
        return answers


def plan(
    data: str | Path | Sequence[Row],
    *,
    model: str | Path | None = None,
    engine: str | Engine = "transformers",
    method: str | Method,
    proposal: str | None = None,
    scorer: str | None = None,
    selector: str | None = None,
    also_score: Sequence[str] = (),
    seed: int = 0,
    task: LabelTask | None = None,
    store: str | Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    baseline: bool = True,
    batch_size: int | None = None,
    base_url: str | None = None,
    concurrency: int | None = None,
    timeout: float | None = None,
    **options: Any,
) -> Plan:
    """What `label` with these arguments would ask for, without asking for it.

    Where a model in this process has never drawn into the store, a few rows are drawn to find out how fast it is; they
    are kept, and the run will reuse them. From a server nothing is asked.

    Raises:
        InputError: data, method or options that can't be used.
        MissingError: a file or directory that isn't there.
        EngineError: the model can't be loaded.
    """
    chosen = crossed(choose_method(method, options), proposal=proposal, scorer=scorer, selector=selector)
    scan = scan_rows(data, limit=limit, skip_bad=skip_bad)
    given = {"batch_size": batch_size, "base_url": base_url, "concurrency": concurrency, "timeout": timeout}
    loaded = load_engine(engine, model, **given) if isinstance(engine, str) else engine
    scorers = (chosen.scorer, *chosen.scorers_beside(also_score))
    grading = [each for each in scorers if each and "model" in each.needs]
    with SampleStore(store or cache_dir() / "samples.sqlite") as samples:
        if samples.seconds_a_sample(loaded.identity) is None and loaded.commit_every > 1:
            trial = list(islice(scan.rows(), TRIAL_ROWS))
            draw_pool(trial, chosen.proposal, loaded, samples, seed=seed, baseline=baseline)
        planner = Planner(loaded, samples)
        tools = Tools(planner, task, store=samples)
        tools.check(chosen.needs & ABILITIES.keys(), chosen.name)
        for each in grading:
            if each.fallible and task:
                held_out_accuracy(each, task.preferences(), tools, task.name)
        for chunk in in_chunks(scan.rows()):
            drawn = draw_pool(chunk, chosen.proposal, planner, seed=seed, baseline=baseline)
            for each in grading:
                score_candidates(chunk, drawn.candidates, each, tools)
        found = planner.plan
        found.rows, found.unread = len(scan), len(scan.unread)
        each_takes = samples.seconds_a_sample(loaded.identity)
        found.seconds = None if each_takes is None else each_takes * (found.requests - found.stored)
        return found
