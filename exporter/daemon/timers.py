"""What the process does at regular times beside polling.

APScheduler runs the jobs: the release of held increments, the saving of what was learned, the
sweep of what retention no longer keeps, the looks at files and the beats of a watchdog.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

from apscheduler.schedulers.asyncio import AsyncIOScheduler

_BEAT = 2.0
"""Seconds, by the monotonic clock, after which the scheduler looks at its jobs at the latest."""


class _Scheduler(AsyncIOScheduler):  # type: ignore[misc]  # APScheduler has no types
    """Interval jobs that go on when the wall clock jumps.

    APScheduler keeps wall times. Where the clock is put back by an hour every job would
    stand still for an hour, and where it is put forward by years (a machine that boots
    without a battery) each second of them would be gone through.
    """

    _beat: asyncio.TimerHandle | None = None
    _is_righting = False

    def wakeup(self) -> None:
        """Before looking for due jobs, right those that are further off than their interval."""
        if self._is_righting:  # each change of a job wakes the scheduler up
            return
        if self._beat is not None:
            self._beat.cancel()
        self._beat = asyncio.get_running_loop().call_later(_BEAT, self._wakeup_if_running)
        self._is_righting = True
        now = datetime.now(UTC)
        for job in self.get_jobs():
            if abs(job.next_run_time - now) > job.trigger.interval:
                job.modify(next_run_time=now)
        self._is_righting = False
        super().wakeup()

    def _wakeup_if_running(self) -> None:
        if self.running:
            self.wakeup()


class Timers:
    """Jobs that run at intervals in the event loop."""

    def __init__(self) -> None:
        self._scheduler = _Scheduler(timezone="UTC")
        self._running: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Begin to run the jobs, in the running event loop."""
        self._scheduler.start()

    def every(self, seconds: float, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Run `work` so often, the first time now.

        Never twice at once; a run that is late is not made up.
        """

        async def run() -> None:
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            self._running.add(task)
            try:
                with contextlib.suppress(asyncio.CancelledError):  # by `stop`
                    await work()
            finally:
                self._running.discard(task)

        self._scheduler.add_job(
            run,
            "interval",
            seconds=seconds,
            next_run_time=datetime.now(UTC),
            id=name,
            name=name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    async def stop(self) -> None:
        """Begin no job any more, and cancel those that run."""
        # APScheduler itself would cancel its jobs with an error and a traceback for each.
        if self._scheduler.running:
            self._scheduler.pause()
            await asyncio.sleep(0)  # what was due has begun now, and is known
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running)
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
