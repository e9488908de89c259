"""A model's forward pass as the engine uses it: padding, positions, the cache, and logits of the last tokens alone."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from datasets_cards.errors import EngineError
from labelers.engines.hf.kv_cache import RoomyCache, RoomyLayer, select_rows, share_prompts
from labelers.engines.hf.shared_prompts import NAME as SHARED_PROMPTS
from labelers.engines.hf.shared_weights import fast
from labelers.engines.models import memory_budget

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_ROWS = 1024
"""Rows of a batch where memory allows more: beyond, a call costs nothing any more beside its rows."""


@dataclass
class Work:
    """What has been done so far, for tests and benchmarks.

    Attributes:
        prompts: prompts computed.
        tokens: tokens drawn.
        settled: tokens, and beam searches, that were decided alone because rounding could have tipped them.
    """

    prompts: int = 0
    tokens: int = 0
    settled: int = 0


class Forward:
    """Logits of a loaded model, float32."""

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self.config, self.device, self.dtype, self.name = model.config, model.device, model.dtype, name
        self.context = int(getattr(self.config.get_text_config(), "max_position_embeddings", 0) or 1 << 30)
        self.work = Work()
        self._model = fast(model)
        parameters = inspect.signature(getattr(model, "get_base_model", lambda: model)().forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._takes_logits_to_keep = "logits_to_keep" in parameters

    def __call__(
        self, ids_RT: torch.Tensor, mask_RT: torch.Tensor | None, cache: RoomyCache | None, keep: int = 1
    ) -> torch.Tensor:
        """Logits of the last `keep` tokens, of shape (rows, keep, V).

        Args:
            ids_RT: the tokens that the cache doesn't hold yet.
            mask_RT: 0 for padding, over the cache's tokens and these; None where there is no padding.
            cache: it grows by these tokens; None for none.
        """
        inputs: dict[str, object] = {"input_ids": ids_RT, "attention_mask": mask_RT, "use_cache": cache is not None}
        if cache is not None:
            inputs["past_key_values"] = cache
            if cache.shared is not None:
                inputs["shared_prompts"] = cache.shared
        if mask_RT is not None and self._takes_positions:
            new = ids_RT.shape[1]
            positions = mask_RT.sum(-1, keepdim=True) - 1 if new == 1 else (mask_RT.cumsum(-1) - 1)[:, -new:]
            # Padding has no position, and a finished row that waits to leave its batch may have run out of them.
            inputs["position_ids"] = positions.clamp(0, self.context - 1)
        if self._takes_logits_to_keep:
            inputs["logits_to_keep"] = keep
        return self._model(**inputs).logits[:, -keep:].float()  # pyright: ignore[reportCallIssue]

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor | None, RoomyCache]:
        """Compute prompts once: the logits after each, the mask, and the cache that holds them."""
        ids_PT, mask_PT = self.padded(prompts)
        cache = RoomyCache(self.config)
        self.work.prompts += len(prompts)
        return self(ids_PT, mask_PT, cache)[:, -1], mask_PT, cache

    def spread(self, cache: RoomyCache, rows_R: torch.Tensor) -> RoomyCache:
        """A cache of rows, from one that holds their prompts: row i begins with prompt `rows_R[i]`."""
        return share_prompts(cache, rows_R) if self._shares else select_rows(cache, rows_R)

    @cached_property
    def _shares(self) -> bool:
        """Whether the model's attention can share prompts: asked for by its settings, and tried out once.

        A model may treat its cache in ways that its settings don't tell. So two prompts go on in three rows both ways.
        """
        if self._model.config._attn_implementation != SHARED_PROMPTS:
            return False
        with torch.inference_mode():
            ids_PT, mask_PT = self.padded([[0, 1, 0, 1], [1, 0]])
            cache, rows_R = RoomyCache(self.config), torch.tensor([0, 1, 0])
            assert mask_PT is not None
            self(ids_PT, mask_PT, cache)
            if not all(type(layer) is RoomyLayer and layer.length == 4 for layer in cache.layers):
                return False
            mask_RT = with_next(mask_PT[rows_R])
            try:
                copied = self(rows_R[:, None], mask_RT, select_rows(cache, rows_R))
                shared = self(rows_R[:, None], mask_RT, share_prompts(cache, rows_R))
            except Exception:  # the library's models raise whatever theirs is
                return False
            return torch.allclose(copied, shared, rtol=1e-3, atol=1e-3)

    def padded(self, sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Left-padded ids and their mask, so that every row's last token stands in the last column."""
        longest = max(map(len, sequences))
        ids = np.zeros((len(sequences), longest), np.int64)
        mask = np.zeros((len(sequences), longest), np.int64)
        for row, sequence in enumerate(sequences):
            ids[row, longest - len(sequence) :] = sequence
            mask[row, longest - len(sequence) :] = 1
        padding = None if mask.all() else torch.from_numpy(mask).to(self.device)
        return torch.from_numpy(ids).to(self.device), padding

    def rows(self, prompt: int, new: int, kept: int = 1) -> int:
        """How many rows fit a batch's memory.

        Args:
            prompt: tokens computed at once.
            new: tokens to come, one by one.
            kept: tokens whose logits are looked at together.
        """
        config = self.config.get_text_config()
        width = getattr(config, "hidden_size", 1024)
        cache = 2 * width * getattr(config, "num_hidden_layers", 24)
        activations = 4 * (getattr(config, "intermediate_size", None) or 4 * width)
        vocabulary = getattr(config, "vocab_size", 1 << 17)
        numbers = (prompt + new) * cache + prompt * activations + 8 * kept * vocabulary
        return max(1, min(MOST_ROWS, self.budget() // (numbers * self.dtype.itemsize)))

    def budget(self) -> int:
        """Bytes that a batch may take."""
        return memory_budget(self.device)

    def check(self, log_probabilities: torch.Tensor) -> None:
        """Refuse to go on from numbers that are none.

        Raises:
            EngineError: one of them is not finite.
        """
        if not math.isfinite(float(log_probabilities.sum())):
            raise EngineError(
                "the model's output is not a number", where=self.name, remedy="Its weights or training diverged"
            )


def with_next(mask_RT: torch.Tensor | None) -> torch.Tensor | None:
    """A mask with one more token in every row."""
    return None if mask_RT is None else torch.cat([mask_RT, mask_RT.new_ones(len(mask_RT), 1)], -1)
