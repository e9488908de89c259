"""Beam search: the best completion by mean token log-probability among those that a beam of given width meets.

At each step the `width` most probable unfinished continuations of a prompt go on. One that ends among the `width` most
probable of all is finished, and the `width` best finished ones are kept. A prompt is done when these are as many and
the best that still goes on is no better by its mean so far, or at its limit of tokens. That is `generate` of the
transformers library with `length_penalty=1.0, early_stopping=False`.

Sums of log-probabilities differ in their last bits between batch shapes. Wherever a decision hangs on less than that,
the prompt's search is done again alone, and so no result depends on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import torch

from labelers.engines.hf import choice
from labelers.engines.hf.forward import Forward, with_next
from labelers.engines.hf.kv_cache import RoomyCache, move_rows


@dataclass(frozen=True, slots=True)
class Beam:
    """A finished continuation.

    Attributes:
        token_ids: with the end token where one was met.
        logprob: sum of their log-probabilities under the raw model, in nats.
    """

    token_ids: list[int]
    logprob: float

    @property
    def score(self) -> float:
        """Mean token log-probability."""
        return self.logprob / len(self.token_ids)


@torch.inference_mode()
def beam_search(
    forward: Forward,
    prompts: Sequence[tuple[int, ...]],
    limits: Sequence[int],
    width: int,
    end_tokens: list[int],
    prefilled: tuple[torch.Tensor, torch.Tensor | None, RoomyCache] | None = None,
) -> list[Beam]:
    """The best beam of each prompt.

    Args:
        limits: most new tokens of each prompt.
        width: beams a prompt.
        prefilled: what `forward.prefill` gives for these prompts; it is left as it is.

    Raises:
        EngineError: the model's output is not finite.
    """
    alone = prefilled is None and len(prompts) == 1
    prefilled = prefilled or forward.prefill(prompts)
    found = _search(forward, prompts, limits, width, end_tokens, prefilled, check_ties=not alone)
    for p, beam in enumerate(found):
        if beam is None:
            forward.work.settled += 1
            found[p] = beam_search(forward, [prompts[p]], [limits[p]], width, end_tokens)[0]
    return [beam for beam in found if beam is not None]


def _search(
    forward: Forward,
    prompts: Sequence[tuple[int, ...]],
    limits: Sequence[int],
    width: int,
    end_tokens: list[int],
    prefilled: tuple[torch.Tensor, torch.Tensor | None, RoomyCache],
    *,
    check_ties: bool,
) -> list[Beam | None]:
    """The best beam of each prompt, or None where rounding could have decided otherwise.

    P prompts still going, w beams each, in rows P * w; C continuations looked at.
    """
    logits_PV, mask_PT, cache = prefilled
    rows_R = torch.arange(len(limits), device=forward.device).repeat_interleave(width)
    logits_RV, mask_RT = logits_PV[rows_R], None if mask_PT is None else mask_PT[rows_R]
    cache = forward.spread(cache, rows_R)

    ends = torch.tensor(end_tokens, dtype=torch.long, device=forward.device)
    going = list(range(len(limits)))
    finished: list[list[Beam]] = [[] for _ in limits]
    unsure: set[int] = set()
    tokens_PwT = torch.zeros(len(going), width, 0, dtype=torch.long, device=forward.device)
    sum_Pw = torch.full((len(going), width), -inf, dtype=torch.float64, device=forward.device)
    sum_Pw[:, 0] = 0.0  # all beams of a prompt are the same at first: one of them counts
    step = 0
    while going:
        step += 1
        slack = choice.TIE * sqrt(step)  # rounding errors of a sum
        sum_PC, beam_PC, token_PC = _continuations(logits_RV, sum_Pw, (1 + len(end_tokens)) * width + 1)
        forward.check(sum_PC[:, 0])
        ended_PC = torch.isin(token_PC, ends)
        at_limit_P = torch.tensor([limits[p] == step for p in going], device=forward.device)
        # Unfinished ones first, each kind by probability: the sort is stable.
        order_PC = ended_PC.to(torch.int8).sort(dim=-1, stable=True).indices
        next_Pw = order_PC[:, :width]
        unfinished_PC = sum_PC.masked_fill(ended_PC, -inf).gather(1, order_PC)
        tie_P = unfinished_PC[:, width - 1] - unfinished_PC[:, width] < slack
        tie_P |= _end_at_edge(sum_PC, ended_PC, width, slack)

        stops_PC = (ended_PC | at_limit_P[:, None])[:, :width] & (sum_PC[:, :width] > -inf)
        for row, c in stops_PC.nonzero().tolist():
            before = tokens_PwT[row, beam_PC[row, c]].tolist()
            beam = Beam([*before, int(token_PC[row, c])], float(sum_PC[row, c]))
            pool = [*finished[going[row]], beam]
            finished[going[row]] = sorted(pool, key=lambda beam: -beam.score)[:width]
        best_P = (unfinished_PC[:, 0] / step).tolist()
        stay = []
        for row, p in enumerate(going):
            full = len(finished[p]) == width
            worst = finished[p][-1].score if full else -inf
            done = limits[p] == step or (full and best_P[row] <= worst)
            if check_ties and (tie_P[row] or (limits[p] > step and abs(best_P[row] - worst) < choice.TIE)):
                unsure.add(p)
            elif not done:
                stay.append(row)
        forward.work.tokens += len(going) * width
        going = [going[row] for row in stay]
        if not going:
            break

        stay_P = torch.tensor(stay, device=forward.device)
        next_Pw = next_Pw[stay_P]
        beam_Pw, token_Pw = beam_PC[stay_P].gather(1, next_Pw), token_PC[stay_P].gather(1, next_Pw)
        sum_Pw = sum_PC[stay_P].gather(1, next_Pw)
        places_Pw = stay_P[:, None] * width + beam_Pw
        tokens_PwT = torch.cat([tokens_PwT.flatten(0, 1)[places_Pw], token_Pw[..., None]], -1)
        # Beams of one prompt differ behind it alone; where prompts leave, others take their rows.
        start = max(map(len, prompts)) if len(stay) * width == len(logits_RV) else 0
        move_rows(cache, places_Pw.flatten(), start=start)
        mask_RT = with_next(None if mask_RT is None else mask_RT[places_Pw.flatten()])
        logits_RV = forward(token_Pw.flatten()[:, None], mask_RT, cache)[:, -1]
    return [None if p in unsure or (check_ties and _tied(pool)) else pool[0] for p, pool in enumerate(finished)]


def _continuations(
    logits_RV: torch.Tensor, sum_Pw: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The most probable continuations of each prompt, best first: sums of log-probabilities, their beams, tokens."""
    top_RC, token_RC = logits_RV.topk(min(count, logits_RV.shape[-1]), -1)
    logprob_RC = (top_RC - logits_RV.logsumexp(-1, keepdim=True)).double()
    prompts, width = sum_Pw.shape
    each = top_RC.shape[1]
    sum_PX = (logprob_RC.view(prompts, width, each) + sum_Pw[..., None]).flatten(1)
    if sum_PX.shape[1] < count:  # a vocabulary smaller than the beam
        sum_PX = torch.nn.functional.pad(sum_PX, (0, count - sum_PX.shape[1]), value=-inf)
    sum_PC, index_PC = sum_PX.topk(count, -1)
    index_PC = index_PC.clamp(max=width * each - 1)
    return sum_PC, index_PC // each, token_RC.view(prompts, -1).gather(1, index_PC)


def _end_at_edge(sum_PC: torch.Tensor, ended_PC: torch.Tensor, width: int, slack: float) -> torch.Tensor:
    """Prompts where a continuation that ends might as well be in or out of the `width` most probable."""
    last_in, first_out = sum_PC[:, width - 1, None], sum_PC[:, width, None]
    in_PC = torch.arange(sum_PC.shape[1], device=sum_PC.device) < width
    lead_PC = torch.where(in_PC, sum_PC - first_out, last_in - sum_PC)
    return (ended_PC & (lead_PC < slack)).any(-1)


def _tied(pool: list[Beam]) -> bool:
    return len(pool) > 1 and pool[0].score - pool[1].score < choice.TIE
