"""Jobs keep their pace whatever the wall clock does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import apscheduler.schedulers.base
import pytest

from exporter.daemon import timers as module
from exporter.daemon.timers import Timers

HOUR = timedelta(hours=1)
YEARS = timedelta(days=50 * 365)
TICK = 0.02
"""Seconds between two runs of the job; the clock jumps by much more."""


class Wall:
    """A wall clock that can be set, for the scheduler alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta(0)
        clock = SimpleNamespace(now=lambda zone=UTC: datetime.now(zone) + self.ahead)
        for reader in (apscheduler.schedulers.base, module):
            monkeypatch.setattr(reader, "datetime", clock)


class Ticks:
    """A job that runs every `TICK`, and who waits for it."""

    def __init__(self) -> None:
        self.count = 0
        self._news = asyncio.Condition()

    async def run(self) -> None:
        async with self._news:
            self.count += 1
            self._news.notify_all()

    async def go_on(self, times: int = 3) -> None:
        """Wait for so many more, but not as long as any jump of the clock."""
        wanted = self.count + times
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(lambda: self.count >= wanted)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    monkeypatch.setattr(module, "_BEAT", 5 * TICK)
    return Wall(monkeypatch)


def run(work: Callable[[Ticks, Timers], Awaitable[None]]) -> None:
    async def main() -> None:
        timers = Timers()
        ticks = Ticks()
        timers.start()
        timers.every(TICK, ticks.run, "tick")
        await ticks.go_on()
        await work(ticks, timers)
        await timers.stop()

    asyncio.run(main())


@pytest.mark.parametrize("jump", [HOUR, -HOUR, YEARS, -YEARS], ids=str)
def test_a_jump_of_the_clock_holds_up_no_job(wall: Wall, jump: timedelta) -> None:
    async def work(ticks: Ticks, timers: Timers) -> None:
        wall.ahead = jump
        await ticks.go_on()
        wall.ahead = timedelta(0)
        await ticks.go_on()

    run(work)


def test_a_job_that_comes_after_a_jump_runs_at_once(wall: Wall) -> None:
    async def work(ticks: Ticks, timers: Timers) -> None:
        wall.ahead = HOUR
        late = Ticks()
        timers.every(TICK, late.run, "late")
        await late.go_on()

    run(work)


def test_nothing_is_made_up_after_a_jump(wall: Wall) -> None:
    async def work(ticks: Ticks, timers: Timers) -> None:
        wall.ahead = HOUR
        await ticks.go_on(1)
        before, begun = ticks.count, time.monotonic()
        await asyncio.sleep(10 * TICK)
        assert ticks.count - before <= (time.monotonic() - begun) / TICK + 2

    run(work)


def test_a_timer_set_by_a_clock_that_jumped_meanwhile_holds_up_no_job(wall: Wall) -> None:
    async def work(ticks: Ticks, timers: Timers) -> None:
        scheduler = timers._scheduler
        process = scheduler._process_jobs

        def too_late() -> float:
            process()
            return 3600.0

        scheduler._process_jobs = too_late
        await ticks.go_on()

    run(work)


def test_a_stop_in_the_middle_of_jobs_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()

    async def long() -> None:
        begun.set()
        await asyncio.sleep(3600)

    async def work(ticks: Ticks, timers: Timers) -> None:
        timers.every(TICK, long, "long")
        await begun.wait()
        for n in range(50):
            timers.every(TICK, ticks.run, f"due at the same time {n}")

    run(work)

    assert caplog.records == []


def test_a_job_that_breaks_down_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def work(ticks: Ticks, timers: Timers) -> None:
        async def broken() -> None:
            await ticks.run()
            raise ValueError("a bug")

        timers.every(TICK, broken, "broken")
        await ticks.go_on(20)

    run(work)

    told = [record for record in caplog.records if 'Job "broken' in record.getMessage()]
    assert len(told) > 1
