"""Reward models: sequence classifiers with one output, which score an answer to a prompt.

The conversation is put through the model's own chat template, answer included, and the score is the one logit that
the classifier gives it, as the makers of Skywork-Reward-V2 (arXiv 2507.01352) and others document it. Torch and
transformers are imported when a model is loaded, not before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_cards.errors import EngineError, InputError, StorageError
from datasets_cards.manifest import ScorerCheck
from datasets_cards.records import Message
from labelers.engines.digests import one_line
from labelers.engines.models import ModelRef, load_tokenizer, memory_budget, no_progress_bars, resolve_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

RECORD = "reward.json"
"""Beside the weights: the accuracy that the model's maker measured on held-out pairs, as a `ScorerCheck` in JSON."""
MOST_ROWS = 256
"""Rows of a batch where memory allows more."""


class RewardModel:
    """Scores answers with an `AutoModelForSequenceClassification` of one output.

    Weights are read from safetensors only, and no code of a model repository is run.

    Args:
        model: model directory or Hub id (`org/name` or `org/name@revision`).
        batch_size: most conversations at once; default by the memory that they take. Scores move by rounding alone.
        device: default CUDA where there is one, else the CPU. Weights are float32 on a CPU, the checkpoint's own type
            elsewhere.

    Attributes:
        reference: what was loaded.
        held_out: how often the model preferred the better answer of held-out pairs, by its maker's `reward.json`; None
            where there is none.

    Raises:
        MissingError: no such directory.
        InputError: no model there, an adapter, a model that is no classifier with one output, or a broken
            `reward.json`.
        EngineError: weights missing (those of the score head above all), unreadable or not safetensors, or no chat
            template.
    """

    def __init__(self, model: str | Path, *, batch_size: int | None = None, device: str | None = None) -> None:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"a batch of {batch_size} holds nothing", where="batch_size", remedy="Use 1 or more")
        self.reference = resolve_model(model)
        self.batch_size = batch_size
        self.held_out = _held_out(self.reference)
        self._tokenizer = load_tokenizer(self.reference)
        self._model = _load_classifier(self.reference, device)
        self._text_config = self._model.config.get_text_config()
        pad, words = self._text_config.pad_token_id, getattr(self._text_config, "vocab_size", 0)
        self._padding: int | None = pad if pad is not None and 0 <= pad < words else None
        self._context = int(getattr(self._text_config, "max_position_embeddings", 0) or 1 << 30)

    @property
    def name(self) -> str:
        """Hub id, or the directory's own name: never a machine's path."""
        return self.reference.name

    @property
    def revision(self) -> str:
        """Commit sha of a Hub model, digest of config, weights and tokenizer of a directory."""
        return self.reference.revision

    @property
    def dtype(self) -> str:
        """Numeric type of the weights."""
        return str(self._model.dtype).removeprefix("torch.")

    def score(self, items: Sequence[tuple[list[Message], str]]) -> list[float | str]:
        """Score answers, for (prompt messages, answer).

        Equal conversations are computed once and share one score; scores move by about 1e-6 with the batch's shape.

        Returns:
            For each item its score (a logit, without unit; higher is better), or the reason why there is none, as
            `code: detail` with the codes prompt_refused, prompt_empty, prompt_too_long and not_finite.
        """
        found: list[float | str] = [""] * len(items)
        places: dict[tuple[int, ...], list[int]] = {}
        for place, (messages, answer) in enumerate(items):
            try:
                ids = self._encode(messages, answer)
            except InputError as error:
                found[place] = f"prompt_refused: {error}"
                continue
            if not ids or len(ids) > self._context:
                problem = "prompt_too_long" if ids else "prompt_empty"
                found[place] = f"{problem}: {len(ids)} tokens, the context holds {self._context}"
                continue
            places.setdefault(tuple(ids), []).append(place)
        todo = sorted(places, key=len)
        while todo:
            rows = self._rows(len(todo[-1]))
            batch, todo = todo[-rows:], todo[:-rows]
            for ids, score in zip(batch, self._forward(batch), strict=True):
                for place in places[ids]:
                    found[place] = score if math.isfinite(score) else f"not_finite: the model's output is {score}"
        return found

    def _encode(self, messages: list[Message], answer: str) -> list[int]:
        """The whole conversation's tokens, as the model's maker documents: template to text, text to tokens."""
        conversation = [*messages, Message(role="assistant", content=answer)]
        try:
            text: Any = self._tokenizer.apply_chat_template(conversation, tokenize=False)  # pyright: ignore[reportArgumentType]
        except Exception as error:  # Jinja raises whatever the template's author chose
            raise InputError(f"the chat template refuses this conversation ({one_line(error)})") from error
        ids: list[int] = self._tokenizer(text, verbose=False)["input_ids"]  # pyright: ignore[reportAssignmentType]
        # Templates write the token that begins a text, and some tokenizers then add it once more.
        begin = self._tokenizer.bos_token_id
        return ids[1:] if begin is not None and ids[:2] == [begin, begin] else ids

    def _rows(self, length: int) -> int:
        """How many conversations of a length a batch may have: what was asked for, or what fits the memory."""
        if self.batch_size:
            return self.batch_size
        width = getattr(self._text_config, "hidden_size", 1024)
        activations = 8 * width + 3 * (getattr(self._text_config, "intermediate_size", None) or 4 * width)
        # The attention mask is a square a row where the batch is padded.
        numbers = length * (activations + length)
        return max(1, min(MOST_ROWS, memory_budget(self._model.device) // (numbers * self._model.dtype.itemsize)))

    def _forward(self, batch: list[tuple[int, ...]]) -> list[float]:
        """Scores of conversations padded on the right, where no token of theirs can see the padding."""
        import numpy as np
        import torch

        shape = (len(batch), max(map(len, batch)))
        ids_NT, mask_NT = np.full(shape, self._pad(batch), np.int64), np.zeros(shape, np.int64)
        for row, ids in enumerate(batch):
            ids_NT[row, : len(ids)], mask_NT[row, : len(ids)] = ids, 1
        device = self._model.device
        with torch.inference_mode():
            logits_N1 = self._model(
                input_ids=torch.from_numpy(ids_NT).to(device), attention_mask=torch.from_numpy(mask_NT).to(device)
            ).logits
        return logits_N1[:, 0].float().tolist()

    def _pad(self, batch: list[tuple[int, ...]]) -> int:
        """The token to pad with: the configuration's, or one that no conversation ends with.

        A classifier over a decoder reads the score at a row's last token that is not `config.pad_token_id`, and at its
        last token where the configuration names none; but then it takes only one row at a time. Padding with a token
        that ends no row, and telling the model so, is the same for many.
        """
        if self._padding is not None:
            return self._padding
        ends = {ids[-1] for ids in batch}
        unused = next(token for token in range(len(ends) + 1) if token not in ends)
        self._text_config.pad_token_id = unused
        return unused


def _load_classifier(found: ModelRef, device: str | None) -> PreTrainedModel:
    """The weights, in evaluation mode, with nothing in them that is not the checkpoint's.

    Raises:
        InputError: an adapter, or not a classifier with one output.
        EngineError: weights missing, unreadable or not safetensors.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if found.adapter:
        raise InputError(
            "a LoRA adapter, not a whole reward model", where=found.adapter.name, remedy="Merge it into its base first"
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        config = AutoConfig.from_pretrained(found.base, revision=found.hub_revision, trust_remote_code=False)
        _check_config(config, found)
        with no_progress_bars():
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                found.base,
                config=config,
                revision=found.hub_revision,
                dtype=torch.float32 if device == "cpu" else "auto",
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except InputError:
        raise
    except Exception as error:  # the library raises whatever its parsers do; people need one line
        raise EngineError(
            f"the reward model can't be loaded ({one_line(error)})",
            where=found.base,
            remedy="It needs a supported config.json and weights as .safetensors",
        ) from error
    # The library fills weights that the checkpoint lacks with chance, and a head by chance scores at random.
    if missing := sorted(loading["missing_keys"]):
        raise EngineError(
            f"weights are missing from the checkpoint ({', '.join(missing[:3])}{', ...' if missing[3:] else ''})",
            where=found.base,
            remedy="Name a trained reward model, saved whole with save_pretrained",
        )
    return model.to(device).eval()


def _check_config(config: PretrainedConfig, found: ModelRef) -> None:
    kinds: list[str] = config.architectures or []
    if kinds and not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise InputError(
            f"not a reward model: its config.json names {kinds[0]}, not a ...ForSequenceClassification",
            where=found.base,
            remedy="Name a sequence classifier with one output",
        )
    if config.num_labels != 1:
        raise InputError(
            f"a classifier with {config.num_labels} outputs, a reward model has one",
            where=found.base,
            remedy="Name a sequence classifier with num_labels 1",
        )


def _held_out(found: ModelRef) -> ScorerCheck | None:
    """The accuracy that the model's maker recorded, or None.

    Raises:
        InputError: `reward.json` is not one.
        StorageError: it can't be read.
    """
    if found.local:
        record = Path(found.base) / RECORD
        if not record.is_file():
            return None
    else:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            record = Path(hf_hub_download(found.base, RECORD, revision=found.hub_revision))
        except EntryNotFoundError:  # not on the Hub; offline, not in the cache
            return None
        except Exception as error:
            raise EngineError(
                f"{RECORD} can't be looked up on the Hub ({one_line(error)})",
                where=found.base,
                remedy="Check the id and the network",
            ) from error
    try:
        return ScorerCheck.model_validate_json(record.read_bytes())
    except OSError as error:
        raise StorageError(f"{RECORD} can't be read ({error.strerror or error})", where=found.base) from error
    except ValueError as error:
        raise InputError(
            f"{RECORD} holds no accuracy ({one_line(error)})",
            where=found.base,
            remedy="It needs accuracy, low, high, pairs and data; or take the file away",
        ) from None
