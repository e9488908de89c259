"""What does measuring a shift cost, against named peers on the same rows?

    python -m benchmarks.shift mmd energy frechet     # sections; all of them without a name
    python -m benchmarks.shift prdc --rows 2000 10000 50000 --repeats 5
    python -m benchmarks.shift streaming --rows 100000 400000 2000000
    python -m benchmarks.shift golden                 # the peers' values that tests/test_shift_peers.py holds ours to

Rows are seeded unit vectors of width 384 in topics, as many before as after. Every piece of work runs in a process of
its own with one thread, ours and the peers' turn by turn; peers live in throw-away environments, made from
`benchmarks/requirements` on first use. CPU-seconds are user and system time of the work proper: imports, reading the
rows and a warm-up on a few of them are left out. Memory is the process's peak, beside what it held before the work.
Ratios are peer / ours of the same turn, their median and, with more turns, the least and the most. OPENBLAS_CORETYPE
is unset in all of them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.shift_data import write_embeddings
from benchmarks.shift_golden import write_golden
from benchmarks.shift_table import Work, compare, ours, peer

MINUTES = "recomputes what takes seconds for every permutation"
MATRICES = "holds several matrices [n + m, n + m] of float64"
SECTIONS: dict[str, dict[str, tuple[Work, ...]]] = {
    "mmd": {
        "MMD^2 with 100 permutations": (
            ours("one_metric", name="mmd", permutations=100),
            peer("alibi_detect_mmd", "alibi-detect", permutations=100, most=10_000,
                 because="its kernel matrix alone takes 40 GB"),
            peer("hyppo_mmd", "hyppo", permutations=100, most=1_000, because=MINUTES),
            peer("frouros_mmd", "frouros", permutations=100, sigma=0.9, most=500, because=MINUTES),
        ),
        "MMD^2 alone": (
            ours("value_alone", kernel="Gaussian"),
            peer("hyppo_mmd", "hyppo", permutations=0, most=5_000, because=MATRICES),
            peer("frouros_mmd", "frouros", sigma=0.9, most=10_000, because=MATRICES),
        ),
        "MMD^2 with 999 permutations": (ours("one_metric", name="mmd", permutations=999),),
        "MMD^2 with 999 permutations and a 95% interval, as `compare` reports it": (ours("compared"),),
    },
    "energy": {
        "energy distance with 100 permutations": (
            ours("one_metric", name="energy", permutations=100),
            peer("hyppo_energy", "hyppo", permutations=100, most=1_000, because=MINUTES),
        ),
        "energy distance alone": (
            ours("value_alone", kernel="Distance"),
            peer("hyppo_energy", "hyppo", permutations=0, most=5_000, because=MATRICES),
        ),
    },
    "frechet": {"Frechet distance": (ours("frechet"), peer("torch_fidelity_fid", "torch-fidelity"))},
    "sliced": {"sliced W2, 500 directions": (ours("sliced"), peer("pot_sliced", "POT"))},
    "prdc": {
        "precision, recall, density, coverage, k = 5": (
            ours("prdc_all"),
            peer("prdc_all", "prdc", most=10_000, because="needs some 30 GB"),
        ),
    },
    "classifier": {
        "logistic two-sample test, 5 folds": (ours("classifier"), peer("sklearn_classifier", "scikit-learn")),
    },
    "mauve": {
        "MAUVE, 5 clusterings": (ours("mauve_score"), peer("mauve_text", "mauve-text", restarts=5)),
    },
    "streaming": {"one pass over two files": (ours("streamed"),)},
    "gemm": {"share of the machine's matrix products": (ours("share_of_gemm"),)},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join((*SECTIONS, "golden")))
    parser.add_argument("--rows", nargs="*", type=int, default=[2_000, 10_000], help="rows a side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patience", type=float, default=60.0, help="CPU-seconds; slower peers run once")
    parser.add_argument("--envs", type=Path, default=Path(tempfile.gettempdir()) / "shift-peers")
    parser.add_argument("--without-peers", action="store_true")
    arguments = parser.parse_args()
    sections = arguments.sections or list(SECTIONS)
    if unknown := set(sections) - {*SECTIONS, "golden"}:
        parser.error(f"no section is called {unknown.pop()}")

    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if "golden" in sections:
        write_golden(arguments.envs)
    measured = {name: SECTIONS[name] for name in sections if name in SECTIONS}
    for rows in arguments.rows if measured else ():
        with tempfile.TemporaryDirectory() as scratch:
            files = [Path(scratch) / f"{side}.npy" for side in ("before", "after")]
            for side, file in enumerate(files):
                write_embeddings(file, rows, side)
            for name, tables in measured.items():
                for title, works in tables.items():
                    print(f"\n{name}: {title}, {rows:,} + {rows:,} rows")
                    chosen = works[:1] if arguments.without_peers else works
                    compare(chosen, rows, files, arguments.envs, arguments.repeats, arguments.patience)


if __name__ == "__main__":
    main()
