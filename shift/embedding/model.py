"""A loaded embedder: texts in, points of length 1 out, and which texts were too long for it."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import EngineError, InputError
from shift.embedding.source import Source, offline

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CPU_BATCH, GPU_BATCH = 32, 512


class Part(NamedTuple):
    """Some texts' points: positions of the texts, points [texts, width], whether each was cut off, and where."""

    at: NDArray[np.intp]
    points: NDArray[np.float32]
    long: NDArray[np.bool_]
    max_tokens: int | None


class Model:
    """A SentenceTransformer on the device that it chooses itself (a GPU where there is one).

    Attributes:
        max_tokens: where it cuts texts off; None where it doesn't, or doesn't say.
    """

    def __init__(self, source: Source) -> None:
        """Load it.

        Raises:
            EngineError: the source is no sentence embedder.
            InputError: it has no prompt of the name that was given.
        """
        self._name = source.name
        self._model = _load(source)
        self._batch = CPU_BATCH if self._model.device.type == "cpu" else GPU_BATCH
        named = source.prompt_name or self._model.default_prompt_name
        if source.prompt_name is not None and source.prompt_name not in self._model.prompts:
            known = ", ".join(sorted(self._model.prompts)) or "none"
            raise InputError(
                f"no prompt is named {source.prompt_name!r}", where=source.name, remedy=f"It has: {known}."
            )
        self._prompt = source.prompt if named is None or source.prompt is not None else self._model.prompts[named]
        limit = self._model.max_seq_length
        # Tokenizers without a limit give an enormous number for it.
        self.max_tokens = None if limit is None or math.isinf(limit) or limit > 1e9 else int(limit)

    def embed(self, texts: list[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Points [texts, width] of length 1, and whether each text was longer than `max_tokens`.

        Raises:
            EngineError: the model fails, or gives NaN, a zero vector, or another number of points.
        """
        widths: list[int] = []

        def note_width(_: Any, inputs: tuple[dict[str, Any], ...]) -> None:
            widths.append(int(inputs[0]["input_ids"].shape[-1]) if "input_ids" in inputs[0] else 0)

        hook = self._model.register_forward_pre_hook(note_width)
        try:
            raw = np.asarray(self._encode(texts))
        finally:
            hook.remove()
        if raw.ndim != 2 or len(raw) != len(texts) or raw.dtype.kind != "f":
            raise EngineError(
                f"the embedder gives {raw.dtype} of shape {raw.shape} for {len(texts)} texts", where=self._name
            )
        points = raw.astype(np.float64)  # the squares of half-precision numbers overflow
        length = np.linalg.norm(points, axis=1, keepdims=True)
        good = np.isfinite(length[:, 0]) & (length[:, 0] > 0)
        if not good.all():
            raise EngineError(
                "the embedder gives NaN or a zero vector",
                where=f"{self._name}, text {texts[int(np.argmin(good))][:40]!r}",
                remedy="Use another.",
            )
        long = np.zeros(len(texts), np.bool_)
        if self.max_tokens is not None and max(widths) >= self.max_tokens:
            long = self._tokens(texts, self.max_tokens + 1) > self.max_tokens
        return (points / length).astype(np.float32), long

    def _encode(self, texts: list[str]) -> Any:
        """Encode in batches, smaller ones from the first on that doesn't fit a GPU's memory."""
        from torch import OutOfMemoryError

        while True:
            try:
                return self._model.encode(
                    texts, prompt=self._prompt, batch_size=self._batch, show_progress_bar=False, convert_to_numpy=True
                )
            except OutOfMemoryError as error:
                if self._batch == 1:
                    raise EngineError(
                        "no memory for one text at a time", where=self._name, remedy="Use a smaller embedder."
                    ) from error
                self._batch //= 2
            except Exception as error:  # tokenizers and models raise whatever they like; people need one line
                reason = " ".join(str(error).split())[:200]
                raise EngineError(f"the embedder fails ({type(error).__name__}: {reason})", where=self._name) from error

    def _tokens(self, texts: list[str], most: int) -> NDArray[np.int64]:
        """Tokens of each text, prompt and special tokens included, counted up to `most`."""
        features = self._model.preprocess(
            texts, prompt=self._prompt, processing_kwargs={"text": {"max_length": most, "truncation": True}}
        )
        return features["attention_mask"].sum(dim=1).cpu().numpy()


@lru_cache(maxsize=1)
def load(source: Source) -> Model:
    """Load a model once per process; a directory that has changed since is another source."""
    return Model(source)


def _load(source: Source) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for the weights, on every stderr
    try:
        return SentenceTransformer(
            source.location,
            revision=source.revision,
            local_files_only=source.revision is None or offline(),
            trust_remote_code=False,
        )
    except Exception as error:  # every layer below raises its own; none of them tells a user what to do
        raise EngineError(
            f"not a sentence embedder ({type(error).__name__})",
            where=source.location,
            remedy="Give a SentenceTransformer.",
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()
