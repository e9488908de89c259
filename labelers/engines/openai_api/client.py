"""One chat server over HTTP: its address and key, what its statuses mean, and asking until there is an answer."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from datasets_cards.errors import EngineError, InputError
from labelers.engines.openai_api.concurrency import Window
from labelers.engines.openai_api.format import TOO_LONG, one_line
from labelers.engines.openai_api.retries import BUSY, TRANSIENT, AttemptError, RequestError, Retries, retry_after

if TYPE_CHECKING:
    from aiohttp import ClientSession

T = TypeVar("T")

LONGEST_PAUSE = 600.0
"""Seconds of `Retry-After` that are waited for; a server that asks for more has closed for now."""
CONNECT_SECONDS = 30.0


class ChatClient:
    """A server's `/chat/completions`.

    The key is read from `OPENAI_API_KEY` whenever connections are opened, and kept nowhere; neither it nor a password
    or query in the address is ever part of `where` or of an error.

    Args:
        base_url: the server's address, such as `http://localhost:8000/v1`.
        timeout: seconds until a try counts as failed.
        retries: how often a request is tried.

    Attributes:
        where: the address without credentials and query.

    Raises:
        InputError: no address, or none that can be used.
    """

    def __init__(self, base_url: str | None, timeout: float, retries: Retries) -> None:
        self.timeout, self.retries = timeout, retries
        remedy = "Give base_url, such as http://localhost:8000/v1, or set OPENAI_BASE_URL"
        if not base_url:
            raise InputError("no server is named", where="base_url", remedy=remedy)
        try:
            parts = urlsplit(base_url.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = parts = None
        if not parts or not host or parts.scheme not in ("http", "https"):
            raise InputError("not the address of a server", where="base_url", remedy=remedy)
        host = f"[{host}]" if ":" in host else host
        self.where = f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
        self._endpoint = f"{self.where}/chat/completions{'?' if parts.query else ''}{parts.query}"
        self._basic = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else ""
        named = [parts.query, *(value for _, value in parse_qsl(parts.query) if len(value) >= 6)]
        for name in (parts.username, parts.password):
            named += [name or "", unquote(name or "")]
        self._private = sorted(filter(None, named), key=len, reverse=True)
        self._answered_at: float | None = None

    def session(self) -> ClientSession:
        """Connections to the server, to be closed by whoever asked for them."""
        try:
            import aiohttp
        except ImportError:
            raise EngineError(
                "aiohttp is not installed", where="engine openai", remedy='Install it: pip install "echoset[openai]"'
            ) from None
        headers = {"Content-Type": "application/json", "User-Agent": "echoset"}
        if self._basic:
            headers["Authorization"] = f"Basic {base64.b64encode(self._basic.encode()).decode()}"
        elif key := _key():
            headers["Authorization"] = f"Bearer {key}"
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the window is the limit
            timeout=aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(self.timeout, CONNECT_SECONDS)),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )

    async def ask(self, session: ClientSession, window: Window, body: bytes, read: Callable[[Any], T]) -> T:
        """What `read` makes of the server's answer, which is asked for as often as `retries` allows.

        Args:
            body: the request.
            read: takes an answer apart; its `AttemptError` counts as a fault of the server.

        Raises:
            RequestError: there will be no answer to this request.
            EngineError: there will be none to any.
        """
        began = time.monotonic()
        faults = refusals = 0
        while True:
            entered = await window.enter()
            try:
                answer = read(await self._try(session, body))
            except AttemptError as error:
                problem = error
            else:
                self._answered_at = time.monotonic()
                window.grow()
                return answer
            finally:
                window.leave()
            if problem.busy:
                refusals += 1
                window.shrink(entered)
                window.pause(problem.retry_after or 0)
            else:
                faults += 1
            given_up = faults >= self.retries.attempts or refusals >= self.retries.busy_attempts
            silent = self._answered_at is None or (given_up and self._answered_at < began)
            if not problem.reached and silent:
                raise EngineError(
                    f"the server can't be reached ({problem.detail})",
                    where=self.where,
                    remedy="Start it or check the address, and run again: finished samples are kept",
                )
            if given_up:
                tries = faults + refusals
                raise RequestError(f"{problem} after {tries} attempt{'s' if tries > 1 else ''}")
            await asyncio.sleep(self.retries.wait(faults + refusals, problem.retry_after))

    async def _try(self, session: ClientSession, body: bytes) -> Any:
        """One exchange; the JSON of a good answer."""
        import aiohttp

        try:
            async with session.post(self._endpoint, data=body, allow_redirects=False) as response:
                content = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise AttemptError("connection_failed", self._said(str(error)), reached=False) from None
        except TimeoutError:
            raise AttemptError("timeout", f"no answer within {self.timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise AttemptError("connection_lost", self._said(f"{type(error).__name__} {error}")) from None
        if response.status != 200:
            self._refuse(response.status, content, retry_after(response.headers))
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise AttemptError("malformed_response", f"{len(content)} bytes that are not JSON") from None

    def _refuse(self, status: int, content: bytes, asked: float | None) -> NoReturn:
        """Raise what a status other than 200 means."""
        said = self._said(_message(content))
        detail = f"{status} {said}".strip()
        if status in (401, 403):
            # The server's words are left out: they may quote the key.
            problem = f"the server refuses {'the key' if _key() else 'requests without a key'} ({status})"
            raise EngineError(problem, where=self.where, remedy="Set OPENAI_API_KEY to a key that may use this model")
        if status in (404, 405) or 300 <= status < 400:
            remedy = "Check the model's name, and the address: it usually ends in /v1"
            raise EngineError(f"no such model or address ({detail})", where=self.where, remedy=remedy)
        if status == 402 or (status == 429 and b"insufficient_quota" in content):
            remedy = "Add to the account and run again: finished samples are kept"
            raise EngineError(f"the account is used up ({detail})", where=self.where, remedy=remedy)
        if status in BUSY:
            if (asked or 0) > LONGEST_PAUSE:
                remedy = "Run again then: finished samples are kept"
                raise EngineError(f"the server asks to wait {asked:.0f} s ({detail})", where=self.where, remedy=remedy)
            code = "rate_limited" if status == 429 else "server_busy"
            raise AttemptError(code, detail, busy=True, retry_after=asked)
        if status >= 500:
            raise AttemptError("server_error", detail, retry_after=min(asked or 0, LONGEST_PAUSE))
        if status in TRANSIENT:
            raise AttemptError("request_failed", detail, retry_after=min(asked or 0, LONGEST_PAUSE))
        too_long = status == 413 or TOO_LONG.search(said)
        raise RequestError(f"{'prompt_too_long' if too_long else 'request_refused'}: {detail}")

    def _said(self, text: str) -> str:
        """A library's or server's words in one line, without what is private."""
        for private in filter(None, [*self._private, _key()]):
            text = text.replace(private, "***")
        return one_line(text)


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


def _message(content: bytes) -> str:
    """The message of an error's body, in the shapes that servers give it."""
    text = content[:10_000].decode("utf-8", "replace")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return text
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict):
            return str(inner.get("message") or inner.get("detail") or text)
        return str(inner)
    return text
