"""Self-refinement: the model's improvement of its own greedy draft (Madaan et al., arXiv 2303.17651)."""

from __future__ import annotations

from pydantic import Field

from labelers.method import Method, MethodConfig
from labelers.proposals import Refinement
from labelers.selectors import Only


class SelfRefinementConfig(MethodConfig):
    """Temperature and top_p of the refinement; the draft is greedy (arXiv 2606.03810)."""

    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.9, gt=0, le=1)


class SelfRefinement(Method):
    """Label every row with the refined answer."""

    name = "self_refinement"
    config_class = SelfRefinementConfig
    config: SelfRefinementConfig

    def compose(self) -> None:
        """Refinement x nothing x only."""
        self.proposal, self.selector = Refinement(**self.config.model_dump()), Only()
