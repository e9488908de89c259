"""vLLM's offline engine: continuous batching on a GPU, or on a CPU; LoRA adapters on one loaded base.

Every sample is a request of its own with a seed of its own (with `n > 1`, vLLM's seeds are consecutive and pools would
overlap). Prompts are encoded here, so that they are the same tokens as with the transformers engine.
"""

# vLLM lives in an environment of its own, see constraints-vllm.txt.
# pyright: reportMissingImports=false
from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_cards.errors import EngineError, InputError
from datasets_cards.records import Message
from labelers.engines.models import ModelRef, chat_template_digest, load_tokenizer, resolve_model
from labelers.engines.prompts import Prompts
from labelers.engines.protocol import Completion, ModelIdentity, Prompt, SampleRequest, Sampling, Uncertainty
from labelers.engines.vllm_offline.beams import beam_search
from labelers.engines.vllm_offline.model import VllmModel

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

COLDEST, HOTTEST = 0.01, 2.0
"""Temperatures that vLLM draws at, beside 0: a lower one it would silently raise, a higher one it refuses."""

BEAM_PROMPTS = 32
"""Prompts whose beams are searched side by side: what a killed run can lose of them."""


class VllmEngine:
    """Samples and scores with a model held by vLLM.

    Args:
        model: model directory, LoRA adapter directory, or Hub id.
        adapter: LoRA adapter directory to put on it.
        batch_size: most samples in flight; default vLLM's own.

    Raises:
        MissingError: no such model or adapter directory.
        EngineError: vLLM is not installed, or can't load the model or put the adapter on it.
    """

    commit_every = 64

    def __init__(self, model: str | Path, *, adapter: str | Path | None = None, batch_size: int | None = None) -> None:
        self.reference = resolve_model(model, adapter)
        self.tokenizer = load_tokenizer(self.reference)
        self.end_tokens = end_tokens(self.reference, self.tokenizer.eos_token_id)
        self._template = chat_template_digest(self.tokenizer)
        self._prompts = Prompts(self.tokenizer)
        self.model = VllmModel(self.reference, batch_size)
        self.context = self.model.context
        self._put_on()

    def _put_on(self) -> None:
        self.model.add_adapter(self.reference)
        config = self.model.llm.llm_engine.vllm_config.model_config
        self._identity = ModelIdentity(
            backend="vllm/1",
            base_url="",
            model=self.reference.name,
            revision=self.reference.revision,
            adapter=self.reference.adapter_digest,
            dtype=str(config.dtype).removeprefix("torch."),
            quantization=str(config.quantization or ""),
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
        return (
            "Every sample has its own seed, but rounding may tip tokens between batches, and vLLM versions may draw "
            "differently: replay from stored outputs."
        )

    @property
    def lacks(self) -> Mapping[str, str]:
        """What vLLM doesn't tell."""
        missing = {
            "behavior_logprob": (
                "vLLM reports log-probabilities before temperature and top-p, or after, not both; these are before, "
                "and those of what was drawn from are known for greedy decoding, and at T=1 with top-p 1, only"
            ),
            "uncertainty": "vLLM hands out whole distributions as one Python object a vocabulary entry and token",
        }
        if not self.model.adaptable:
            missing["adapter"] = "vLLM takes no LoRA adapters on this model"
        return missing

    def with_adapter(self, adapter: str | Path | None) -> VllmEngine:
        """The same loaded base under another adapter directory (None: the bare base).

        Raises:
            MissingError: no such directory.
            EngineError: an adapter of another base, or one that vLLM can't put on.
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
            InputError: a temperature that vLLM doesn't draw at.
            EngineError: the model's output is not finite.
        """
        for request in requests:
            temperature = request.sampling.temperature
            if temperature and not COLDEST <= temperature <= HOTTEST:
                raise InputError(
                    f"vLLM draws at no temperature of {temperature}",
                    where="temperature",
                    remedy=f"Use 0, or {COLDEST} to {HOTTEST:g}",
                )
        drawn: list[tuple[int, list[int]]] = []
        searched: dict[int, list[tuple[int, list[int]]]] = {}  # by width
        good, failed = self._prompts.fitting(requests, self.context)
        yield from failed
        for position, ids in good:
            request = requests[position]
            if request.sampling.beams > 1:
                searched.setdefault(request.sampling.beams, []).append((position, ids))
            else:
                drawn.append((position, ids))
        parameters = [self._parameters(requests[position], ids) for position, ids in drawn]
        for i, output in self.model.run([ids for _, ids in drawn], parameters, self.identity.adapter):
            position = drawn[i][0]
            yield position, self._completion(output, requests[position].sampling)
        for width, found in searched.items():
            for start in range(0, len(found), BEAM_PROMPTS):
                piece = found[start : start + BEAM_PROMPTS]
                prompts = [ids for _, ids in piece]
                limits = [self._room(ids, requests[position].sampling) for position, ids in piece]
                best = beam_search(self.model, prompts, limits, width, self.end_tokens, self.identity.adapter)
                for i, beam in best:
                    yield piece[i][0], self._record(beam.token_ids, beam.logprob, 0.0)

    def score(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[list[float]]:
        """Log P in nats of each completion token at T=1, for (prompt messages, completion token ids).

        Raises:
            InputError: a prompt that the template refuses, or a sequence longer than the context.
        """
        from vllm import SamplingParams

        sequences = [(self.prompt_ids(messages), tokens) for messages, tokens in items]
        for prompt, tokens in sequences:
            if len(prompt) + len(tokens) > self.context:
                raise InputError(f"{len(prompt) + len(tokens)} tokens to score, the context holds {self.context}")
        scores: list[list[float]] = [[] for _ in items]
        todo = [i for i, (_, tokens) in enumerate(sequences) if tokens]
        # vLLM always draws a token, for which a full context has no room: the last one is read off as what it would
        # have given it, not as part of the prompt.
        given = [[*sequences[i][0], *sequences[i][1][:-1]] for i in todo]
        parameters = [
            SamplingParams(
                temperature=0,
                max_tokens=1,
                prompt_logprobs=0,
                logprob_token_ids=[sequences[i][1][-1]],
                detokenize=False,
            )
            for i in todo
        ]
        for n, output in self.model.run(given, parameters, self.identity.adapter):
            prompt, tokens = sequences[todo[n]]
            along: Any = output.prompt_logprobs
            last: Any = output.outputs[0].logprobs
            steps = [*along[len(prompt) :], last[0]]
            scores[todo[n]] = [step[token].logprob for step, token in zip(steps, tokens, strict=True)]
        return scores

    def uncertainty(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[Uncertainty]:
        """Not with vLLM.

        Raises:
            InputError: always.
        """
        raise InputError(self.lacks["uncertainty"], where="uncertainty", remedy="Use the transformers engine")

    def _room(self, prompt: list[int], sampling: Sampling) -> int:
        return min(sampling.max_new_tokens, self.context - len(prompt))

    def _parameters(self, request: SampleRequest, prompt: list[int]) -> SamplingParams:
        from vllm import SamplingParams

        sampling = request.sampling
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=self._room(prompt, sampling),
            seed=folded(request.seed) if sampling.temperature > 0 else None,
            stop_token_ids=self.end_tokens,
            logprobs=0,
            detokenize=False,
            skip_clone=True,
        )

    def _completion(self, output: RequestOutput, sampling: Sampling) -> Completion:
        drawn = output.outputs[0]
        tokens = list(drawn.token_ids)
        if drawn.finish_reason not in ("stop", "length") or not tokens:
            detail = f"not_finished: vLLM ended the request with {drawn.finish_reason!r}"
            return Completion("", [], "error", None, None, detail)
        logprob = float(drawn.cumulative_logprob)  # pyright: ignore[reportArgumentType]
        plain = sampling.temperature == 1 and sampling.top_p == 1
        behavior = 0.0 if sampling.temperature == 0 else logprob if plain else None
        return self._record(tokens, logprob, behavior)

    def _record(self, tokens: list[int], logprob: float, behavior: float | None) -> Completion:
        if not math.isfinite(logprob):
            raise EngineError(
                "the model's output is not a number",
                where=self.reference.name,
                remedy="Its weights or training diverged",
            )
        text: Any = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Completion(text, tokens, "stop" if tokens[-1] in self.end_tokens else "length", logprob, behavior)


def folded(seed: int) -> int:
    """A 64-bit seed as the signed number that vLLM takes.

    The upper half is mixed into the lower, all that torch's generator on a CPU looks at. -1 is no seed to vLLM.
    """
    seed %= 1 << 64
    seed ^= seed >> 32
    signed = seed - (1 << 64) if seed >> 63 else seed
    return 0 if signed == -1 else signed


def end_tokens(reference: ModelRef, own: Any) -> list[int]:
    """Ids that end a completion, ascending: those of the model's generation config and the tokenizer's own."""
    from transformers import AutoConfig, GenerationConfig

    try:
        config: Any = GenerationConfig.from_pretrained(reference.base, revision=reference.hub_revision or "main")
    except OSError:
        config = AutoConfig.from_pretrained(reference.base, revision=reference.hub_revision, trust_remote_code=False)
    ends = getattr(config, "eos_token_id", None)
    ends = [ends] if ends is None or isinstance(ends, int) else [*ends]
    return sorted({end for end in (*ends, own) if end is not None})
