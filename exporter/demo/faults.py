"""What a test does to the emulator: inject faults, and read what was asked."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Request(msgspec.Struct, kw_only=True):
    """One request as it came in; `status` is None until it is answered."""

    method: str
    path: str
    """Decoded, without the query."""
    raw_path: str
    """As it was on the wire."""
    query: list[tuple[str, str]]
    """In its order; names with their brackets."""
    headers: Mapping[str, str]
    """Names in lower case. The token is in there."""
    at: float
    """The world's time when it came, epoch seconds."""
    status: int | None = None

    @property
    def params(self) -> dict[str, str]:
        """The query with the last value of each name."""
        return dict(self.query)

    @property
    def account(self) -> str | None:
        """The integrated account it is about, as far as it says so."""
        if (account := self.params.get("integrated_account_id")) is not None:
            return account
        parts = self.path.split("/")
        return parts[2] if parts[1] == "integrated-account" and len(parts) > 2 else None


Where = Callable[[Request], bool]
"""Which requests are meant."""


class Gate:
    """Holds requests until some thread opens it, once and for all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def passed(self) -> None:
        """Wait until it is open."""
        event = asyncio.Event()
        with self._lock:
            if self._open:
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()

    def open(self) -> None:
        """Let everybody go on."""
        with self._lock:
            self._open = True
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)


class Fault(msgspec.Struct, kw_only=True, eq=False):
    """What goes wrong, and with which requests; the fields add up.

    With neither `status` nor `body` the true answer is sent, with what else is set.
    """

    status: int | None = None
    body: Any = None
    """Bytes and text are sent as they are, anything else as JSON. None: three error fields."""
    headers: Mapping[str, str] = {}
    content_type: str | None = None
    remote: bool = False
    """The error is the CI system's (`truto_is_remote_error`)."""
    edit: Callable[[Any], Any] | None = None
    """Makes another JSON body of the true one."""
    gate: Gate | None = None
    """The request hangs until it opens."""
    account: str | None = None
    """Only requests about this account."""
    where: Where | str | None = None
    """Only these requests; a text is what the path begins with."""
    times: int | None = None
    """How many requests it hits before it is spent; None: all."""
    hits: int = 0

    def meets(self, request: Request) -> bool:
        """Whether `request` runs into it."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.account is not None and request.account != self.account:
            return False
        if isinstance(self.where, str):
            return request.path.startswith(self.where)
        return self.where is None or self.where(request)


class Faults:
    """The faults in force; any thread may change them. The first that meets a request wins."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force; hand it to `remove` later."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def hang(self, *, account: str | None = None, where: Where | str | None = None) -> Fault:
        """Let requests hang until the fault is removed; then they get their answer."""
        return self.add(Fault(gate=Gate(), account=account, where=where))

    def needs_reauth(self, account: str) -> Fault:
        """The CI system rejects the account's credentials: 401, but not our token's."""
        return self.add(Fault(status=401, remote=True, account=account, where="/unified/"))

    def blocked(self, account: str) -> Fault:
        """The platform has blocked the account: 503 for good."""
        return self.add(Fault(status=503, account=account, where="/unified/"))

    def remove(self, fault: Fault) -> None:
        """End a fault; what hangs on it goes on."""
        with self._lock:
            if fault in self._faults:
                self._faults.remove(fault)
        if fault.gate is not None:
            fault.gate.open()

    def clear(self) -> None:
        """End all faults."""
        for fault in list(self._faults):
            self.remove(fault)

    def meeting(self, request: Request) -> Fault | None:
        """The fault that `request` runs into; counts the hit."""
        with self._lock:
            for fault in self._faults:
                if fault.meets(request):
                    fault.hits += 1
                    return fault
        return None


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
        probe = Fault(where=where)
        with self._news:
            return [request for request in self._requests if probe.meets(request)]

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

        A `where` that looks at `status` waits for answers. In the emulator's own event
        loop use `arrived`.
        """
        with self._news:
            if not self._news.wait_for(lambda: self.count(where) >= count, timeout):
                raise TimeoutError(f"{self.count(where)} of {count} requests in {timeout} s")

    async def arrived(self, count: int, where: Where | str | None = None) -> None:
        """`wait` without holding up the event loop."""
        await asyncio.to_thread(self.wait, count, where)
