"""Inner products of rows, by whichever of NumPy and oneDNN (through torch) multiplies faster on this machine.

Neither wins everywhere. On one thread of a Zen 5 server OpenBLAS reaches 213 GFLOP/s with its AVX-512 kernels and 113
where `OPENBLAS_CORETYPE=Haswell` is set, as some clusters do; oneDNN 193-217 in both cases and `torch.mm` (MKL) 96.
So both are timed once, but only where the job repays it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

WORTH_TIMING = 2e10
"""Floating-point operations (0.1 s) from which a job repays the 20 ms that timing takes."""
WORTH_IMPORTING = 5e11
"""Operations from which it repays the second that importing torch takes, where nobody has done so yet."""

Multiply = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]


def by_numpy(left: NDArray, right: NDArray) -> NDArray:
    """`left @ right.T` by NumPy's own BLAS."""
    return left @ right.T


def by_onednn(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """`left @ right.T` by the oneDNN that comes with torch."""
    import torch

    with torch.autocast("cpu", enabled=False):
        product = torch.nn.functional.linear(torch.from_numpy(left).to_mkldnn(), torch.from_numpy(right))
    return product.to_dense().numpy()


_fastest: Multiply | None = None


def inner(left: NDArray, right: NDArray) -> NDArray:
    """`left @ right.T` for two arrays [rows, width] of one dtype."""
    if _fastest is None or left.dtype != np.float32:
        return by_numpy(left, right)
    return _fastest(left, right)


def prepare(operations: float) -> None:
    """Choose how to multiply, once per process, ahead of a job of so many floating-point operations."""
    global _fastest
    enough = WORTH_TIMING if "torch" in sys.modules else WORTH_IMPORTING
    if _fastest is None and operations >= enough:
        _fastest = fastest()


def fastest() -> Multiply:
    """Time both ways on blocks of 512 x 512 x 384; oneDNN must be clearly faster and agree to rounding."""
    left, right = np.random.default_rng(0).standard_normal((2, 512, 384), dtype=np.float32)
    try:
        # A process may have lowered torch's precision (bfloat16 products): then it can't be used here.
        if not np.allclose(by_onednn(left, right), by_numpy(left, right), atol=2e-3):
            return by_numpy
    except (ImportError, AttributeError, RuntimeError):  # no torch, or one without this way to oneDNN
        return by_numpy
    seconds = {}
    for multiply in (by_numpy, by_onednn):
        seconds[multiply] = min(_seconds(multiply, left, right) for _ in range(4))
    return by_onednn if seconds[by_onednn] < 0.9 * seconds[by_numpy] else by_numpy


def _seconds(multiply: Multiply, left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    start = perf_counter()
    multiply(left, right)
    return perf_counter() - start
