"""Squared maximum mean discrepancy with a Gaussian mixture kernel (Gretton et al. 2012), unbiased."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.gram import gram_of_states
from shift.kernels import Gaussian
from shift.metrics.protocol import Float


@dataclass(frozen=True)
class Mmd:
    """MMD^2: five bandwidths around the pooled median distance, averaged."""

    name: str = "mmd"
    title: str = "MMD²"
    meaning: str = (
        "Squared distance between the two sets as seen by a smooth kernel; 0 where they are alike, at most 2, and "
        "slightly negative by chance."
    )

    def gram(
        self,
        points_MD: NDArray[np.float32],
        prompt_M: NDArray[np.int64],
        state_M: NDArray[np.int64],
        states: int,
        *,
        prompts_ND: NDArray[np.float32] | None,
        seed: int,
        progress: bool,
    ) -> Float:
        """Exact, in blocks."""
        return gram_of_states(Gaussian.fit(points_MD, seed=seed), state_M, prompt_M, states)
