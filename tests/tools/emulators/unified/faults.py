"""Faults that a test injects into the emulator."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from exporter.demo.reader import Failure, remote_failure
from tests.tools.emulators.unified.journal import Request, Where, is_meant


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
    headers: dict[str, str] = {}
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
        return is_meant(request, self.where)

    def spoil(self, respond: Callable[[], Response]) -> Response:
        """The response with this fault; `respond` makes the true one."""
        if self.status is None:
            true = respond()
            raw, status, headers = bytes(true.body), true.status_code, dict(true.headers)
            del headers["content-length"]
        else:
            failure = (remote_failure if self.remote else Failure)(
                self.status, HTTPStatus(self.status).phrase
            )
            raw, status = msgspec.json.encode(failure.body), self.status
            headers = {"content-type": "application/json"}
        body = self.body if self.edit is None else self.edit(msgspec.json.decode(raw))
        if isinstance(body, str | bytes):
            raw = body.encode() if isinstance(body, str) else body
        elif body is not None:
            raw = msgspec.json.encode(body)
        if self.content_type is not None:
            headers["content-type"] = self.content_type
        return Response(raw, status, headers | self.headers)


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
