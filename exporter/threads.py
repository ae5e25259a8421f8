"""Work that the event loop must not wait for, and the process not either."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from exporter.errors import ExporterError

T = TypeVar("T")


async def apart(work: Callable[[], T], *, name: str) -> T:
    """Run `work` in a thread of its own, called `name`.

    Neither a large file nor a disk that does not answer holds up the event loop, and the
    thread is left behind if the process ends meanwhile.
    """
    promise: Future[T] = Future()

    def run() -> None:
        try:
            promise.set_result(work())
        except ExporterError as error:
            promise.set_exception(error)
        except BaseException as error:
            promise.set_exception(error)
            raise  # a bug: the thread shows where

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(promise)
