"""What a kernel is: made once on the pooled rows, then asked for blocks, so that memory stays at one block."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shift.kernels.rows import Rows


class Kernel(Protocol):
    """A positive definite (or conditionally positive definite) function of two rows."""

    def __len__(self) -> int:
        """How many rows it was made on."""
        ...

    def block(self, rows: Rows, cols: Rows) -> NDArray[np.float32]:
        """The kernel between two sets of rows, float32 [rows, cols]; the caller may overwrite it."""
        ...
