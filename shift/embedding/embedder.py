"""`Embedder`: points for texts, computed once per text and embedder and then found on disk."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets_cards.cache import cache_dir
from datasets_cards.errors import InputError, StorageError
from shift.embedding.model import Part, load
from shift.embedding.source import find_source, scope_of
from shift.embedding.store import Found, PointStore, text_keys

CHUNK_TEXTS, CHUNK_CHARACTERS, LEAST_TEXTS = 1024, 1 << 17, 32
"""How much is embedded between two looks at the store and two steps of the progress bar."""
COMMIT_SECONDS, COMMIT_BYTES = 2.0, 64 << 20
"""After how long, or how many bytes of points, what is computed is stored: a killed run loses no more than that."""


class Embedder:
    """A sentence embedder; loaded only when there is a text whose point is not on disk yet.

    Attributes:
        name: the id, or the directory's own name (never its path, which would tell of the machine).
        digest: what its points depend on: the directory's files, or the id with its commit; and the prompt, if any.
        scope: what it is good for, from `echoset.json` in its directory; None where nothing limits it.
        truncated: how many distinct texts of the last `encode` were longer than `max_tokens`; of those only the
            beginnings were embedded.
        max_tokens: where the embedder cuts texts off; None where it doesn't, or nothing was encoded yet.
    """

    def __init__(self, ref: str | Path, *, prompt: str | None = None, prompt_name: str | None = None) -> None:
        """Find the embedder without loading it.

        Args:
            ref: a SentenceTransformer, by its directory or its Hub id.
            prompt: put before every text, such as `"query: "`; left out, the model's own default.
            prompt_name: the same, by its name in the model's configuration.

        Raises:
            MissingError: there is no such directory, or the id is neither stored here nor can be fetched.
            InputError: `echoset.json` can't be read; a prompt and the name of one.
        """
        self._source = find_source(ref, prompt, prompt_name)
        self.name, self.digest = self._source.name, self._source.digest
        self.scope = scope_of(self._source)
        self.truncated, self.max_tokens = 0, None

    def encode(
        self, texts: list[str], *, progress: bool = False, ray: str | None = None, workers: int | None = None
    ) -> NDArray[np.float32]:
        """Points of length 1, float32 [texts, width]; equal texts get the same bits, now and later.

        What has been embedded is stored as it is computed: a run that is killed goes on where it stopped, texts that
        two artifacts share are embedded once, and processes that embed the same texts at once share the work.

        Args:
            texts: in any order, repeated or not.
            progress: show a bar on stderr, where that is a terminal.
            ray: compute on a Ray cluster: its address, or "local" for one on this machine.
            workers: models on that cluster; one for each GPU, or else each CPU, where left out.

        Returns:
            An array in memory or, where that would take more than 256 MiB, one that is mapped from disk, read-only.

        Raises:
            InputError: no text, one that is empty or is not text, or a prompt's name that the model doesn't know.
            EngineError: the model can't be loaded or run, or gives NaN or a zero vector.
            MissingError: Ray is not installed.
            StorageError: the cache can't be read or written.
        """
        _check(texts)
        key_U, first_U, index_N = np.unique(text_keys(texts), return_index=True, return_inverse=True)
        store = PointStore(cache_dir() / "embeddings", self.digest)
        found = store.find(key_U)
        for _ in range(3):  # files that turn out to be damaged are begun anew
            if len(found.missing_U):
                chunks = _chunks(found.missing_U, np.array([len(texts[i]) for i in first_U]))
                parts = (
                    self._here(store, found, texts, first_U, chunks)
                    if ray is None
                    else self._on_ray(texts, first_U, chunks, ray, workers)
                )
                _keep(store, found, parts, progress=progress)
            points_ND = store.points(found, index_N)
            if points_ND is not None:
                self.truncated, self.max_tokens = int(found.long_U.sum()), found.max_tokens
                return points_ND
        raise StorageError(
            "stored points are damaged again and again", where=str(store.folder), remedy="Check the disk"
        )

    def _here(
        self,
        store: PointStore,
        found: Found,
        texts: list[str],
        first_U: NDArray[np.intp],
        chunks: list[NDArray[np.intp]],
    ) -> Iterator[Part]:
        model = load(self._source)
        # The longest texts first: they show whether memory holds. The other chunks come in an order of this process's
        # own, so that another one with the same texts does others; what it has stored by then is left out here.
        for chunk in [chunks[0], *random.Random().sample(chunks[1:], len(chunks) - 1)]:
            store.refresh(found)
            at = chunk[found.row_U[chunk] < 0]
            if len(at):
                points, long = model.embed([texts[i] for i in first_U[at]])
                yield Part(at, points, long, model.max_tokens)

    def _on_ray(
        self,
        texts: list[str],
        first_U: NDArray[np.intp],
        chunks: list[NDArray[np.intp]],
        address: str,
        workers: int | None,
    ) -> Iterator[Part]:
        from shift.embedding.cluster import embed_on_ray

        return embed_on_ray(
            self._source, ((at, [texts[i] for i in first_U[at]]) for at in chunks), address=address, workers=workers
        )


def _check(texts: list[str]) -> None:
    if isinstance(texts, str):
        raise InputError("one string instead of a list of texts", remedy="Give a list.")
    if not len(texts):
        raise InputError("no texts to embed")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"{type(text).__name__} instead of text", where=f"text {i}")
        if not text.strip():
            raise InputError("an empty text can't be embedded", where=f"text {i}")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise InputError("half a surrogate pair can't be embedded", where=f"text {i}") from None


def _chunks(at: NDArray[np.intp], length_U: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Cut positions into chunks, longest texts first, so that a chunk pads little.

    They don't depend on the caller's order: positions are those of sorted keys.
    """
    at = at[np.argsort(-length_U[at], kind="stable")]
    chunks, start, characters = [], 0, 0
    for end, length in enumerate(length_U[at].tolist(), 1):
        characters += length
        count = end - start
        if count == CHUNK_TEXTS or (count >= LEAST_TEXTS and characters >= CHUNK_CHARACTERS) or end == len(at):
            chunks.append(at[start:end])
            start, characters = end, 0
    return chunks


def _keep(store: PointStore, found: Found, parts: Iterator[Part], *, progress: bool) -> None:
    """Store parts as they come, every couple of seconds."""
    waiting: list[Part] = []
    due = time.monotonic() + COMMIT_SECONDS

    def commit() -> None:
        if waiting:
            at, points, long = (np.concatenate(part) for part in zip(*(w[:3] for w in waiting), strict=True))
            store.add(found, at, points, long, waiting[0].max_tokens)
            waiting.clear()

    before = found.count
    with _bar(len(found.key_U) - before, show=progress) as show:
        for part in parts:
            waiting.append(part)
            if time.monotonic() >= due or sum(w.points.nbytes for w in waiting) >= COMMIT_BYTES:
                commit()
                due = time.monotonic() + COMMIT_SECONDS
            show(found.count - before + sum(len(w.at) for w in waiting))
        commit()


@contextmanager
def _bar(total: int, *, show: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, where that is a terminal; yields what to tell how many texts are done."""
    if not (show and sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("embed texts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)
