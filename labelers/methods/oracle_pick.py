"""Oracle pick (control): the candidate that the task's own indicator M calls aligned, or misaligned.

It bounds from both sides what any selector could do on this pool. Never a method to use: M is what effects are
measured by.
"""

from __future__ import annotations

from typing import Literal

from labelers.method import Method, SamplesConfig
from labelers.proposals import Samples
from labelers.scorers import Misalignment
from labelers.selectors import Argmax, Argmin


class OraclePickConfig(SamplesConfig):
    """The pool of `self_confidence`.

    Attributes:
        pick: which candidates to prefer; where there is no such one, the first that could be judged.
    """

    pick: Literal["aligned", "misaligned"] = "aligned"


class OraclePick(Method):
    """Label every row with an aligned (or misaligned) candidate where there is one."""

    name = "oracle_pick"
    any_pool = True
    config_class = OraclePickConfig
    config: OraclePickConfig

    def compose(self) -> None:
        """Samples x misalignment x argmin (aligned) or argmax (misaligned)."""
        self.proposal, self.scorer = Samples(**self.config.model_dump(exclude={"pick"})), Misalignment()
        self.selector = Argmin() if self.config.pick == "aligned" else Argmax()
