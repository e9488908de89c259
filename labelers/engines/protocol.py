"""What an engine promises: to sample, and to score what was sampled. Light: nothing here imports a model library.

What an engine can't do or can't tell it says in `lacks`, by the names of `ABILITIES`; a method that needs it is refused
before anything is drawn, and a number that can't be told is None, never a guess.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datasets_cards.errors import InputError
from datasets_cards.records import FinishReason, Message

ABILITIES = {
    "beam": "beam search",
    "logprob": "log-probabilities of what was drawn, under the raw model",
    "behavior_logprob": "log-probabilities under the distribution drawn from",
    "token_ids": "the ids of the tokens drawn",
    "score": "log-probabilities of a given completion",
    "uncertainty": "whole next-token distributions along a completion",
    "adapter": "LoRA adapters",
}
"""What an engine may lack, in words."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 is greedy decoding.
        top_p: nucleus mass kept after temperature; 1 keeps everything.
        max_new_tokens: a completion that reaches it finishes with reason `length`.
        beams: width of beam search; 1 is none. The best beam by mean token log-probability is the completion.

    Raises:
        InputError: a value out of range, or beam search with a temperature.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    beams: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"a temperature of {self.temperature}", where="temperature", remedy="Use 0 or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"a top_p of {self.top_p}", where="top_p", remedy="Use more than 0, and at most 1")
        for name in ("max_new_tokens", "beams"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} of {getattr(self, name)}", where=name, remedy="Use 1 or more")
        if self.beams > 1 and self.temperature > 0:
            raise InputError("beam search draws nothing", where="temperature", remedy="Use temperature 0 with beams")


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One completion to draw.

    Attributes:
        row_id: the row it is for (for messages and records; it does not influence the draw).
        messages: the prompt exactly as it is to be sent (a view's instructions included).
        seed: 64-bit seed of this sample alone, see `derive_seed`.
        index: sample index within the row.
        view: name of the prompt's form.
    """

    row_id: str
    messages: list[Message]
    sampling: Sampling
    seed: int
    index: int = 0
    view: str = "plain"


@dataclass(slots=True)
class Completion:
    """What an engine returns for one request.

    Attributes:
        token_ids: with the end token where one was drawn; empty where the engine can't tell (`lacks["token_ids"]`).
        logprob: sum of log P(token) under the raw model at T=1 given the request's own messages, in nats; None where
            the engine can't tell.
        behavior_logprob: the same under the distribution drawn from (0 for greedy and for beams).
        error: why there is no completion (finish_reason `error`), as `code: detail`, such as `prompt_too_long: ...`.
        token_count: how many tokens were drawn; counted from `token_ids` unless given, None where nobody can tell.
    """

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    logprob: float | None
    behavior_logprob: float | None
    error: str | None = None
    token_count: int | None = None

    def __post_init__(self) -> None:
        if self.token_count is None and (self.token_ids or self.finish_reason == "error"):
            self.token_count = len(self.token_ids)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as an engine will send it.

    Attributes:
        digest: SHA-256 of the canonical JSON of its token ids, or of its messages where a server tokenizes.
        tokens: how many tokens it has, or None where only the server knows.
    """

    digest: str
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How sure the raw model is along a completion: means over its tokens, of the whole next-token distribution p.

    Attributes:
        entropy: mean of H(p), in nats.
        self_certainty: mean of KL(uniform || p), in nats (Kang et al., arXiv 2502.18581); higher is more certain.
    """

    entropy: float
    self_certainty: float


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What a sample depends on besides its request; part of every request key and of the manifest.

    Attributes:
        backend: engine name and major version of its sampling scheme.
        base_url: for servers; empty otherwise.
        model: Hub id, or the directory's own name for a local one (never a machine path).
        revision: commit sha for a Hub model, digest of config, weights and tokenizer for a directory.
        adapter: digest of the LoRA adapter, or empty.
        dtype: numeric type of the weights while sampling.
        quantization: scheme, or empty.
        chat_template: digest of the chat template.
        end_tokens: ids that end a completion, ascending.
    """

    backend: str
    base_url: str
    model: str
    revision: str
    adapter: str
    dtype: str
    quantization: str
    chat_template: str
    end_tokens: tuple[int, ...] = ()


class Engine(Protocol):
    """A loaded model, or a server, that can sample and, unless it lacks that, score.

    Attributes:
        commit_every: samples that a killed run may lose: many where they cost little, 1 where each was paid for.
    """

    commit_every: int

    @property
    def identity(self) -> ModelIdentity:
        """What its samples depend on."""
        ...

    @property
    def determinism(self) -> str:
        """What it promises about repeating a sample, in one sentence for the manifest."""
        ...

    @property
    def lacks(self) -> Mapping[str, str]:
        """What it can't do or tell, by the names of `ABILITIES`, each with the reason in one sentence."""
        ...

    def with_adapter(self, adapter: str | Path | None) -> Engine:
        """The same loaded base under another LoRA adapter directory (None: the bare base), sharing its weights."""
        ...

    def prompt(self, messages: list[Message]) -> Prompt:
        """The prompt's digest and length.

        Raises:
            InputError: the chat template refuses these messages.
        """
        ...

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, Completion]]:
        """Draw every request; yields (position in `requests`, completion) as they finish, in any order."""
        ...

    def score(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[list[float]]:
        """Log P of each completion token under the raw model at T=1, for (prompt messages, completion token ids).

        Raises:
            InputError: the engine lacks `score`, or a sequence longer than the context.
        """
        ...

    def uncertainty(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[Uncertainty]:
        """How sure the raw model is along each completion, for (prompt messages, completion token ids, not empty).

        Raises:
            InputError: the engine lacks `uncertainty`, a completion is empty, or a sequence longer than the context.
        """
        ...


def derive_seed(run_seed: int, row_id: str, stream: str, index: int) -> int:
    """The 64-bit seed of one sample, a hash of what names it, so that no draw depends on batch or order.

    Args:
        run_seed: the seed of the run.
        row_id: id of the row.
        stream: role and view, such as `candidate/plain`; separate streams never share noise.
        index: sample index.
    """
    name = f"{run_seed}\x1f{row_id}\x1f{stream}\x1f{index}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
