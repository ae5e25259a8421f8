"""Joins ledger and book: commit first, show afterwards.

All work on the ledger happens in one worker thread, one step at a time, so that a slow
disk never stalls the event loop. A step that has begun is finished even if the poll
that asked for it is cancelled, so memory and file never part.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from exporter.errors import StateUnavailable
from exporter.metrics import families as f
from exporter.metrics.book import Book
from exporter.metrics.draft import digest
from exporter.metrics.effects import Increment
from exporter.model import Build
from exporter.record import AttemptKey, Change, Cursor, Target, Verdict
from exporter.state import Ledger

log = logging.getLogger(__name__)

T = TypeVar("T")

_CURSOR_LAG = 300.0
"""Seconds that the stored cursor of a quiet repo may lag; a restart reads so much more again."""


class Recorder:
    """The one way into the ledger and the book."""

    def __init__(self, ledger: Ledger, book: Book, *, retention: float) -> None:
        self.book = book
        self.state_ok = True
        self._ledger = ledger
        self._retention = retention
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._turn = asyncio.Lock()
        self._stored: dict[int, Cursor] = {}

    def start(self, accounts: Iterable[str]) -> None:
        """Load what is remembered of the configured accounts. Raises StateUnavailable."""
        buckets = self.book.rules.buckets
        with self._ledger.transaction() as tx:
            for family in f.FAMILIES:
                if (
                    family.persistent
                    and family.buckets
                    and not tx.bounds(family.name, buckets.of(family))
                ):
                    log.warning(
                        "buckets have changed: the histogram starts anew at 0",
                        extra={"metric": family.name},
                    )
        loaded = self._ledger.load()
        known = set(accounts)
        loaded.targets = [t for t in loaded.targets if t.account in known]
        ids = {t.id for t in loaded.targets}
        loaded.active = [(target, build) for target, build in loaded.active if target in ids]
        loaded.pipelines = [row for row in loaded.pipelines if row[0] in ids]
        shown = {labels for _, labels, _ in loaded.pipelines}
        pipeline = slice(0, len(f.PIPELINE))
        loaded.series = [
            row
            for row in loaded.series
            if f.BY_NAME[row.series.family].labels[pipeline] != f.PIPELINE
            or row.series.labels[pipeline] in shown
        ]
        self.book.load(loaded)

    def keep_active(self, account: str, repos: set[str]) -> None:
        """Show no unfinished builds of repos that are no longer polled."""
        for target in self.book.targets.values():
            if target.account == account and target.repo not in repos:
                self.book.active.pop(target.id, None)

    async def target(self, account: str, repo: str, cursor: Cursor) -> Target:
        """What the ledger knows of a repo; `cursor` is where a new one begins."""

        def step() -> Target:
            with self._ledger.transaction() as tx:
                return tx.target(account, repo, cursor)

        return await self._finish(self._alone(step))

    async def _alone(self, step: Callable[[], T]) -> T:
        async with self._turn:
            return await self._write(step)

    async def settled(self, target: Target, keys: Iterable[AttemptKey]) -> set[AttemptKey]:
        """Which attempts were counted already."""
        wanted = list(keys)
        if not wanted:
            return set()
        return await self._run(lambda: self._ledger.settled(target, wanted))

    async def record(
        self,
        target: Target,
        builds: Iterable[Build],
        *,
        cursor: Cursor,
        gone: Iterable[AttemptKey] = (),
        events: Iterable[Increment] = (),
    ) -> Target:
        """Judge builds, count what is news and move the cursor, all in one transaction.

        `gone` are unfinished builds to forget, `events` increments of other counters.
        Returns the target as it stands now. Raises StateUnavailable, nothing done.
        """
        heard, lost, extra = list(builds), list(gone), list(events)
        return await self._finish(self._record(target, heard, cursor, lost, extra))

    async def _record(
        self,
        target: Target,
        builds: list[Build],
        cursor: Cursor,
        gone: list[AttemptKey],
        events: list[Increment],
    ) -> Target:
        now = time.time()
        moved = msgspec.structs.replace(target, cursor=cursor)

        def step() -> tuple[Cursor, Verdict, Change]:
            with self._ledger.transaction() as tx:
                verdict = tx.judge(target, builds, now=now)
                verdict.settled.extend(gone)
                change = digest(self.book, target, verdict, now=now, events=events)
                tx.save(target, change)
                tx.settle(target, gone)
                news = change.deltas or change.pipelines or verdict.settled
                if news or not self.state_ok or not self._may_lag(target, cursor):
                    tx.move(target, cursor)
                    stored = cursor
                else:
                    stored = self._stored[target.id]
            return stored, verdict, change

        async with self._turn:
            self._stored[target.id], verdict, change = await self._write(step)
            self.book.apply(target, verdict, change)
            if moved.exposed and not target.exposed:
                self.book.expose(moved)
            return moved

    async def release(self) -> None:
        """Open the series whose hold is over."""
        if self.book.due():
            await self._finish(self._release())

    async def _release(self) -> None:
        async with self._turn:
            keys = self.book.due()

            def step() -> None:
                with self._ledger.transaction() as tx:
                    tx.release(keys)

            await self._write(step)
            self.book.release(keys)

    async def sweep(self) -> None:
        """Forget what retention no longer keeps."""
        await self._finish(self._sweep())

    async def _sweep(self) -> None:
        async with self._turn:
            now = time.time()
            idle = self.book.idle(now - self._retention)
            dropped = [(labels, self.book.pipelines[labels].series) for labels in idle]

            def step() -> None:
                with self._ledger.transaction() as tx:
                    tx.forget(dropped)
                    tx.prune(now=now)

            await self._write(step)
            self.book.forget(idle)

    async def close(self) -> None:
        """Finish the step under way and let go of the state."""
        async with self._turn:
            await self._run(self._ledger.close)
        self._worker.shutdown()

    async def _run(self, step: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, step)

    async def _write(self, step: Callable[[], T]) -> T:
        try:
            result = await self._run(step)
        except StateUnavailable as error:
            if self.state_ok:
                log.error("%s", error)
            self.state_ok = False
            raise
        if not self.state_ok:
            log.info("the state can be written again")
        self.state_ok = True
        return result

    def _may_lag(self, target: Target, cursor: Cursor) -> bool:
        """Whether a step without news may leave the stored cursor where it is."""
        stored = self._stored.get(target.id)
        return (
            stored is not None
            and stored.since is not None
            and cursor.since is not None
            and cursor.since - stored.since < _CURSOR_LAG
            and (cursor.high, cursor.resume) == (stored.high, stored.resume)
        )

    @staticmethod
    async def _finish(step: Awaitable[T]) -> T:
        """Await `step` to its end, also when cancelled meanwhile."""
        task = asyncio.ensure_future(step)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise
