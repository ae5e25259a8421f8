"""The requests that the emulator received."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from exporter.demo import request as demo


class Request(demo.Request, kw_only=True):
    """A request as it came in, with what became of it."""

    raw_path: str
    """As it was on the wire."""
    at: float
    """The world's time when it came, epoch seconds."""
    status: int | None = None
    """Of the answer; None until it is answered."""

    @property
    def account(self) -> str | None:
        """The integrated account it is about, as far as it says so."""
        if (account := self.params.get("integrated_account_id")) is not None:
            return account
        parts = self.path.split("/")
        return parts[2] if parts[1] == "integrated-account" and len(parts) > 2 else None


Where = Callable[[Request], bool]
"""Which requests are meant."""


def is_meant(request: Request, where: Where | str | None) -> bool:
    """Whether `where` selects a request; a text is what the path begins with."""
    if isinstance(where, str):
        return request.path.startswith(where)
    return where is None or where(request)


class Journal:
    """The newest requests in the order they came, and how many there were at all."""

    def __init__(self, keep: int) -> None:
        self.total = 0
        self._requests: deque[Request] = deque(maxlen=keep)
        self._news = threading.Condition()

    def note(self, request: Request) -> None:
        """Write down a request that has just come."""
        with self._news:
            self.total += 1
            self._requests.append(request)
            self._news.notify_all()

    def answered(self, request: Request, status: int) -> None:
        """Write down how it was answered."""
        with self._news:
            request.status = status
            self._news.notify_all()

    def requests(self, where: Where | str | None = None) -> list[Request]:
        """The requests kept, oldest first; a text is what the path begins with."""
        with self._news:
            return [request for request in self._requests if is_meant(request, where)]

    def count(self, where: Where | str | None = None) -> int:
        """How many of the requests kept are meant."""
        return len(self.requests(where))

    def clear(self) -> None:
        """Forget everything."""
        with self._news:
            self.total = 0
            self._requests.clear()

    def wait(self, count: int, where: Where | str | None = None, *, timeout: float = 10) -> None:
        """Block this thread until `count` such requests came; TimeoutError after `timeout` s.

        A `where` that looks at `status` waits for answers.
        """
        with self._news:
            if not self._news.wait_for(lambda: self.count(where) >= count, timeout):
                raise TimeoutError(f"{self.count(where)} of {count} requests in {timeout} s")
