"""An application served from a thread of its own, for use against other processes."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from starlette.applications import Starlette

from exporter.demo import serving


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
