"""What a metric is: prepared once on the pooled rows, then asked for any two weightings of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shift.groups import StateRows

Float = NDArray[np.float64]

Statistic = Callable[[Float, Float], Mapping[str, float | None]]
"""(first_M, second_M) -> {"value": ..., further parts by name}. Both weightings are >= 0 and sum to 1; a row may have
weight in both (a selected answer is a member of its pool). A part that is undefined is None, never 0."""


class Metric(Protocol):
    """A measure of how far two samples of points are apart.

    Attributes:
        name: in the registry and in reports, such as `sliced_w2`.
        title: as printed, such as "sliced Wasserstein-2".
        meaning: one sentence for someone who has never met it, with the unit and what 0 (or 1) means.
        grows: whether a shift makes the value larger; False where it makes it smaller (MAUVE: 1 means alike).
        tested: whether redrawing labels gives it a p-value; otherwise it gives only the range of its null.
        redraws: how many redraws its cost allows at most.
    """

    @property
    def name(self) -> str:
        """In the registry and in reports."""
        ...

    @property
    def title(self) -> str:
        """As printed."""
        ...

    @property
    def meaning(self) -> str:
        """A sentence for a newcomer."""
        ...

    @property
    def grows(self) -> bool:
        """Whether a shift makes the value larger."""
        ...

    @property
    def tested(self) -> bool:
        """Whether it has a p-value."""
        ...

    @property
    def redraws(self) -> int:
        """How many redraws at most."""
        ...

    def on(self, points_MD: NDArray[np.float32], prompt_M: NDArray[np.int64], *, seed: int) -> Statistic:
        """Prepare the pooled rows.

        Raises:
            InputError: rows that the metric can't be defined on.
        """
        ...


@runtime_checkable
class KernelMetric(Protocol):
    """A squared distance between means in a kernel's space: all its redraws follow from one Gram matrix of states."""

    @property
    def name(self) -> str:
        """In the registry and in reports."""
        ...

    @property
    def title(self) -> str:
        """As printed."""
        ...

    @property
    def meaning(self) -> str:
        """A sentence for a newcomer."""
        ...

    def gram(self, rows: StateRows, *, seed: int) -> Float:
        """Kernel values summed over pairs of rows of two states, pairs of one prompt left out, [states, states].

        Args:
            rows: in the order of their states.
            seed: of anything drawn.

        Raises:
            InputError: rows that the metric can't be defined on.
        """
        ...
