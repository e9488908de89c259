"""One step of sampling: from logits to a token, and whether floating point could have chosen otherwise.

Float results differ in their last bits between batch shapes. A token that wins by more than `TIE` would have won in
any batch; where it doesn't, the row is reported `unsure` and the engine settles it by computing that row alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

TIE = 1e-5
"""Lead of the winning perturbed log-probability below which another batch shape might choose another token."""

EDGE = 1e-6
"""Distance in cumulative mass from top_p within which a token might fall on either side."""

HEAD = 128
"""Most probable tokens that are sorted first; where a nucleus is larger, the whole vocabulary is."""


@dataclass
class Choice:
    """The next token of each row.

    Attributes:
        token_R: token ids.
        logprob_R: log P under the raw model at T=1.
        behavior_R: log P under the distribution drawn from, after temperature and top-p; 0 for greedy.
        unsure_R: rows to settle alone.
    """

    token_R: torch.Tensor
    logprob_R: torch.Tensor
    behavior_R: torch.Tensor
    unsure_R: torch.Tensor


def choose(
    logits_RV: torch.Tensor, noise_RV: torch.Tensor | None, temperature_R: torch.Tensor, top_p_R: torch.Tensor
) -> Choice:
    """Draw a token a row: argmax of log-probability / T + Gumbel noise over the row's nucleus; greedy where T = 0.

    The nucleus of a row is the smallest set of most probable tokens whose mass reaches top_p, after temperature
    (Holtzman et al. 2020); of equally probable tokens at its edge, the lower ids are in.

    Args:
        logits_RV: float32.
        noise_RV: Gumbel noise, or None when every row is greedy.
        temperature_R: 0 for greedy.
        top_p_R: 1 keeps everything.
    """
    sampled_R = temperature_R > 0
    divisor_R = torch.where(sampled_R, temperature_R, 1.0)
    plain = bool((divisor_R == 1).all())
    scaled_RV = logits_RV if plain else logits_RV / divisor_R[:, None]
    perturbed_RV = scaled_RV if noise_RV is None else scaled_RV.addcmul(noise_RV, sampled_R[:, None].float())
    mass_R = torch.logsumexp(logits_RV, -1)
    scaled_mass_R = mass_R if plain else torch.logsumexp(scaled_RV, -1)
    kept_R = torch.zeros_like(mass_R)  # log of the nucleus' mass
    certain_RV = None

    nucleus = (sampled_R & (top_p_R < 1)).nonzero()[:, 0]
    if nucleus.numel():
        everywhere = nucleus.numel() == len(sampled_R)
        rows: slice | torch.Tensor = slice(None) if everywhere else nucleus
        probability_NV = (scaled_RV[rows] - scaled_mass_R[rows, None]).exp()
        possible_N, certain_N, mass_N = _nucleus(probability_NV, top_p_R[rows])
        out_NV = probability_NV < possible_N[:, None]
        if everywhere:
            perturbed_RV = perturbed_RV.masked_fill(out_NV, -torch.inf)
        else:
            perturbed_RV = perturbed_RV.index_copy(0, nucleus, perturbed_RV[nucleus].masked_fill(out_NV, -torch.inf))
        kept_R[rows] = mass_N.log()
        certain_RV = probability_NV, certain_N, rows

    top_R2, tokens_R2 = perturbed_RV.topk(min(2, perturbed_RV.shape[-1]), -1)
    token_R = tokens_R2[:, 0]
    # Errors of logits grow with 1/T in the scores, and so does the lead that is asked for.
    unsure_R = (top_R2[:, 0] - top_R2[:, -1]) * divisor_R.clamp(max=1) < TIE
    if perturbed_RV.shape[-1] == 1:
        unsure_R = torch.zeros_like(unsure_R)
    if certain_RV is not None:
        probability_NV, certain_N, rows = certain_RV
        unsure_R[rows] |= probability_NV.gather(1, token_R[rows, None])[:, 0] < certain_N
    return Choice(
        token_R, *_log_probabilities(logits_RV, scaled_RV, mass_R, scaled_mass_R, kept_R, token_R, sampled_R), unsure_R
    )


def settle(logits_V: torch.Tensor, noise_V: torch.Tensor, temperature: float, top_p: float) -> tuple[int, float, float]:
    """One row's token by the letter of the definition, with its two log-probabilities.

    The row's logits come from a computation of that row alone, on which every batch shape agrees; of equal scores, the
    lowest id wins.
    """
    logprob_V = logits_V.log_softmax(-1)
    if temperature == 0:
        token = int(logits_V.argmax())
        return token, float(logprob_V[token]), 0.0
    behavior_V = (logits_V / temperature).log_softmax(-1)
    if top_p < 1:
        sorted_V, order_V = behavior_V.exp().sort(descending=True, stable=True)
        before_V = sorted_V.double().cumsum(-1) - sorted_V
        behavior_V[order_V[before_V >= top_p]] = -torch.inf
        behavior_V = behavior_V.log_softmax(-1)
    token = int((behavior_V + noise_V).argmax())
    return token, float(logprob_V[token]), float(behavior_V[token])


def _nucleus(probability_NV: torch.Tensor, top_p_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Smallest probabilities of the largest and of the smallest set that could be the nucleus, and the nucleus' mass.

    A token's mass-before is the cumulative mass of the more probable ones; it is in while that is below top_p.
    """
    sorted_NV = _largest(probability_NV, HEAD)
    if sorted_NV.shape[-1] < probability_NV.shape[-1]:
        # The next to last of them must be out already: what follows the edge is looked at too.
        before_N = sorted_NV[:, :-2].sum(-1, dtype=torch.float64)
        if bool((before_N < top_p_N + EDGE).any()):
            sorted_NV = _largest(probability_NV, probability_NV.shape[-1])
    through_NV = sorted_NV.cumsum(-1, dtype=torch.float64)
    before_NV = through_NV - sorted_NV
    top_p_N1 = top_p_N.double()[:, None]
    last = [((before_NV < top_p_N1 + slack).sum(-1) - 1).clamp(min=0) for slack in (EDGE, -EDGE, 0.0)]
    possible_N, certain_N = (sorted_NV.gather(1, i[:, None])[:, 0] for i in last[:2])
    mass_N = through_NV.gather(1, last[2][:, None])[:, 0].float()
    # Tokens as probable as the edge could change places with it.
    following_N2 = [sorted_NV.gather(1, (i[:, None] + 1).clamp(max=sorted_NV.shape[-1] - 1))[:, 0] for i in last[:2]]
    inside_N2 = [i < sorted_NV.shape[-1] - 1 for i in last[:2]]
    possible_N = torch.where(
        inside_N2[0] & (following_N2[0] > possible_N * (1 - TIE)), possible_N * (1 - 2 * TIE), possible_N
    )
    certain_N = torch.where(
        inside_N2[1] & (following_N2[1] > certain_N * (1 - TIE)), certain_N * (1 + 2 * TIE), certain_N
    )
    return possible_N, certain_N, mass_N


def _log_probabilities(
    logits_RV: torch.Tensor,
    scaled_RV: torch.Tensor,
    mass_R: torch.Tensor,
    scaled_mass_R: torch.Tensor,
    kept_R: torch.Tensor,
    token_R: torch.Tensor,
    sampled_R: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    logprob_R = logits_RV.gather(1, token_R[:, None])[:, 0] - mass_R
    behavior_R = scaled_RV.gather(1, token_R[:, None])[:, 0] - scaled_mass_R - kept_R
    return logprob_R, torch.where(sampled_R, behavior_R, 0.0)


def _largest(probability_NV: torch.Tensor, count: int) -> torch.Tensor:
    """The largest probabilities of each row, descending; all of them where there are no more than `count`.

    Only values are needed, not their order, and on a CPU NumPy's vectorized sort is some 25 times torch's.
    """
    size = probability_NV.shape[-1]
    count = min(count, size)
    if probability_NV.device.type != "cpu":
        return probability_NV.topk(count, -1).values
    values = probability_NV.numpy()
    if count < size:
        values = np.partition(values, size - count, axis=-1)[:, size - count :]
    return torch.from_numpy(np.sort(values, axis=-1)).flip(-1)
