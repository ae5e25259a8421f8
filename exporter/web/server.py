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

log = logging.getLogger(__name__)


class Patience(NamedTuple):
    """Seconds that a client has, and how many clients there may be."""

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
        patience: Patience | None = None,
    ) -> None:
        """`drain` is how many seconds open answers have when it stops.

        `ready` is called when connections are taken.
        """
        self._ready = ready
        self._patience = patience or Patience()
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
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
        self._seen: dict[Any, _Sight] = {}
        self._told: dict[str, float] = {}
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
            while len(self._greetings) + len(self.server_state.connections) >= self._most:
                if not self._make_room():
                    break
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
        if monotonic() < self._told.get(why, 0.0):
            return
        self._told[why] = monotonic() + _SILENCE
        log.warning("a client's TLS handshake failed: %s", why)

    def _greeted(self, connection: socket.socket, greeting: asyncio.Task[None]) -> None:
        self._greetings.pop(greeting, None)
        if greeting.cancelled():
            connection.close()

    # -- and ends

    def _make_room(self) -> bool:
        """End the connection that has been silent longest; False if there is none at all.

        Among the open ones or among those in their handshake, whichever are more: those are
        the burden. Where all are being answered, the slowest reader has to go.
        """
        self._look()
        idle = [c for c, sight in self._seen.items() if sight.is_idle]
        if len(self._greetings) > len(idle):
            oldest = next(iter(self._greetings))
            del self._greetings[oldest]
            oldest.cancel()
        elif self._seen:
            self._end(min(idle or self._seen, key=lambda c: self._seen[c].since))
        else:
            return False
        return True

    def _end(self, connection: Any) -> None:
        self.server_state.connections.discard(connection)
        self._seen.pop(connection, None)
        connection.transport.abort()

    async def _sweep(self) -> None:
        """End the connections whose clients let us wait too long."""
        while True:
            await asyncio.sleep(self._patience.sweep)
            self._look()
            now = monotonic()
            for connection, sight in list(self._seen.items()):
                if now - sight.since > sight.patience(self._patience):
                    self._end(connection)

    def _look(self) -> None:
        """Note what the connections do, and since when."""
        now, before = monotonic(), self._seen
        self._seen = {}
        for connection in self.server_state.connections:
            sight = _Sight.of(connection, now)
            old = before.get(connection)
            self._seen[connection] = old if old is not None and old.is_like(sight) else sight

    def _hang_up(self) -> None:
        """End what is idle now, and the rest after its answer."""
        for connection in list(self.server_state.connections):
            connection.shutdown()


class _Sight(NamedTuple):
    """What a connection is doing."""

    cycle: RequestResponseCycle | None
    """The last request that has begun."""
    is_idle: bool
    """Whether the client has the word."""
    since: float

    @classmethod
    def of(cls, connection: Any, now: float) -> _Sight:
        cycle = connection.cycle
        return cls(cycle, cycle is None or cycle.response_complete, now)

    def is_like(self, other: _Sight) -> bool:
        return self.cycle is other.cycle and self.is_idle == other.is_idle

    def patience(self, patience: Patience) -> float:
        if self.cycle is None:
            return patience.head
        return patience.idle if self.is_idle else patience.answer


class _Connection(H11Protocol):
    """A connection to a client whose certificate has one of `names`, if there are any.

    `state` of a request's scope has `delivered`, which is as below.
    """

    def __init__(
        self, config: uvicorn.Config, state: Any, *, names: frozenset[str], **kwargs: Any
    ) -> None:
        super().__init__(config, state, {"delivered": self.delivered}, **kwargs)
        self._names = names

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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._names:
            return
        found = tls.names(transport.get_extra_info("peercert"))
        if not found & self._names:
            log.debug("a client's certificate has no name that is allowed: %s", sorted(found))
            transport.abort()
