"""Asynchronous requests behind an ordinary iterator, as many at once as a server bears."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Window:
    """How many requests may be open, by additive increase and multiplicative decrease (Chiu and Jain 1989).

    One more for every window of good answers, half after a refusal. Requests that were on their way when the window
    was halved say nothing new when they are refused too, and halve it no further.

    Args:
        most: the size that it never exceeds.
        size: where it starts; default `most`.

    Attributes:
        size: requests that may be open; its whole part counts.
        open: requests that are.
    """

    def __init__(self, most: int, size: float | None = None) -> None:
        self.most, self.size, self.open = most, most if size is None else size, 0
        self._decreases = 0
        self._paused_until = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> int:
        """Wait for a place; returns what `shrink` has to be told if the request is refused."""
        loop = asyncio.get_running_loop()
        while True:
            if (pause := self._paused_until - loop.time()) > 0:
                await asyncio.sleep(pause)
            elif self.open >= int(self.size):
                turn = loop.create_future()
                self._waiting.append(turn)
                await turn
            else:
                self.open += 1
                return self._decreases

    def leave(self) -> None:
        """Give the place back."""
        self.open -= 1
        self._wake()

    def grow(self) -> None:
        """After a good answer."""
        self.size = min(float(self.most), self.size + 1 / self.size)
        self._wake()

    def shrink(self, entered: int) -> None:
        """After the server refused a request for being busy."""
        if entered == self._decreases:
            self._decreases += 1
            self.size = max(1.0, self.size / 2)

    def pause(self, seconds: float) -> None:
        """Let nobody in for so long."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    def _wake(self) -> None:
        for _ in range(int(self.size) - self.open):
            while self._waiting and self._waiting[0].done():
                self._waiting.popleft()
            if not self._waiting:
                return
            self._waiting.popleft().set_result(None)


def iterate(produce: Callable[[Callable[[T], None]], Awaitable[None]]) -> Iterator[T]:
    """What a coroutine hands to `emit`, as an ordinary iterator.

    Its event loop runs only while the next item is waited for. Closing the iterator cancels the coroutine and waits
    until it has cleaned up.

    Args:
        produce: called with `emit`; its error is raised here after everything that it emitted.
    """
    items = _iterate(produce)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return items
    return _elsewhere(items)


def _iterate(produce: Callable[[Callable[[T], None]], Awaitable[None]]) -> Generator[T, None, None]:
    ready: deque[T] = deque()
    loop = asyncio.new_event_loop()
    closing = False

    def wake(*_: object) -> None:
        if not closing:
            loop.stop()  # after this round, in which other items may have come too

    def emit(item: T) -> None:
        ready.append(item)
        wake()

    async def run() -> None:
        await produce(emit)

    task = loop.create_task(run())
    task.add_done_callback(wake)
    try:
        while ready or not task.done():
            while ready:
                yield ready.popleft()
            if not task.done():
                loop.run_forever()
        task.result()
    finally:
        closing = True
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _elsewhere(items: Generator[T, None, None]) -> Iterator[T]:
    """The same from a thread of its own: one thread can't run two event loops, and a notebook's runs one already."""
    with ThreadPoolExecutor(1) as thread:
        try:
            while item := thread.submit(lambda: [*_first(items)]).result():
                yield item[0]
        finally:
            thread.submit(items.close).result()


def _first(items: Iterator[T]) -> Iterator[T]:
    for item in items:
        yield item
        return
