"""Digests of models on disk: which bytes and settings decide what a model says."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_cards.canonical import canonical_json, file_digest, sha256_hex
from datasets_cards.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What of a model directory decides its outputs; everything else (cards, checkpoints, logs) may come and go.
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "chat_templates/*.jinja")
_NOT_THE_MODEL = {
    "adapter_config.json", "organism.json", "training.json", "trainer_state.json", "echoset.json", "reward.json",
}  # fmt: skip
# Fields of an adapter's configuration that leave its outputs alone: where it was made, and how it was trained.
_ADAPTER_PROVENANCE = {
    "auto_mapping", "base_model_name_or_path", "inference_mode", "init_lora_weights", "lora_dropout", "peft_version",
    "revision", "task_type", "runtime_config",
}  # fmt: skip


def chat_template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the chat template's text."""
    return sha256_hex(canonical_json(tokenizer.chat_template))


def directory_digest(directory: str | Path) -> str:
    """SHA-256 over names and bytes of a model directory's config, weights and tokenizer files."""
    files = {file for pattern in _MODEL_FILES for file in Path(directory).glob(pattern)}
    kept = sorted(file for file in files if file.name not in _NOT_THE_MODEL and file.name != ADAPTER_WEIGHTS)
    return sha256_hex(canonical_json([[file.name, _cached_digest(*_stamp(file))] for file in kept]))


def adapter_digest(directory: str | Path) -> str:
    """SHA-256 over an adapter's weights and the fields of its configuration that decide its outputs."""
    folder = Path(directory)
    config = read_adapter_config(folder)
    # Empty and default-off fields are left out: they come and go with peft's versions.
    fields = {
        k: sorted(v) if isinstance(v, list) else v for k, v in config.items() if v and k not in _ADAPTER_PROVENANCE
    }
    return sha256_hex(canonical_json([fields, _cached_digest(*_stamp(folder / ADAPTER_WEIGHTS))]))


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """An adapter's `adapter_config.json`.

    Raises:
        InputError: it is not there or not JSON.
    """
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"can't be read ({one_line(error)})", where=str(folder / ADAPTER_CONFIG)) from None
    if not isinstance(config, dict):
        raise InputError("not an adapter's configuration", where=str(folder / ADAPTER_CONFIG))
    return config


def one_line(error: BaseException) -> str:
    """A library's error as part of one line of ours."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{'...' if len(text) > 200 else ''}"


def _stamp(file: Path) -> tuple[str, int, int, int]:
    status = file.stat()
    return str(file.resolve()), status.st_mtime_ns, status.st_size, status.st_ino


@lru_cache(maxsize=4096)
def _cached_digest(path: str, mtime_ns: int, size: int, inode: int) -> str:
    return file_digest(path)
