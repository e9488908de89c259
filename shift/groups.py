"""Which prompts are relabeled together, and how: exact tests whose redraws cost next to nothing.

Under the null the answers of one prompt are exchangeable between the two samples, and so are prompts that only one
sample has. A *group* is a set of prompts of one shape whose labels are redrawn alike; its members, position by
position, are the *states* of a Gram matrix that holds all there is to know for every redraw. Redrawing groups instead
of prompts uses a subgroup of the null's symmetries, so the test stays exact (Hemerik and Goeman 2018), and with
hundreds of groups it loses next to no power.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.samples import Samples

NO_RELABELING = (
    "prompts differ between the samples, and so does their number of answers: too few of their labels can be redrawn"
)
STATES = 2048
"""States a Gram matrix may have; with as many rows or fewer every prompt is a group of its own."""


@dataclass(frozen=True)
class StateRows:
    """The rows of two samples in the order of their states: what a Gram matrix of states is made from.

    Attributes:
        points_MD: the rows.
        prompt_M: the prompt of each.
        state_M: the state of each, ascending.
        states: how many there are.
        prompts_ND: the embedded prompts, where they are known.
    """

    points_MD: NDArray[np.float32]
    prompt_M: NDArray[np.int64]
    state_M: NDArray[np.int64]
    states: int
    prompts_ND: NDArray[np.float32] | None

    @property
    def layout(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """State and prompt of each row, and the number of states, as `shift.gram` takes them."""
        return self.state_M, self.prompt_M, self.states


@dataclass(frozen=True)
class Kind:
    """Groups of one shape that are redrawn alike.

    Attributes:
        states_GT: the states of each group's members.
        first_GT, second_GT: which members are in which sample, as observed.
        free: how many of the groups are redrawn; the last one of a kind may hold left-over prompts and stay fixed.
        crosswise: true where a group is in one sample only, so that whole groups change places.
    """

    states_GT: NDArray[np.int64]
    first_GT: NDArray[np.bool_]
    second_GT: NDArray[np.bool_]
    free: int
    crosswise: bool


@dataclass(frozen=True)
class Groups:
    """A partition of the prompts into groups.

    Attributes:
        order_M: the rows in the order of their states.
        state_M: the state of each of those rows, ascending.
        states: how many there are.
        kinds: the groups by shape.
        prompts: how many prompts each sample has, and how many both have.
        movable: how many prompts can change their labels.
    """

    order_M: NDArray[np.int64]
    state_M: NDArray[np.int64]
    states: int
    kinds: tuple[Kind, ...]
    prompts: tuple[int, int, int]
    movable: int

    @classmethod
    def of(cls, samples: Samples, rng: np.random.Generator, *, states: int | None = STATES) -> Groups:
        """Group prompts at random.

        Args:
            samples: what is compared.
            rng: decides which prompts share a group, and the order of a prompt's interchangeable members.
            states: roughly how many to use at most; None gives every prompt a group of its own.
        """
        first_N, second_N = samples.sizes()
        total_N = np.bincount(samples.prompt_M, minlength=samples.n)
        starts_N = np.cumsum(total_N) - total_N
        # Within a prompt: first sample before second, the selected member of a pool before the others.
        rank_M = 2 * samples.first_M.astype(int) + samples.second_M
        member_M = np.lexsort((rng.random(len(rank_M)), -rank_M, samples.prompt_M))
        crosswise_N = (first_N == 0) | (second_N == 0)
        shape_N = np.column_stack([total_N, np.where(crosswise_N, -1, first_N), np.where(crosswise_N, -1, second_N)])
        order, state, kinds, used, movable = [], [], [], 0, 0
        for shape, sides, size, most in _plan(shape_N, first_N, states):
            shuffled = [rng.permutation(side) for side in sides]
            taken = [min(len(p) // size, limit) * size for p, limit in zip(shuffled, most, strict=True)]
            whole = np.concatenate([p[:end].reshape(-1, size) for p, end in zip(shuffled, taken, strict=True)])
            left = [p[end:] for p, end in zip(shuffled, taken, strict=True) if end < len(p)]
            offsets, heads = np.arange(int(shape[0])), []
            places = used + np.arange((len(whole) + len(left)) * len(offsets)).reshape(-1, len(offsets))
            for groups, place in (
                (whole, places[: len(whole)]),
                *((p[None], places[i - len(left)][None]) for i, p in enumerate(left)),
            ):
                rows_GPT = member_M[starts_N[groups][:, :, None] + offsets]
                order.append(rows_GPT.transpose(0, 2, 1).ravel())
                state.append(np.repeat(place.ravel(), groups.shape[1]))
                heads.append(rows_GPT[:, 0])
            first, second = (side[np.concatenate(heads)] for side in samples.sides)
            kinds.append(Kind(places, first, second, len(whole), bool(shape[1] < 0)))
            used += places.size
            movable += min(taken) if len(offsets) > 1 or shape[1] < 0 else 0
        prompts = (int((first_N > 0).sum()), int((second_N > 0).sum()), samples.paired)
        return cls(np.concatenate(order), np.concatenate(state), used, tuple(kinds), prompts, movable)

    def arranged(self, samples: Samples) -> StateRows:
        """The samples' rows in the order of their states."""
        rows = self.order_M
        return StateRows(samples.points_MD[rows], samples.prompt_M[rows], self.state_M, self.states, samples.prompts_ND)

    @property
    def shared_S(self) -> NDArray[np.bool_]:
        """The states of prompts that both samples have."""
        shared_S = np.zeros(self.states, bool)
        for kind in self.kinds:
            shared_S[kind.states_GT.ravel()] = not kind.crosswise
        return shared_S

    @property
    def redrawable(self) -> bool:
        """Whether at least half of the smaller sample's labels can change; redraws of fewer would hold the shift."""
        return 2 * self.movable >= min(self.prompts[:2])

    @property
    def fewest(self) -> int:
        """How many groups the sample with fewer of them has."""
        first = sum(int(kind.first_GT.any(axis=1).sum()) for kind in self.kinds)
        return min(first, sum(int(kind.second_GT.any(axis=1).sum()) for kind in self.kinds))

    def weights(self, redraws: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weight of each state in both samples: as observed (first column), then redrawn. [states, redraws + 1].

        A prompt's rows in a sample share the weight 1 among them.
        """
        first_SB, second_SB = np.zeros((2, self.states, redraws + 1), np.float32)
        for kind in self.kinds:
            drawn = _crosswise(kind, redraws, rng) if kind.crosswise else _within(kind, redraws, rng)
            for out, sides in zip((first_SB, second_SB), drawn, strict=True):
                share = 1 / np.maximum(sides.sum(axis=1, keepdims=True), 1)
                out[kind.states_GT.ravel()] = (sides * share).reshape(-1, redraws + 1)
        return first_SB, second_SB

    def rows(self, state_weights_S: NDArray[np.float32], side: int) -> NDArray[np.float64]:
        """One column of `weights` as weights of the samples' rows, summing to 1."""
        weight_M = np.empty(len(self.order_M))
        weight_M[self.order_M] = state_weights_S[self.state_M]
        return weight_M / self.prompts[side]


def _plan(
    shape_N: NDArray[np.int64], first_N: NDArray[np.int64], states: int | None
) -> list[tuple[NDArray[np.int64], tuple[NDArray[np.int64], ...], int, list[int]]]:
    """For each shape: its prompts by side, how many share a group, and the most groups of each side that are redrawn.

    A common size would leave rare shapes, or the smaller of two samples, without a group. So the rarer side of a shape
    has some 64 groups where the number of states allows it; what is beyond the limits of the other side stays fixed.
    """
    shapes, of_N = np.unique(shape_N, axis=0, return_inverse=True)
    parts = []
    for i, shape in enumerate(shapes):
        own_N = np.flatnonzero(of_N.reshape(-1) == i)
        crosswise = shape[1] < 0
        parts.append((shape, (own_N[first_N[own_N] > 0], own_N[first_N[own_N] == 0]) if crosswise else (own_N,)))
    size = 1 if states is None else max(-(-int(shape_N[:, 0].sum()) // states), 1)
    plan = []
    for least in (64, 16, 8, 4, 2, 1):
        plan, total = [], 0
        for shape, sides in parts:
            own = max(1, min(size, min(len(side) for side in sides) // least))
            most = [max(-(-len(side) // size), least) for side in sides]
            plan.append((shape, sides, own, most))
            total += int(shape[0]) * sum(min(len(p) // own, m) + 1 for p, m in zip(sides, most, strict=True))
        if states is None or total <= 2 * states:
            break
    return plan


def _within(kind: Kind, redraws: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Members of each group in both samples, [groups, members, redraws + 1]: labels permuted within the group."""
    G, T = kind.states_GT.shape
    place = np.broadcast_to(np.arange(T)[None, :, None], (G, T, redraws + 1)).copy()
    if kind.free and redraws:
        keys = rng.random((kind.free, T, redraws), dtype=np.float32)
        place[: kind.free, :, 1:] = np.argsort(keys, axis=1)
    group = np.arange(G)[:, None, None]
    return kind.first_GT[group, place], kind.second_GT[group, place]


def _crosswise(kind: Kind, redraws: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The same where whole groups change places between the samples."""
    T = kind.states_GT.shape[1]
    first_GB = np.repeat(kind.first_GT[:, :1], redraws + 1, axis=1)
    if kind.free and redraws:
        first_GB[: kind.free, 1:] = rng.permuted(first_GB[: kind.free, 1:], axis=0)
    first = np.repeat(first_GB[:, None], T, axis=1)
    return first, ~first
