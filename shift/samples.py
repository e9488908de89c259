"""Two samples to compare: rows of points, the prompts that they answer, and which of the samples each row is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.ladder import Ladder

Float = NDArray[np.float64]
LEAST, MOST = 1e-15, 1e15
"""How large coordinates may be: squares beyond leave float32."""


@dataclass(frozen=True)
class Samples:
    """Two samples over pooled rows, sorted by prompt.

    A prompt may be in both samples (its rows are then compared with each other: *paired*), or in one of them. Every
    prompt counts alike in a sample, whatever its number of rows.

    Attributes:
        points_MD: float32.
        prompt_M: the prompt of each row, 0 to n - 1, ascending.
        first_M: rows of the first sample (before).
        second_M: rows of the second sample (after). A row can be in both: a selected answer stays in its pool.
        prompts_ND: the embedded prompts, where they are known.
    """

    points_MD: NDArray[np.float32]
    prompt_M: NDArray[np.int64]
    first_M: NDArray[np.bool_]
    second_M: NDArray[np.bool_]
    prompts_ND: NDArray[np.float32] | None = None

    @property
    def n(self) -> int:
        """How many prompts there are."""
        return int(self.prompt_M[-1]) + 1

    def sizes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of each prompt in the first and in the second sample."""
        return tuple(np.bincount(self.prompt_M, weights=side, minlength=self.n).astype(np.int64) for side in self.sides)  # type: ignore[return-value]

    @property
    def sides(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Membership of the rows in the first and in the second sample."""
        return self.first_M, self.second_M

    @property
    def paired(self) -> int:
        """How many prompts are in both samples."""
        first, second = self.sizes()
        return int(((first > 0) & (second > 0)).sum())

    def weights(self) -> tuple[Float, Float]:
        """Both samples as weights of the rows, each summing to 1."""
        found = []
        for side_M, size_N in zip(self.sides, self.sizes(), strict=True):
            found.append(side_M / np.maximum(size_N, 1)[self.prompt_M] / (size_N > 0).sum())
        return found[0], found[1]

    @property
    def identical(self) -> bool:
        """Whether every prompt has the same points in both samples, in the same proportions."""
        if self.paired < self.n:
            return False
        point_M = np.unique(self.points_MD, axis=0, return_inverse=True)[1].reshape(-1)
        slot_M = np.unique(np.column_stack([self.prompt_M, point_M]), axis=0, return_inverse=True)[1].reshape(-1)
        first, second = (np.bincount(slot_M, weights=side_M) for side_M in self.sides)
        prompt = np.zeros(len(first), np.int64)
        prompt[slot_M] = self.prompt_M
        sizes = self.sizes()
        return bool((first * sizes[1][prompt] == second * sizes[0][prompt]).all())

    @classmethod
    def from_arrays(
        cls,
        first: NDArray[Any],
        second: NDArray[Any],
        *,
        first_ids: Sequence[str] | None = None,
        second_ids: Sequence[str] | None = None,
        paired: bool = False,
    ) -> Samples:
        """Two samples from embedded points.

        Args:
            first: [n, d].
            second: [m, d].
            first_ids: the prompt that each row answers; a prompt may have several rows.
            second_ids: the same of the second sample; prompts that both name are paired.
            paired: rows pair by their position (instead of ids).

        Raises:
            InputError: widths or lengths that don't fit, NaN, a zero row, fewer than two prompts in a sample, ids on
                one side only.
        """
        sides = [_points(a, name) for a, name in ((first, "the first sample"), (second, "the second sample"))]
        if sides[0].shape[1] != sides[1].shape[1]:
            raise InputError(
                f"points of different widths: {sides[0].shape[1]} and {sides[1].shape[1]}",
                remedy="Embed both samples with one model.",
            )
        lengths = [len(side) for side in sides]
        if (first_ids is None) != (second_ids is None):
            raise InputError("only one of the samples has ids", remedy="Give ids for both, or for neither.")
        if paired and first_ids is not None:
            raise InputError("rows pair by ids or by position, not by both", remedy="Leave one of them out.")
        if first_ids is not None and second_ids is not None:
            ids = [_ids(names, length) for names, length in zip((first_ids, second_ids), lengths, strict=True)]
        elif paired:
            if lengths[0] != lengths[1]:
                raise InputError(
                    f"{lengths[0]} and {lengths[1]} rows can't pair by position",
                    remedy="Give ids: rows whose prompts are in both are then paired.",
                )
            ids = [np.arange(lengths[0]), np.arange(lengths[1])]
        else:
            ids = [np.arange(lengths[0]), lengths[0] + np.arange(lengths[1])]
        prompt_M = np.unique(np.concatenate(ids), return_inverse=True)[1].reshape(-1).astype(np.int64)
        member_M = np.repeat([True, False], lengths)
        order = np.argsort(prompt_M, kind="stable")
        samples = cls(np.concatenate(sides)[order], prompt_M[order], member_M[order], ~member_M[order])
        return samples._checked()

    @classmethod
    def from_ladder(cls, ladder: Ladder, start: str, end: str) -> Samples:
        """One leg of a ladder, over the prompts that have both rungs.

        A pool's members are rows of their own (equal answers too). The selected answer is the pool's own row.
        """
        keep_M = ladder.has_N(start, end)[ladder.prompt_M]
        nested = {start, end} == {"U", "S"}
        rows, sides = [], []
        for rung in (start, end):
            if nested and rung == "S":
                continue
            rows.append(np.repeat(np.arange(len(ladder.prompt_M)), ladder.counts[rung] * keep_M))
            sides.append(np.full(len(rows[-1]), rung == start))
        slot_M = np.concatenate(rows)
        order = np.argsort(slot_M, kind="stable")
        slot_M, first_M = slot_M[order], np.concatenate(sides)[order]
        second_M = ~first_M
        if nested:
            # Of a slot's members (equal answers) the first one is called the selected.
            head_M = np.append(True, slot_M[1:] != slot_M[:-1])
            picked_M = head_M & (ladder.counts["S"][slot_M] > 0)
            everyone_M = np.ones(len(slot_M), bool)
            first_M, second_M = (everyone_M, picked_M) if start == "U" else (picked_M, everyone_M)
        kept, prompt_M = np.unique(ladder.prompt_M[slot_M], return_inverse=True)
        prompts_ND = None if ladder.prompts_ND is None else ladder.prompts_ND[kept]
        points_MD = ladder.points_ND[ladder.point_M[slot_M]]
        return cls(points_MD, prompt_M.reshape(-1), first_M, second_M, prompts_ND)._checked()

    def ladder(self, titles: dict[str, str]) -> Ladder:
        """The samples as a ladder of two rungs, named by the keys of `titles`."""
        points_ND, point_M = np.unique(self.points_MD, axis=0, return_inverse=True)
        starts = np.searchsorted(self.prompt_M, np.arange(self.n + 1))
        entries = []
        for start, stop in pairwise(starts):
            rows = range(start, stop)
            sides = zip(titles, self.sides, strict=True)
            entries.append({rung: [int(point_M[i]) for i in rows if side_M[i]] for rung, side_M in sides})
        ids = [str(i) for i in range(self.n)]
        return Ladder.from_entries(ids, points_ND, entries, rungs=titles, prompts_ND=self.prompts_ND)

    def _checked(self) -> Samples:
        for size_N, name in zip(self.sizes(), ("first", "second"), strict=True):
            if (size_N > 0).sum() < 2:
                raise InputError(
                    f"the {name} sample has {int((size_N > 0).sum())} prompt(s)",
                    remedy="A shift is measured over at least two.",
                )
        return self


def _points(given: NDArray[Any], name: str) -> NDArray[np.float32]:
    try:
        points = np.asarray(given)
    except (TypeError, RuntimeError, ValueError):
        raise InputError(
            f"{name} is no array of numbers ({type(given).__name__})", remedy="Give float32 rows, [rows, width]."
        ) from None
    if points.ndim != 2 or not points.size or points.dtype.kind not in "fiu":
        raise InputError(
            f"{name} has shape {points.shape} and type {points.dtype}", remedy="Give rows of numbers, [rows, width]."
        )
    with np.errstate(over="ignore"):
        points = points.astype(np.float32, copy=False)
    for fault, good_N in (
        ("holds NaN or infinity", np.isfinite(points).all(axis=1)),
        ("is the zero vector, which has no direction", points.any(axis=1)),
    ):
        if not good_N.all():
            raise InputError(f"row {int(np.argmin(good_N))} of {name} {fault}", remedy="Check the embedder.")
    if not LEAST < (largest := float(np.abs(points).max())) < MOST:
        raise InputError(
            f"{name} reaches {largest:.1e}, where float32 squares fail", remedy="Rescale both samples alike."
        )
    return points + np.float32(0)  # -0.0 becomes 0.0: equal points have equal bits


def _ids(names: Sequence[str], length: int) -> NDArray[np.str_]:
    names = list(names)
    if len(names) != length:
        raise InputError(f"{len(names)} ids for {length} rows", remedy="Give one id for each row.")
    # NaN is the only value that differs from itself.
    if (
        missing := next((i for i, name in enumerate(names) if name is None or name == "" or name != name), None)
    ) is not None:
        raise InputError("an id is missing", where=f"row {missing}", remedy="Name the prompt that each row answers.")
    return np.array([str(name) for name in names])
