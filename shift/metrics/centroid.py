"""Centroid shift: the squared distance between the two average answers, corrected for sampling; and their cosine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.gram import gram_of_features
from shift.groups import StateRows
from shift.kernels import Linear
from shift.metrics.protocol import Float


@dataclass(frozen=True)
class Centroid:
    """|mean difference|^2 as a U-form: the plain square of the difference would be positive by sampling alone."""

    name: str = "centroid"
    title: str = "centroid shift"
    meaning: str = (
        "Squared distance between the average answers of the two sets, sampling taken out; 0 where the averages "
        "agree, whatever else differs."
    )

    def gram(self, rows: StateRows, *, seed: int) -> Float:
        """Exact, in time linear in the rows."""
        return gram_of_features(Linear.fit(rows.points_MD).features, *rows.layout)

    def parts(self, points_MD: NDArray[np.float32], first_M: Float, second_M: Float) -> dict[str, float | None]:
        """The cosine between the two averages (None where one of them is zero)."""
        first, second = first_M @ points_MD, second_M @ points_MD
        lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
        return {"cosine": float(first @ second) / lengths if lengths > 0 else None}
