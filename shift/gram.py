"""Sums of a kernel over pairs of rows, grouped by state: all that a statistic of weightings of the rows needs.

Rows that always bear the same weight share a *state*. Then sum_ij w_i k(i, j) w_j is w' G w over states, so one pass
over the kernel answers any number of weightings, such as the B = 999 of a permutation test (binned permutations:
Domingo-Enrich et al. 2023). Pairs of rows that answer one prompt are left out, and with them each row against itself:
that is what makes the statistic an unbiased U-form, whether rows are paired by prompt or not.

Products are float32, sums across blocks float64. Memory is O(block^2 + states^2 + rows) beside the kernel's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.kernels import Kernel, Rows
from shift.progress import bar

Float = NDArray[np.float64]
Int = NDArray[np.int64]


def gram_of_states(
    kernel: Kernel,
    state_M: NDArray[np.integer],
    prompt_M: NDArray[np.integer],
    states: int,
    *,
    block: int = 1024,
    progress: bool = False,
) -> Float:
    """Sum a kernel over all ordered pairs of rows of different prompts, by the states of the two.

    Args:
        kernel: made on the rows.
        state_M: the state of each row; rows come sorted by it.
        prompt_M: the prompt that each row answers, any integers; equal ones may stand anywhere.
        states: how many states there are; a state may lack rows. With a state for each row the result is the full
            Gram matrix, zero where the prompts are equal.
        block: how many rows a block has on each side.
        progress: show a bar on stderr.

    Returns:
        [states, states], symmetric: sum of k(i, j) over i in s, j in t with prompt_i != prompt_j.

    Raises:
        InputError: states that are out of range or not sorted, lengths that don't pair up.
    """
    layout = _Layout.of(len(kernel), state_M, prompt_M, states, block)
    gram = np.zeros((len(layout.used), len(layout.used)))
    pairs = list(combinations_with_replacement(layout.parts, 2))
    for rows, cols in bar(pairs, "Kernel blocks", show=progress):
        values = kernel.block(rows.rows, cols.rows)
        values[_equal_prompts(rows, cols)] = 0
        found = _run_sums(_run_sums(values, rows.starts).T.astype(np.float64), cols.starts).T
        # The matrix gets its mirror image at the end; a block on the diagonal holds both halves already.
        gram[rows.states, cols.states] += found if rows is not cols else found / 2
    return layout.spread(gram + gram.T)


def gram_of_features(
    features: Callable[[Rows], NDArray[np.float32]],
    state_M: NDArray[np.integer],
    prompt_M: NDArray[np.integer],
    states: int,
    *,
    block: int = 4096,
    progress: bool = False,
) -> Float:
    """`gram_of_states` of the kernel <f(x), f(y)>, in time linear in the rows.

    The features of each block are computed once; only rows whose prompt reaches beyond their block are computed a
    second time, gathered by prompt, to take out the pairs of equal prompts (which leaves zero up to rounding).

    Args:
        features: maps rows, a slice or an array of row numbers, to their features [rows, width].
        state_M: the state of each row; rows come sorted by it.
        prompt_M: the prompt that each row answers, any integers; equal ones may stand anywhere.
        states: how many states there are.
        block: how many rows are computed at a time.
        progress: show a bar on stderr.

    Raises:
        InputError: states that are out of range or not sorted, lengths that don't pair up.
    """
    layout = _Layout.of(len(state_M), state_M, prompt_M, states, block)
    scattered = layout.scattered()
    local_M = np.ones(len(state_M), bool)
    local_M[scattered] = False

    total: Float = np.zeros((len(layout.used), 0))
    same: Float = np.zeros((len(layout.used), len(layout.used)))
    for part in bar(layout.parts, "Features", show=progress):
        found = features(part.rows)
        if not total.size:
            total = np.zeros((len(layout.used), found.shape[1]))
        total[part.states] += _run_sums(found, part.starts)
        within = part.order[local_M[part.rows][part.order]]
        _add_equal(same, [_runs(found[within], part.rows.start + within, layout)])
    chunks = list(_whole_prompts(layout.prompt_M[scattered], block))
    for chunk in bar(chunks, "Features of scattered prompts", show=progress):
        rows = scattered[chunk]
        pieces = (rows[start : start + block] for start in range(0, len(rows), block))
        _add_equal(same, [_runs(features(piece), piece, layout) for piece in pieces])
    return layout.spread(total @ total.T - same)


@dataclass(frozen=True)
class _Part:
    """A block's rows.

    Attributes:
        rows: which they are.
        states: the states that occur among them, as a range of the used states.
        starts: where in the block each of those begins.
        order: the block's rows sorted by prompt.
        prompts: their prompts in that order.
    """

    rows: slice
    states: slice
    starts: Int
    order: Int
    prompts: Int


@dataclass(frozen=True)
class _Layout:
    """The rows' states, numbered without gaps, and prompts, cut into blocks."""

    states: int
    used: Int
    state_M: Int
    prompt_M: Int
    block: int
    parts: list[_Part]

    @classmethod
    def of(
        cls, rows: int, state_M: NDArray[np.integer], prompt_M: NDArray[np.integer], states: int, block: int
    ) -> _Layout:
        state_M, prompt_M = np.asarray(state_M, np.int64), np.asarray(prompt_M, np.int64)
        if not len(state_M) == len(prompt_M) == rows:
            raise InputError(f"{rows} rows, {len(state_M)} states and {len(prompt_M)} prompts don't pair up")
        if not rows or block < 1:
            raise InputError(f"{rows} rows in blocks of {block}", remedy="Give at least one row, and one per block.")
        if (np.diff(state_M) < 0).any():
            bad = int(np.argmax(np.diff(state_M) < 0)) + 1
            raise InputError("its state is below the one before it", where=f"row {bad}", remedy="Sort rows by state.")
        if state_M[0] < 0 or state_M[-1] >= states:
            raise InputError(f"states from {state_M[0]} to {state_M[-1]} where there are {states}")
        used, state_M = np.unique(state_M, return_inverse=True)
        parts = []
        for start in range(0, rows, block):
            part = slice(start, min(start + block, rows))
            state, prompt = state_M[part], prompt_M[part]
            order = np.argsort(prompt, kind="stable")
            span = slice(int(state[0]), int(state[-1]) + 1)
            parts.append(_Part(part, span, _starts(state), order, prompt[order]))
        return cls(states, used, state_M, prompt_M, block, parts)

    def scattered(self) -> Int:
        """The rows whose prompts reach beyond one block, sorted by prompt."""
        order = np.argsort(self.prompt_M, kind="stable")
        starts = _starts(self.prompt_M[order])
        sizes = np.diff(starts, append=len(order))
        beyond = order[starts] // self.block != order[starts + sizes - 1] // self.block
        return order[np.repeat(beyond, sizes)]

    def spread(self, gram: Float) -> Float:
        """A matrix over the used states as one over all."""
        if len(self.used) == self.states:
            return gram
        out = np.zeros((self.states, self.states))
        out[np.ix_(self.used, self.used)] = gram
        return out


def _starts(sorted_M: Int) -> Int:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.diff(sorted_M, prepend=sorted_M[:1] - 1))


def _run_sums(values: NDArray, starts: Int) -> NDArray:
    """Sums of runs of rows."""
    if len(starts) == len(values):
        return values
    bounds = [*starts.tolist(), len(values)]  # a loop, since np.add.reduceat is twenty times slower on this axis
    return np.stack([np.add.reduce(values[a:b], axis=0) for a, b in pairwise(bounds)])


def _equal_prompts(rows: _Part, cols: _Part) -> tuple[Int, Int]:
    """The places in a block where both rows answer one prompt."""
    low = np.searchsorted(cols.prompts, rows.prompts, side="left")
    count = np.searchsorted(cols.prompts, rows.prompts, side="right") - low
    nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(rows.order, count), cols.order[np.repeat(low, count) + nth]


def _whole_prompts(sorted_M: Int, size: int) -> Iterator[slice]:
    """Cuts of at most `size` rows between prompts; a prompt with more rows is a cut of its own."""
    bounds = np.append(_starts(sorted_M), len(sorted_M))
    start = 0
    while start < len(sorted_M):
        fits = bounds[np.searchsorted(bounds, start + size, side="right") - 1]
        stop = int(fits if fits > start else bounds[np.searchsorted(bounds, start, side="right")])
        yield slice(start, stop)
        start = stop


def _runs(found: NDArray[np.float32], rows: Int, layout: _Layout) -> tuple[NDArray[np.float32], Int, Int]:
    """Sums of features over rows (sorted by prompt, then state) that share both, with those prompts and states."""
    prompt, state = layout.prompt_M[rows], layout.state_M[rows]
    starts = np.flatnonzero((np.diff(prompt, prepend=-1) != 0) | (np.diff(state, prepend=-1) != 0))
    return _run_sums(found, starts), prompt[starts], state[starts]


def _add_equal(same: Float, runs: Sequence[tuple[NDArray[np.float32], Int, Int]]) -> None:
    """Add the inner products of sums within prompts, each into its two states; runs come sorted by prompt."""
    sums, prompts, states = (np.concatenate(column) for column in zip(*runs, strict=True))
    apart = 0
    pairs = np.arange(len(prompts))
    while pairs.size:
        products = np.einsum("rd,rd->r", sums[pairs], sums[pairs + apart]).astype(np.float64)
        np.add.at(same, (states[pairs], states[pairs + apart]), products)
        if apart:
            np.add.at(same, (states[pairs + apart], states[pairs]), products)
        apart += 1
        pairs = pairs[pairs + apart < len(prompts)]
        pairs = pairs[prompts[pairs] == prompts[pairs + apart]]
