"""Serving a local Hub: connections, streamed bodies, what is observed of requests and what is done to them."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from hub_state import Hub, Refused

CHUNK = 1 << 20  # bytes read or written at a time
ERRANDS = re.compile(r"/api/(agent-harnesses|telemetry)\b")  # the client's own, once in a while: not logged


@dataclass
class Asked:
    """A request as it came: its number from 0, and the bytes of its body received so far."""

    number: int
    method: str
    path: str
    received: int = 0

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Fault:
    """What happens to the next requests that match: a status as the answer, or a closed connection.

    Attributes:
        handled: the request is carried out first.
        sent: bytes of the answer's body that still go out before the connection is closed.
    """

    pattern: str
    times: int
    status: int | None = None
    handled: bool = False
    sent: int | None = None


class HubServer(Hub):
    """A Hub with an endpoint.

    Attributes:
        endpoint: its address, while it is served.
        part_size: LFS objects of more bytes than this are asked for in parts; None: never.
        before: called with every request before anything is done for it, on the request's own thread: it may block,
            commit, or end the client's process. ConnectionAbortedError hangs up, and the request isn't carried out.
    """

    def __init__(self, users: Mapping[str, Sequence[str]] | None = None, *, folder: Path | None = None) -> None:
        super().__init__(users, folder=folder)
        self.endpoint = ""
        self.part_size: int | None = None
        self.before: Callable[[Asked], None] | None = None
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.broken: list[Exception] = []

    @property
    def log(self) -> list[tuple[str, str, int]]:
        """Method, path and bytes received of every request, in the order of their arrival."""
        with self.lock:
            return [(asked.method, asked.path, asked.received) for asked in self.asked]

    @property
    def uploaded_bytes(self) -> int:
        """Bytes of LFS objects received."""
        return sum(received for method, path, received in self.log if method == "PUT" and path.startswith("/lfs/"))

    def fail(self, pattern: str, status: int, times: int = 1) -> None:
        """Answer the next requests whose `METHOD PATH` matches with a status, and do nothing for them."""
        self.faults.append(Fault(pattern, times, status))

    def drop(self, pattern: str, times: int = 1, *, handled: bool = False, sent: int | None = None) -> None:
        """Close the connection of the next requests that match `METHOD PATH`.

        Nothing is read or done for them; or (`handled`) they are carried out and the answer is lost; or (`sent`) the
        answer's body breaks off after so many bytes.
        """
        self.faults.append(Fault(pattern, times, handled=handled, sent=sent))

    def arrived(self, method: str, path: str) -> tuple[Asked, Fault | None]:
        with self.lock:
            asked = Asked(len(self.asked), method, path)
            if ERRANDS.match(path):
                return asked, None
            self.asked.append(asked)
        if self.before:
            self.before(asked)
        with self.lock:
            fault = next((fault for fault in self.faults if fault.times and re.search(fault.pattern, str(asked))), None)
            if fault:
                fault.times -= 1
        return asked, fault


class Listening(ThreadingHTTPServer):
    request_queue_size = 64


@contextmanager
def hub(server: HubServer | None = None) -> Iterator[HubServer]:
    """Serve a Hub on a free port of loopback; what broke inside of it is raised at the end."""
    server = server or HubServer()
    handler = type("Handler", (Call,), {"hub": server, "open_connections": set()})
    listening = Listening(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    server.endpoint = f"http://127.0.0.1:{listening.server_port}"
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
        for connection in tuple(handler.open_connections):  # kept alive, they would answer for a later server
            hang_up(connection)
    if server.broken:
        raise server.broken[0]


def hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # closed by the other side
        connection.shutdown(socket.SHUT_RDWR)


ROUTES: list[tuple[re.Pattern[str], Callable[..., None]]] = []


def route(*patterns: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Bind a function to `METHOD /path`; NAME stands for a repository's and REV for a revision."""

    def bind(function: Callable[..., None]) -> Callable[..., None]:
        for pattern in patterns:
            filled = pattern.replace("NAME", "(?P<name>[^/]+/[^/]+)").replace("REV", "(?P<revision>[^/]+)")
            ROUTES.append((re.compile(filled), function))
        return function

    return bind


class Call(BaseHTTPRequestHandler):
    """One connection: requests are read, given to their route, and answered."""

    hub: HubServer
    open_connections: set[socket.socket]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = CHUNK

    def setup(self) -> None:
        super().setup()
        self.open_connections.add(self.connection)

    def finish(self) -> None:
        self.open_connections.discard(self.connection)
        with suppress(OSError):  # the client is gone
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True  # the client is gone
        except Exception as error:
            self.hub.broken.append(error)
            self.close_connection = True

    def do_GET(self) -> None:
        self.asked, self.fault = self.hub.arrived(self.command, self.path)
        self.body: Iterator[bytes] = self.read_body()
        if self.fault and self.fault.status:
            self.refuse(Refused(self.fault.status, "as the test wants it"))
        elif self.fault is None or self.fault.handled or self.fault.sent is not None:
            self.serve()
        if self.fault and not self.fault.status:
            self.close_connection = True
            self.wfile.flush()
            hang_up(self.connection)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def serve(self) -> None:
        split = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(split.query).items()}
        for pattern, function in ROUTES:
            method = "GET" if self.command == "HEAD" else self.command
            if match := pattern.fullmatch(f"{method} {split.path}"):
                try:
                    self.user = self.hub.user(self.headers.get("Authorization"))
                    return function(self, **{key: unquote(value or "") for key, value in match.groupdict().items()})
                except Refused as refused:
                    return self.refuse(refused)
        self.refuse(Refused(404, f"no such route: {self.command} {split.path}", "EntryNotFound"))

    def read_body(self) -> Iterator[bytes]:
        """The body in pieces, counted as they come."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline() or self.gone(), 16):
                yield from self.read_bytes(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield from self.read_bytes(int(self.headers.get("Content-Length") or 0))

    def read_bytes(self, left: int) -> Iterator[bytes]:
        while left:
            data = self.rfile.read(min(left, CHUNK))
            if not data:
                self.gone()
            left -= len(data)
            self.asked.received += len(data)
            yield data

    def gone(self) -> NoReturn:
        raise ConnectionResetError("the client went away within a body")

    def json(self) -> dict:
        return json.loads(b"".join(self.body) or b"{}")

    def refuse(self, refused: Refused) -> None:
        headers = {"X-Error-Message": refused.words}
        if refused.code:
            headers["X-Error-Code"] = refused.code
        if refused.status in (429, 500, 502, 503, 504):
            headers["Retry-After"] = "0"  # otherwise the client waits up to 23 s in all
        self.reply({"error": refused.words}, refused.status, headers)

    def reply(self, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(value, default=str).encode()
        self.send(status, [data], len(data), {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, data: Iterable[bytes], size: int, headers: Mapping[str, str]) -> None:
        for _ in self.body:
            pass  # what wasn't read would be taken for the next request
        if self.fault and self.fault.handled:
            return
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.sent is not None:
            data = [b"".join(data)[: self.fault.sent]]
        for piece in data:
            self.wfile.write(piece)
