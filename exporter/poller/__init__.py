"""The schedule: the only place that joins providers, ledger and metrics.

APScheduler runs few jobs: a round for each account, the release of held increments and
the sweep of what retention no longer keeps. Inside a round the account takes the repos
that are due from a heap of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from exporter.errors import StateUnavailable
from exporter.exposition import Health, Snapshot, snapshot
from exporter.poller.account import AccountPoller
from exporter.poller.recorder import Recorder

_ROUND = 1.0
_RELEASE = 1.0
_SWEEP = 3600.0
"""Seconds between runs of the three kinds of jobs."""


class Poller:
    """All accounts of one process."""

    def __init__(
        self, accounts: Iterable[AccountPoller], recorder: Recorder, health: Health
    ) -> None:
        self.accounts = list(accounts)
        self.recorder = recorder
        self.health = health
        self._scheduler = AsyncIOScheduler(timezone="UTC")

    def start(self) -> None:
        """Begin polling in the running event loop."""
        for account in self.accounts:
            self._every(_ROUND, account.round, f"round {account.provider.name}")
        self._every(_RELEASE, self._release, "release")
        self._every(_SWEEP, self._sweep, "sweep")
        self._scheduler.start()

    def _every(self, seconds: float, work: Callable[[], Awaitable[None]], name: str) -> None:
        self._scheduler.add_job(
            work,
            "interval",
            seconds=seconds,
            next_run_time=datetime.now(UTC),
            id=name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )

    async def _release(self) -> None:
        try:
            await self.recorder.release()
        except StateUnavailable:
            return  # told and shown by the recorder; tried again at the next turn

    async def _sweep(self) -> None:
        try:
            await self.recorder.sweep()
        except StateUnavailable:
            return

    async def once(self) -> bool:
        """Poll every target once; whether all went well."""
        results = await asyncio.gather(*(account.once() for account in self.accounts))
        await self._release()
        return all(results)

    async def stop(self) -> None:
        """End all polls; the step under way in the ledger is finished first."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        await asyncio.gather(*(account.stop() for account in self.accounts))
        await self.recorder.close()

    # -- what others see

    def snapshot(self) -> Snapshot:
        """All metrics at this instant."""
        self.health.state_ok = self.recorder.state_ok
        views = [account.view() for account in self.accounts]
        return snapshot(self.recorder.book, views, self.health, now=time.time())

    def status(self) -> dict[str, object]:
        """What `/status.json` says."""
        counted = self.recorder.book.counted()
        return {
            "state_ok": self.recorder.state_ok,
            "accounts": [account.status(counted) for account in self.accounts],
        }
