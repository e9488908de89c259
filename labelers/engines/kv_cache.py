"""A key-value cache that is written in place.

The library's dynamic cache concatenates at every step, which copies all of it once a token. Here a full-attention layer
keeps room for the next tokens; layers of other kinds (sliding window, linear) stay the library's own.
"""

from __future__ import annotations

import copy

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

ROOM = 32
"""Tokens of room at each growth: few enough to waste little, many enough to copy rarely."""


class RoomyLayer(DynamicLayer):
    """A full-attention layer: states of shape (rows, heads, length, head size) at the front of larger tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new states behind the old ones; returns views of all of them."""
        end = self.length + key_states.shape[-2]
        if self.keys is None or self.values is None or end > self.keys.shape[-2]:
            self.keys = _with_room(self.keys, key_states, self.length)
            self.values = _with_room(self.values, value_states, self.length)
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """Tokens held."""
        return self.length

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep these rows, repeated or left out as the index says; unused room is not copied."""
        assert self.keys is not None and self.values is not None
        keys, values = self.keys[:, :, : self.length], self.values[:, :, : self.length]
        self.keys, self.values = (_with_room(None, kept, 0, beam_idx) for kept in (keys, values))


def _with_room(
    old: torch.Tensor | None, new: torch.Tensor, length: int, rows: torch.Tensor | None = None
) -> torch.Tensor:
    """A larger tensor: with `length` old states at its front, or with the picked rows of `new`."""
    count = new.shape[0] if rows is None else len(rows)
    grown = new.new_empty(count, new.shape[1], length + new.shape[2] + ROOM, new.shape[3])
    if old is not None:
        grown[:, :, :length] = old[:, :, :length]
    if rows is not None:
        grown[:, :, : new.shape[2]] = new[rows]
    return grown


def new_cache(config: PretrainedConfig) -> DynamicCache:
    """An empty cache for a model, with in-place layers wherever it has plain full attention."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def select_rows(cache: DynamicCache, rows_R: torch.Tensor) -> DynamicCache:
    """A cache of these rows of another, which stays as it is."""
    picked = copy.copy(cache)
    # A RoomyLayer replaces its tensors and leaves the old ones alone; the library's layers may write in place.
    picked.layers = [copy.copy(x) if type(x) is RoomyLayer else copy.deepcopy(x) for x in cache.layers]
    picked.reorder_cache(rows_R)  # pyright: ignore[reportArgumentType]
    return picked
