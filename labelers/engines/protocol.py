"""What an engine promises: to sample, and to score what was sampled. Light: nothing here imports a model library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datasets_cards.records import FinishReason, Message


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 is greedy decoding.
        top_p: nucleus mass kept after temperature; 1 keeps everything.
        max_new_tokens: a completion that reaches it finishes with reason `length`.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256


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
        logprob: sum of log P(token) under the raw model at T=1 given the request's own messages, in nats.
        behavior_logprob: the same under the distribution drawn from (0 for greedy); None where the engine can't tell.
        error: why there is no completion (finish_reason `error`), such as a prompt longer than the context.
    """

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    logprob: float | None
    behavior_logprob: float | None
    error: str | None = None


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
    """A loaded model that can sample and score."""

    @property
    def identity(self) -> ModelIdentity:
        """What its samples depend on."""
        ...

    @property
    def determinism(self) -> str:
        """What it promises about repeating a sample, in one sentence for the manifest."""
        ...

    def with_adapter(self, adapter: str | Path | None) -> Engine:
        """The same loaded base under another LoRA adapter directory (None: the bare base), sharing its weights."""
        ...

    def prompt_ids(self, messages: list[Message]) -> list[int]:
        """The prompt's tokens under the chat template, generation prompt included."""
        ...

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, Completion]]:
        """Draw every request; yields (position in `requests`, completion) as they finish, in any order."""
        ...

    def score(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[list[float]]:
        """Log P of each completion token under the raw model at T=1, for (prompt messages, completion token ids)."""
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
