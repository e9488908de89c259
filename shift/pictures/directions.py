"""Two directions to look at two samples in: where answers vary most, and where they have moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
BLOCK = 8192


@dataclass(frozen=True)
class View:
    """Rows seen in two directions.

    Attributes:
        xy_M2: where each row lies, in the points' units.
        labels: what both axes are, with their share of the variance.
    """

    xy_M2: Float
    labels: tuple[str, str]


def by_variance(points_MD: NDArray[np.float32], prompt_M: NDArray[np.int64], first_M: Float, second_M: Float) -> View:
    """The first two principal components of the pooled rows, both samples counting alike.

    Signs are such that the shift points right and up. Where rows vary in fewer than two directions the height is the
    prompts' order.
    """
    weight_M = (first_M + second_M) / 2
    order_M = prompt_M / max(int(prompt_M.max()), 1)
    if (points_MD == points_MD[:1]).all():
        return View(
            np.column_stack([np.zeros(len(order_M)), order_M]), ("all answers are one point", "prompts in order")
        )
    vectors_DK = principal(points_MD, weight_M, 2)
    xy_MK = onto(points_MD, weight_M, vectors_DK)
    xy_MK *= _signs(vectors_DK, (second_M - first_M) @ xy_MK)
    shares = weight_M @ xy_MK**2 / variance(points_MD, weight_M)
    labels = [f"principal component {k + 1}: {_percent(share)} of the variance" for k, share in enumerate(shares)]
    if len(shares) < 2 or shares[1] < 1e-9:
        xy_MK = np.column_stack([xy_MK[:, 0], order_M])
        labels = [labels[0], "prompts in order: answers vary in one direction only"]
    return View(xy_MK, (labels[0], labels[1]))


def by_shift(
    points_MD: NDArray[np.float32], prompt_M: NDArray[np.int64], first_M: Float, second_M: Float
) -> View | None:
    """The direction of the mean shift, and the first principal component at right angles to it.

    In many dimensions the means of any two samples differ in *some* direction, and seen along it two samples of one
    distribution look apart. So each half of the prompts (even and odd) is seen along the direction that the other half
    moved in: where nothing has shifted, nothing is seen.

    Returns:
        None where a half has no shift at all, or lacks a sample, or where there are fewer than three dimensions.
    """
    if points_MD.shape[1] < 3:
        return None
    odd_M = prompt_M % 2 == 1
    directions = []
    for half_M in (odd_M, ~odd_M):  # what even prompts are seen along, then what odd ones are
        sums = [float(side_M[half_M].sum()) for side_M in (first_M, second_M)]
        if min(sums) == 0:
            return None
        shift_D = weighted_sum(points_MD, (second_M / sums[1] - first_M / sums[0]) * half_M)
        length = float(np.linalg.norm(shift_D))
        if length == 0:
            return None
        directions.append(shift_D / length)
    weight_M = (first_M + second_M) / 2
    along_D2 = np.column_stack(directions)
    along_M = onto(points_MD, weight_M, along_D2)[np.arange(len(odd_M)), odd_M.astype(int)]
    across_D1 = principal(points_MD, weight_M, 1, without_DE=np.linalg.qr(along_D2)[0])
    across_M = onto(points_MD, weight_M, across_D1)[:, 0] * _signs(across_D1, np.zeros(1))[0]
    xy_M2 = np.column_stack([along_M, across_M])
    spread = weight_M @ xy_M2**2 - (weight_M @ xy_M2) ** 2
    shares = spread / variance(points_MD, weight_M)
    labels = (
        f"along the mean shift: {_percent(shares[0])} of the variance",
        f"main direction at right angles to it: {_percent(shares[1])}",
    )
    return View(xy_M2, labels)


def principal(points_MD: NDArray[np.float32], weight_M: Float, k: int, *, without_DE: Float | None = None) -> Float:
    """The first k eigenvectors of the weighted covariance [D, k], largest first; fewer where there are fewer.

    Taken from the smaller of the D x D covariance and the M x M Gram matrix, in float64.

    Args:
        points_MD: rows.
        weight_M: their weights, summing to 1.
        k: how many.
        without_DE: orthonormal directions to leave out.
    """
    from scipy.linalg import eigh

    def scaled() -> Iterator[Float]:
        for rows, centered in _centered(points_MD, weight_M):
            kept = centered if without_DE is None else centered - centered @ without_DE @ without_DE.T
            yield kept * np.sqrt(weight_M[rows, None])

    size = min(points_MD.shape)
    some = (max(size - k, 0), size - 1)
    if size == points_MD.shape[1]:
        covariance_DD = np.zeros((size, size))
        for block in scaled():
            covariance_DD += block.T @ block
        return eigh(covariance_DD, subset_by_index=some)[1][:, ::-1]
    whole_MD = np.concatenate(list(scaled()))
    vectors_DK = whole_MD.T @ eigh(whole_MD @ whole_MD.T, subset_by_index=some)[1][:, ::-1]
    return vectors_DK / np.maximum(np.linalg.norm(vectors_DK, axis=0), 1e-30)


def displacements(
    points_MD: NDArray[np.float32], prompt_M: NDArray[np.int64], first_M: Float, second_M: Float
) -> tuple[NDArray[np.int64], Float]:
    """The prompts that both samples have, and how far each one's mean answer has moved, in all dimensions."""
    from scipy.sparse import csr_array

    totals = [np.bincount(prompt_M, weights=side_M) for side_M in (first_M, second_M)]
    paired_A = np.flatnonzero((totals[0] > 0) & (totals[1] > 0))
    first, second = (
        side_M / np.where(total > 0, total, 1)[prompt_M]
        for side_M, total in zip((first_M, second_M), totals, strict=True)
    )
    shape = (len(totals[0]), len(prompt_M))
    moves_AD = csr_array((second - first, (prompt_M, np.arange(len(prompt_M)))), shape=shape)[paired_A] @ points_MD
    return paired_A, np.linalg.norm(moves_AD, axis=1)


def variance(points_MD: NDArray[np.float32], weight_M: Float) -> float:
    """The weighted variance of the rows, summed over dimensions."""
    return sum(float(weight_M[rows] @ (centered**2).sum(axis=1)) for rows, centered in _centered(points_MD, weight_M))


def onto(points_MD: NDArray[np.float32], weight_M: Float, vectors_DK: Float) -> Float:
    """The rows, less their weighted mean, along each vector [M, K]."""
    return np.concatenate([centered @ vectors_DK for _, centered in _centered(points_MD, weight_M)])


def weighted_sum(points_MD: NDArray[np.float32], weight_M: Float) -> Float:
    """The sum of the rows times their weights, in float64."""
    blocks = (slice(start, start + BLOCK) for start in range(0, len(points_MD), BLOCK))
    return np.sum([weight_M[rows] @ points_MD[rows].astype(np.float64) for rows in blocks], axis=0)


def _centered(points_MD: NDArray[np.float32], weight_M: Float) -> Iterator[tuple[slice, Float]]:
    """Blocks of rows in float64, less the weighted mean."""
    mean_D = weighted_sum(points_MD, weight_M)
    for start in range(0, len(points_MD), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, points_MD[rows].astype(np.float64) - mean_D


def _signs(vectors_DK: Float, shift_K: Float) -> Float:
    """Signs that turn each axis along the shift; its largest entry positive where there is none."""
    largest_K = vectors_DK[np.abs(vectors_DK).argmax(axis=0), np.arange(vectors_DK.shape[1])]
    return np.where(np.where(shift_K == 0, largest_K, shift_K) < 0, -1.0, 1.0)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"
