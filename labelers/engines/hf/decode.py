"""Greedy and sampled decoding of a batch, token by token, until every row has ended."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from labelers.engines.hf.choice import Choice, choose, settle
from labelers.engines.hf.forward import Forward, with_next
from labelers.engines.hf.kv_cache import RoomyCache, move_rows
from labelers.engines.hf.noise import gumbel
from labelers.engines.hf.rows import Rows

RETIRE_AT = 0.95
"""Share of rows still going below which the finished ones are taken out: a little is copied, and a call is made."""


@torch.inference_mode()
def decode(
    forward: Forward,
    rows: Rows,
    logits_RV: torch.Tensor,
    mask_RT: torch.Tensor | None,
    cache: RoomyCache,
    end_tokens: list[int],
) -> Iterator[Rows]:
    """Draw every row to its end; yields finished rows as they leave the batch.

    Args:
        logits_RV: what the model says after each row's prompt.
        mask_RT: of the prompts, or None without padding.
        cache: of the rows' prompts; it is written to.

    Raises:
        EngineError: the model's output is not finite.
    """
    ends = torch.tensor(end_tokens, dtype=torch.long, device=forward.device)
    temperature_R, top_p_R = rows.parameters(forward.device)
    while True:
        noise_RV = gumbel(rows.seeds_R, rows.step, logits_RV.shape[-1], forward.device) if rows.any_sampled else None
        choice = choose(logits_RV, noise_RV, temperature_R, top_p_R)
        forward.check(choice.logprob_R)
        for r in choice.unsure_R.nonzero()[:, 0].tolist():
            if rows.going_R[r]:
                _settle(forward, rows, r, choice)
        forward.work.tokens += int(rows.going_R.sum())
        token_R = choice.token_R
        rows.append(token_R, choice.logprob_R, choice.behavior_R, torch.isin(token_R, ends))
        if not rows.going_R.any():
            yield rows
            return
        if rows.going_R.mean() < RETIRE_AT:
            done, places = rows.retire()
            from_R = torch.from_numpy(places).to(forward.device)
            move_rows(cache, from_R)
            token_R, temperature_R, top_p_R = token_R[from_R], temperature_R[from_R], top_p_R[from_R]
            mask_RT = None if mask_RT is None else mask_RT[from_R]
            yield done
        mask_RT = with_next(mask_RT)
        logits_RV = forward(token_R[:, None], mask_RT, cache)[:, -1]


def _settle(forward: Forward, rows: Rows, r: int, choice: Choice) -> None:
    """Decide one row's token by a computation that no batch has a part in: its whole sequence, alone, no cache."""
    forward.work.settled += 1
    sequence = [*rows.prompts[r], *rows.tokens_RT[r, : rows.step].tolist()]
    logits_V = forward(torch.tensor([sequence], device=forward.device), None, None)[0, -1]
    sampling = rows.requests[r].sampling
    noise_V = gumbel(rows.seeds_R[r : r + 1], rows.step, len(logits_V), forward.device)[0]
    choice.token_R[r], choice.logprob_R[r], choice.behavior_R[r] = settle(
        logits_V, noise_V, sampling.temperature, sampling.top_p
    )
