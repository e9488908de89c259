"""The embedded engine: any `AutoModelForCausalLM`, on a CPU or one GPU, through its forward pass and a key-value cache.

A prompt is computed once and shared by all its samples; batches are of similar length; finished rows leave the batch.
A sample depends on its request and the model alone: noise is counter-based (`noise.py`), and where float rounding
could tip a token between batch shapes (`choice.py`) that row is computed by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets_cards.records import Message
from labelers.engines.hf import scoring
from labelers.engines.hf.beams import Beam, beam_search
from labelers.engines.hf.decode import decode
from labelers.engines.hf.forward import Forward
from labelers.engines.hf.kv_cache import select_rows
from labelers.engines.hf.rows import Rows
from labelers.engines.hf.shared_weights import adapted
from labelers.engines.models import (
    chat_template_digest,
    load_model,
    load_tokenizer,
    resolve_model,
)
from labelers.engines.prompts import Prompts
from labelers.engines.protocol import Completion, ModelIdentity, Prompt, SampleRequest, Uncertainty


class TransformersEngine:
    """Samples and scores with a model held in this process.

    Args:
        model: model directory, LoRA adapter directory, or Hub id.
        adapter: LoRA adapter directory to put on it.
        batch_size: most samples in flight; default by the memory that they take.
        device: default CUDA where there is one, else the CPU.
    """

    commit_every = 64

    def __init__(
        self,
        model: str | Path,
        *,
        adapter: str | Path | None = None,
        batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        self.reference = resolve_model(model, adapter)
        self.tokenizer = load_tokenizer(self.reference)
        self.batch_size = batch_size
        self._template = chat_template_digest(self.tokenizer)
        self._base = load_model(self.reference.without_adapter(), device=device)
        self._prompts = Prompts(self.tokenizer)
        self._put_on()

    def _put_on(self) -> None:
        self.model = adapted(self._base, self.reference.adapter) if self.reference.adapter else self._base
        self.device = self._base.device
        self._forward = Forward(self.model, self.reference.name)
        self.work, self.context = self._forward.work, self._forward.context
        reference, dtype = self.reference, str(self._base.dtype).removeprefix("torch.")
        ends: Any = getattr(self._base.generation_config, "eos_token_id", None)
        own: Any = self.tokenizer.eos_token_id
        ends = [ends] if ends is None or isinstance(ends, int) else [*ends]
        self.end_tokens: list[int] = sorted({e for e in (*ends, own) if e is not None})
        quantization = getattr(self._base.config, "quantization_config", None)
        self._identity = ModelIdentity(
            backend="transformers/2",
            base_url="",
            model=reference.name,
            revision=reference.revision,
            adapter=reference.adapter_digest,
            dtype=dtype,
            quantization=str(getattr(quantization, "quant_method", "") or ""),
            chat_template=self._template,
            end_tokens=tuple(self.end_tokens),
        )

    @property
    def identity(self) -> ModelIdentity:
        """What its samples depend on."""
        return self._identity

    @property
    def determinism(self) -> str:
        """What it promises about repeating a sample."""
        if self._base.dtype is torch.float32 and self.device.type == "cpu":
            return (
                "Token ids repeat exactly on one machine, whatever the batch size and order; "
                "log-probabilities to about 1e-6."
            )
        return "The seed fixes the noise, but rounding may tip tokens between batch shapes: replay from stored outputs."

    @property
    def lacks(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def with_adapter(self, adapter: str | Path | None) -> TransformersEngine:
        """The same loaded base under another adapter directory (None: the bare base).

        Raises:
            MissingError: no such directory.
            EngineError: an adapter of another base.
        """
        other = copy.copy(self)
        other.reference = self.reference.with_adapter(adapter)
        other._put_on()
        return other

    def prompt(self, messages: list[Message]) -> Prompt:
        """The prompt's digest and length.

        Raises:
            InputError: the template refuses these messages.
        """
        return self._prompts.named(messages)

    def prompt_ids(self, messages: list[Message]) -> list[int]:
        """The prompt's tokens under the chat template, generation prompt included.

        Raises:
            InputError: the template refuses these messages.
        """
        return self._prompts.ids(messages)

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, Completion]]:
        """Draw every request; yields (position in `requests`, completion) as they finish.

        A prompt that the template refuses, or that leaves no room for a token, comes back with finish reason `error`.

        Raises:
            EngineError: the model's output is not finite.
        """
        good, failed = self._prompts.fitting(requests, self.context)
        yield from failed
        by_prompt: dict[tuple[int, ...], list[int]] = {}
        for position, ids in good:
            by_prompt.setdefault(tuple(ids), []).append(position)
        for prompts in self._batches(by_prompt, requests):
            yield from self._sample_batch(prompts, by_prompt, requests)

    def score(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[list[float]]:
        """Log P in nats of each completion token at T=1, for (prompt messages, completion token ids).

        Raises:
            InputError: a prompt that the template refuses, or a sequence longer than the context.
        """
        sequences = [(self.prompt_ids(messages), tokens) for messages, tokens in items]
        return scoring.log_probabilities(self._forward, sequences, self.batch_size)

    def uncertainty(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[Uncertainty]:
        """How sure the raw model is along each completion, for (prompt messages, completion token ids).

        Raises:
            InputError: a prompt that the template refuses, a completion without tokens, or a sequence longer than the
                context.
            EngineError: the model's output is not finite.
        """
        sequences = [(self.prompt_ids(messages), tokens) for messages, tokens in items]
        return scoring.uncertainties(self._forward, sequences, self.batch_size)

    def _batches(
        self, by_prompt: dict[tuple[int, ...], list[int]], requests: Sequence[SampleRequest]
    ) -> Iterator[list[tuple[int, ...]]]:
        """Prompts of similar length, as many as their samples and beams fit in a batch, and at least one."""
        batch: list[tuple[int, ...]] = []
        rows = 0
        new = max((request.sampling.max_new_tokens for request in requests), default=0)
        for prompt in sorted(by_prompt, key=len):
            # Samples of a prompt go side by side, but beam searches of one width after those of another.
            widths = {requests[i].sampling.beams for i in by_prompt[prompt]}
            count = max(sum(requests[i].sampling.beams == 1 for i in by_prompt[prompt]), *widths, 1)
            if batch and rows + count > self._rows(len(prompt), new):
                yield batch
                batch, rows = [], 0
            batch.append(prompt)
            rows += count
        if batch:
            yield batch

    def _rows(self, prompt: int, new: int) -> int:
        """How many rows a batch may have: what was asked for, or what fits the memory."""
        return self.batch_size or self._forward.rows(prompt, new)

    @torch.inference_mode()
    def _sample_batch(
        self,
        prompts: list[tuple[int, ...]],
        by_prompt: dict[tuple[int, ...], list[int]],
        requests: Sequence[SampleRequest],
    ) -> Iterator[tuple[int, Completion]]:
        """Compute each prompt once, then draw all its samples and search all its beams."""
        prefilled = logits_PV, mask_PT, cache = self._forward.prefill(prompts)
        owner = [(p, i) for p, prompt in enumerate(prompts) for i in by_prompt[prompt]]
        size = self._rows(len(prompts[-1]), max(requests[i].sampling.max_new_tokens for _, i in owner))
        drawn = [(p, i) for p, i in owner if requests[i].sampling.beams == 1]
        for start in range(0, len(drawn), size):
            piece = drawn[start : start + size]
            prompt_R = torch.tensor([p for p, _ in piece], device=self.device)
            rows = Rows(
                [requests[i] for _, i in piece], [i for _, i in piece], [prompts[p] for p, _ in piece], self.context
            )
            mask_RT = None if mask_PT is None else mask_PT[prompt_R]
            spread = self._forward.spread(cache, prompt_R)
            for done in decode(self._forward, rows, logits_PV[prompt_R], mask_RT, spread, self.end_tokens):
                yield from self._completions(done)
        for width in sorted({requests[i].sampling.beams for _, i in owner} - {1}):
            searched: dict[tuple[int, int], list[int]] = {}  # prompt and limit of tokens -> its requests: one search
            for p, i in owner:
                if requests[i].sampling.beams == width:
                    limit = min(requests[i].sampling.max_new_tokens, self.context - len(prompts[p]))
                    searched.setdefault((p, limit), []).append(i)
            yield from self._search(prompts, searched, width, max(1, size // width), prefilled)

    def _search(
        self,
        prompts: list[tuple[int, ...]],
        searched: dict[tuple[int, int], list[int]],
        width: int,
        size: int,
        prefilled: Any,
    ) -> Iterator[tuple[int, Completion]]:
        """Search the beams of (prompt, limit) pairs, `size` at a time, and hand each to its requests."""
        logits_PV, mask_PT, cache = prefilled
        pairs = list(searched)
        for start in range(0, len(pairs), size):
            piece = pairs[start : start + size]
            rows_P = torch.tensor([p for p, _ in piece], device=self.device)
            mask = None if mask_PT is None else mask_PT[rows_P]
            beams = beam_search(
                self._forward,
                [prompts[p] for p, _ in piece],
                [limit for _, limit in piece],
                width,
                self.end_tokens,
                (logits_PV[rows_P], mask, select_rows(cache, rows_P)),
            )
            for pair, beam in zip(piece, beams, strict=True):
                for i in searched[pair]:
                    yield i, self._completion(beam)

    def _completions(self, rows: Rows) -> Iterator[tuple[int, Completion]]:
        tokens = [rows.tokens_RT[r, :n].tolist() for r, n in enumerate(rows.length_R)]
        for r, (n, text) in enumerate(zip(rows.length_R, self._texts(tokens), strict=True)):
            yield (
                rows.positions[r],
                Completion(
                    text=text,
                    token_ids=tokens[r],
                    finish_reason="stop" if tokens[r][-1] in self.end_tokens else "length",
                    logprob=float(rows.logprob_RT[r, :n].sum(dtype=np.float64)),
                    behavior_logprob=float(rows.behavior_RT[r, :n].sum(dtype=np.float64)),
                ),
            )

    def _completion(self, beam: Beam) -> Completion:
        finish = "stop" if beam.token_ids[-1] in self.end_tokens else "length"
        return Completion(self._texts([beam.token_ids])[0], list(beam.token_ids), finish, beam.logprob, 0.0)

    def _texts(self, tokens: list[list[int]]) -> list[str]:
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
