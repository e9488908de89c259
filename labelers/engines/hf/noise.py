"""Counter-based Gumbel noise: a token's noise depends on the sample's seed, the step and the token's id alone.

Adding it to log-probabilities and taking the argmax draws exactly from them (the Gumbel-max trick). No generator state
is carried along, so a sample doesn't know its batch, its neighbors or the order of the run; and two models that
are given one seed share their noise, which makes their samples comparable pairwise.
"""

from __future__ import annotations

import numpy as np
import torch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def gumbel(seeds_R: np.ndarray, step: int, vocabulary: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Standard Gumbel noise of each row's next token.

    Args:
        seeds_R: uint64, one seed a sample.
        step: how many tokens the samples have so far.
        vocabulary: V.

    Returns:
        float32 of shape (R, V), on a grid of 2^-31 in probability: tokens rarer than that are not told apart.
    """
    keys_R = _splitmix64(_splitmix64(seeds_R) ^ _splitmix64(np.full(1, step, np.uint64)))
    halves_R2 = torch.from_numpy(keys_R.view(np.int32).reshape(-1, 2)).to(device)
    bits_RV = torch.arange(vocabulary, dtype=torch.int32, device=device).mul_(-1640531527) + halves_R2[:, :1]
    _mix32_(bits_RV)
    bits_RV ^= halves_R2[:, 1:]  # the other half of the key between two rounds: 64 bits tell rows apart, not 32
    _mix32_(bits_RV)
    # u in (0, 1) from 31 bits, without a sign: a float is fine near zero and coarse near 2^31. -log(-log(1 - u)) puts
    # that fine end at the *top* of the noise, where winners come from, and log1p keeps what is left near zero.
    u_RV = bits_RV.bitwise_and_(0x7FFFFFFF).to(torch.float32).add_(0.5).mul_(2.0**-31).clamp_(max=1 - 2.0**-24)
    return u_RV.neg_().log1p_().neg_().log_().neg_()


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """One step of splitmix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        x = x + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _mix32_(x: torch.Tensor) -> None:
    """The 32-bit finalizer `lowbias32` (Wellons, "Prospecting for hash functions"), in place on int32.

    Torch shifts int32 arithmetically; the masks make the shifts logical.
    """
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= 0x7FEB352D
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= -2073254261  # 0x846CA68B
    x ^= (x >> 16).bitwise_and_(0xFFFF)
