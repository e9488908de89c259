"""Which failures of a server are worth another try, and when."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

BUSY = {429, 503, 529}
"""Statuses of a server that has too much to do."""
TRANSIENT = {408, 409, 425}
"""Statuses below 500 that another try may not meet."""


class RequestError(Exception):
    """A request that there will be no answer to, and why, as `code: detail`."""


class AttemptError(Exception):
    """A try that failed for a reason that may pass.

    Args:
        code: kind of failure, such as `server_error`.
        detail: in one line.
        busy: the server has too much to do; fewer requests at once will help.
        reached: the server was there.
        retry_after: seconds that it asks to wait.
    """

    def __init__(
        self, code: str, detail: str, *, busy: bool = False, reached: bool = True, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.detail = detail
        self.busy, self.reached, self.retry_after = busy, reached, retry_after


@dataclass
class Retries:
    """How often a request is tried, and how long the waits between are.

    The wait before try n + 1 is uniform in [0, min(longest, first 2^n)] seconds ("full jitter"), and no shorter than
    what the server asks for. It has a generator of its own: no draw of anything else depends on it.

    Attributes:
        attempts: tries of a request that meets faults.
        busy_attempts: tries of a request that the server is too busy for.
        first: longest wait after the first failure, in seconds.
        longest: longest wait that isn't asked for by the server, in seconds.
    """

    attempts: int = 6
    busy_attempts: int = 24
    first: float = 0.5
    longest: float = 30.0

    def __post_init__(self) -> None:
        self._random = random.Random()

    def wait(self, failures: int, asked: float | None) -> float:
        """Seconds to wait after so many failures."""
        jittered = self._random.uniform(0, min(self.longest, self.first * 2.0 ** min(failures - 1, 30)))
        return jittered + (asked or 0)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that an answer asks to wait: `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3), or None."""
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None
