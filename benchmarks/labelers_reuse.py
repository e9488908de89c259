"""What sharing costs and saves: candidate tokens of all methods on one pool of samples, and labeling again.

python -m benchmarks.labelers_reuse
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METHODS = (
    "greedy_self_training",
    "self_confidence",
    "diverse_decoding",
    "multi_view",
    "self_refinement",
    "self_rewarding",
    "rejection_sampling",
    "majority_vote",
    "universal_self_consistency",
    "min_entropy",
    "random_pick",
)
"""The eleven methods: the paper's, its controls of selection, and the three beyond it."""


def shared_tokens(rows: int) -> tuple[int, int, int, int]:
    """Candidate tokens drawn by the methods with one store, and with a store each; without and with baselines."""
    from labelers import SampleStore, draw_pool, load_engine, make_method
    from labelers.sampler import Sampler
    from organisms import get_task
    from organisms.tiny import tiny_base

    task = get_task("sycophancy")
    prompts, engine = task.consistency(0, rows), load_engine(model=tiny_base())
    totals = []
    for baseline in (False, True):
        shared = SampleStore(":memory:")
        for one in (True, False):
            total = 0
            for name in METHODS:
                store = shared if one else SampleStore(":memory:")
                sampler = Sampler(engine, store)
                proposal = make_method(name, max_new_tokens=task.max_new_tokens).proposal
                draw_pool(prompts, proposal, sampler, baseline=baseline)
                total += sampler.progress.tokens
            totals.append(total)
    return totals[0], totals[1], totals[2], totals[3]


def relabeling_seconds(rows: int, k: int, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds to label stored candidates again: inside one process, and as a command from start to end."""
    from datasets_cards import Row
    from labelers import label, relabel

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from random_models import make_model, prompts

    folder = Path(tempfile.mkdtemp())
    try:
        data = [Row(f"row-{i}", m) for i, m in enumerate(prompts(rows))]
        model = make_model(folder / "model")
        label(data, model=model, method="self_confidence", k=k, out=folder / "pool", store=":memory:")
        inside, command = [], []
        for n in range(repeats):
            start = time.perf_counter()
            relabel(folder / "pool", method="worst_pick", out=folder / f"a{n}")
            inside.append(time.perf_counter() - start)
            start = time.perf_counter()
            arguments = ["relabel", str(folder / "pool"), "--method", "random_pick", "--out", str(folder / f"b{n}")]
            subprocess.run([sys.executable, "-m", "echoset", *arguments], check=True, stdout=subprocess.DEVNULL)
            command.append(time.perf_counter() - start)
        return inside, command
    finally:
        shutil.rmtree(folder)


def main(rows: int = 160, stored_rows: int = 10_000, repeats: int = 5) -> None:
    """Print both."""
    one, each, one_b, each_b = shared_tokens(rows)
    print(
        f"candidate tokens of {len(METHODS)} methods on {rows} rows: {one:,} shared, {each:,} apart: {one / each:.3f}"
    )
    print(f"with the baseline rung: {one_b:,} shared, {each_b:,} apart: {one_b / each_b:.3f}")
    inside, command = relabeling_seconds(stored_rows, 4, repeats)
    for what, seconds in (("in one process", inside), ("as a command", command)):
        print(
            f"labeling {stored_rows:,} rows x 4 again, {what}: median {statistics.median(seconds):.2f} s of {repeats}"
        )


if __name__ == "__main__":
    main()
