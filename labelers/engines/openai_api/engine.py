"""Any OpenAI-compatible chat server (vLLM's, a hosted one), asynchronously.

The server samples; this engine asks, no faster than it is answered, and records what came back as what it is. Each
sample is a request of its own with a seed of its own. What the server's log-probabilities are of is found out by
asking when the engine is made, see `format.what_is_reported`; what can't be found out is None.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_cards.canonical import canonical_json, sha256_hex
from datasets_cards.errors import EngineError, InputError
from datasets_cards.records import Message
from labelers.engines.openai_api.client import ChatClient
from labelers.engines.openai_api.concurrency import Window, iterate
from labelers.engines.openai_api.format import (
    PROBES,
    Dialect,
    Reported,
    completion_of,
    failed,
    one_line,
    what_is_reported,
)
from labelers.engines.openai_api.retries import RequestError, Retries
from labelers.engines.protocol import Completion, ModelIdentity, Prompt, SampleRequest, Sampling, Uncertainty

CONCURRENCY = 64
"""Requests at once unless told: a server that bears fewer says so, and gets fewer."""
_PROBE: list[Message] = [{"role": "user", "content": "Name a color."}]
_NUCLEUS = Sampling(0.7, 0.9)


class OpenAIEngine:
    """Samples from a server that speaks OpenAI's chat completions. Its key is `OPENAI_API_KEY`.

    Args:
        model: the name that the server serves.
        base_url: the server's address, such as `http://localhost:8000/v1`; default `OPENAI_BASE_URL`.
        concurrency: most requests at once, default 64; fewer while the server is too busy.
        timeout: seconds until a request counts as failed.
        retries: how often a request is tried.

    Attributes:
        reported: what the server's log-probabilities are of.
        window: how many requests at once the server bore last.

    Raises:
        InputError: no address, or none that can be used.
        EngineError: the server can't be reached, refuses the key, or doesn't serve the model.
    """

    commit_every = 1

    def __init__(
        self,
        model: str | Path,
        *,
        base_url: str | None = None,
        concurrency: int | None = None,
        timeout: float = 600.0,
        retries: Retries | None = None,
    ) -> None:
        self.model, self.concurrency = str(model), concurrency or CONCURRENCY
        self.window = float(self.concurrency)
        self._client = ChatClient(base_url or os.environ.get("OPENAI_BASE_URL"), timeout, retries or Retries())
        self._identity = ModelIdentity("openai/1", self._client.where, self.model, "", "", "", "", "")
        self._dialect = Dialect()
        self.reported = Reported()
        (answers,) = iterate(self._probe)
        self.reported = what_is_reported(answers)
        self._gives_tokens = all(answer["choices"][0].get("token_ids") for answer in answers)
        self._fingerprint = one_line(str(answers[0].get("system_fingerprint") or ""))

    @property
    def identity(self) -> ModelIdentity:
        """What its samples depend on, as far as a client can know."""
        return self._identity

    @property
    def determinism(self) -> str:
        """What it promises about repeating a sample."""
        build = f" (system fingerprint {self._fingerprint})" if self._fingerprint else ""
        return (
            f"Every request carries its own seed; what the server{build} makes of it is not known. "
            "A stored sample is replayed and never asked for again."
        )

    @property
    def lacks(self) -> Mapping[str, str]:
        """What the server can't do or doesn't tell."""
        where, known = self._client.where, self.reported
        missing = {
            "beam": "chat completions have no beam search",
            "score": "chat completions give no log-probabilities of a given text",
            "uncertainty": "chat completions give no whole distributions",
            "adapter": "a server names its adapters as models",
        }
        if not self._gives_tokens:
            missing["token_ids"] = f"{where} does not say which tokens it drew"
        if not known.given:
            missing["logprob"] = missing["behavior_logprob"] = f"{where} gives no log-probabilities"
            return missing
        if not known.raw(_NUCLEUS):
            missing["logprob"] = (
                f"{where} applies temperature or top-p to the log-probabilities that it reports, or may do so; raw "
                "ones are known at T=1 with top-p 1 only (vLLM: --logprobs-mode raw_logprobs)"
            )
        if not known.behavior(_NUCLEUS):
            missing["behavior_logprob"] = (
                f"{where} reports log-probabilities before temperature or top-p, or may do so; those of what was drawn "
                "from are known at T=1 with top-p 1, and for greedy decoding, only"
            )
        return missing

    def with_adapter(self, adapter: str | Path | None) -> OpenAIEngine:
        """Itself for None.

        Raises:
            InputError: a directory: a server's adapters have names of their own.
        """
        if adapter is None:
            return self
        raise InputError(
            "a server takes no adapter directory",
            where=str(adapter),
            remedy="Start the server with it, and name as the model what the server calls it",
        )

    def prompt(self, messages: list[Message]) -> Prompt:
        """The digest of the messages: the server tokenizes.

        Raises:
            InputError: the messages are not plain JSON.
        """
        return Prompt(sha256_hex(canonical_json(messages)), None)

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, Completion]]:
        """Ask for every request; yields (position in `requests`, completion) as the answers come.

        A request that keeps failing comes back with finish reason `error`, such as `server_error: 500 ... after 6
        attempts`. Closing the iterator drops what is on its way and closes every connection.

        Raises:
            InputError: beam search is asked for.
            EngineError: the server refuses the key, no longer serves the model, asks for a pause of more than ten
                minutes, or can't be reached any more.
        """
        if any(request.sampling.beams > 1 for request in requests):
            raise InputError(self.lacks["beam"], where="beams", remedy="Use another method, or another engine")

        async def ask_all(emit: Callable[[tuple[int, Completion]], None]) -> None:
            window = Window(self.concurrency, self.window)
            todo = iter(enumerate(requests))

            async def work() -> None:
                for position, request in todo:
                    try:
                        completion = await self._client.ask(session, window, self._body(request), self._reader(request))
                    except RequestError as error:
                        completion = failed(str(error))
                    emit((position, completion))

            try:
                async with self._client.session() as session, asyncio.TaskGroup() as workers:
                    for _ in range(min(self.concurrency, len(requests))):
                        workers.create_task(work())
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None
            finally:
                self.window = window.size

        return iterate(ask_all)

    def score(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[list[float]]:
        """Not with this engine.

        Raises:
            InputError: always.
        """
        raise InputError(self.lacks["score"], where=self._client.where, remedy="Use another engine")

    def uncertainty(self, items: Sequence[tuple[list[Message], list[int]]]) -> list[Uncertainty]:
        """Not with this engine.

        Raises:
            InputError: always.
        """
        raise InputError(self.lacks["uncertainty"], where=self._client.where, remedy="Use another engine")

    def _body(self, request: SampleRequest) -> bytes:
        try:
            return self._dialect.body(self.model, request)
        except ValueError as error:
            raise RequestError(f"prompt_refused: {one_line(str(error))}") from None

    def _reader(self, request: SampleRequest) -> Callable[[Any], Completion]:
        return lambda answer: completion_of(answer, request.sampling, self.reported)

    async def _probe(self, emit: Callable[[list[dict[str, Any]]], None]) -> None:
        """Find out what the server takes and says: a token for each probe, and again for what it refuses."""
        answers: list[dict[str, Any]] = []
        window = Window(1)
        async with self._client.session() as session:
            while len(answers) < len(PROBES):
                request = SampleRequest("probe", _PROBE, PROBES[len(answers)], seed=1)
                body = self._dialect.body(self.model, request, alternatives=5)

                def read(answer: Any, request: SampleRequest = request) -> dict[str, Any]:
                    completion_of(answer, request.sampling, self.reported)
                    return answer

                try:
                    answers.append(await self._client.ask(session, window, body, read))
                except RequestError as error:
                    plainer = self._dialect.without(str(error))
                    if plainer is None or not str(error).startswith("request_refused"):
                        raise EngineError(
                            f"the server fails a plain request ({error})",
                            where=self._client.where,
                            remedy="See what it logs",
                        ) from None
                    self._dialect = plainer
        emit(answers)
