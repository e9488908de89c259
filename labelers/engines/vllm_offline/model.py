"""One `vllm.LLM` that engines under several adapters share: how it is started, and how requests run through it."""

# vLLM lives in an environment of its own, see constraints-vllm.txt.
# pyright: reportMissingImports=false
from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from datasets_cards.errors import EngineError
from labelers.engines.digests import ADAPTER_WEIGHTS, one_line, read_adapter_config
from labelers.engines.models import ModelRef

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams
    from vllm.lora.request import LoRARequest

ON_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # threads as OMP_NUM_THREADS says, not all cores for every process
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
"""Environment on a CPU, where nothing else is set; on a GPU vLLM's own defaults stand."""

RANK = 32
"""LoRA rank that a loaded model has room for, unless it is loaded with an adapter of a higher one."""

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM takes


class VllmModel:
    """A loaded model and the requests in it.

    Args:
        reference: the model; an adapter that it brings only says what rank to make room for.
        most: most samples in flight; default vLLM's own.

    Attributes:
        context: tokens that a prompt and its completion may have together.
        adaptable: names of the layers that an adapter may change, with their widths (in, out); empty where vLLM takes
            no adapter on this model.

    Raises:
        EngineError: vLLM is not installed, or can't load the model.
    """

    def __init__(self, reference: ModelRef, most: int | None = None) -> None:
        self.adaptable = adaptable_layers(reference)
        rank = max(RANK, _rank(reference)) if reference.adapter else RANK
        self.llm = _start(reference.without_adapter(), most, self.adaptable, rank)
        if self.llm.llm_engine.vllm_config.lora_config is None:
            self.adaptable = {}
        self.rank = rank
        self.context = int(self.llm.llm_engine.vllm_config.model_config.max_model_len)
        self._adapters: dict[str, LoRARequest] = {}
        self._names = map(str, count())
        self._finished: dict[str, RequestOutput] = {}

    def add_adapter(self, reference: ModelRef) -> None:
        """Load the reference's adapter, where it has one; requests name it by its digest.

        Raises:
            EngineError: vLLM can't put it on this model.
        """
        if reference.adapter is None:
            return
        from vllm.lora.request import LoRARequest

        digest = reference.adapter_digest
        if digest not in self._adapters:
            where = str(reference.adapter)
            if not self.adaptable:
                raise EngineError("vLLM takes no adapters on this model", where=where, remedy="Merge it into its base")
            if odd := [name for name, widths in _changed_layers(reference) if self.adaptable.get(name) != widths]:
                raise EngineError(
                    f"vLLM can't put this adapter on this base model ({min(odd)})",
                    where=where,
                    remedy="Name the base that it was trained on; if that is it, merge the adapter into it",
                )
            if _rank(reference) > self.rank:
                raise EngineError(
                    f"the adapter's rank is {_rank(reference)}, the loaded model has room for {self.rank}",
                    where=where,
                    remedy="Load the engine with this adapter at once",
                )
            request = LoRARequest(digest[:16], len(self._adapters) + 1, where)
            self._wait()
            try:
                self.llm.llm_engine.add_lora(request)
            except Exception as error:
                raise EngineError(
                    f"the adapter doesn't fit this base model ({one_line(error)})",
                    where=where,
                    remedy="Name the base that it was trained on",
                ) from error
            self._adapters[digest] = request

    def run(
        self, prompts: Sequence[list[int]], parameters: Sequence[SamplingParams], adapter: str
    ) -> Iterator[tuple[int, RequestOutput]]:
        """Run one request a prompt, under the adapter of this digest; yields (position, its output) as they finish.

        An iterator that is dropped takes its requests along. Only one call's requests are in the model at a time: on
        a CPU, vLLM 0.32 computes requests without adapter under a neighbor's that has one.
        """
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        self._wait()
        engine, lora = self.llm.llm_engine, self._adapters.get(adapter)
        waiting: dict[str, int] = {}
        try:
            for i, (ids, one) in enumerate(zip(prompts, parameters, strict=True)):
                one.output_kind = RequestOutputKind.FINAL_ONLY
                name = next(self._names)
                waiting[name] = i
                engine.add_request(name, tokens_input(ids), one, lora_request=lora)
            while waiting:
                done = [name for name in self._finished if name in waiting]  # beside outputs that other calls wait for
                if not done:
                    self._step()
                for name in done:
                    yield waiting.pop(name), self._finished.pop(name)
        finally:
            if waiting:
                engine.abort_request([*waiting])
                for name in waiting:
                    self._finished.pop(name, None)

    def next_tokens(self, prompts: Sequence[list[int]], most: int, adapter: str) -> list[list[tuple[int, float]]]:
        """The likeliest next tokens of each prompt, so many of them: (token id, log P at T=1)."""
        from vllm import SamplingParams

        one = {"temperature": 0, "max_tokens": 1, "logprobs": most, "detokenize": False}
        found: list[list[tuple[int, float]]] = [[] for _ in prompts]
        for i, output in self.run(prompts, [SamplingParams(**one) for _ in prompts], adapter):
            step: Any = output.outputs[0].logprobs
            found[i] = [(token, likely.logprob) for token, likely in step[0].items()]
        return found

    def _step(self) -> None:
        for output in self.llm.llm_engine.step():
            if output.finished:
                self._finished[output.request_id] = output  # pyright: ignore[reportArgumentType]

    def _wait(self) -> None:
        """Let the requests of an unfinished call finish; their outputs are kept for it."""
        while self.llm.llm_engine.has_unfinished_requests():
            self._step()


def adaptable_layers(reference: ModelRef) -> dict[str, tuple[int, int]]:
    """A model's linear layers, the output head apart (what peft calls `all-linear`), with their widths (in, out).

    The head is left out on purpose: where it may be adapted, vLLM computes no log-probabilities of a prompt.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(reference.base, revision=reference.hub_revision, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception:  # vLLM may know a model that transformers doesn't: it can then be used without adapters
        return {}
    head = model.get_output_embeddings()
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return {name: (layer.in_features, layer.out_features) for name, layer in layers}


def _start(reference: ModelRef, most: int | None, adaptable: Collection[str], rank: int) -> LLM:
    import torch

    on_cpu = not torch.cuda.is_available()
    for name, value in (ON_CPU if on_cpu else {}).items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        from vllm import LLM
    except ImportError as error:
        raise EngineError(
            f"vLLM can't be imported ({one_line(error)})",
            where="the vllm engine",
            remedy="Install it: pip install 'echoset[vllm]'",
        ) from error
    settings: dict[str, Any] = {
        "revision": reference.hub_revision,
        "tokenizer_revision": reference.hub_revision,
        "load_format": "safetensors",
        "use_tqdm_on_load": False,
        "max_model_len": -1,  # the model's own context, or as much of it as the memory holds
        "max_logprobs": -1,  # no bound on the width of beams
        "enable_prefix_caching": True,
        "logprobs_mode": "raw_logprobs",
    }
    if most:
        settings["max_num_seqs"] = most
    if on_cpu:
        # Seeded sampling of prompts that are computed in chunks needs a generator that a CPU doesn't have.
        settings |= {"dtype": "float32", "enforce_eager": True, "enable_chunked_prefill": False}
    if adaptable:
        room = next((fits for fits in _RANKS if fits >= rank), _RANKS[-1])
        names = sorted({name.rpartition(".")[2] for name in adaptable})
        settings |= {"enable_lora": True, "max_lora_rank": room, "lora_target_modules": names}
    try:
        return LLM(reference.base, **settings)
    except Exception as error:
        if adaptable and "lora" in str(error).lower():
            logging.getLogger(__name__).warning("vLLM takes no adapters on %s: %s", reference.name, one_line(error))
            return _start(reference, most, (), rank)
        raise EngineError(
            f"vLLM can't load the model ({one_line(error)})",
            where=reference.base,
            remedy="See vLLM's log: VLLM_LOGGING_LEVEL=INFO",
        ) from error


def _rank(reference: ModelRef) -> int:
    """The highest rank of an adapter."""
    assert reference.adapter
    config = read_adapter_config(reference.adapter)
    return max([int(config.get("r") or 0), *(config.get("rank_pattern") or {}).values()])


def _changed_layers(reference: ModelRef) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """Names of the layers that an adapter changes, with their widths (in, out); None for what isn't LoRA in it."""
    from safetensors import safe_open

    assert reference.adapter
    with safe_open(reference.adapter / ADAPTER_WEIGHTS, framework="pt") as file:
        shapes = {
            key.removeprefix("base_model.model."): file.get_slice(key).get_shape()
            for key in file.keys()  # noqa: SIM118 - it isn't a mapping
        }
    for key, shape in shapes.items():
        name, a, _ = key.partition(".lora_A.")
        if a:
            yield name, (shape[1], shapes.get(f"{name}.lora_B.weight", [0])[0])
        elif ".lora_B." not in key:
            yield key, None
