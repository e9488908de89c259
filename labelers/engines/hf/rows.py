"""The rows of a batch while they are drawn: what was asked of each, and its tokens so far."""

from __future__ import annotations

import copy

import numpy as np
import torch

from labelers.engines.protocol import SampleRequest


class Rows:
    """Requests with their prompts and positions in the call, and arrays of what has been drawn so far."""

    def __init__(
        self, requests: list[SampleRequest], positions: list[int], prompts: list[tuple[int, ...]], context: int
    ) -> None:
        self.requests, self.positions, self.prompts = requests, positions, prompts
        self.seeds_R = np.array([request.seed % (1 << 64) for request in requests], np.uint64)
        self.limit_R = np.array(
            [min(r.sampling.max_new_tokens, context - len(p)) for r, p in zip(requests, prompts, strict=True)]
        )
        self.step = 0
        self.going_R = np.ones(len(requests), bool)
        self.length_R = np.zeros(len(requests), np.int64)
        shape = (len(requests), int(self.limit_R.max()))
        self.tokens_RT = np.zeros(shape, np.int64)
        self.logprob_RT, self.behavior_RT = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    @property
    def any_sampled(self) -> bool:
        """Whether any row needs noise."""
        return any(request.sampling.temperature > 0 for request in self.requests)

    def parameters(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Temperature and top_p of each row."""
        settings = [(request.sampling.temperature, request.sampling.top_p) for request in self.requests]
        values = torch.tensor(settings, dtype=torch.float32, device=device)
        return values[:, 0], values[:, 1]

    def append(
        self, token_R: torch.Tensor, logprob_R: torch.Tensor, behavior_R: torch.Tensor, ended_R: torch.Tensor
    ) -> None:
        """One more token on every row; rows that are done carry it too, beyond their length."""
        self.tokens_RT[:, self.step] = token_R.cpu().numpy()
        self.logprob_RT[:, self.step] = logprob_R.cpu().numpy()
        self.behavior_RT[:, self.step] = behavior_R.cpu().numpy()
        self.step += 1
        self.length_R[self.going_R] = self.step
        self.going_R = self.going_R & ~ended_R.cpu().numpy() & (self.step < self.limit_R)

    def retire(self) -> tuple[Rows, np.ndarray]:
        """Take the finished rows out, and move rows from the end into their places.

        Returns:
            the finished rows, and for each row that stays the place where it was: its own for all but the moved ones.
        """
        finished, going = (~self.going_R).nonzero()[0], self.going_R.nonzero()[0]
        from_R = np.arange(len(going))
        from_R[~self.going_R[: len(going)]] = going[going >= len(going)]
        done = copy.copy(self)
        for rows, index in ((done, finished), (self, from_R)):
            for name in ("requests", "positions", "prompts"):
                setattr(rows, name, [getattr(rows, name)[i] for i in index])
            for name in ("seeds_R", "limit_R", "going_R", "length_R", "tokens_RT", "logprob_RT", "behavior_RT"):
                setattr(rows, name, getattr(rows, name)[index])
        return done, from_R
