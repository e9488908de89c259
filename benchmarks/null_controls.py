"""Do null controls come out null? Seeded repeats of `self_sample` on the organisms of a finished study.

    python -m benchmarks.null_controls runs/quick --repeats 50

A repeat draws fresh self-samples of every organism of one task at T=1, trains on them by the study's own recipe, and
evaluates. SFT on a model's own samples has zero expected gradient at the start, so a claim about it should cover 0.
A claim's interval is over organisms. A single cell's is over prompts, for the one adapter that came out: it knows
nothing of the luck of the draw in the labels, and covers 0 less often. Both are printed.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from echoset.cells import Folder
from echoset.effects import Effect, Estimate, cell_effect, over_organisms
from echoset.references import model_path
from echoset.spec import OrganismPlan, StudySpec
from labelers import label, load_engine
from labelers.engines.protocol import Engine
from organisms import evaluate, get_task
from trainers import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()

    folder = Folder(arguments.study)
    spec = StudySpec(**json.loads((folder.root / "study.json").read_text())["spec"])
    engine = load_engine(model=model_path(spec.model))
    cells: list[Effect] = []
    claims: list[Estimate] = []
    for repeat in range(arguments.repeats):
        task = spec.tasks[repeat % len(spec.tasks)]
        plans = [plan for plan in spec.organisms() if plan.task == task]
        effects = [effect_of_self_sample(spec, folder, engine, plan, seed=1000 + repeat) for plan in plans]
        claim = over_organisms([effect.value for effect in effects])
        cells += effects
        claims.append(claim)
        print(f"{repeat:3d}  {task:24s} {claim.mean:+.3f}  [{claim.low:+.3f}, {claim.high:+.3f}]", flush=True)

    covered = np.mean([claim.low <= 0 <= claim.high for claim in claims])
    print(f"\nclaims (t interval over {claims[0].n} organisms) that cover 0: {covered:.0%} of {len(claims)}")
    covered = np.mean([cell.low <= 0 <= cell.high for cell in cells])
    values = np.array([cell.value for cell in cells])
    print(f"single cells whose interval over prompts covers 0: {covered:.0%} of {len(cells)}")
    print(f"single cells: mean {values.mean():+.4f}, standard deviation {values.std(ddof=1):.4f}")


def effect_of_self_sample(spec: StudySpec, folder: Folder, engine: Engine, plan: OrganismPlan, *, seed: int) -> Effect:
    """Label one organism's rows with fresh self-samples, train on them, and evaluate before and after."""
    task, organism = get_task(plan.task), folder.organism(plan.name)
    with tempfile.TemporaryDirectory() as scratch:
        artifact = label(
            task.consistency(plan.seed, spec.rows),
            engine=engine.with_adapter(organism),
            method="self_sample",
            out=Path(scratch) / "labels",
            seed=seed,
            store=Path(scratch) / "samples.sqlite",
            max_new_tokens=task.max_new_tokens,
            baseline=False,
        )
        config = spec.consistency.for_sft()
        adapter = train("sft", model=organism, data=artifact, out=Path(scratch) / "adapter", config=config, seed=seed)
        sides = [
            evaluate(model, task, task.evaluation(), temperature=1.0, seed=seed).records.filter(pl.col("headline"))
            for model in (engine.with_adapter(organism), engine.with_adapter(adapter))
        ]
    return cell_effect(*sides)


if __name__ == "__main__":
    main()
