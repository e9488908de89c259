"""An OpenAI-compatible chat server over an enumerable toy model, on loopback, with faults on demand.

    python tests/stub_server.py --fault-rate 0.2 --log requests.jsonl

prints its address, and answers until it is ended. In a test's own process: `with Stub(fault_rate=0.2) as stub`.

The model is a Markov chain over a dozen words: what it says, its token ids and log-probabilities are a function of
model, messages, seed and sampling alone. Whether a request fails, and how, is a function of its key and of how often
it was asked before, so that runs with faults repeat.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field, fields
from email.utils import formatdate
from functools import lru_cache
from typing import Any, TextIO

WORDS = ("", "red ", "blue ", "green ", "gray ", "one ", "two ", "three ", "yes ", "no ", "maybe ", "so ")
"""Token id -> text; id 0 ends a completion."""
LOGITS = [
    [3.0 * math.sin(1 + 5.1 * i + 2.3 * j) - (2.0 if j == 0 else 0.0) for j in range(len(WORDS))]
    for i in range(len(WORDS))
]
FAULTS = ("429", "429-after", "500", "503", "hang", "reset", "close", "malformed")
SAID = {
    "[nothing]": ("", "stop", {}),
    "[null]": (None, "stop", {}),
    "[refusal]": (None, "stop", {"refusal": "I can't help with that."}),
    "[filtered]": ("", "content_filter", {}),
    "[tool]": (None, "tool_calls", {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]}),
    "[thought]": (None, "length", {"reasoning_content": "so so so"}),
    "[control]": ("a\x00b\x1b[31m\u2028\ud83d", "stop", {}),
    "[essay]": ("Before I answer, some history. " * 200 + "In all: it depends.", "stop", {}),
}
"""Prompts whose last message is one of these are answered so."""


def key_of(body: dict[str, Any]) -> str:
    """What makes a request the same request, for counting, faults and the seed of its draw."""
    named = [body.get(n) for n in ("model", "messages", "seed", "temperature", "top_p", "max_tokens")]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)
def distribution(state: int, temperature: float, top_p: float) -> list[float]:
    """Log-probabilities of the next token: after temperature, then top-p; greedy where T = 0 keeps the raw ones."""
    logits = LOGITS[state] if temperature == 0 else [x / temperature for x in LOGITS[state]]
    total = math.log(sum(map(math.exp, logits)))
    logprobs = [x - total for x in logits]
    if temperature == 0 or top_p >= 1:
        return logprobs
    kept, mass = set(), 0.0
    for token in sorted(range(len(logits)), key=lambda t: -logprobs[t]):
        if mass >= top_p:
            break
        kept.add(token)
        mass += math.exp(logprobs[token])
    return [x - math.log(mass) if t in kept else -math.inf for t, x in enumerate(logprobs)]


def draw(body: dict[str, Any]) -> tuple[list[int], list[int], str]:
    """Token ids, the state before each, and the finish reason."""
    temperature, top_p = float(body.get("temperature", 1)), float(body.get("top_p", 1))
    state = hashlib.sha256(json.dumps([body["model"], body["messages"]]).encode()).digest()[0] % len(WORDS)
    noise = random.Random(int(key_of(body), 16))
    tokens, states = [], []
    for _ in range(body.get("max_tokens") or 16):
        logprobs = distribution(state, temperature, top_p)
        if temperature == 0:
            token = max(range(len(WORDS)), key=logprobs.__getitem__)
        else:
            token = noise.choices(range(len(WORDS)), [math.exp(x) for x in logprobs])[0]
        states.append(state)
        tokens.append(token)
        if token == 0:
            return tokens, states, "stop"
        state = token
    return tokens, states, "length"


@dataclass
class Stub:
    """The server's habits, and what it saw. Everything may be changed while it runs.

    Attributes:
        logprobs: what it reports: `raw`, `processed` (after temperature and top-p), `scaled` (temperature alone),
            `none` (the field is ignored), or `refused` (the field is answered with 400).
        token_ids: whether `return_token_ids` and other additions to the protocol are `given`, `ignored` or `refused`.
        usage: whether answers count their tokens.
        models: what it serves.
        api_key: what a request must carry.
        context: most characters of a prompt; more is answered with 400.
        fault_rate: share of (request, attempt) pairs that fail, in one of the ways of `faults`.
        dead_rate: share of requests that fail every time, with 500.
        retry_after: what a `429-after` says.
        latency: seconds before an answer.
        capacity: requests at once before 429.
        tagged: start every text with the request's key.
        asked: requests by key.
        answered: good answers by key.
        statuses: answers by status; a fault without a status by its name.
        most_at_once: the most requests that were open at one time.
        connections: those that are open now.
        log: where a line a request goes: its key, how often it came before, and its fault.
    """

    logprobs: str = "raw"
    token_ids: str = "given"
    usage: bool = True
    models: tuple[str, ...] = ("stub",)
    api_key: str = ""
    context: int = 1 << 20
    fault_rate: float = 0.0
    faults: tuple[str, ...] = FAULTS
    dead_rate: float = 0.0
    retry_after: str = "0.01"
    latency: float = 0.0
    capacity: int = 1 << 20
    tagged: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    connections: set[Connection] = field(default_factory=set)
    log: TextIO | None = None
    port: int = 0
    _open: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Stub:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *raised: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self, started: threading.Event) -> None:
        server = self._loop.run_until_complete(self.serve())
        started.set()
        self._loop.run_forever()
        server.close()
        for connection in list(self.connections):
            connection.abort()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def serve(self) -> asyncio.Server:
        """Listen on a free port of loopback."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def fault_of(self, key: str, attempt: int) -> str | None:
        """How this attempt (0 is the first) at a request fails, if it does."""
        if int(hashlib.sha256(f"dead {key}".encode()).hexdigest()[:8], 16) < self.dead_rate * 2**32:
            return "500"
        digest = hashlib.sha256(f"{key} {attempt}".encode()).digest()
        if int.from_bytes(digest[:4], "big") < self.fault_rate * 2**32:
            return self.faults[digest[4] % len(self.faults)]
        return None

    def receive(self, connection: Connection, path: str, headers: bytes, payload: bytes) -> None:
        """Answer one request, now or later."""
        if self.api_key and f"bearer {self.api_key}".encode() not in headers.lower():
            return connection.answer(401, error(f"Incorrect API key provided: {headers.decode()!r}"))
        if path.endswith("/models"):
            return connection.answer(200, {"object": "list", "data": [{"id": m} for m in self.models]})
        if not path.endswith("/chat/completions"):
            return connection.answer(404, {"detail": "Not Found"})
        body = json.loads(payload)
        key = key_of(body)
        attempt = self.asked[key]
        self.asked[key] += 1
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        fault = "429" if self._open > self.capacity else self.fault_of(key, attempt)
        if self.log:
            self.log.write(f'{{"key": "{key}", "attempt": {attempt}, "fault": {json.dumps(fault)}}}\n')
            self.log.flush()
        if self.latency and fault != "429":
            asyncio.get_running_loop().call_later(self.latency, self._finish, connection, body, key, fault)
        else:
            self._finish(connection, body, key, fault)

    def _finish(self, connection: Connection, body: dict[str, Any], key: str, fault: str | None) -> None:
        self._open -= 1
        if fault:
            self.statuses[fault.removesuffix("-after")] += 1
            return self._fail(connection, fault)
        status, answer = self.reply(body, key)
        self.statuses[str(status)] += 1
        self.answered[key] += status == 200
        connection.answer(status, answer)

    def _fail(self, connection: Connection, fault: str) -> None:
        if fault == "reset":
            connection.abort()
        elif fault == "close":
            connection.cut({"choices": [{"message": {"content": "half of"}}]})
        elif fault == "malformed":
            connection.answer(200, '{"choices": [{"message": {"content": "half')
        elif fault != "hang":
            headers = {"Retry-After": self.retry_after} if fault == "429-after" else {}
            connection.answer(int(fault[:3]), error(f"fault {fault}"), headers)

    def reply(self, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        if body["model"] not in self.models:
            return 404, error(f"The model `{body['model']}` does not exist.")
        said = body["messages"][-1]["content"]
        if sum(len(message["content"]) for message in body["messages"]) > self.context:
            return 400, error(f"This model's maximum context length is {self.context} tokens.")
        if said == "[refuse]":
            return 400, error("roles must alternate")
        additions = body.keys() & {"return_token_ids", "top_k", "min_p", "repetition_penalty"}
        if self.token_ids == "refused" and additions:
            return 400, error(f"Unrecognized request argument supplied: {min(additions)}")
        if self.logprobs == "refused" and body.get("logprobs"):
            return 400, error("logprobs are not supported with this model")
        tokens, states, finish = draw(body)
        text, more = "".join(WORDS[t] for t in tokens), {}
        if said in SAID:
            text, finish, more = SAID[said]
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": f"{key} {text}" if self.tagged else text, **more},
            "finish_reason": finish,
            "logprobs": None,
        }
        if body.get("logprobs") and self.logprobs in ("raw", "processed", "scaled"):
            choice["logprobs"] = {"content": [self._logprob(body, s, t) for s, t in zip(states, tokens, strict=True)]}
        if body.get("return_token_ids") and self.token_ids == "given":
            choice["token_ids"] = tokens
        usage = {"prompt_tokens": 7, "completion_tokens": len(tokens), "total_tokens": 7 + len(tokens)}
        return 200, {
            "id": key,
            "object": "chat.completion",
            "model": body["model"],
            "system_fingerprint": "fp_stub",
            "choices": [choice],
            "usage": usage if self.usage else None,
        }

    def _logprob(self, body: dict[str, Any], state: int, token: int) -> dict[str, Any]:
        temperature = float(body.get("temperature", 1)) if self.logprobs != "raw" else 1.0
        logprobs = distribution(state, temperature, float(body.get("top_p", 1)) if self.logprobs == "processed" else 1)
        top = sorted(range(len(WORDS)), key=lambda t: -logprobs[t])[: body.get("top_logprobs") or 0]
        return {
            "token": WORDS[token],
            "logprob": logprobs[token],
            "top_logprobs": [{"token": WORDS[t], "logprob": max(logprobs[t], -9999.0)} for t in top],
        }


def error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "stub", "code": None}}


class Connection(asyncio.Protocol):
    """HTTP/1.1, kept alive, one request at a time."""

    def __init__(self, stub: Stub) -> None:
        self.stub, self.received = stub, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.stub.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.stub.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        if len(rest) < length:
            return
        self.received = rest[length:]
        self.stub.receive(self, head.split(b" ", 2)[1].partition(b"?")[0].decode(), head, rest[:length])

    def answer(self, status: int, body: dict[str, Any] | str, headers: dict[str, str] | None = None) -> None:
        payload = (body if isinstance(body, str) else json.dumps(body)).encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"HTTP/1.1 {status} S\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n{more}\r\n"
        if not self.transport.is_closing():
            self.transport.write(head.encode() + payload)

    def cut(self, body: dict[str, Any]) -> None:
        """Promise more than is sent, and close."""
        payload = json.dumps(body).encode()
        self.transport.write(b"HTTP/1.1 200 S\r\nContent-Length: %d\r\n\r\n%s" % (len(payload) + 99, payload))
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()


def http_date(seconds_since_epoch: float) -> str:
    """A time as `Retry-After` gives it."""
    return formatdate(seconds_since_epoch, usegmt=True)


async def _serve(stub: Stub) -> None:
    server = await stub.serve()
    print(stub.url, flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=argparse.FileType("a"))
    habits = {f.name: f.default for f in fields(Stub) if isinstance(f.default, str | int | float | bool)}
    for name, default in habits.items():
        if isinstance(default, bool):
            parser.add_argument(f"--{name.replace('_', '-')}", action=argparse.BooleanOptionalAction, default=default)
        elif not name.startswith("_"):
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    asyncio.run(_serve(Stub(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
