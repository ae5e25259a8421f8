"""The emulator on a TCP socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette

GRACE = 2
"""Seconds that requests under way have when the server stops."""


@contextlib.asynccontextmanager
async def serving(
    starlette: Starlette, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve an app in the running event loop; yields its base URL. Port 0 takes a free port.

    On exit the socket is closed; requests under way have `GRACE` seconds. Raises OSError if
    the address is in use.
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
