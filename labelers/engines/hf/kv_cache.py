"""A key-value cache that is written in place, and that holds a prompt once for all its rows where it may.

The library's dynamic cache concatenates at every step, which copies all of it once a token. Here a full-attention layer
keeps room for the next tokens and moves only those rows that change places; layers of other kinds (sliding window,
linear) stay the library's own.
"""

from __future__ import annotations

import copy

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

from labelers.engines.hf.shared_prompts import SharedPrompts

ROOM = 16
"""Tokens of room at each growth: few enough to waste little, many enough to copy rarely."""


class RoomyLayer(DynamicLayer):
    """A full-attention layer: states of shape (rows, heads, length, head size) at the front of larger tensors.

    Args:
        before: how many states of each row lie elsewhere, in a shared prompt.
    """

    def __init__(self, before: int = 0) -> None:
        super().__init__()
        self.before = before
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
        return self.states()

    def states(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Views of the keys and values held."""
        assert self.keys is not None and self.values is not None
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_seq_length(self) -> int:
        """Tokens held, a shared prompt's included."""
        return self.before + self.length

    def select(self, rows_R: torch.Tensor) -> RoomyLayer:
        """A layer of these rows, with room; this one stays as it is."""
        assert self.keys is not None and self.values is not None
        picked = copy.copy(self)
        # Whole rows, room included, lie in one piece: that copies several times as fast as their filled parts would.
        picked.keys, picked.values = self.keys.index_select(0, rows_R), self.values.index_select(0, rows_R)
        return picked

    def move(self, rows_R: torch.Tensor, start: int) -> None:
        """Row i becomes what row `rows_R[i]` was, from token `start` on; rows beyond the last are dropped."""
        if self.keys is None or self.values is None:
            return
        to_M = (rows_R != torch.arange(len(rows_R), device=rows_R.device)).nonzero()[:, 0]
        first = max(start - self.before, 0)
        for states in (self.keys, self.values):
            if len(to_M) and first < self.length:
                states[to_M, :, first : self.length] = states[rows_R[to_M], :, first : self.length]
        self.keys, self.values = self.keys[: len(rows_R)], self.values[: len(rows_R)]


class RoomyCache(DynamicCache):
    """In-place layers wherever the model has plain full attention; `shared` where rows share their prompts."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config=config)
        self.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in self.layers]
        self.shared: SharedPrompts | None = None


def _with_room(old: torch.Tensor | None, new: torch.Tensor, length: int) -> torch.Tensor:
    """A larger tensor, with `length` old states at its front."""
    grown = new.new_empty(new.shape[0], new.shape[1], length + new.shape[2] + ROOM, new.shape[3])
    if old is not None:
        grown[:, :, :length] = old[:, :, :length]
    return grown


def select_rows(cache: RoomyCache, rows_R: torch.Tensor) -> RoomyCache:
    """A cache of these rows of another, repeated or left out as the index says; the other stays as it is."""
    picked = copy.copy(cache)
    picked.layers = [x.select(rows_R) if type(x) is RoomyLayer else copy.deepcopy(x) for x in cache.layers]
    for layer in picked.layers:
        if type(layer) is not RoomyLayer:
            layer.reorder_cache(rows_R)  # pyright: ignore[reportArgumentType]
    return picked


def share_prompts(cache: RoomyCache, rows_R: torch.Tensor) -> RoomyCache:
    """The same, where every layer is an in-place one and holds prompts alone: these stay where they are, in both."""
    picked = copy.copy(cache)
    layers = [layer for layer in cache.layers if type(layer) is RoomyLayer]
    picked.layers = []
    picked.layers += [RoomyLayer(before=layer.length) for layer in layers]
    picked.shared = SharedPrompts([layer.states() for layer in layers], rows_R)
    return picked


def move_rows(cache: RoomyCache, rows_R: torch.Tensor, *, start: int = 0) -> None:
    """Rearrange a cache in place: row i becomes what row `rows_R[i]` was, and rows beyond the last are dropped.

    Args:
        rows_R: no longer than the cache has rows.
        start: first token from which rows that take each other's place may differ; what lies before it is not copied.
    """
    if cache.shared is not None:
        cache.shared = cache.shared.moved(rows_R)
    for layer in cache.layers:
        if type(layer) is RoomyLayer:
            layer.move(rows_R, start)
        else:
            layer.reorder_cache(rows_R)  # pyright: ignore[reportArgumentType]
