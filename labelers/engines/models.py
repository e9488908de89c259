"""Model references: from a directory or Hub id to weights, tokenizer and digests. Shared with `trainers`.

A reference is a plain model, or a LoRA adapter directory whose `adapter_config.json` names its base. Weights are read
from safetensors only and no code of a model repository is ever run. Torch and transformers are imported when a model
is loaded, not before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_cards.errors import EngineError, InputError, MissingError
from datasets_cards.records import Message
from labelers.engines.digests import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    adapter_digest,
    chat_template_digest,
    directory_digest,
    one_line,
    read_adapter_config,
)

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CPU_BUDGET = 1 << 30
"""Bytes that a batch may take on a CPU."""


@dataclass(frozen=True)
class ModelRef:
    """A model that was found, not loaded.

    Attributes:
        base: directory or Hub id of the base model's weights.
        adapter: directory of the LoRA adapter, or None for the bare base.
        hub_revision: branch, tag or commit asked for with `id@revision`; None for directories and the default branch.
    """

    base: str
    adapter: Path | None = None
    hub_revision: str | None = None

    @property
    def local(self) -> bool:
        """Whether the base is a directory."""
        return Path(self.base).is_dir()

    @property
    def name(self) -> str:
        """Hub id, or the directory's own name: what a manifest may say, never a machine's path."""
        return Path(self.base).resolve().name if self.local else self.base

    @cached_property
    def revision(self) -> str:
        """Digest over config, weights and tokenizer of a directory; the commit sha of a Hub model."""
        return directory_digest(self.base) if self.local else _hub_commit(self.base, self.hub_revision)

    @cached_property
    def adapter_digest(self) -> str:
        """Digest over the adapter's weights and what of its configuration matters; empty without one."""
        return adapter_digest(self.adapter) if self.adapter else ""

    @cached_property
    def chat_template_digest(self) -> str:
        """SHA-256 of the chat template's text."""
        return chat_template_digest(load_tokenizer(self))

    def without_adapter(self) -> ModelRef:
        """The bare base."""
        return replace(self, adapter=None)

    def with_adapter(self, adapter: str | Path | None) -> ModelRef:
        """The same base under another adapter directory; the base that its configuration names is not followed."""
        return replace(self, adapter=_adapter_directory(adapter) if adapter else None)


def resolve_model(reference: str | Path | ModelRef, adapter: str | Path | None = None) -> ModelRef:
    """Find what a reference names.

    Args:
        reference: a model directory, a LoRA adapter directory, or a Hub id (`org/name` or `org/name@revision`).
        adapter: a LoRA adapter directory to put on it, in place of one that the reference brings.

    Raises:
        MissingError: a directory that is not there, or an adapter whose base can't be found.
        InputError: a directory that holds no model.
    """
    if isinstance(reference, ModelRef):
        return reference.with_adapter(adapter) if adapter else reference
    text = str(reference)
    path = Path(text).expanduser()
    if not path.is_dir():
        if path.exists():
            raise InputError("a file, not a model", where=text, remedy="Name a model directory or a Hub id")
        if isinstance(reference, Path) or not _looks_like_hub_id(text):
            raise MissingError("no such model directory", where=text, remedy="Name a model directory or a Hub id")
        hub_id, _, revision = text.partition("@")
        return resolve_model(ModelRef(hub_id, hub_revision=revision or None), adapter)
    if (path / ADAPTER_CONFIG).is_file() and not any(path.glob("model*.safetensors")):
        found = _base_of(path)
        return found.with_adapter(adapter or path)
    if not (path / "config.json").is_file():
        raise InputError(
            "not a model directory, config.json is missing", where=text, remedy="Write it with model.save_pretrained"
        )
    return resolve_model(ModelRef(str(path)), adapter)


def load_tokenizer(reference: str | Path | ModelRef, *, need_pad: bool = False) -> PreTrainedTokenizerBase:
    """The base's tokenizer with its chat template; one that lies beside an adapter is not used.

    Args:
        need_pad: refuse a tokenizer without pad token. Training batches need one, and standing the end token in for it
            would take the end of every answer out of the loss. Sampling masks what it pads and needs none.

    Raises:
        EngineError: it can't be read, has no chat template, or no pad token where one is needed.
    """
    from transformers import AutoTokenizer

    found = resolve_model(reference)
    try:
        tokenizer = AutoTokenizer.from_pretrained(found.base, revision=found.hub_revision, trust_remote_code=False)
    except Exception as error:  # the library raises whatever its parsers do; people need one line
        raise EngineError(
            f"the tokenizer can't be loaded ({one_line(error)})",
            where=found.base,
            remedy="A model directory needs tokenizer.json and tokenizer_config.json",
        ) from error
    if not tokenizer.chat_template:
        raise EngineError(
            "the tokenizer has no chat template",
            where=found.base,
            remedy="Put a chat_template.jinja into the directory, or name an instruction-tuned model",
        )
    if need_pad and tokenizer.pad_token_id is None:
        raise EngineError(
            "the tokenizer has no pad token",
            where=found.base,
            remedy="Set tokenizer.pad_token to a token that text never ends with, and save it with save_pretrained",
        )
    return tokenizer


def load_model(
    reference: str | Path | ModelRef, *, device: str | None = None, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """Load the weights, in evaluation mode, adapter included where the reference has one.

    Args:
        device: default CUDA where there is one, else the CPU.
        dtype: default float32 on a CPU (bfloat16 moves sampled tokens with the batch), the checkpoint's own elsewhere.

    Raises:
        EngineError: weights missing, unreadable, not safetensors, or an adapter that doesn't fit.
    """
    import torch
    from transformers import AutoModelForCausalLM

    found = resolve_model(reference)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with no_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(
                found.base,
                revision=found.hub_revision,
                dtype=dtype or (torch.float32 if device == "cpu" else "auto"),
                use_safetensors=True,
                trust_remote_code=False,
            )
    except Exception as error:
        raise EngineError(
            f"the model can't be loaded ({one_line(error)})",
            where=found.base,
            remedy="It needs a supported config.json and weights as .safetensors",
        ) from error
    model = model.to(device).eval()  # pyright: ignore[reportArgumentType, reportCallIssue]
    return put_adapter(model, found.adapter).eval() if found.adapter else model  # pyright: ignore[reportReturnType]


def put_adapter(model: PreTrainedModel, adapter: Path, *, trainable: bool = False) -> PeftModel:
    """Wrap a loaded base in a LoRA adapter (the wrapping changes the base's modules in place).

    Raises:
        EngineError: the adapter was made for a base of other shapes or other layers.
    """
    import warnings

    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    remedy = "Name the base that it was trained on"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)  # between peft and transformers, not ours
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # an error, below
            wrapped = PeftModel.from_pretrained(model, str(adapter), is_trainable=trainable)
        with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as file:
            stored = set(file.keys())
    except Exception as error:
        raise EngineError(
            f"the adapter doesn't fit this base model ({one_line(error)})", where=str(adapter), remedy=remedy
        ) from error
    # peft lets a layer without stored weights pass as untrained, and weights without a layer as not there.
    if odd := stored ^ set(get_peft_model_state_dict(wrapped)):
        raise EngineError(
            f"the adapter doesn't fit this base model (not in both: {min(odd)})", where=str(adapter), remedy=remedy
        )
    return wrapped


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> list[int]:
    """A prompt's tokens under the chat template, the generation prompt included.

    Raises:
        InputError: the template refuses these messages (roles out of order, no system messages, ...).
    """
    try:
        ids: Any = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)  # pyright: ignore[reportArgumentType]
    except Exception as error:
        raise InputError(f"the chat template refuses this prompt ({one_line(error)})") from error
    return list(ids)


def memory_budget(device: torch.device) -> int:
    """Bytes that a batch may take: `CPU_BUDGET`, or 40% of what is free on a GPU."""
    import torch

    return CPU_BUDGET if device.type == "cpu" else int(0.4 * torch.cuda.mem_get_info(device)[0])


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Without the library's own bars while it loads: ours say enough."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _adapter_directory(adapter: str | Path) -> Path:
    path = Path(adapter).expanduser()
    if not path.is_dir():
        raise MissingError("no such adapter directory", where=str(adapter), remedy="Name a LoRA adapter directory")
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (path / name).is_file():
            raise InputError(
                f"not a LoRA adapter, {name} is missing",
                where=str(adapter),
                remedy="Write it with model.save_pretrained",
            )
    return path


def _base_of(adapter: Path) -> ModelRef:
    """The base that an adapter names: a directory as written or relative to the adapter, or a Hub id."""
    named = read_adapter_config(adapter).get("base_model_name_or_path") or ""
    for candidate in (Path(named), adapter / named):
        if named and (candidate / "config.json").is_file():
            return ModelRef(os.path.normpath(candidate))
    if _looks_like_hub_id(named):
        return ModelRef(named, hub_revision=read_adapter_config(adapter).get("revision") or None)
    raise MissingError(
        f"the adapter's base model {named or '(none named)'} is missing",
        where=str(adapter / ADAPTER_CONFIG),
        remedy="Load the base itself and pass this directory as its adapter, or mend base_model_name_or_path",
    )


def _looks_like_hub_id(text: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(text.partition("@")[0])
    except HFValidationError:
        return False
    # A bare word could be an old one-part id; far more often it is a mistyped directory.
    return text.count("/") == 1 and not text.startswith(".")


@lru_cache(maxsize=64)
def _hub_commit(hub_id: str, revision: str | None) -> str:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(hub_id, revision=revision, trust_remote_code=False)
    except Exception as error:
        raise EngineError(
            f"the model can't be found on the Hub ({one_line(error)})",
            where=hub_id,
            remedy="Check the id and the network",
        ) from error
    return getattr(config, "_commit_hash", None) or revision or ""
