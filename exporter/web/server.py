"""The web server: uvicorn on connections that are taken here, so that none of them is a burden.

A connection gets the certificate of its moment. One that says nothing is closed, and where
there are many the one that has been silent longest makes room for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, NamedTuple

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from exporter.web import tls
from exporter.web.access import Access
from exporter.web.headers import HEADERS

log = logging.getLogger(__name__)


class ClientLimits(NamedTuple):
    """Timeouts of a connection in seconds, and the number of connections."""

    handshake: float = 10.0
    """From the connection to the end of the TLS handshake."""
    head: float = 10.0
    """From there to the end of the first request's head."""
    idle: float = 75.0
    """From an answer to the end of the next request's head; more than a usual scrape interval."""
    answer: float = 300.0
    """From there to the end of the answer: a client may read slowly."""
    connections: int = 128
    """At once; fewer where the system does not allow that many open files. With TLS asyncio keeps
    a buffer of 256 KiB for each."""
    sweep: float = 1.0
    """Between two looks at all of it."""


_OF_A_FAULT = [
    ("content-type", "text/plain; charset=utf-8"),
    ("connection", "close"),
    *HEADERS.items(),
]
_SETTLING = 5
"""Turns of the event loop in which closed connections are noticed and heads read that have come
in: who speaks as soon as there is a connection is never taken for silent."""
_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE = 0.1
"""Seconds before another try where the system has no room for a connection and we make none."""
_SILENCE = 60.0
"""Seconds in which one kind of failure is told once."""
_FAREWELL = 1.0
"""Seconds that a client has to agree to the end of TLS."""
_TURNS = 3
"""Turns of the event loop in which the end of a client that did not want the answer shows. One
that closes because it has read everything takes longer."""


class Server(uvicorn.Server):
    """A server that leaves the signals to others."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        *,
        drain: float,
        ready: Callable[[], None] = lambda: None,
        patience: ClientLimits | None = None,
    ) -> None:
        """`drain` is how many seconds open answers have when it stops.

        `ready` is called when connections are taken.
        """
        self._ready = ready
        self._patience = patience or ClientLimits()
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=int(self._patience.idle),
                timeout_graceful_shutdown=int(drain),
            )
        )
        self._access = access
        access.hang_up = self._hang_up
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        half = files // 2 if files != resource.RLIM_INFINITY else self._patience.connections
        self._most = max(min(self._patience.connections, half), 1)
        self._duties: list[asyncio.Task[None]] = []
        self._greetings: dict[asyncio.Task[None], None] = {}
        """Connections that are not yet open, the oldest first."""
        self._logged_until: dict[str, float] = {}
        """When a reason of OpenSSL's, which has some hundred, may be told again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections from the sockets, which listen."""
        await super().startup(sockets=[])
        self._duties = [asyncio.create_task(self._take(listener)) for listener in sockets or []]
        self._duties.append(asyncio.create_task(self._sweep()))
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, and let open answers come to their end."""
        for task in (*self._duties, *self._greetings):
            task.cancel()
        await asyncio.gather(*self._duties, *self._greetings, return_exceptions=True)
        await super().shutdown(sockets)

    # -- a connection begins

    async def _take(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listener.settimeout(0.0)
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of files, or the client has gone before its turn
                if error.errno in _SCARCE:
                    await asyncio.sleep(0 if self._make_room() else _PAUSE)
                continue
            for _ in range(_SETTLING):  # what has happened meanwhile may have made room
                if self._has_room():
                    break
                await asyncio.sleep(0)
            while not self._has_room() and self._make_room():
                pass
            greeting = asyncio.create_task(self._greet(connection))
            self._greetings[greeting] = None
            greeting.add_done_callback(functools.partial(self._greeted, connection))

    async def _greet(self, connection: socket.socket) -> None:
        """Open a connection, as TLS if that is configured."""
        context, names = self._access.context, self._access.names
        loop = asyncio.get_running_loop()

        def protocol() -> _Connection:
            return _Connection(self.config, self.server_state, names=names, _loop=loop)

        spans = {
            "ssl_handshake_timeout": self._patience.handshake,
            "ssl_shutdown_timeout": _FAREWELL,
        }
        try:
            await loop.connect_accepted_socket(
                protocol, connection, ssl=context, **(spans if context else {})
            )
        except ssl.SSLError as error:
            connection.close()
            self._tell((error.reason or "unknown").replace("_", " ").lower())
        except OSError as error:  # silent too long, or gone: a probe does no more than connect
            connection.close()
            log.debug("a connection was not opened: %s", error)

    def _tell(self, why: str) -> None:
        """Log why a client was not let in; asyncio leaves the client itself in the dark."""
        if monotonic() < self._logged_until.get(why, 0.0):
            return
        self._logged_until[why] = monotonic() + _SILENCE
        log.warning("a client's TLS handshake failed: %s", why)

    def _greeted(self, connection: socket.socket, greeting: asyncio.Task[None]) -> None:
        self._greetings.pop(greeting, None)
        if greeting.cancelled():
            connection.close()

    # -- and ends

    def _has_room(self) -> bool:
        return len(self._greetings) + len(self.server_state.connections) < self._most

    def _make_room(self) -> bool:
        """End the connection that has been silent longest; False if there is none at all.

        Among the open ones or among those in their handshake, whichever are more: those are
        the burden. Where all are being answered, the slowest reader has to go.
        """
        connections: set[_Connection] = self.server_state.connections  # type: ignore[assignment]
        idle = [connection for connection in connections if connection.is_idle]
        if len(self._greetings) > len(idle):
            oldest = next(iter(self._greetings))
            del self._greetings[oldest]
            oldest.cancel()
        elif connections:
            self._end(min(idle or connections, key=lambda connection: connection.since))
        else:
            return False
        return True

    def _end(self, connection: _Connection) -> None:
        self.server_state.connections.discard(connection)
        connection.transport.abort()

    async def _sweep(self) -> None:
        """End the connections whose clients let us wait too long."""
        while True:
            await asyncio.sleep(self._patience.sweep)
            now = monotonic()
            for connection in list(self.server_state.connections):
                if now - connection.since > connection.patience(self._patience):  # type: ignore[union-attr]
                    self._end(connection)  # type: ignore[arg-type]

    def _hang_up(self) -> None:
        """End what is idle now, and the rest after its answer."""
        for connection in list(self.server_state.connections):
            connection.shutdown()


class _Connection(H11Protocol):
    """A connection to a client whose certificate has one of `names`, if there are any.

    `state` of a request's scope has `delivered`, which is as below.
    """

    def __init__(
        self, config: uvicorn.Config, state: Any, *, names: frozenset[str], **kwargs: Any
    ) -> None:
        super().__init__(config, state, {"delivered": self.delivered}, **kwargs)
        self._names = names
        self.cycle: RequestResponseCycle | None  # type: ignore[assignment]  # as it is at first
        self.since = monotonic()
        """When the word went from one side to the other."""

    async def delivered(self) -> bool:
        """Whether all that was written has left and the client is still there.

        To be asked before the answer is ended: what happens afterwards is the next request's.
        """
        self.transport.set_write_buffer_limits(high=1)  # so that `drain` waits for the last byte
        await self.flow.drain()
        self.transport.set_write_buffer_limits()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return not self.transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Whether the client has the word."""
        return self.cycle is None or self.cycle.response_complete

    def patience(self, patience: ClientLimits) -> float:
        """Seconds that the one who has the word may take."""
        if self.cycle is None:
            return patience.head
        return patience.idle if self.is_idle else patience.answer

    def handle_events(self) -> None:
        """Note when a request begins."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self.since = monotonic()

    def on_response_complete(self) -> None:
        """Note when an answer ends."""
        self.since = monotonic()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as uvicorn does, and with the headers of all our answers."""
        lines = ["HTTP/1.1 400 Bad Request", *(f"{name}: {value}" for name, value in _OF_A_FAULT)]
        self.transport.write("\r\n".join([*lines, "", msg]).encode("ascii"))
        self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._names:
            return
        found = tls.names(transport.get_extra_info("peercert"))
        if not found & self._names:
            log.debug("a client's certificate has no name that is allowed: %s", sorted(found))
            transport.abort()
