"""Teacher-forced passes: what a model makes of completions that are given, token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from datasets_cards.errors import InputError
from labelers.engines.hf.forward import Forward
from labelers.engines.hf.kv_cache import RoomyCache
from labelers.engines.protocol import Uncertainty

Sequences = Sequence[tuple[list[int], list[int]]]
"""Prompt and completion token ids of each item."""


def log_probabilities(forward: Forward, items: Sequences, rows: int | None) -> list[list[float]]:
    """Log P of each completion token under the raw model at T=1, in nats.

    Args:
        rows: most items at once; None for what fits the memory.

    Raises:
        InputError: a sequence longer than the context.
    """

    def of_token(logits_NTV: torch.Tensor, target_NT: torch.Tensor) -> torch.Tensor:
        return (logits_NTV.gather(-1, target_NT[..., None])[..., 0] - logits_NTV.logsumexp(-1))[..., None]

    return [[value for (value,) in item] for item in _along(forward, items, rows, of_token)]


def uncertainties(forward: Forward, items: Sequences, rows: int | None) -> list[Uncertainty]:
    """Mean entropy and mean KL(uniform || p) of the next-token distributions p along each completion, in nats.

    With z the logits: H(p) = logsumexp z - sum p z, and KL(uniform || p) = logsumexp z - mean z - log V.

    Args:
        rows: most items at once; None for what fits the memory.

    Raises:
        InputError: an empty completion, or a sequence longer than the context.
        EngineError: the model's output is not finite.
    """

    def of_distribution(logits_NTV: torch.Tensor, target_NT: torch.Tensor) -> torch.Tensor:
        mass_NT = logits_NTV.logsumexp(-1)
        mean_NT = logits_NTV.mean(-1, dtype=torch.float64)
        expected_NT = (logits_NTV - mass_NT[..., None]).exp_().mul_(logits_NTV).sum(-1, dtype=torch.float64)
        values_NT2 = torch.stack([mass_NT - expected_NT, mass_NT - mean_NT - math.log(logits_NTV.shape[-1])], -1)
        forward.check(values_NT2)
        return values_NT2

    for _, tokens in items:
        if not tokens:
            raise InputError("a completion without tokens has no uncertainty", remedy="Leave empty completions out")
    means = [[sum(values) / len(item) for values in zip(*item, strict=True)] for item in _along(
        forward, items, rows, of_distribution
    )]  # fmt: skip
    return [Uncertainty(entropy, self_certainty) for entropy, self_certainty in means]


def _along(
    forward: Forward, items: Sequences, rows: int | None, measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> list[list[list[float]]]:
    """A measure of (logits, tokens drawn) at every completion token, for each item; batches of similar length."""
    lengths = [len(prompt) + len(tokens) for prompt, tokens in items]
    for length in lengths:
        if length > forward.context:
            raise InputError(f"{length} tokens to score, the context holds {forward.context}")
    found: list[list[list[float]]] = [[] for _ in items]
    todo = sorted((i for i, (_, tokens) in enumerate(items) if tokens), key=lengths.__getitem__)
    while todo:
        longest = max(len(items[i][1]) for i in todo[-(rows or 1) :])
        size = rows or forward.rows(lengths[todo[-1]], 0, longest)
        batch, todo = todo[-size:], todo[:-size]
        for i, values in zip(batch, _along_batch(forward, [items[i] for i in batch], measure), strict=True):
            found[i] = values[len(values) - len(items[i][1]) :]
    return found


@torch.inference_mode()
def _along_batch(
    forward: Forward, batch: Sequences, measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> list[list[list[float]]]:
    """The measure at the last tokens of each sequence, as many as the longest completion has.

    Logits are held of so many tokens at once as the memory allows: a longer stretch is computed piece by piece.
    """
    ids_NT, mask_NT = forward.padded([prompt + tokens for prompt, tokens in batch])
    total = ids_NT.shape[1]
    first = total - max(len(tokens) for _, tokens in batch)  # the first token that is measured
    vocabulary = getattr(forward.config.get_text_config(), "vocab_size", 1 << 17)
    window = max(1, forward.budget() // (16 * vocabulary * len(batch)))
    cache = RoomyCache(forward.config) if total - first > window else None
    pieces, done = [], 0
    for start in range(first, total, window):
        end = min(start + window, total)
        mask = None if mask_NT is None else mask_NT[:, : end - 1]
        logits_NTV = forward(ids_NT[:, done : end - 1], mask, cache, keep=end - start)
        pieces.append(measure(logits_NTV, ids_NT[:, start:end]))
        done = end - 1
    return torch.cat(pieces, 1).tolist()
