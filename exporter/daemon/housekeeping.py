"""What is done at regular times for the state: released, saved, swept, looked after."""

from __future__ import annotations

import contextlib
import time
from time import monotonic

from exporter.daemon.timers import Timers
from exporter.errors import StateUnavailable
from exporter.recorder import Recorder, clocks
from exporter.schedule import Schedule

_RELEASE = 1.0
_POLLING = 10.0
_RESPONSES = 30.0
"""Seconds between runs of the kinds of jobs."""
_SWEEP = 3600.0
"""Seconds between two sweeps."""


class Housekeeping:
    """The jobs that keep the state of the scheduled accounts."""

    def __init__(self, recorder: Recorder, schedule: Schedule) -> None:
        self._recorder = recorder
        self._schedule = schedule
        self._clocks = clocks.Clocks()
        self._sweep_at = 0.0

    def start(self, timers: Timers) -> None:
        """Run the jobs by these timers."""
        timers.every(_RELEASE, self.release, "release")
        timers.every(_POLLING, self.save_polling, "save the polling")
        timers.every(_RESPONSES, self.save_responses, "save the responses")
        timers.every(_RESPONSES, self.sweep, "sweep")
        timers.every(self._recorder.look_every, self.look, "look at the state")

    async def release(self) -> None:
        """Open the series whose hold is over."""
        with contextlib.suppress(StateUnavailable):  # logged and shown by the recorder
            await self._recorder.release()

    async def save_responses(self) -> None:
        """Save what a restart would have to ask the APIs for again."""
        for account in self._schedule.accounts:
            await self._recorder.save_responses(account.provider.name, account.api.responses)
        await self._recorder.save_limits()

    async def save_polling(self, *, whole: bool = False) -> None:
        """Save due times and backoff; `whole` leaves nothing for the next time."""
        await self._recorder.save_polling(whole=whole)

    async def look(self) -> None:
        """Notice a state file that was moved or replaced."""
        with contextlib.suppress(StateUnavailable):  # logged and shown by the recorder
            await self._recorder.look()

    async def sweep(self) -> None:
        """Forget what retention no longer keeps, once an hour and if the clocks agree."""
        theirs = {
            account.provider.name: None if account.api.stats.clock is None else account.api.now()
            for account in self._schedule.accounts
        }
        ours, now = time.time(), monotonic()
        self._clocks.look(ours, now, theirs)
        agreed = clocks.agreement(ours, theirs)
        if agreed is None or now < self._sweep_at:
            return
        with contextlib.suppress(StateUnavailable):
            if await self._recorder.sweep(
                agreed.now, spared=agreed.spared, is_steady=self._clocks.is_steady(now)
            ):
                self._sweep_at = now + _SWEEP
