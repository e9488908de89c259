"""Exact tests within prompts: redraw which of a prompt's answers bears a rung's name, or which rows were accepted.

Shuffling rows between the two samples has no power when rows are paired by prompt: it rejects 0 of 500 times where
these reject .19 and .56 (benchmarks/shift_calibration.py). Redrawing within a prompt keeps what its answers share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.inference import Null, p_value
from shift.ladder import Ladder

Float = NDArray[np.float64]


@dataclass
class Redraw:
    """A permutation test: one of a prompt's members is drawn uniformly and compared with all of them.

    The weights are (one-hot * total - count) * scale, integers before scaling, so equal texts cancel exactly. The
    observed choice is treated as one more draw, so that ties are ties in the last bit too.

    Attributes:
        prompt_M: the prompt of each slot.
        count_M: how often each slot is a member.
        start_M: where a slot's members begin when a prompt's members are numbered from 0.
        scale_M: what a weight is multiplied by; 0 in prompts that take no part.
        picks_NB: the number of the chosen member: as observed (first column), then B draws.
        quad_B: the statistic of each choice; the pass fills it in.
    """

    prompt_M: NDArray[np.int64]
    count_M: NDArray[np.int64]
    start_M: NDArray[np.int64]
    scale_M: NDArray[np.float32]
    picks_NB: NDArray[np.int32]
    quad_B: Float

    @classmethod
    def draw(cls, ladder: Ladder, test: str, permutations: int, rng: np.random.Generator) -> Redraw:
        """Draw the choices of one test.

        Args:
            ladder: the points.
            test: "labeling" (which of P and the pool is called P), "selection" (which of the pool is kept) or "total"
                (which of P and S is which).
            permutations: B.
            rng: where the draws come from.
        """
        count, size_N = ladder.counts, ladder.size_N("U")
        count_M, chosen_M, keep_N, scale_N = {
            "labeling": (count["P"] + count["U"], count["P"], ladder.has_N("P", "U"), 1 / np.maximum(size_N, 1)),
            "selection": (count["U"], count["S"], ladder.has_N("U", "S"), 1 / np.maximum(size_N, 1)),
            "total": (count["P"] + count["S"], count["P"], ladder.has_N("P", "S"), np.ones(ladder.n)),
        }[test]
        prompt_M = ladder.prompt_M
        before_M = np.cumsum(count_M) - count_M
        start_M = before_M - before_M[np.searchsorted(prompt_M, prompt_M)]
        total_N = np.bincount(prompt_M, weights=count_M, minlength=ladder.n).astype(np.int32)
        uniform = rng.random((ladder.n, permutations), dtype=np.float32)
        drawn = np.minimum((uniform * total_N[:, None]).astype(np.int32), np.maximum(total_N - 1, 0)[:, None])
        observed_N = np.bincount(prompt_M, weights=start_M * chosen_M, minlength=ladder.n).astype(np.int32)
        scale_M = (scale_N * keep_N)[prompt_M].astype(np.float32)
        picks_NB = np.column_stack([observed_N, drawn])
        return cls(prompt_M, count_M, start_M, scale_M, picks_NB, np.zeros(permutations + 1))

    def weights(self, slots: slice) -> NDArray[np.float32]:
        """The weights of some slots under every choice, [slots, B + 1]."""
        start_M, count_M = self.start_M[slots, None], self.count_M[slots, None]
        pick_MB = self.picks_NB[self.prompt_M[slots]]
        hit_MB = (pick_MB >= start_M) & (pick_MB < start_M + count_M)
        total_N = np.bincount(self.prompt_M, weights=self.count_M).astype(np.float32)
        out = hit_MB * total_N[self.prompt_M[slots], None] - count_M.astype(np.float32)
        out *= self.scale_M[slots, None]
        return out

    @property
    def p(self) -> float:
        """The permutation p-value."""
        return p_value(self.quad_B)


@dataclass
class Split:
    """The filter leg: rows that kept a label against all rows, by what their pools answer.

    Attributes:
        kept: rows with a label.
        rows: rows with a pool.
        value: |mean over kept - mean over all|^2, unbiased.
        null: its range when accept labels are permuted given their count.
        p: of that permutation.
    """

    kept: int
    rows: int
    value: float
    null: Null
    p: float

    @classmethod
    def compare(cls, kept: int, rows: int, quad_B: Float, mixed_B: Float, total: float) -> Split:
        """The classical unbiased MMD^2 between kept and dropped rows' pools, scaled to kept against all.

        Args:
            kept: rows with a label; at least two, and two without.
            rows: rows with a pool.
            quad_B: sum over pairs of kept rows of <u_i, u_j>, as observed (first) and permuted.
            mixed_B: the same over pairs whose first row is kept.
            total: the same over all pairs.
        """
        gone = rows - kept
        between_B, neither_B = mixed_B - quad_B, total - 2 * mixed_B + quad_B
        mmd_B = quad_B / (kept * (kept - 1)) + neither_B / (gone * (gone - 1)) - 2 * between_B / (kept * gone)
        value_B = mmd_B * (gone / rows) ** 2
        return cls(kept, rows, float(value_B[0]), Null.of(value_B[1:]), p_value(value_B))


def accept_labels(ladder: Ladder, permutations: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Who kept a label (first column), and the same labels permuted among the prompts with a pool, [n, B + 1]."""
    has_U, kept_N = ladder.has_N("U"), ladder.has_N("U", "S")
    labels = np.zeros((ladder.n, permutations + 1), np.float32)
    labels[:, 0] = kept_N
    labels[has_U, 1:] = rng.permuted(np.repeat(kept_N[has_U][:, None], permutations, axis=1), axis=0)
    return labels
