"""Sampling through the store: what is there is reused, the rest is drawn and committed as it arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from datasets_cards.errors import InputError
from datasets_cards.records import Message
from labelers.engines.protocol import Completion, Engine, SampleRequest
from labelers.progress import Progress
from labelers.store import SampleStore, request_key, value_key

COMMIT_SECONDS = 1.0
"""With the engine's `commit_every`, what a killed process can lose."""


class Sampler:
    """An engine behind a sample store.

    Args:
        engine: what draws and scores.
        store: where samples and scores are kept.
        progress: told of every sample.

    Attributes:
        prompt_tokens: tokens of the distinct prompts asked for so far, reused ones included; None where the engine
            can't tell.
    """

    def __init__(self, engine: Engine, store: SampleStore, progress: Progress | None = None) -> None:
        self.engine, self.store = engine, store
        self.progress = progress or Progress()
        self.prompt_tokens: int | None = 0
        self._prompts: set[bytes] = set()

    def sample(self, requests: Sequence[SampleRequest]) -> list[Completion]:
        """A completion for each request, in their order; failures come with finish reason `error` and are not kept.

        Raises:
            StorageError: the store can't be read or written.
        """
        keys = [self._key(request) for request in requests]
        found = self.store.get_many(sorted({key for key in keys if key}))
        # Equal keys are one sample: it is drawn once, whoever else asks for it.
        first = {key: i for i, key in reversed(list(enumerate(keys))) if key and key not in found}
        missing = [i for i, key in enumerate(keys) if not key or first.get(key) == i]
        failed: dict[bytes, Completion] = {}
        refused: dict[int, Completion] = {}
        waiting: list[tuple[bytes, str, Completion]] = []
        started = committed = time.monotonic()
        self.progress.asked(len(requests), len(requests) - len(missing))
        try:
            for n, completion in self.engine.sample([requests[i] for i in missing]):
                i, key = missing[n], keys[missing[n]]
                self.progress.drawn(completion.token_count or 0)
                if not key:
                    refused[i] = completion
                elif completion.finish_reason == "error":
                    failed[key] = completion
                else:
                    found[key] = completion
                    waiting.append((key, requests[i].row_id, completion))
                    if len(waiting) >= self.engine.commit_every or time.monotonic() - committed > COMMIT_SECONDS:
                        self.store.put_many(waiting)
                        waiting, committed = [], time.monotonic()
        finally:
            if waiting:
                self.store.put_many(waiting)
        if missing:
            # Another process may have put the same samples in first: everybody goes by those.
            found |= self.store.get_many([keys[i] for i in missing if keys[i] in found], again=True)
            drawn = [found[keys[i]] for i in missing if keys[i] in found]
            tokens = sum(completion.token_count or 0 for completion in drawn)
            self.store.add_speed(self.engine.identity, len(drawn), tokens, time.monotonic() - started)
        return [refused[i] if not key else failed.get(key) or found[key] for i, key in enumerate(keys)]

    def logprobs(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[float]:
        """Log P in nats of completions (token ids) under the raw model at T=1, given prompts; kept in the store.

        Raises:
            InputError: the engine can't score.
        """

        def compute(missing: list[int]) -> list[tuple[float]]:
            return [(sum(tokens),) for tokens in self.engine.score([items[i] for i in missing])]

        return [value for (value,) in self.remembered(("logprob",), self._names(items), compute)]

    def uncertainties(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[tuple[float, ...]]:
        """(mean entropy, self-certainty) of the model along completions (token ids), given prompts; kept in the store.

        Raises:
            InputError: the engine can't see whole distributions.
        """

        def compute(missing: list[int]) -> list[tuple[float, float]]:
            found = self.engine.uncertainty([items[i] for i in missing])
            return [(one.entropy, one.self_certainty) for one in found]

        return self.remembered(("entropy", "self_certainty"), self._names(items), compute)

    def remembered(
        self,
        kinds: Sequence[str],
        names: Sequence[object],
        compute: Callable[[list[int]], Sequence[tuple[float, ...]]],
    ) -> list[tuple[float, ...]]:
        """Numbers that the store keeps under what they depend on.

        Args:
            kinds: what the numbers are.
            names: JSON-like, all that one item's numbers depend on.
            compute: positions of the items that are not there -> their numbers, one a kind.
        """
        keys = [tuple(value_key(kind, name) for kind in kinds) for name in names]
        found = self.store.get_values([key for item in keys for key in item])
        first = {item: i for i, item in reversed(list(enumerate(keys))) if not found.keys() >= set(item)}
        missing = sorted(first.values())
        if missing:
            fresh = {
                key: value
                for i, values in zip(missing, compute(missing), strict=True)
                for key, value in zip(keys[i], values, strict=True)
            }
            self.store.put_values(fresh)
            found |= fresh
        return [tuple(found[key] for key in item) for item in keys]

    def _names(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[object]:
        identity = asdict(self.engine.identity)
        return [[identity, self.engine.prompt(messages).digest, tokens] for messages, tokens in items]

    def _key(self, request: SampleRequest) -> bytes:
        """The request's key; empty where the prompt can't be encoded, which the engine will report as a failure."""
        try:
            prompt = self.engine.prompt(request.messages)
        except InputError:
            return b""
        if prompt.tokens is None:
            self.prompt_tokens = None
        elif self.prompt_tokens is not None and (name := bytes.fromhex(prompt.digest)[:8]) not in self._prompts:
            self._prompts.add(name)
            self.prompt_tokens += prompt.tokens
        return request_key(self.engine.identity, request, prompt.digest)
