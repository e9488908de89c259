"""A kernel on (prompt, response) pairs: responses are compared only as far as their prompts are alike.

    k((p, x), (q, y)) = k_P(p, q) k_R(x, y)

With the same prompts on both sides its MMD^2 is the distance between the two conditional distributions of responses,
weighted by how close the prompts are (conditional mean embeddings: Park and Muandet 2020). It sees shifts that cancel
over prompts, such as longer answers to easy questions and shorter ones to hard questions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.kernels.gaussian import Gaussian
from shift.kernels.protocol import Kernel
from shift.kernels.rows import Rows


@dataclass(frozen=True)
class Product:
    """The product of a kernel on prompts and one on responses.

    Attributes:
        prompts: made on the distinct prompts.
        prompt_M: the prompt of each row.
        responses: made on the rows.
    """

    prompts: Kernel
    prompt_M: NDArray[np.integer]
    responses: Kernel

    @classmethod
    def fit(
        cls, prompts_ND: NDArray[np.floating], prompt_M: NDArray[np.integer], responses: Kernel, *, seed: int = 0
    ) -> Product:
        """Give prompts one Gaussian at the median distance between prompts (1 throughout where all coincide).

        Args:
            prompts_ND: the embedded prompts.
            prompt_M: which of them each row answers.
            responses: the kernel on the rows.
            seed: of the median's subsample.

        Raises:
            InputError: rows without a prompt, NaN or infinity in a prompt.
        """
        prompt_M = np.asarray(prompt_M)
        if len(prompt_M) != len(responses):
            raise InputError(f"{len(responses)} rows and {len(prompt_M)} prompts don't pair up")
        wrong_M = (prompt_M < 0) | (prompt_M >= len(prompts_ND))
        if wrong_M.any():
            bad = int(np.argmax(wrong_M))
            raise InputError(f"its prompt is {prompt_M[bad]} of {len(prompts_ND)}", where=f"row {bad}")
        return cls(Gaussian.fit(prompts_ND, octaves=1, seed=seed), prompt_M, responses)

    def __len__(self) -> int:
        return len(self.responses)

    def block(self, rows: Rows, cols: Rows) -> NDArray[np.float32]:
        """The kernel between two sets of rows, float32 [rows, cols]."""
        out = self.responses.block(rows, cols)
        out *= self.prompts.block(self.prompt_M[rows], self.prompt_M[cols])
        return out
