"""Conditional MMD^2: are answers to *like prompts* alike? Sees shifts that cancel when prompts are pooled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.gram import gram_of_states
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
        """Exact, in blocks; needs the embedded prompts."""
        if prompts_ND is None:
            raise InputError("the prompts were not embedded", remedy="Measure an artifact, or give points of prompts.")
        kernel = Product.fit(prompts_ND, prompt_M, Gaussian.fit(points_MD, seed=seed), seed=seed)
        return gram_of_states(kernel, state_M, prompt_M, states)
