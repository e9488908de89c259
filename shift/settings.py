"""How to measure a shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.metrics import BY_NAME_ONLY, METRICS

CONDITIONAL = "conditional_mmd"


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        embedder: a SentenceTransformer by id or directory; texts need one.
        metrics: names of metrics (`shift.METRICS`); None for all that the points allow, but those of `BY_NAME_ONLY`.
        permutations: B of every test and interval; at least 99.
        seed: of whatever is drawn.
        progress: show bars on stderr.
    """

    embedder: str | Path | None = None
    metrics: Sequence[str] | None = None
    permutations: int = 999
    seed: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            InputError: too few permutations, or a metric that isn't there.
        """
        if isinstance(self.metrics, str):
            object.__setattr__(self, "metrics", (self.metrics,))
        whole = [isinstance(number, int | np.integer) for number in (self.permutations, self.seed)]
        if not all(whole) or self.seed < 0:
            raise InputError(
                f"{self.permutations!r} permutations and seed {self.seed!r}", remedy="Give whole numbers, not negative."
            )
        if self.permutations < 99:
            raise InputError(
                f"{self.permutations} permutations", remedy="Take at least 99: the smallest p is 1 / (B + 1)."
            )
        if unknown := [name for name in self.metrics or () if name not in METRICS]:
            raise InputError(f"no metric is called {unknown[0]!r}", remedy=f"There are {', '.join(METRICS)}.")

    def names(self, prompts_ND: NDArray[np.float32] | None) -> list[str]:
        """The metrics beside MMD^2, which every leg has."""
        named = [
            name for name in METRICS if name not in BY_NAME_ONLY and (name != CONDITIONAL or prompts_ND is not None)
        ]
        return [name for name in dict.fromkeys(named if self.metrics is None else self.metrics) if name != "mmd"]

    @classmethod
    def of(cls, given: dict[str, Any]) -> Settings:
        """Settings by name.

        Raises:
            InputError: a name that isn't one, or as above.
        """
        known = {field.name for field in fields(cls)}
        if unknown := [name for name in given if name not in known]:
            raise InputError(f"no setting is called {unknown[0]!r}", remedy=f"There are {', '.join(sorted(known))}.")
        return cls(**given)
