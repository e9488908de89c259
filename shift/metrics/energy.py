"""Energy distance 2 E|x - y| - E|x - x'| - E|y - y'| (Szekely and Rizzo 2004), unbiased."""

from __future__ import annotations

from dataclasses import dataclass

from shift.gram import gram_of_states
from shift.groups import StateRows
from shift.kernels import Distance
from shift.metrics.protocol import Float


@dataclass(frozen=True)
class Energy:
    """The energy distance (not its root): the MMD^2 of the kernel -|x - y|, so no bandwidth is chosen."""

    name: str = "energy"
    title: str = "energy distance"
    meaning: str = (
        "How much further answers are from those of the other set than from those of their own, in the embedder's "
        "units; 0 where the sets are alike, slightly negative by chance."
    )

    def gram(self, rows: StateRows, *, seed: int) -> Float:
        """Exact, in blocks."""
        return gram_of_states(Distance.fit(rows.points_MD), *rows.layout)
