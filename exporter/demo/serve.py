"""The emulator on a real socket: inside a running event loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette

from exporter.demo.emulator import Limits, app
from exporter.demo.faults import Faults, Journal
from exporter.demo.world import World

GRACE = 2
"""Seconds that requests under way have when the server stops."""


@contextlib.asynccontextmanager
async def serving(
    starlette: Starlette, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve an app in the running event loop and give its base URL; port 0 takes a free one.

    At the end hanging requests are let go and the socket is closed. Raises OSError if the
    address is taken.
    """
    config = uvicorn.Config(
        starlette,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,  # the date is the world's
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only for a socket that knows it is TCP does asyncio turn Nagle's 40 ms delay off.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # What `Server.serve` does, but for its signal handlers and its loop that waits for them.
        await server.startup([listener])
        try:
            name = f"[{host}]" if family == socket.AF_INET6 else host
            yield f"http://{name}:{listener.getsockname()[1]}"
        finally:
            faults = getattr(starlette.state, "faults", None)
            if isinstance(faults, Faults):
                faults.clear()
            await _stop(server, listener)


async def _stop(server: uvicorn.Server, listener: socket.socket) -> None:
    """Close the socket and its connections; requests under way have `GRACE` seconds."""
    for listening in server.servers:
        listening.close()
    state = server.server_state
    for connection in list(state.connections):
        connection.shutdown()
    await asyncio.sleep(0)  # idle connections end here; `shutdown` alone would wait for 100 ms
    if state.connections or state.tasks:
        await server.shutdown([listener])


class ServerThread:
    """An app with its own event loop in a thread, for use against other processes.

    A context manager; inside, `url` is the base URL.
    """

    url: str

    def __init__(self, starlette: Starlette, *, port: int = 0) -> None:
        self.app = starlette
        self._port = port
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:  # the port is taken
            self._failure = error
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with serving(self.app, port=self._port) as self.url:
            self._started.set()
            await self._stop.wait()


class EmulatorThread(ServerThread):
    """An emulator in a thread; its `world`, `faults` and `journal` may be used from any other."""

    def __init__(
        self,
        world: World | None = None,
        *,
        token: str = "demo",  # noqa: S107 - not a secret
        limits: Limits | None = None,
        port: int = 0,
    ) -> None:
        self.world = World() if world is None else world
        super().__init__(app(self.world, token=token, limits=limits), port=port)
        self.faults: Faults = self.app.state.faults
        self.journal: Journal = self.app.state.journal
