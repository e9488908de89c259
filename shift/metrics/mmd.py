"""Squared maximum mean discrepancy with a Gaussian mixture kernel (Gretton et al. 2012), unbiased."""

from __future__ import annotations

from dataclasses import dataclass

from shift.gram import gram_of_states
from shift.groups import StateRows
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

    def gram(self, rows: StateRows, *, seed: int) -> Float:
        """Exact, in blocks."""
        return gram_of_states(Gaussian.fit(rows.points_MD, seed=seed), *rows.layout)
