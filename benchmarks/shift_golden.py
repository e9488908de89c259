"""The peers' values on small seeded samples, which tests/test_shift_peers.py holds ours to without any of the peers."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shift_data import BANDWIDTHS, ON_A_LINE, SMALL, small
from benchmarks.shift_table import REPOSITORY, peer, run

GOLDEN = REPOSITORY / "tests" / "golden" / "shift_peers.json"


@dataclass(frozen=True)
class Case:
    """One value of a peer: a function of shift_peers with settings, on a pair of small samples.

    Attributes:
        data, how: the arguments of `shift_data.small`.
    """

    distribution: str
    function: str
    data: str
    settings: dict[str, Any] = field(default_factory=dict)
    how: dict[str, Any] = field(default_factory=dict)


SEVERAL = ("n60_m70_d5", "n300_m300_d16")
CASES = [
    *(Case("alibi-detect", "alibi_detect_mmd", data, {"permutations": 99, "sigma": BANDWIDTHS}) for data in SEVERAL),
    *(Case("frouros", "frouros_mmd", data, {"sigma": sigma}) for data in SEVERAL for sigma in BANDWIDTHS),
    Case("frouros", "frouros_energy", "n80_m90_d1"),
    *(Case("hyppo", "hyppo_energy", data, {"permutations": 0, "bias": True}) for data in SEVERAL),
    Case("hyppo", "hyppo_energy", "n60_m70_d5", {"permutations": 999}),
    Case("hyppo", "hyppo_mmd", "n60_m70_d5", {"permutations": 999}),
    *(Case("torch-fidelity", "torch_fidelity_fid", data) for data in SMALL if data not in ON_A_LINE),
    *(Case("torch-fidelity", "torch_fidelity_precision_recall", data, {"k": k}) for data in SEVERAL for k in (3, 5)),
    Case("torch-fidelity", "torch_fidelity_precision_recall", "lattice", {"k": 1}),
    *(Case("POT", "pot_sliced", data, {"directions": 100_000}) for data in SEVERAL),
    *(Case("POT", "pot_on_a_line", data) for data in ON_A_LINE),
    *(Case("prdc", "prdc_all", data, {"k": k}) for data in SEVERAL for k in (3, 5)),
    Case("prdc", "prdc_all", "lattice", {"k": 1}),
    Case("prdc", "prdc_all", "n60_m70_d5", {"k": 5}, how={"copies": 8}),
    *(Case("scikit-learn", "sklearn_classifier", data) for data in ("n300_m300_d4", "n300_m300_d16")),
    Case("mauve-text", "mauve_of_counts", "counts"),
    *(Case("mauve-text", "mauve_text", "n300_m300_d4", {"seed": seed}, how={"unit": True}) for seed in range(5)),
]


def write_golden(envs: Path) -> None:
    """Compute every case in its peer's environment and write them all.

    Raises:
        NotInstalled, Failed: a peer can't be had; nothing is written then.
    """
    entries = []
    for case in CASES:
        x, y = small(case.data, **case.how)
        with tempfile.TemporaryDirectory() as scratch:
            files = [Path(scratch) / "x.npy", Path(scratch) / "y.npy"]
            for file, side in zip(files, (x, y), strict=True):
                np.save(file, side)
            done = run(peer(case.function, case.distribution, **case.settings), files, envs)
        entries.append(
            {
                "peer": case.distribution,
                "version": done["version"],
                "function": case.function,
                "settings": case.settings,
                "data": case.data,
                "how": case.how,
                "sum": float(x.sum() + 2 * y.sum()),
                "found": done["found"],
            }
        )
        print(f"{case.distribution} {done['version']}  {case.function}  {case.data}  {done['found']}", flush=True)
    GOLDEN.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
