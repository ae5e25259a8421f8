"""Work that the event loop must not wait for, and the process not either."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from exporter.errors import ExporterError

T = TypeVar("T")


async def apart(work: Callable[[], T], *, name: str) -> T:
    """Run `work` in a thread of its own, called `name`.

    Neither a large file nor a disk that does not answer holds up the event loop, and the
    thread is left behind if the process ends meanwhile.
    """
    return await asyncio.wrap_future(begun(work, name=name))


def begun(work: Callable[[], T], *, name: str) -> Future[T]:
    """The promise of what `work` returns, which runs in a thread of its own, called `name`."""
    promise: Future[T] = Future()
    promise.set_running_or_notify_cancel()  # whoever waits no longer does not end the work

    def run() -> None:
        try:
            promise.set_result(work())
        except (ExporterError, OSError) as error:
            promise.set_exception(error)
        except BaseException as error:
            promise.set_exception(error)
            raise  # a bug: the thread shows where

    threading.Thread(target=run, name=name, daemon=True).start()
    return promise


class WorkerThread:
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


async def ended(promise: Future[Any], *, within: float) -> bool:
    """Whether a promise comes to its end, one way or the other, in so many seconds."""
    waiter = asyncio.wrap_future(promise)
    # Whoever has the promise looks at its exception, maybe after we have given up.
    waiter.add_done_callback(_looked_at)
    await asyncio.wait([waiter], timeout=within)
    return promise.done()


def _looked_at(waiter: asyncio.Future[Any]) -> None:
    if not waiter.cancelled():
        waiter.exception()


class _LeftBehind(ThreadPoolExecutor):
    """Threads that nobody waits for at the end, as they may wait for a resolver themselves."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as it is called
        del wait, cancel_futures
        super().shutdown(wait=False, cancel_futures=True)


def to_the_end(main: Coroutine[Any, Any, T]) -> T:
    """What `main` returns: `asyncio.run`, but that no thread is waited for afterwards."""
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(_LeftBehind(thread_name_prefix="asyncio"))
        return runner.run(main)
