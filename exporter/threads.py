"""Work that the event loop must not wait for, and the process not either."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

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


class Worker:
    """A thread, called `name`, that does one piece of work after another.

    Unlike the threads of an executor it is left behind if the process ends meanwhile: work
    that waits for a disk that does not answer must not keep the process from its end.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises, done after what was asked for before."""
        promise: Future[T] = Future()
        self._queue.put((promise, work))
        if self._thread.ident is None:
            self._thread.start()
        return await asyncio.wrap_future(promise)

    def shutdown(self) -> None:
        """Let the thread end when it has done what it was asked for."""
        self._queue.put(None)

    def _work(self) -> None:
        while (asked := self._queue.get()) is not None:
            promise, work = asked
            if not promise.set_running_or_notify_cancel():
                continue
            try:
                promise.set_result(work())
            except BaseException as error:  # noqa: BLE001 - who asked is told
                promise.set_exception(error)
            del asked, promise, work  # nothing is held on to while the thread waits
