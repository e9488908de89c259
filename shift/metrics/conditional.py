"""Conditional MMD^2: are answers to *like prompts* alike? Sees shifts that cancel when prompts are pooled."""

from __future__ import annotations

from dataclasses import dataclass

from datasets_cards.errors import InputError
from shift.gram import gram_of_states
from shift.groups import StateRows
from shift.kernels import Gaussian, Product
from shift.metrics.protocol import Float


@dataclass(frozen=True)
class ConditionalMmd:
    """The MMD^2 of a product kernel, on prompts and on answers (conditional mean embeddings: Park and Muandet 2020)."""

    name: str = "conditional_mmd"
    title: str = "conditional MMD²"
    meaning: str = (
        "Squared distance between the answers, each compared only as far as its prompt is like the other's; 0 where "
        "answers to like prompts are alike."
    )

    def gram(self, rows: StateRows, *, seed: int) -> Float:
        """Exact, in blocks; needs the embedded prompts."""
        if rows.prompts_ND is None:
            raise InputError("the prompts were not embedded", remedy="Measure an artifact, or give points of prompts.")
        kernel = Product.fit(rows.prompts_ND, rows.prompt_M, Gaussian.fit(rows.points_MD, seed=seed), seed=seed)
        return gram_of_states(kernel, *rows.layout)
