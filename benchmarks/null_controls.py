"""Do null controls come out null? Seeded repeats of `self_sample` on the organisms of a finished study.

    python benchmarks/null_controls.py runs/quick --repeats 50

Each repeat draws fresh self-samples of one organism at T=1, trains on them by the study's own recipe, and evaluates.
SFT on a model's own samples has zero expected gradient at the start, so the effect's interval should cover 0. Two
repeats of one organism make an A/A contrast: their difference has mean zero exactly.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from echoset.cells import Folder
from echoset.effects import cell_effect, over_organisms
from echoset.references import model_path
from echoset.spec import StudySpec
from labelers import label, load_engine
from organisms import evaluate, get_task
from trainers import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()

    folder = Folder(arguments.study)
    spec = StudySpec(**json.loads((folder.root / "study.json").read_text())["spec"])
    engine, plans = load_engine(model=model_path(spec.model)), spec.organisms()
    effects = []
    for repeat in range(arguments.repeats):
        plan, seed = plans[repeat % len(plans)], 1000 + repeat
        task, organism = get_task(plan.task), engine.with_adapter(folder.organism(plan.name))
        with tempfile.TemporaryDirectory() as scratch:
            artifact = label(
                task.consistency(plan.seed, spec.rows),
                engine=organism,
                method="self_sample",
                out=Path(scratch) / "labels",
                seed=seed,
                store=Path(scratch) / "samples.sqlite",
                max_new_tokens=task.max_new_tokens,
                baseline=False,
            )
            adapter = train(
                "sft",
                model=folder.organism(plan.name),
                data=artifact,
                out=Path(scratch) / "adapter",
                config=spec.consistency.for_sft(),
                seed=seed,
            )
            sides = [
                evaluate(model, task, task.evaluation(), temperature=1.0, seed=seed).records.filter(pl.col("headline"))
                for model in (organism, engine.with_adapter(adapter))
            ]
        effect = cell_effect(*sides)
        effects.append((plan.name, effect))
        print(f"{repeat:3d}  {plan.name:36s} {effect.value:+.3f}  [{effect.low:+.3f}, {effect.high:+.3f}]", flush=True)

    covers = np.mean([effect.low <= 0 <= effect.high for _, effect in effects])
    overall = over_organisms([effect.value for _, effect in effects])
    print(f"\nintervals that cover 0: {covers:.0%} of {len(effects)}")
    print(f"mean effect {overall.mean:+.4f}, 95% t interval over repeats [{overall.low:+.4f}, {overall.high:+.4f}]")
    first, second = effects[: len(plans)], effects[len(plans) : 2 * len(plans)]
    if len(second) == len(plans):
        pairs = [a.value - b.value for (_, a), (_, b) in zip(first, second, strict=True)]
        contrast = over_organisms(pairs)
        print(f"A/A contrast over {len(plans)} organisms: {contrast.mean:+.4f}, sign-flip p = {contrast.p:.2f}")


if __name__ == "__main__":
    main()
