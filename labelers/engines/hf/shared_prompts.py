"""Attention to prompts that several rows share: their keys and values are held, and read, once a prompt.

A step of decoding is bound by reading the cache, and most of what it holds are prompts. Rows of one prompt are put side
by side as queries of one matrix product; what each row has drawn itself is attended to beside it, under one softmax.
It is registered with transformers as an attention function; without shared prompts that is the library's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "echoset_shared_prompts"


@dataclass
class SharedPrompts:
    """Prompts of a batch and whose they are.

    Attributes:
        layers: keys and values of each layer, of shape (prompts, heads, length, head size).
        owner_R: the prompt of each row.
        cell_R: a place for each row in a grid of prompts x `most`.
        most: rows of the prompt that has most.
    """

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    owner_R: torch.Tensor

    def __post_init__(self) -> None:
        prompts_U, self.owner_R = self.owner_R.unique(return_inverse=True)
        if len(prompts_U) <= len(self.layers[0][0]) // 2:  # a copy that pays: the others are read at every step
            self.layers = [(k.index_select(0, prompts_U), v.index_select(0, prompts_U)) for k, v in self.layers]
        else:
            self.owner_R = prompts_U[self.owner_R]
        count_P = self.owner_R.bincount(minlength=len(self.layers[0][0]))
        self.most = int(count_P.max())
        order_R = self.owner_R.argsort(stable=True)
        first_P = count_P.cumsum(0) - count_P
        self.cell_R = torch.empty_like(order_R)
        places_R = torch.arange(len(order_R), device=order_R.device)
        self.cell_R[order_R] = places_R + self.owner_R[order_R] * self.most - first_P[self.owner_R[order_R]]

    def moved(self, rows_R: torch.Tensor) -> SharedPrompts:
        """The same prompts for other rows: row i is what row `rows_R[i]` was."""
        return SharedPrompts(self.layers, self.owner_R[rows_R])

    def by_prompt(self, x_RhgX: torch.Tensor) -> torch.Tensor:
        """Rows side by side: (rows, heads, g, X) to (prompts, heads, most * g, X), zeros where a prompt has fewer."""
        _, heads, g, size = x_RhgX.shape
        prompts = len(self.layers[0][0])
        grid = x_RhgX.new_zeros(prompts * self.most, heads, g, size).index_copy_(0, self.cell_R, x_RhgX)
        return grid.view(prompts, self.most, heads, g, size).transpose(1, 2).reshape(prompts, heads, -1, size)

    def by_row(self, y_PhmX: torch.Tensor) -> torch.Tensor:
        """The way back, from (prompts, heads, most * g, X) to (rows, heads, g, X)."""
        prompts, heads, _, size = y_PhmX.shape
        grid = y_PhmX.view(prompts, heads, self.most, -1, size).transpose(1, 2)
        return grid.reshape(prompts * self.most, heads, -1, size).index_select(0, self.cell_R)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    shared_prompts: SharedPrompts | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """One query a row, to its shared prompt and to `key` and `value`, which hold what the row has beyond it.

    Args:
        query: (rows, query heads, 1, head size); a key head serves `g` query heads.
        attention_mask: True where a row may look, of shape (rows, 1, 1, prompt + own), or None.
        shared_prompts: None for the library's own scaled dot-product attention.

    Returns:
        (rows, 1, query heads, head size), and None for the weights.
    """
    if shared_prompts is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)  # pyright: ignore[reportArgumentType]
    prompt_key, prompt_value = shared_prompts.layers[int(module.layer_idx)]  # pyright: ignore[reportArgumentType]
    rows, query_heads, _, size = query.shape
    q_RhgX = (query * (scaling or size**-0.5)).reshape(rows, key.shape[1], -1, size)
    to_prompt_RhgL = shared_prompts.by_row(shared_prompts.by_prompt(q_RhgX) @ prompt_key.mT)
    weight_RhgT = torch.cat([to_prompt_RhgL, q_RhgX @ key.mT], -1)
    if attention_mask is not None:
        weight_RhgT.masked_fill_(~attention_mask, -torch.inf)
    weight_RhgT = weight_RhgT.softmax(-1)
    length = prompt_key.shape[2]
    from_prompt_RhgX = shared_prompts.by_row(shared_prompts.by_prompt(weight_RhgT[..., :length]) @ prompt_value)
    mixed_RhgX = from_prompt_RhgX + weight_RhgT[..., length:] @ value
    return mixed_RhgX.reshape(rows, 1, query_heads, size), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
