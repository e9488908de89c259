"""The ladder O -> P -> U -> S as points: what each rung answers to each prompt, in an embedder's space.

O is the original completion, P the organism's own plain sample (the baseline), U a uniform member of the method's
pool and S the selected label. A prompt's distinct points are its *slots*; a rung is a weight over slots (one-hot for
O, P and S, `count / K` for U), so any leg `b - a` is a signed weight, and texts that are equal cancel exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError

RUNGS = {"O": "original", "P": "self-sample", "U": "uniform pick", "S": "selected"}


@dataclass(frozen=True)
class Ladder:
    """The rungs of n prompts over shared points; slots (`_M`) are sorted by prompt.

    Attributes:
        ids: the prompts, in the order of every `_N` array.
        points_ND: the distinct embedded points, float32.
        prompt_M: the prompt of each slot.
        point_M: the point of each slot; distinct within a prompt.
        counts: per rung (O, P, U, S) how often each slot occurs in it; zero throughout where a prompt lacks the rung.
        rungs: what each rung is called.
        prompts_ND: the embedded prompts, where they are wanted.
        notes: what a reader should know about how the ladder was built.
    """

    ids: tuple[str, ...]
    points_ND: NDArray[np.float32]
    prompt_M: NDArray[np.int64]
    point_M: NDArray[np.int64]
    counts: dict[str, NDArray[np.int64]]
    rungs: Mapping[str, str] = field(default_factory=lambda: RUNGS)
    prompts_ND: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def n(self) -> int:
        """How many prompts there are."""
        return len(self.ids)

    def size_N(self, rung: str) -> NDArray[np.int64]:
        """How many points each prompt has on a rung (K for U; 0 or 1 for the others)."""
        return np.bincount(self.prompt_M, weights=self.counts[rung], minlength=self.n).astype(np.int64)

    def has_N(self, *rungs: str) -> NDArray[np.bool_]:
        """The prompts that have every one of these rungs."""
        return np.logical_and.reduce([self.size_N(rung) > 0 for rung in rungs])

    def weight_M(self, rung: str) -> NDArray[np.float64]:
        """The rung as weights over slots, summing to 1 in each prompt that has it."""
        return self.counts[rung] / np.maximum(self.size_N(rung), 1)[self.prompt_M]

    def leg_M(self, start: Sequence[str], end: Sequence[str], keep_N: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The signed weights of `end - start` over slots; zero in prompts that are not kept.

        Either may be several rungs, whose weights add up: from ("S", "U'") to ("S'", "U") is the change of S - U.
        """
        ends, starts = (np.sum([self.weight_M(rung) for rung in _rungs(side)], axis=0) for side in (end, start))
        return (ends - starts) * keep_N[self.prompt_M]

    @classmethod
    def from_arrays(
        cls,
        *,
        pool: NDArray[Any] | Sequence[NDArray[Any]],
        selected: Sequence[int | None] | NDArray[np.integer] | None = None,
        original: NDArray[Any] | None = None,
        baseline: NDArray[Any] | None = None,
        ids: Sequence[str] | None = None,
    ) -> Ladder:
        """Build a ladder from embedded points.

        Args:
            pool: [n, K, d], or n arrays [K_i, d] where pools differ in size.
            selected: index of the selected candidate of each prompt, None or -1 for a prompt that was dropped;
                left out, every prompt's only candidate (pools of one).
            original: [n, d], or None where there is no original.
            baseline: [n, d], or None where no self-sample was drawn.
            ids: the prompts' names; their numbers where left out.

        Raises:
            InputError: shapes that don't fit each other, NaN or infinite points, ids that repeat.
        """
        pools = [np.atleast_2d(np.asarray(p, np.float32)) for p in pool]
        chosen = [0 if len(p) == 1 else None for p in pools] if selected is None else list(selected)
        names = [str(i) for i in range(len(pools))] if ids is None else list(ids)
        singles = {"O": original, "P": baseline}
        rows = {rung: None if a is None else np.asarray(a, np.float32) for rung, a in singles.items()}
        for rung, a in rows.items():
            if a is not None and (a.ndim != 2 or len(a) != len(pools)):
                raise InputError(
                    f"{RUNGS[rung]} has shape {a.shape} beside {len(pools)} pools", remedy="Give one row for each pool."
                )
        if not len(pools) == len(chosen) == len(names):
            raise InputError(f"{len(pools)} pools, {len(chosen)} selections and {len(names)} ids don't pair up")
        arrays = [*pools, *(a for a in rows.values() if a is not None)]
        if len(widths := {a.shape[1] for a in arrays if a.size}) > 1:
            raise InputError(f"points of different widths: {sorted(widths)}", remedy="Embed everything with one model.")

        # Equal vectors become one point, so that equal inputs cancel to exactly zero. (+ 0 turns -0.0 into 0.0.)
        stacked = np.concatenate([a.reshape(-1, max(widths, default=0)) for a in arrays]) + np.float32(0)
        points_ND, inverse = np.unique(stacked, axis=0, return_inverse=True)
        index = inverse.reshape(-1).tolist()
        offsets = np.cumsum([0, *map(len, arrays)]).tolist()
        entries: list[dict[str, list[int]]] = []
        for i, p in enumerate(pools):
            entry = {"U": index[offsets[i] : offsets[i] + len(p)]}
            k = chosen[i]
            if k is not None and k >= 0:
                if k >= len(p):
                    raise InputError(f"candidate {k} is selected of a pool of {len(p)}", where=f"prompt {names[i]}")
                entry["S"] = [entry["U"][int(k)]]
            entries.append(entry)
        start = len(pools)
        for rung, a in rows.items():
            if a is not None:
                for i, entry in enumerate(entries):
                    entry[rung] = [index[offsets[start] + i]]
                start += 1
        return cls.from_entries(names, points_ND, entries)

    @classmethod
    def from_entries(
        cls,
        ids: Sequence[str],
        points_ND: NDArray[np.float32],
        entries: Sequence[dict[str, list[int]]],
        notes: Sequence[str] = (),
        *,
        rungs: Mapping[str, str] = RUNGS,
        prompts_ND: NDArray[np.float32] | None = None,
    ) -> Ladder:
        """Build a ladder from point indices: one `{rung: [indices]}` a prompt.

        Raises:
            InputError: fewer than two prompts, ids that repeat, a prompt without any point, a point that is zero or
                not finite.
        """
        points_ND = np.asarray(points_ND)
        if len(ids) != len(entries) or points_ND.ndim != 2:
            raise InputError(
                f"{len(ids)} ids, {len(entries)} entries and points of shape {points_ND.shape} don't pair up",
                remedy="Give an entry for each id, and points [rows, width].",
            )
        for id_, entry in zip(ids, entries, strict=True):
            if beyond := [p for points in entry.values() for p in points if not 0 <= p < len(points_ND)]:
                raise InputError(f"point {beyond[0]} of {len(points_ND)}", where=f"prompt {id_}")
        if len(ids) < 2:
            raise InputError(
                f"{len(ids)} prompt(s) to compare", remedy="A shift is measured over at least two prompts."
            )
        if len(set(ids)) < len(ids):
            raise InputError(f"the prompt {next(i for i in ids if list(ids).count(i) > 1)!r} occurs twice")
        for fault, good_N in (
            ("a point holds NaN or infinity", np.isfinite(points_ND).all(axis=1)),
            ("a point is the zero vector, which has no direction", points_ND.any(axis=1)),
        ):
            if not good_N.all():
                bad = int(np.argmin(good_N))
                who = next(i for i, e in zip(ids, entries, strict=True) if any(bad in v for v in e.values()))
                raise InputError(fault, where=f"prompt {who}", remedy="Check the embedder.")
        if empty := next((i for i, e in zip(ids, entries, strict=True) if not any(e.values())), None):
            raise InputError("no rung of the ladder has a point", where=f"prompt {empty}", remedy="Leave it out.")
        prompt, point, counts = [], [], {rung: [] for rung in rungs}
        for i, entry in enumerate(entries):
            for slot in dict.fromkeys(p for rung in rungs for p in entry.get(rung, ())):
                prompt.append(i)
                point.append(slot)
                for rung, count in counts.items():
                    count.append(entry.get(rung, []).count(slot))
        return cls(
            tuple(ids),
            np.ascontiguousarray(points_ND, np.float32),
            np.array(prompt, np.int64),
            np.array(point, np.int64),
            {rung: np.array(count, np.int64) for rung, count in counts.items()},
            rungs,
            prompts_ND,
            tuple(notes),
        )


def _rungs(side: Sequence[str]) -> Sequence[str]:
    return (side,) if isinstance(side, str) else side
