"""The embedded engine: any `AutoModelForCausalLM`, on a CPU or one GPU, through its forward pass and a key-value cache.

A prompt is computed once and shared by all its samples; batches are of similar length; finished rows leave the batch.
A sample depends on its request and the model alone: noise is counter-based (`noise.py`), and where float rounding
could tip a token between batch shapes (`choice.py`) that row is computed by itself.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets_cards.errors import EngineError, InputError
from datasets_cards.records import Message
from labelers.engines.choice import choose, settle
from labelers.engines.kv_cache import new_cache, select_rows
from labelers.engines.models import (
    adapted,
    chat_template_digest,
    encode_prompt,
    load_model,
    load_tokenizer,
    resolve_model,
)
from labelers.engines.noise import gumbel
from labelers.engines.protocol import Completion, ModelIdentity, SampleRequest
from labelers.engines.rows import Rows

MOST_ROWS = 256
"""Rows of a batch where memory allows more: on a CPU, larger ones only leave its caches."""
CPU_BUDGET = 1 << 30
"""Bytes that a batch may take on a CPU; on a GPU, 40% of what is free."""
RETIRE_AT = 0.8
"""Share of rows still going below which the finished ones are taken out: doing so copies the cache."""


@dataclass
class Work:
    """What an engine has done so far, for tests and benchmarks."""

    prompts: int = 0
    tokens: int = 0
    settled: int = 0


class TransformersEngine:
    """Samples and scores with a model held in this process.

    Args:
        model: model directory, LoRA adapter directory, or Hub id.
        adapter: LoRA adapter directory to put on it.
        batch_size: most samples in flight; default by the memory that they take.
        device: default CUDA where there is one, else the CPU.
    """

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
        self._prompts: dict[tuple[tuple[str, str], ...], list[int]] = {}
        parameters = inspect.signature(self._base.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._takes_logits_to_keep = "logits_to_keep" in parameters
        self._put_on()

    def _put_on(self) -> None:
        self.model = adapted(self._base, self.reference.adapter) if self.reference.adapter else self._base
        self.device = self._base.device
        self.work = Work()
        reference, dtype = self.reference, str(self._base.dtype).removeprefix("torch.")
        ends: Any = getattr(self._base.generation_config, "eos_token_id", None)
        own: Any = self.tokenizer.eos_token_id
        ends = [ends] if ends is None or isinstance(ends, int) else [*ends]
        self.end_tokens: list[int] = sorted({e for e in (*ends, own) if e is not None})
        quantization = getattr(self._base.config, "quantization_config", None)
        self._identity = ModelIdentity(
            backend="transformers/1",
            base_url="",
            model=reference.name,
            revision=reference.revision,
            adapter=reference.adapter_digest,
            dtype=dtype,
            quantization=str(getattr(quantization, "quant_method", "") or ""),
            chat_template=self._template,
            end_tokens=tuple(self.end_tokens),
        )
        self.context = int(getattr(self._base.config.get_text_config(), "max_position_embeddings", 0) or 1 << 30)

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

    def prompt_ids(self, messages: list[Message]) -> list[int]:
        """The prompt's tokens under the chat template, generation prompt included.

        Raises:
            InputError: the template refuses these messages.
        """
        key = tuple((message["role"], message["content"]) for message in messages)
        if key not in self._prompts:
            if len(self._prompts) >= 1 << 14:
                self._prompts.clear()
            self._prompts[key] = encode_prompt(self.tokenizer, messages)
        return self._prompts[key]

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, Completion]]:
        """Draw every request; yields (position in `requests`, completion) as they finish.

        A prompt that the template refuses, or that leaves no room for a token, comes back with finish reason `error`.

        Raises:
            EngineError: the model's output is not finite.
        """
        by_prompt: dict[tuple[int, ...], list[int]] = {}
        for position, request in enumerate(requests):
            try:
                ids = self.prompt_ids(request.messages)
            except InputError as error:
                yield position, Completion("", [], "error", None, None, f"prompt_refused: {error}")
                continue
            if not ids or len(ids) >= self.context:
                problem = "prompt_too_long" if ids else "prompt_empty"
                detail = f"{problem}: {len(ids)} tokens, the context holds {self.context}"
                yield position, Completion("", [], "error", None, None, detail)
                continue
            by_prompt.setdefault(tuple(ids), []).append(position)
        for prompts in self._batches(by_prompt, requests):
            yield from self._sample_batch(prompts, by_prompt, requests)

    def score(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[list[float]]:
        """Log P in nats of each completion token at T=1, for (prompt messages, completion token ids).

        Raises:
            InputError: a prompt that the template refuses, or a sequence longer than the context.
        """
        sequences = [(self.prompt_ids(messages), tokens) for messages, tokens in items]
        scores: list[list[float]] = [[] for _ in items]
        for prompt, tokens in sequences:
            if len(prompt) + len(tokens) > self.context:
                raise InputError(f"{len(prompt) + len(tokens)} tokens to score, the context holds {self.context}")
        todo = sorted((i for i, (_, t) in enumerate(sequences) if t), key=lambda i: sum(map(len, sequences[i])))
        while todo:
            longest = sum(map(len, sequences[todo[-1]]))
            batch, todo = todo[-self._rows(longest, 0) :], todo[: -self._rows(longest, 0)]
            self._score_batch(batch, sequences, scores)
        return scores

    def _batches(
        self, by_prompt: dict[tuple[int, ...], list[int]], requests: Sequence[SampleRequest]
    ) -> Iterator[list[tuple[int, ...]]]:
        """Prompts of similar length, as many as their samples fit in a batch, and at least one."""
        batch: list[tuple[int, ...]] = []
        rows = 0
        new = max((request.sampling.max_new_tokens for request in requests), default=0)
        for prompt in sorted(by_prompt, key=len):
            if batch and rows + len(by_prompt[prompt]) > self._rows(len(prompt), new):
                yield batch
                batch, rows = [], 0
            batch.append(prompt)
            rows += len(by_prompt[prompt])
        if batch:
            yield batch

    def _rows(self, prompt: int, new: int) -> int:
        """How many rows a batch may have: what was asked for, or what fits the memory."""
        if self.batch_size:
            return self.batch_size
        config = self._base.config.get_text_config()
        width = getattr(config, "hidden_size", 1024)
        cache = 2 * width * getattr(config, "num_hidden_layers", 24)
        activations = 4 * (getattr(config, "intermediate_size", None) or 4 * width)
        numbers = (prompt + new) * cache + prompt * activations + 8 * getattr(config, "vocab_size", 1 << 17)
        budget = CPU_BUDGET if self.device.type == "cpu" else int(0.4 * torch.cuda.mem_get_info(self.device)[0])
        return max(1, min(MOST_ROWS, budget // (numbers * self._base.dtype.itemsize)))

    @torch.inference_mode()
    def _sample_batch(
        self,
        prompts: list[tuple[int, ...]],
        by_prompt: dict[tuple[int, ...], list[int]],
        requests: Sequence[SampleRequest],
    ) -> Iterator[tuple[int, Completion]]:
        """Compute each prompt once, then draw all its samples."""
        ids_PT, mask_PT = self._padded([list(prompt) for prompt in prompts])
        cache = new_cache(self._base.config)
        logits_PV = self._forward(ids_PT, mask_PT, cache)[:, -1]
        self.work.prompts += len(prompts)
        owner = [(p, i) for p, prompt in enumerate(prompts) for i in by_prompt[prompt]]
        size = self._rows(len(prompts[-1]), max(requests[i].sampling.max_new_tokens for _, i in owner))
        for start in range(0, len(owner), size):
            piece = owner[start : start + size]
            prompt_R = torch.tensor([p for p, _ in piece], device=self.device)
            rows = Rows(
                [requests[i] for _, i in piece], [i for _, i in piece], [prompts[p] for p, _ in piece], self.context
            )
            yield from self._decode(rows, logits_PV[prompt_R], mask_PT[prompt_R], select_rows(cache, prompt_R))

    @torch.inference_mode()
    def _decode(
        self, rows: Rows, logits_RV: torch.Tensor, mask_RT: torch.Tensor, cache: object
    ) -> Iterator[tuple[int, Completion]]:
        """Token by token until every row has ended; finished rows are yielded as they leave the batch."""
        ends = torch.tensor(self.end_tokens, dtype=torch.long, device=self.device)
        temperature_R, top_p_R = rows.parameters(self.device)
        while True:
            noise_RV = gumbel(rows.seeds_R, rows.step, logits_RV.shape[-1], self.device) if rows.any_sampled else None
            choice = choose(logits_RV, noise_RV, temperature_R, top_p_R)
            if not math.isfinite(float(choice.logprob_R.sum())):
                raise EngineError(
                    "the model's output is not a number",
                    where=self.reference.name,
                    remedy="Its weights or training diverged",
                )
            going_R = torch.from_numpy(rows.going_R).to(self.device)
            for r in (choice.unsure_R & going_R).nonzero()[:, 0].tolist():
                self._settle(rows, r, choice.token_R, choice.logprob_R, choice.behavior_R)
            self.work.tokens += int(rows.going_R.sum())
            rows.append(choice.token_R, choice.logprob_R, choice.behavior_R, torch.isin(choice.token_R, ends))
            if not rows.going_R.any():
                yield from self._completions(rows)
                return
            token_R = choice.token_R
            if rows.going_R.mean() < RETIRE_AT:
                kept = torch.from_numpy(rows.going_R.nonzero()[0]).to(self.device)
                yield from self._completions(rows.split())
                cache = select_rows(cache, kept)  # pyright: ignore[reportArgumentType]
                mask_RT, token_R = mask_RT[kept], token_R[kept]
                temperature_R, top_p_R = temperature_R[kept], top_p_R[kept]
            mask_RT = torch.cat([mask_RT, mask_RT.new_ones(len(mask_RT), 1)], -1)
            logits_RV = self._forward(token_R[:, None], mask_RT, cache)[:, -1]

    def _settle(
        self, rows: Rows, r: int, token_R: torch.Tensor, logprob_R: torch.Tensor, behavior_R: torch.Tensor
    ) -> None:
        """Decide one row's token by a computation that no batch has a part in: its whole sequence, alone, no cache."""
        self.work.settled += 1
        sequence = [*rows.prompts[r], *rows.tokens_RT[r, : rows.step].tolist()]
        logits_V = self._forward(torch.tensor([sequence], device=self.device), None, None)[0, -1]
        sampling = rows.requests[r].sampling
        noise_V = gumbel(rows.seeds_R[r : r + 1], rows.step, len(logits_V), self.device)[0]
        token_R[r], logprob_R[r], behavior_R[r] = settle(logits_V, noise_V, sampling.temperature, sampling.top_p)

    def _score_batch(
        self, batch: list[int], sequences: list[tuple[list[int], list[int]]], scores: list[list[float]]
    ) -> None:
        longest = max(len(sequences[i][1]) for i in batch)
        ids_NT, mask_NT = self._padded([sequences[i][0] + sequences[i][1] for i in batch])
        with torch.inference_mode():
            logits_NTV = self._forward(ids_NT, mask_NT, None, keep=longest + 1)[:, -longest - 1 : -1]
            target_NT = ids_NT[:, -longest:]
            logprob_NT = logits_NTV.gather(-1, target_NT[..., None])[..., 0] - logits_NTV.logsumexp(-1)
        for i, row in zip(batch, logprob_NT.tolist(), strict=True):
            scores[i] = row[longest - len(sequences[i][1]) :]

    def _padded(self, sequences: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Left-padded ids and their mask, so that every row's last token stands in the last column."""
        longest = max(map(len, sequences))
        ids = np.zeros((len(sequences), longest), np.int64)
        mask = np.zeros((len(sequences), longest), np.int64)
        for row, sequence in enumerate(sequences):
            ids[row, longest - len(sequence) :] = sequence
            mask[row, longest - len(sequence) :] = 1
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor | None, cache: object, keep: int = 1) -> torch.Tensor:
        """Logits of the last `keep` positions at least, float32."""
        inputs: dict[str, object] = {"input_ids": ids, "attention_mask": mask, "use_cache": cache is not None}
        if cache is not None:
            inputs["past_key_values"] = cache
        if mask is not None and self._takes_positions:
            # Padding has no position, and a finished row that waits to leave its batch may have run out of them.
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(0, self.context - 1)[:, -ids.shape[1] :]
        if self._takes_logits_to_keep:
            inputs["logits_to_keep"] = keep
        return self.model(**inputs).logits.float()

    def _completions(self, rows: Rows) -> Iterator[tuple[int, Completion]]:
        tokens = [rows.tokens_RT[r, :n].tolist() for r, n in enumerate(rows.length_R)]
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for r, n in enumerate(rows.length_R):
            yield (
                rows.positions[r],
                Completion(
                    text=texts[r],
                    token_ids=tokens[r],
                    finish_reason="stop" if tokens[r][-1] in self.end_tokens else "length",
                    logprob=float(rows.logprob_RT[r, :n].sum(dtype=np.float64)),
                    behavior_logprob=float(rows.behavior_RT[r, :n].sum(dtype=np.float64)),
                ),
            )
