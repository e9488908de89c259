"""Seeded rows for benchmarks.shift: unit vectors in topics, as sentence embeddings are, and small normal samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH = 384
TOPICS = 200
ROWS_AT_ONCE = 50_000

SMALL = {
    "n60_m70_d5": (60, 70, 5, 0.6),
    "n300_m300_d16": (300, 300, 16, 0.3),
    "n300_m300_d4": (300, 300, 4, 1.2),
    "n80_m90_d1": (80, 90, 1, 0.5),
    "n90_m90_d1": (90, 90, 1, 0.5),
}
"""Name of a small pair of samples: rows before, rows after, width, and the distance between the means."""
ON_A_LINE = ("n80_m90_d1", "n90_m90_d1")
COUNTS = ((30, 0, 12, 5, 1, 40, 7, 0, 5), (10, 8, 12, 0, 3, 22, 20, 0, 25))
"""Rows of two samples in nine buckets: some empty in one sample, one in both."""
SIGMA = 1.7
BANDWIDTHS = [SIGMA * 2 ** (1 - k / 2) for k in range(5)]


def small(name: str, *, copies: int = 1, unit: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two normal samples, the second moved and 1.2 times as wide; or "lattice", or "counts".

    Args:
        name: in `SMALL`; "lattice" for distinct points of a square grid, whose distances are often equal; "counts" for
            `COUNTS`.
        copies: how often each row comes.
        unit: whether rows are brought to length 1.
    """
    if name == "counts":
        return np.array(COUNTS[0], float), np.array(COUNTS[1], float)
    if name == "lattice":
        grid = np.argwhere(np.ones((14, 14))).astype(float)
        rng = np.random.default_rng(0)
        return grid[rng.choice(196, 60, replace=False)], grid[rng.choice(196, 70, replace=False)]
    n, m, d, shift = SMALL[name]
    rng = np.random.default_rng([n, m, d])
    x, y = rng.normal(size=(n, d)), shift / d**0.5 + 1.2 * rng.normal(size=(m, d))
    if unit:
        x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y))
    return np.repeat(x, copies, axis=0), np.repeat(y, copies, axis=0)


def write_embeddings(path: Path, rows: int, side: int, *, seed: int = 0) -> None:
    """Unit vectors [rows, 384] in 200 topics of unequal size, to a .npy file; side 1 is moved by a little.

    A row is its topic's center plus noise that is strong on few axes and weak on many, as embeddings' spectra are. Side
    1 has other topics' sizes and one common displacement, so that a shift is there to be found.
    """
    shared = np.random.default_rng(seed)
    spectrum_D = (1 + np.arange(WIDTH) / 20) ** -0.75
    centers = shared.normal(size=(TOPICS, WIDTH)) * spectrum_D
    sizes = shared.dirichlet(np.full(TOPICS, 2.0), size=2)
    moved_D = 0.02 * shared.normal(size=WIDTH) * side
    share = 0.9 * sizes[0] + 0.1 * sizes[side]

    rng = np.random.default_rng([seed, side, rows])
    out = np.lib.format.open_memmap(path, "w+", np.float32, (rows, WIDTH))
    for start in range(0, rows, ROWS_AT_ONCE):
        topic = rng.choice(TOPICS, min(ROWS_AT_ONCE, rows - start), p=share)
        block = rng.standard_normal((len(topic), WIDTH), dtype=np.float32) * spectrum_D.astype(np.float32)
        block += (centers[topic] + moved_D).astype(np.float32)
        out[start : start + len(topic)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    out.flush()
