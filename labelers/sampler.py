"""Sampling through the store: what is there is reused, the rest is drawn and committed as it arrives."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext

from labelers.engines.protocol import Completion, Engine, SampleRequest
from labelers.store import SampleStore, request_key

COMMIT_EVERY = 64
"""Samples a transaction at most; with `COMMIT_SECONDS`, what a killed process can lose."""
COMMIT_SECONDS = 1.0


class Sampler:
    """An engine behind a sample store.

    Args:
        engine: what draws and scores.
        store: where samples are kept.
        progress: a bar on stderr, if that is a terminal.

    Attributes:
        prompt_tokens: tokens of the distinct prompts asked for so far, reused ones included.
    """

    def __init__(self, engine: Engine, store: SampleStore, *, progress: bool = False) -> None:
        self.engine, self.store = engine, store
        self.progress = progress and sys.stderr.isatty()
        self.prompt_tokens = 0
        self._prompts: set[tuple[int, ...]] = set()

    def sample(self, requests: Sequence[SampleRequest]) -> list[Completion]:
        """A completion for each request, in their order; failures come with finish reason `error` and are not kept.

        Raises:
            StorageError: the store can't be read or written.
        """
        keys = [self._key(request) for request in requests]
        found = self.store.get_many(sorted({key for key in keys if key}))
        missing = [i for i, key in enumerate(keys) if not key or key not in found]
        failed: dict[int, Completion] = {}
        waiting: list[tuple[bytes, str, Completion]] = []
        committed = time.monotonic()
        with self._bar(len(requests) - len(missing), len(requests)) as advance:
            try:
                for n, completion in self.engine.sample([requests[i] for i in missing]):
                    i, key = missing[n], keys[missing[n]]
                    advance(len(completion.token_ids))
                    if completion.finish_reason == "error" or not key:
                        failed[i] = completion
                        continue
                    found[key] = completion
                    waiting.append((key, requests[i].row_id, completion))
                    if len(waiting) >= COMMIT_EVERY or time.monotonic() - committed > COMMIT_SECONDS:
                        self.store.put_many(waiting)
                        waiting, committed = [], time.monotonic()
            finally:
                if waiting:
                    self.store.put_many(waiting)
        return [failed[i] if i in failed else found[keys[i]] for i in range(len(requests))]

    def _key(self, request: SampleRequest) -> bytes:
        """The request's key; empty where the prompt can't be encoded, which the engine will report as a failure."""
        try:
            ids = self.engine.prompt_ids(request.messages)
        except ValueError:
            return b""
        if tuple(ids) not in self._prompts:
            self._prompts.add(tuple(ids))
            self.prompt_tokens += len(ids)
        return request_key(self.engine.identity, request, ids)

    def _bar(self, done: int, total: int):
        return _Bar(done, total) if self.progress else nullcontext(lambda tokens: None)


class _Bar:
    """Samples, tokens a second and time left, on stderr."""

    def __init__(self, done: int, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("samples", total=total, completed=done, speed="")
        self._tokens, self._start = 0, time.monotonic()

    def __enter__(self):
        self._progress.start()
        return self._advance

    def __exit__(self, *raised: object) -> None:
        self._progress.stop()

    def _advance(self, tokens: int) -> None:
        self._tokens += tokens
        speed = self._tokens / max(time.monotonic() - self._start, 1e-9)
        self._progress.update(self._task, advance=1, speed=f"{speed:,.0f} tokens/s")
