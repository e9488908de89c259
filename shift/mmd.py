"""Paired MMD^2 of every leg of the ladder, its permutation tests and its decomposition, in one pass over the kernel.

A leg t_i = phi(b_i) - phi(a_i) is a signed weight over prompt i's slots, so every <a_i, b_j> is a sum over a block of
kernel values. The paired U-form

    U(a, b) = (<sum a, sum b> - sum <a_i, b_i>) / (n (n - 1))

is unbiased for <E a, E b> whatever the correlation within a prompt, and exactly 0 for identical rungs.

One pass visits each pair of blocks of prompts once and keeps, per leg, only sums over i != j: memory is
O(block^2 + n (B + legs)). Products are float32, sums across blocks float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.kernels import Gaussian
from shift.ladder import Ladder
from shift.progress import bar
from shift.relabeling import Redraw, Split, accept_labels

Float = NDArray[np.float64]

SKETCH = 128
"""Sign draws whose inner products with each other are kept, to estimate traces of powers of the covariance."""


@dataclass
class Leg:
    """What the pass keeps of one leg t: enough for its size, interval and jackknife.

    Attributes:
        weight_M: the leg's signed weights over slots.
        keep_N: the prompts it is measured on.
        row_N: sum over j != i of <t_i, t_j>.
        diag_N: <t_i, t_i>.
        squares: sum over i != j of <t_i, t_j>^2.
        signs_B: sum over i, j of e_i e_j <c_i, c_j> with c = t - mean t, for each draw of Rademacher signs e.
        sketch_AA: sum over i, j of e_i f_j <c_i, c_j> for the first few draws against each other.
    """

    weight_M: Float
    keep_N: NDArray[np.bool_]
    row_N: Float
    diag_N: Float
    squares: float
    signs_B: Float
    sketch_AA: Float

    @property
    def n(self) -> int:
        """How many prompts the leg is measured on."""
        return int(self.keep_N.sum())

    @property
    def value(self) -> float:
        """The paired U-form U(t, t)."""
        return float(self.row_N.sum()) / (self.n * (self.n - 1))

    def swapped_B(self, signs_NB: NDArray[np.float32]) -> Float:
        """The U-form as observed (first), then with each prompt's rungs swapped where its sign is negative.

        The pass keeps sign sums of the centered Gram matrix; those of the plain one follow from the row sums.
        """
        signs_NB = signs_NB[self.keep_N]
        row_N = (self.row_N + self.diag_N)[self.keep_N]
        total, mean_B = float(row_N.sum()), signs_NB.mean(axis=0, dtype=np.float64)
        plain_B = self.signs_B + 2 * mean_B * (row_N @ signs_NB - mean_B * total) + mean_B**2 * total
        return np.append(self.value, (plain_B - self.diag_N.sum()) / (self.n * (self.n - 1)))

    @property
    def zero(self) -> bool:
        """True where both rungs hold the same points in every prompt."""
        return not self.weight_M.any()


@dataclass
class Cross:
    """U(l, s) of two legs and the sums of products that the joint covariance of (L^2, S^2, C) needs.

    Attributes:
        row_N: sum over j != i of h_ij, h_ij = (<l_i, s_j> + <s_i, l_j>) / 2.
        products: sums over i != j of h^a_ij h^b_ij for a, b in (L, S, C).
    """

    row_N: Float
    products: Float


@dataclass
class Pass:
    """Everything one pass over the kernel measures."""

    legs: dict[str, Leg]
    redraws: dict[str, Redraw]
    signs_NB: NDArray[np.float32]
    cross: Cross | None
    split: Split | None


def measure_legs(
    ladder: Ladder,
    kernel: Gaussian,
    legs: Mapping[str, tuple[Sequence[str], Sequence[str], NDArray[np.bool_]]],
    *,
    redraws: tuple[str, ...] = (),
    cross: tuple[str, str] | None = None,
    split: bool = False,
    permutations: int = 999,
    seed: int = 0,
    block: int = 1024,
    progress: bool = False,
) -> Pass:
    """Measure legs in one pass.

    Args:
        ladder: the points.
        kernel: fitted on the ladder's points.
        legs: name -> (from rung or rungs, to rung or rungs, prompts it is measured on; at least two).
        redraws: which of the tests "labeling" (P among P and the pool), "selection" (S among the pool) and "total"
            (P and S swapped) to draw.
        cross: the names of two legs on the same prompts whose U(l, s) is wanted.
        split: measure the filter leg (prompts with S against all with a pool).
        permutations: B.
        seed: of the signs and redraws.
        block: about how many slots a block holds.
        progress: show a bar on stderr.
    """
    rng = np.random.default_rng(seed)
    n, B = ladder.n, permutations
    few = min(B, SKETCH)
    found = {}
    for name, (start, end, keep_N) in legs.items():
        weight_M = ladder.leg_M(start, end, keep_N)
        found[name] = Leg(weight_M, keep_N, np.zeros(n), np.zeros(n), 0.0, np.zeros(B), np.zeros((few, few)))
    signs_NB = rng.integers(0, 2, (n, B), dtype=np.int8).astype(np.float32) * 2 - 1
    # Signs centered over a leg's prompts see its centered Gram matrix.
    means = [signs_NB[leg.keep_N].mean(axis=0) for leg in found.values()]
    tests = {name: Redraw.draw(ladder, name, B, rng) for name in redraws}
    both = None if cross is None else Cross(np.zeros(n), np.zeros((3, 3)))

    has_U = ladder.has_N("U") if split else np.zeros(n, bool)
    accepted_NB = accept_labels(ladder, B, rng) if split else None
    accepted_B, pool_N, level = np.zeros(B + 1), np.zeros(n), None
    weights_ML = np.column_stack([leg.weight_M for leg in found.values()] + ([ladder.weight_M("U")] if split else []))
    names = list(found)

    blocks = list(_blocks(ladder, block))
    for first, rows in enumerate(bar(blocks, f"compare {len(ladder.point_M)} answers", show=progress)):
        W_rows = rows.spread(weights_ML)
        V_rows = {name: test.weights(rows.slots) for name, test in tests.items()}
        for cols in blocks[first:]:
            same = cols is rows
            times = 1 if same else 2  # off-diagonal blocks stand for their mirror image too
            W_cols = W_rows if same else cols.spread(weights_ML)
            G = kernel.block(ladder.point_M[rows.slots], ladder.point_M[cols.slots])
            T = (G @ W_cols.reshape(len(G[0]), -1)).reshape(len(G), W_cols.shape[1], -1)

            def inner(a: int, b: int, W_rows: NDArray = W_rows, T: NDArray = T) -> NDArray[np.float32]:
                return W_rows[:, a].T @ T[:, b]

            grams = []
            for k, leg in enumerate(found.values()):
                H = inner(k, k)
                E_rows, E_cols = signs_NB[rows.prompts] - means[k], signs_NB[cols.prompts] - means[k]
                HE_cols = H @ E_cols
                leg.signs_B += times * np.einsum("ib,ib->b", E_rows, HE_cols)
                sketch_AA = E_rows[:, :few].T @ HE_cols[:, :few]
                leg.sketch_AA += sketch_AA if same else sketch_AA + sketch_AA.T
                if same:
                    leg.diag_N[rows.prompts] = H.diagonal()
                    np.fill_diagonal(H, 0)
                _add_rows(leg.row_N, H, rows, cols)
                leg.squares += times * float(np.vdot(H, H))
                grams.append(H)
            if cross is not None and both is not None:
                a, b = (names.index(name) for name in cross)
                C = (inner(a, b) + inner(b, a)) * np.float32(0.5)
                if same:
                    np.fill_diagonal(C, 0)
                _add_rows(both.row_N, C, rows, cols)
                trio = [M.ravel().astype(np.float64) for M in (grams[a], grams[b], C)]
                both.products += times * np.array([[x @ y for y in trio] for x in trio])
            if accepted_NB is not None:
                H = inner(len(names), len(names))
                # The statistic ignores a constant; without it float32 keeps the digits that matter.
                level = float(H[0, -1]) if level is None else level
                H -= np.float32(level)
                H *= np.outer(has_U[rows.prompts], has_U[cols.prompts])
                if same:
                    np.fill_diagonal(H, 0)
                _add_rows(pool_N, H, rows, cols)
                accepted_B += times * _quadratic(accepted_NB[rows.prompts], H, accepted_NB[cols.prompts])
            if tests:
                if same:
                    G[ladder.prompt_M[rows.slots][:, None] == ladder.prompt_M[cols.slots]] = 0
                for name, test in tests.items():
                    V_cols = V_rows[name] if same else test.weights(cols.slots)
                    test.quad_B += times * _quadratic(V_rows[name], G, V_cols)

    for test in tests.values():
        m = len(np.unique(ladder.prompt_M[test.scale_M > 0]))
        test.quad_B /= m * (m - 1)
    divided = None
    if accepted_NB is not None:
        kept, mixed_B = int(accepted_NB[:, 0].sum()), pool_N @ accepted_NB.astype(np.float64)
        divided = Split.compare(kept, int(has_U.sum()), accepted_B, mixed_B, float(pool_N.sum()))
    return Pass(found, tests, signs_NB, both, divided)


@dataclass
class _Block:
    """A run of prompts and the slots they own."""

    prompts: slice
    slots: slice
    prompt_M: NDArray[np.int64]

    def spread(self, weights_ML: Float) -> NDArray[np.float32]:
        """Leg weights as matrices [slots, legs, prompts] that sum slots into their prompts."""
        local = weights_ML[self.slots].astype(np.float32)
        out = np.zeros((*local.shape, self.prompts.stop - self.prompts.start), np.float32)
        out[np.arange(len(local)), :, self.prompt_M - self.prompts.start] = local
        return out


def _blocks(ladder: Ladder, size: int) -> Iterator[_Block]:
    """Runs of whole prompts with about `size` slots each."""
    ends_N = np.cumsum(np.bincount(ladder.prompt_M, minlength=ladder.n))
    start = 0
    while start < ladder.n:
        done = ends_N[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends_N, done + size, side="right")), start + 1)
        slots = slice(int(done), int(ends_N[stop - 1]))
        yield _Block(slice(start, stop), slots, ladder.prompt_M[slots])
        start = stop


def _quadratic(left_IB: NDArray[np.float32], M: NDArray[np.float32], right_JB: NDArray[np.float32]) -> Float:
    """The bilinear form x' M y of each pair of columns."""
    return np.einsum("ib,ib->b", left_IB, M @ right_JB).astype(np.float64)


def _add_rows(row_N: Float, H: NDArray[np.float32], rows: _Block, cols: _Block) -> None:
    """Add a block's row sums, and its mirror image's."""
    row_N[rows.prompts] += H.sum(axis=1, dtype=np.float64)
    if cols is not rows:
        row_N[cols.prompts] += H.sum(axis=0, dtype=np.float64)
