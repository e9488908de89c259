"""Texts to points: any SentenceTransformer, by id or directory, with its results kept on disk."""

from __future__ import annotations

import io
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets_cards.cache import cache_dir
from datasets_cards.canonical import canonical_json, file_digest, sha256_hex
from datasets_cards.errors import EngineError, InputError, MissingError
from datasets_cards.storage import replace_files, storage_errors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CHUNK = 1024
"""Texts between two steps of the progress bar; they are sorted by length beforehand, so a chunk pads little."""


class Embedder:
    """A sentence embedder; loaded only when there is a text whose point is not on disk yet.

    Attributes:
        name: the id, or the directory's own name (never its path, which would tell of the machine).
        digest: what its points depend on: the directory's files, or the id with its commit.
        scope: what it is good for, from `echoset.json` in its directory; None where nothing limits it.
    """

    def __init__(self, ref: str | Path) -> None:
        """Find the embedder without loading it.

        Raises:
            MissingError: there is no such directory, or the id is neither stored here nor can be fetched.
            InputError: `echoset.json` can't be read.
        """
        folder = Path(ref).expanduser()
        self.scope: str | None = None
        if folder.is_dir():
            self._ref, self._local = str(folder), True
            self.name = folder.resolve().name
            self.digest = _folder_digest(folder)
            self.scope = _scope(folder)
            return
        self._ref, self._local = str(ref), False
        if folder.is_absolute() or str(ref).startswith((".", "~")) or str(ref).count("/") > 1 or folder.exists():
            raise MissingError("no such embedder directory", where=str(ref), remedy="Give a directory or a Hub id.")
        self.name = self._ref
        self.digest = f"{self._ref}@{_commit(self._ref)}"

    def encode(self, texts: list[str], *, progress: bool = False) -> NDArray[np.float32]:
        """Points of length 1, float32 [texts, width]; equal texts get the same bits.

        Raises:
            InputError: an empty text.
            EngineError: the model can't be loaded, or gives NaN or a zero vector.
        """
        if not texts:
            raise InputError("no texts to embed")
        if (blank := next((i for i, text in enumerate(texts) if not text.strip()), None)) is not None:
            raise InputError("an empty text can't be embedded", where=f"text {blank}")
        # Longest first: a chunk pads little and the first chunk shows whether memory holds. Sorting also makes the
        # key, and the batches, independent of the caller's order.
        unique = sorted(set(texts), key=lambda text: (-len(text), text))
        key = sha256_hex(canonical_json([1, self.digest, unique]))
        path = cache_dir() / "embeddings" / f"{key}.npy"
        points = _stored(path, len(unique))
        if points is None:
            points = self._compute(unique, progress=progress)
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                buffer = io.BytesIO()
                np.save(buffer, points, allow_pickle=False)
                replace_files({path: buffer.getvalue()})
        at = {text: i for i, text in enumerate(unique)}
        return points[[at[text] for text in texts]]

    def _compute(self, texts: list[str], *, progress: bool) -> NDArray[np.float32]:
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        model = _load(self._ref, self.digest, self._local)
        chunks = [texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK)]
        shown = track(
            chunks, f"embed {len(texts)} texts", console=console, disable=not (progress and console.is_terminal)
        )
        points = np.concatenate(
            [model.encode(chunk, show_progress_bar=False, convert_to_numpy=True).astype(np.float64) for chunk in shown]
        )
        length = np.linalg.norm(points, axis=1, keepdims=True)
        bad = ~np.isfinite(length[:, 0]) | (length[:, 0] == 0)
        if bad.any():
            text = texts[int(np.argmax(bad))]
            raise EngineError(
                "the embedder gives NaN or a zero vector",
                where=f"{self.name}, text {text[:40]!r}",
                remedy="Use another.",
            )
        return (points / length).astype(np.float32)


@lru_cache(maxsize=1)
def _load(ref: str, digest: str, local: bool) -> SentenceTransformer:
    """Load a model once per process (the digest is there so that a changed directory is loaded anew)."""
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(ref, local_files_only=local or _offline(), trust_remote_code=False)
    except Exception as error:  # every layer below raises its own; none of them tells a user what to do
        raise EngineError(
            f"not a sentence embedder ({type(error).__name__})", where=ref, remedy="Give a SentenceTransformer."
        ) from error


def _stored(path: Path, rows: int) -> NDArray[np.float32] | None:
    """The points on disk; None where there are none, or not these (a torn or foreign file is computed again)."""
    try:
        points: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = points.ndim == 2 and len(points) == rows and points.dtype == np.float32 and np.isfinite(points).all()
    return points if fits else None


def _folder_digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise MissingError("an empty directory is no embedder", where=str(folder), remedy="Give a SentenceTransformer.")
    return sha256_hex(canonical_json([[path.relative_to(folder).as_posix(), file_digest(path)] for path in files]))


def _scope(folder: Path) -> str | None:
    path = folder / "echoset.json"
    if not path.is_file():
        return None
    try:
        scope = json.loads(path.read_text(encoding="utf-8")).get("scope")
    except (ValueError, AttributeError):
        raise InputError("is not a JSON object", where=str(path), remedy='It should read {"scope": ...}.') from None
    return None if scope is None else str(scope)


def _commit(id_: str) -> str:
    """The commit an id stands for: the Hub's, or the stored one where there is no network."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    remedy = "Give a directory, or an id that the Hub or this machine's cache has."
    try:
        if not _offline():
            return str(HfApi().model_info(id_).sha)
    except HFValidationError:
        raise MissingError("no such embedder", where=id_, remedy=remedy) from None
    except Exception:  # the Hub, or any layer of the network below it: a stored copy serves, or there is none
        pass
    for name in ("modules.json", "config.json"):
        stored = try_to_load_from_cache(id_, name)
        if isinstance(stored, str):
            return Path(stored).parent.name
    raise MissingError("no such embedder", where=id_, remedy=remedy)


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
