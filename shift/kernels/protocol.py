"""What a kernel is: made once on the pooled rows, then asked for blocks, so that memory stays at one block."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shift.kernels.rows import Rows
from shift.kernels.squares import Squares


class Kernel(Protocol):
    """A positive definite (or conditionally positive definite) function of two rows."""

    def __len__(self) -> int:
        """How many rows it was made on."""
        ...

    def block(self, rows: Rows, cols: Rows) -> NDArray[np.float32]:
        """The kernel between two sets of rows, float32 [rows, cols]; the caller may overwrite it."""
        ...


class FromSquares(Kernel, Protocol):
    """A kernel that depends on |x - y| alone, so that several can share the one matrix product that gives it."""

    @property
    def squares(self) -> Squares:
        """What it is made from."""
        ...

    def of(self, power: NDArray[np.float32]) -> NDArray[np.float32]:
        """The kernel from a block of `squares`, in the block's own memory."""
        ...
