"""A scrape counts as seen once its last byte has left and its client is still there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from starlette.types import Message, Receive, Scope, Send

from exporter.web.access import Access
from exporter.web.config import WebConfig
from exporter.web.server import Server
from tests.system.web import Stub, served

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
NO_LINGER = struct.pack("ii", 1, 0)
"""A socket that is closed with this resets its connection, as a client does that is killed
before it has read what was sent to it."""
LARGE = b"#" * 2**23
"""More than the buffers of both ends take."""
AfterHead = Callable[[], None]


class Scraped:
    """Serves one poller and tells how its scrapes went."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        """What was counted as seen."""
        self.after_head: AfterHead = lambda: None
        """Called when the head of an answer has been sent, before its body."""
        self.over = asyncio.Event()
        """Whether an answer has come to its end."""
        self.large = False
        """Whether much more is sent than any buffer takes."""
        stub = Stub()
        stub.view.scraped = lambda at=None: self.seen.append(at or 0.0)  # type: ignore[method-assign]
        self._app = served(stub)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if self.large and message["type"] == "http.response.start":
                message["headers"] = [(b"transfer-encoding", b"chunked")]
            await send(message)
            if message["type"] == "http.response.start":
                self.after_head()
            elif self.large and message.get("more_body"):
                await send({**message, "body": LARGE})

        try:
            await self._app(scope, receive, sending)
        finally:
            self.over.set()


@contextlib.asynccontextmanager
async def serving(app: Scraped) -> AsyncIterator[socket.socket]:
    """A server, and a client's connection to it that blocks."""
    access = Access(WebConfig())
    server = Server(app, access, drain=1.0)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield client
        finally:
            server.should_exit = True
            await task


def run(work: Callable[[Scraped, socket.socket], Awaitable[None]]) -> list[float]:
    """What was counted as seen after `work`."""

    async def main() -> list[float]:
        app = Scraped()
        async with serving(app) as client, asyncio.timeout(20):
            await work(app, client)
            await app.over.wait()
        return app.seen

    return asyncio.run(main())


def test_who_reads_the_answer_has_seen_it() -> None:
    async def work(app: Scraped, client: socket.socket) -> None:
        client.sendall(REQUEST)
        await app.over.wait()

    assert len(run(work)) == 1


@pytest.mark.parametrize("reset", [False, True])
def test_who_leaves_before_the_answer_has_not_seen_it(reset: bool) -> None:
    async def work(app: Scraped, client: socket.socket) -> None:
        client.sendall(REQUEST)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        client.close()

    assert run(work) == []


@pytest.mark.parametrize("reset", [False, True])
def test_who_leaves_after_the_head_has_not_seen_it(reset: bool) -> None:
    async def work(app: Scraped, client: socket.socket) -> None:
        def leave() -> None:
            assert client.recv(12) == b"HTTP/1.1 200"
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            client.close()

        app.after_head = leave
        client.sendall(REQUEST)

    assert run(work) == []


def test_the_last_byte_is_waited_for() -> None:
    """What does not fit into the system's buffers is not seen as long as it is here."""

    async def work(app: Scraped, client: socket.socket) -> None:
        app.large = True
        head = asyncio.Event()
        app.after_head = head.set
        client.sendall(REQUEST)
        await head.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert app.seen == []
        client.setblocking(False)
        while not app.over.is_set():
            reading = asyncio.get_running_loop().sock_recv(client, 2**20)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reading, 1.0)

    assert len(run(work)) == 1


def test_who_stops_reading_and_leaves_has_not_seen_it() -> None:
    async def work(app: Scraped, client: socket.socket) -> None:
        app.large = True
        head = asyncio.Event()
        app.after_head = head.set
        client.sendall(REQUEST)
        await head.wait()
        client.recv(2**16)
        client.close()

    assert run(work) == []
