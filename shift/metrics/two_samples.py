"""What metrics on plain arrays share: two samples, checked, and dealing their prompts into parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets_cards.errors import InputError

Float = NDArray[np.float64]
Points = NDArray[np.floating]


@dataclass(frozen=True)
class TwoSamples:
    """Two samples; in arrays over all rows (`_P`) those of x come before those of y.

    Attributes:
        x_ND, y_MD: the points, float32 or float64.
        x_weight_N, y_weight_M: how much each row counts, > 0; each sums to 1.
        prompt_P: which prompt each row answers.
    """

    x_ND: Points
    y_MD: Points
    x_weight_N: Float
    y_weight_M: Float
    prompt_P: NDArray[Any]

    @classmethod
    def of(
        cls,
        x_ND: ArrayLike,
        y_MD: ArrayLike,
        x_weight_N: ArrayLike | None = None,
        y_weight_M: ArrayLike | None = None,
        x_prompt_N: ArrayLike | None = None,
        y_prompt_M: ArrayLike | None = None,
    ) -> TwoSamples:
        """Check two samples. Without weights rows count alike, without prompts every row stands alone.

        Raises:
            InputError: one row, different widths, NaN, infinite or huge values, weights or prompts that don't fit.
        """
        x, y = points_of(x_ND, "x"), points_of(y_MD, "y")
        if x.shape[1] != y.shape[1]:
            raise InputError(
                f"x has {x.shape[1]} columns and y has {y.shape[1]}", remedy="Embed both samples with one model."
            )
        weights = _weights(x_weight_N, len(x), "x"), _weights(y_weight_M, len(y), "y")
        samples = cls(x, y, *weights, _prompts(x_prompt_N, y_prompt_M, len(x), len(y)))
        return samples if all(w.all() for w in weights) else samples.take(np.concatenate(weights) > 0)

    @classmethod
    def weighted(cls, points_MD: Points, prompt_M: NDArray[np.int64], first_M: Float, second_M: Float) -> TwoSamples:
        """Two weightings of the same rows, which are taken as checked; a row may be in both."""
        x, y = np.flatnonzero(first_M), np.flatnonzero(second_M)
        prompt_P = np.concatenate([prompt_M[x], prompt_M[y]])
        return cls(points_MD[x], points_MD[y], first_M[x] / first_M.sum(), second_M[y] / second_M.sum(), prompt_P)

    @property
    def same(self) -> bool:
        """Whether both are the same rows in the same order, with the same weights."""
        return np.array_equal(self.x_ND, self.y_MD) and np.array_equal(self.x_weight_N, self.y_weight_M)

    @property
    def prompts(self) -> int:
        """The number of prompts in the sample that has fewer."""
        n = len(self.x_ND)
        return min(len(np.unique(self.prompt_P[:n])), len(np.unique(self.prompt_P[n:])))

    def centered_PD(self) -> NDArray[np.float32]:
        """All rows about their mean, which spares float32 the digits of a large one."""
        pooled = np.concatenate([self.x_ND, self.y_MD])
        return (pooled - pooled.mean(axis=0, dtype=np.float64).astype(pooled.dtype)).astype(np.float32, copy=False)

    def take(self, keep_P: NDArray[np.bool_]) -> TwoSamples:
        """Some rows of both, their weights again summing to 1."""
        x, y = keep_P[: len(self.x_ND)], keep_P[len(self.x_ND) :]
        first, second = self.x_weight_N[x], self.y_weight_M[y]
        return TwoSamples(self.x_ND[x], self.y_MD[y], first / first.sum(), second / second.sum(), self.prompt_P[keep_P])

    def deal(self, parts: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Deal whole prompts at random into parts of equal size; returns each row's part.

        Prompts of x only, of both, and of y only are dealt one after the other, so that each sample's parts differ in
        size by at most one prompt.
        """
        prompts, where_P = np.unique(self.prompt_P, return_inverse=True)
        in_x, in_y = np.zeros(len(prompts), int), np.zeros(len(prompts), int)
        in_x[where_P[: len(self.x_ND)]] = 1
        in_y[where_P[len(self.x_ND) :]] = 1
        part = np.empty(len(prompts), np.int64)
        part[np.lexsort((rng.random(len(prompts)), in_y - in_x))] = np.arange(len(prompts)) % parts
        return part[where_P]


def points_of(given: ArrayLike, name: str) -> Points:
    """Points as float32 (float64 where they are that or integers).

    Raises:
        InputError: fewer than two rows, no columns, values that are no numbers, NaN, infinite or huge.
    """
    points = np.asarray(given)
    if points.ndim != 2 or not points.shape[1] or points.dtype.kind not in "fiu":
        raise InputError(
            f"{name} has shape {points.shape} and type {points.dtype}", remedy="Give rows of numbers, [rows, width]."
        )
    if len(points) < 2:
        raise InputError(f"{name} has {len(points)} row(s)", remedy="Distributions are compared over at least two.")
    points = points.astype(np.float32 if points.dtype in (np.float16, np.float32) else np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        squared_N = np.einsum("nd,nd->n", points, points)
    good_N = squared_N < np.finfo(np.float32).max / (4 * len(points))
    if not good_N.all():
        row = int(np.argmin(good_N))
        raise InputError(f"row {row} of {name} holds NaN, infinity or a huge value", remedy="Check the embedder.")
    return points


def _weights(given: ArrayLike | None, rows: int, name: str) -> Float:
    weight = np.ones(rows) if given is None else np.asarray(given, np.float64)
    if weight.shape != (rows,):
        raise InputError(f"{name} has {rows} rows and weights of shape {weight.shape}")
    bad_N = ~((weight >= 0) & np.isfinite(weight))
    if bad_N.any():
        row = int(np.argmax(bad_N))
        raise InputError(f"row {row} of {name} has the weight {weight[row]}", remedy="Give numbers from 0 up.")
    if np.count_nonzero(weight) < 2:
        raise InputError(f"fewer than two rows of {name} have weight")
    return weight / weight.sum()


def _prompts(x_prompt_N: ArrayLike | None, y_prompt_M: ArrayLike | None, n: int, m: int) -> NDArray[Any]:
    if x_prompt_N is None and y_prompt_M is None:
        return np.arange(n + m)
    if x_prompt_N is None or y_prompt_M is None:
        raise InputError("only one of the samples has prompts", remedy="Give them for both, or for neither.")
    x_prompt, y_prompt = np.asarray(x_prompt_N), np.asarray(y_prompt_M)
    if x_prompt.shape != (n,) or y_prompt.shape != (m,):
        raise InputError(
            f"prompts of shapes {x_prompt.shape} and {y_prompt.shape} for {n} and {m} rows",
            remedy="Give one prompt for each row.",
        )
    return np.concatenate([x_prompt, y_prompt])
