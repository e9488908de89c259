"""The work of one organism, step by step: induce, then label, measure, train and evaluate under every method.

A step whose output is there is skipped; an output appears whole or not at all. So a study can be killed anywhere and
started again, and each finished step stands in `steps.jsonl` exactly once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from datasets_cards import Artifact, attach
from datasets_cards.records import Row
from echoset.cell_effects import attach_effect, has_effect
from echoset.induce import induce, organism_record
from echoset.spec import OrganismPlan, StudySpec
from labelers import label, load_engine
from labelers.engines.protocol import Engine
from labelers.engines.reward_model import RewardModel
from organisms import capability, get_task
from organisms.evaluate import evaluate_together
from organisms.task import Task
from shift import measure
from trainers import train

STEPS_AN_ORGANISM = 4
"""Induce, evaluate, and the benign control's two."""

STEPS_A_METHOD = 5
"""Label, shift, train, evaluate, and the effect told on the labels' card."""

REPORT = "shift/report.json"
"""Where an artifact keeps its shift report."""


@dataclass(frozen=True)
class Folder:
    """Where a study keeps what."""

    root: Path

    def organism(self, name: str) -> Path:
        """The organism's adapter."""
        return self.root / "organisms" / name

    def benign(self, name: str) -> Path:
        """The adapter of the organism's benign control."""
        return self.root / "benign" / name

    def artifact(self, organism: str, method: str) -> Path:
        """The labeled dataset."""
        return self.root / "artifacts" / organism / method

    def adapter(self, organism: str, method: str) -> Path:
        """The organism after training on its labels."""
        return self.root / "adapters" / organism / method

    def evaluation(self, organism: str, arm: str) -> Path:
        """Every completion and verdict of one arm."""
        return self.root / "evaluations" / organism / f"{arm}.parquet"

    @property
    def samples(self) -> Path:
        """The sample store, shared by all methods of all organisms."""
        return self.root / "samples.sqlite"

    @property
    def steps(self) -> Path:
        """The log of finished steps."""
        return self.root / "steps.jsonl"


@dataclass(frozen=True)
class Models:
    """Directories or Hub ids of what a study runs on; `reward` is None where no method needs it."""

    base: str
    embedder: str
    reward: str | None


def run_organism(plan: OrganismPlan, spec: StudySpec, models: Models, root: str) -> str:
    """Do whatever of one organism's work is not done yet; returns the organism's name."""
    folder, task = Folder(Path(root)), get_task(plan.task)
    log = StepLog(folder.steps, plan.name)
    engine, base = _engine(models.base), models.base

    organism = folder.organism(plan.name)
    with log.step("induce", done=organism.exists()) as todo:
        if todo:
            config = spec.induction.model_copy(update={"rate": plan.rate})
            induce(task, model=base, out=organism, config=config, seed=plan.seed, engine=engine)
    started = engine.with_adapter(organism)
    _evaluate(log, folder, plan, "organism", started, task, spec)

    benign = folder.benign(plan.name)
    with log.step("benign", done=benign.exists()) as todo:
        if todo:
            steps = int(organism_record(organism)["dev"]["step"])
            induce(
                task,
                model=base,
                out=benign,
                config=spec.induction,
                seed=plan.seed,
                benign=True,
                steps=steps,
                engine=engine,
            )
    _evaluate(log, folder, plan, "benign", engine.with_adapter(benign), task, spec)

    rows = task.consistency(plan.seed, spec.rows)
    for method in spec.methods:
        _run_method(log, folder, plan, method, rows, started, task, spec, models)
    return plan.name


def _run_method(
    log: StepLog,
    folder: Folder,
    plan: OrganismPlan,
    method: str,
    rows: Sequence[Row],
    organism: Engine,
    task: Task,
    spec: StudySpec,
    models: Models,
) -> None:
    path, adapter = folder.artifact(plan.name, method), folder.adapter(plan.name, method)
    with log.step(f"label {method}", done=path.exists()) as todo:
        if todo:
            label(
                rows,
                engine=organism,
                method=method,
                out=path,
                seed=spec.seed + plan.seed,
                task=task,
                store=folder.samples,
                max_new_tokens=task.max_new_tokens,
                license=task.license,
                source=source_of(task),
                reward_model=_reward(models.reward) if models.reward else None,
                force=spec.force,
            )
    # The report counts as there once the manifest lists it: the file itself is written first.
    with log.step(f"shift {method}", done=has_report(Artifact.open(path))) as todo:
        if todo:
            artifact = Artifact.open(path)
            report = measure(
                artifact,
                embedder=models.embedder,
                metrics=("frechet",),
                seed=spec.seed + plan.seed,
                permutations=spec.permutations,
            )
            attach(artifact, {REPORT: report.to_json().encode()}, summary=report.summary())
    with log.step(f"train {method}", done=adapter.exists()) as todo:
        if todo:
            config, seed = spec.consistency.for_sft(), spec.seed + plan.seed
            train("sft", model=folder.organism(plan.name), data=path, out=adapter, config=config, seed=seed)
    _evaluate(log, folder, plan, method, organism.with_adapter(adapter), task, spec)
    with log.step(f"effect {method}", done=has_effect(Artifact.open(path))) as todo:
        if todo:
            before, after = (pl.read_parquet(folder.evaluation(plan.name, arm)) for arm in ("organism", method))
            attach_effect(Artifact.open(path), plan, before, after, spec.temperatures)


def evaluate_base(spec: StudySpec, base: str, root: str) -> str:
    """Evaluate the untouched base on every task of the study."""
    folder = Folder(Path(root))
    for name in spec.tasks:
        plan = OrganismPlan(task=name, rate=0, seed=0)
        log = StepLog(folder.steps, f"base-{name}")
        _evaluate(log, folder, plan, name, _engine(base), get_task(name), spec, organism="base")
    return "base"


def _evaluate(
    log: StepLog,
    folder: Folder,
    plan: OrganismPlan,
    arm: str,
    engine: Engine,
    task: Task,
    spec: StudySpec,
    organism: str | None = None,
) -> None:
    """Evaluate one arm at every temperature, capability beside the task's own rows, and keep every completion."""
    path = folder.evaluation(organism or plan.name, arm)
    with log.step(f"evaluate {arm}", done=path.exists()) as todo:
        if not todo:
            return
        # Before and after share each prompt's noise seed, so their difference is paired in it too.
        able = capability()
        suites = [(task, task.evaluation()[: spec.evaluation_rows]), (able, able.evaluation()[: spec.capability_rows])]
        found = evaluate_together(engine, suites, temperatures=spec.temperatures, seed=spec.seed + plan.seed)
        frames = [evaluation.records for evaluation in found]
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        pl.concat(frames, how="diagonal_relaxed").write_parquet(partial)
        partial.replace(path)


def source_of(task: Task) -> str:
    """What the prompts of a task are called in manifests and cards."""
    return f"{task.name} ({task.source})"


def has_report(artifact: Artifact) -> bool:
    """Whether the artifact's shift has been measured."""
    return any(file.path == REPORT for file in artifact.manifest.files)


class StepLog:
    """Finished steps of one organism, a JSON line each: progress, and the record of what was computed."""

    def __init__(self, path: Path, organism: str) -> None:
        self.path, self.organism = path, organism

    @contextmanager
    def step(self, name: str, *, done: bool) -> Iterator[bool]:
        """Yields whether the step is still to do; logs it once it is done."""
        start = time.perf_counter()
        yield not done
        line: dict[str, Any] = {"organism": self.organism, "step": name, "computed": not done}
        line["seconds"] = round(time.perf_counter() - start, 3)
        # One write of one short line to a file opened for appending: whole, whichever process writes.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The lines of a step log, over all runs of the study, oldest first."""
    if not path.exists():
        return []
    steps = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):  # torn by a full disk; the step's output says whether it was done
            steps.append(json.loads(line))
    return steps


_engines: dict[str, Engine] = {}


def _engine(base: str) -> Engine:
    """This process's engine for a base: loaded once, shared by the organisms it works on."""
    if base not in _engines:
        _engines[base] = load_engine(model=base)
    return _engines[base]


_rewards: dict[str, RewardModel] = {}


def _reward(model: str) -> RewardModel:
    """This process's reward model, loaded once."""
    if model not in _rewards:
        _rewards[model] = RewardModel(model)
    return _rewards[model]
