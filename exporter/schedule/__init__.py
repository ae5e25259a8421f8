"""The schedule: the only place that joins providers, ledger and metrics.

APScheduler runs few jobs: a round for each account, the release of held increments, the
saving of what the APIs answered and the sweep of what retention no longer keeps. Inside a
round the account takes the repos that are due from a heap of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, cast

import msgspec
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from exporter.errors import StateUnavailable
from exporter.outputs.prometheus import AccountView, Exposition, Health
from exporter.recorder import Recorder, clocks
from exporter.schedule.account import AccountPoller

_ROUND = 1.0
_GOLDEN = 0.618034
"""Multiples of it, less their whole part, are never close to each other."""
_RELEASE = 1.0
_REMEMBER = 30.0
_LOOK = 30.0
"""Seconds between runs of the kinds of jobs."""
_SWEEP = 3600.0
"""Seconds between two sweeps."""
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


class Reload(msgspec.Struct, frozen=True):
    """How the last attempt to load the configuration ended."""

    at: float
    """Epoch seconds."""
    error: str | None = None
    """Every fault on a line of its own; None if there was none."""


class Schedule:
    """All accounts of one process."""

    def __init__(
        self, accounts: Iterable[AccountPoller], recorder: Recorder, health: Health
    ) -> None:
        self.accounts = list(accounts)
        self.recorder = recorder
        self.health = health
        self.exposition = Exposition(recorder.book, self._views, health)
        self.started_at = time.time()
        self.last_reload = Reload(health.reload_time)
        self._scheduler = _Scheduler(timezone="UTC")
        self._places = itertools.count()
        self._sweep_at = 0.0
        self._clocks = clocks.Clocks()
        self._jobs: set[asyncio.Task[Any]] = set()
        """Those that run now."""

    def start(self) -> None:
        """Begin polling in the running event loop."""
        for account in self.accounts:
            self._start(account)
        self.every(_RELEASE, self._release, "release")
        self.every(_REMEMBER, self._remember, "remember")
        self.every(_REMEMBER, self._sweep, "sweep")
        self.every(_LOOK, self._look, "look at the state")
        self._scheduler.start()

    def _start(self, account: AccountPoller) -> None:
        # Not all accounts at the same moment: scrapes would wait for all of their polls.
        after = next(self._places) * _GOLDEN % 1.0 * _ROUND
        self.every(_ROUND, account.round, _round_of(account), after=after)

    def every(
        self, seconds: float, work: Callable[[], Awaitable[None]], name: str, *, after: float = 0.0
    ) -> None:
        """Run `work` so often, the first time now or `after` seconds.

        Never twice at once; a run that is late is not made up.
        """

        async def run() -> None:
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            self._jobs.add(task)
            try:
                with contextlib.suppress(asyncio.CancelledError):  # by `stop`
                    await work()
            finally:
                self._jobs.discard(task)

        self._scheduler.add_job(
            run,
            "interval",
            seconds=seconds,
            next_run_time=datetime.now(UTC) + timedelta(seconds=after),
            id=name,
            name=name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    async def _release(self) -> None:
        try:
            await self.recorder.release()
        except StateUnavailable:
            return  # told and shown by the recorder; tried again at the next turn

    async def _remember(self) -> None:
        for account in self.accounts:
            await self.recorder.remember(account.provider.name, account.api.answers)
        await self.recorder.remember_limits()

    async def _look(self) -> None:
        with contextlib.suppress(StateUnavailable):  # told and shown by the recorder
            await self.recorder.look()

    async def _sweep(self) -> None:
        theirs = {
            account.provider.name: None if account.api.stats.clock is None else account.api.now()
            for account in self.accounts
        }
        ours, now = time.time(), monotonic()
        self._clocks.look(ours, now, theirs)
        agreed = clocks.agreement(ours, theirs)
        if agreed is None or now < self._sweep_at:
            return
        with contextlib.suppress(StateUnavailable):
            if await self.recorder.sweep(
                agreed.now, spared=agreed.spared, is_steady=self._clocks.is_steady(now)
            ):
                self._sweep_at = now + _SWEEP

    async def once(self) -> bool:
        """Poll every target once; whether all went well."""
        results = await asyncio.gather(*(account.once() for account in self.accounts))
        await self._release()
        return all(results)

    async def stop(self) -> None:
        """End all polls; the step under way in the ledger is finished first."""
        # APScheduler itself would cancel its jobs with an error and a traceback for each.
        if self._scheduler.running:
            self._scheduler.pause()
            await asyncio.sleep(0)  # what was due has begun now, and is known
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*(account.stop() for account in self.accounts), *self._jobs)
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        await self.recorder.close()

    # -- another configuration

    async def pause(self, accounts: Iterable[AccountPoller]) -> None:
        """End the polls of some accounts, which are still shown as they are."""
        leaving = list(accounts)
        for account in leaving:
            if self.is_polled(account):
                self._scheduler.remove_job(_round_of(account))
        await asyncio.gather(*(account.stop() for account in leaving))

    def is_polled(self, account: AccountPoller) -> bool:
        """Whether it has its turns: it was started, and not paused since."""
        return self._scheduler.get_job(_round_of(account)) is not None

    def resume(self, accounts: Iterable[AccountPoller]) -> None:
        """Poll and show these accounts from now on, and no others.

        Those that are there already and not among them must be paused. One of the same
        name takes over what such a one has learned.
        """
        before = {account.provider.name: account for account in self.accounts}
        self.accounts = list(accounts)
        for account in self.accounts:
            old = before.get(account.provider.name)
            if old is account:
                continue
            if old is not None:
                account.inherit(old)
            self._start(account)

    def reloaded(self, error: str | None = None) -> None:
        """Show that a reload has ended, well or with a line for each fault."""
        self.last_reload = Reload(time.time(), error)
        self.health.reload_ok = error is None
        if error is None:
            self.health.reload_time = self.last_reload.at

    # -- what others see

    def _views(self) -> list[AccountView]:
        self.health.state_ok = self.recorder.state_ok
        return [account.view() for account in self.accounts]


def _round_of(account: AccountPoller) -> str:
    """The name of its job."""
    return f"round {account.provider.name}"
