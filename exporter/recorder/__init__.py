"""Joins ledger and book: commit first, show afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from exporter.errors import StateDamaged, StateUnavailable
from exporter.http.conditional import Memory
from exporter.ledger import Ledger
from exporter.ledger.rows import AttemptKey, Change, Counted, Cursor, Loaded, Target, Verdict
from exporter.metrics import families as f
from exporter.metrics import soundness
from exporter.metrics.increments import Increment
from exporter.metrics.labels import clean
from exporter.model import Build
from exporter.recorder.budgets import Budgets
from exporter.recorder.clocks import is_leap
from exporter.recorder.steps import Steps
from exporter.view.changes import digest
from exporter.view.selection import of_accounts
from exporter.view.series_view import Rules, SeriesView

log = logging.getLogger(__name__)

T = TypeVar("T")

_CURSOR_LAG = 300.0
"""Seconds that the stored cursor of a quiet repo may lag; a restart reads so much more again."""


class Recorder(Steps):
    """The one way into the ledger and the book."""

    def __init__(self, ledger: Ledger, book: SeriesView, *, retention: float) -> None:
        super().__init__()
        self.book = book
        self._ledger = ledger
        self._retention = retention
        self.budgets = Budgets((), self._note_limits)
        self._swept_at: float | None = None
        self._notes: set[asyncio.Task[None]] = set()
        self._stored: dict[tuple[str, str], Target] = {}
        """By account and repo: what the ledger would tell if it was asked again."""

    def start(self, accounts: Iterable[str]) -> None:
        """Load what is remembered of the configured accounts.

        Raises StateUnavailable, and StateDamaged where it is not what was written there.
        """
        loaded = self._ledger.load()
        for damage in soundness.damage(loaded):
            raise StateDamaged(damage)
        self.budgets = Budgets(loaded.limits, self._note_limits)
        self._swept_at = loaded.swept_at
        anew = set(self._changed_buckets())
        loaded.series = [row for row in loaded.series if row.series.family not in anew]
        self.book.load(of_accounts(loaded, set(accounts)))
        self._keep_choice()
        for target, verdict in self.book.homeless():
            self.book.apply(target, verdict, self._house(target, verdict))

    def _changed_buckets(self) -> Iterator[str]:
        """The histograms that start anew, as their buckets have changed."""
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
                    yield family.name

    def _keep_choice(self) -> None:
        """Remember the limit, and which pipelines a lower one leaves out."""
        with self._ledger.transaction() as tx:
            tx.limit(self.book.rules.series_limit)
            for target, change in self.book.choice():
                tx.save(target, change)

    def _house(self, target: Target, verdict: Verdict) -> Change:
        """Give unfinished builds a pipeline that shows them."""
        with self._ledger.transaction() as tx:
            change = digest(self.book, target, verdict, now=time.time())
            tx.save(target, change)
        return change

    async def remembered(self, accounts: Iterable[str]) -> Loaded:
        """What the ledger knows of these accounts. Raises StateUnavailable."""
        known = set(accounts)

        def step() -> Loaded:
            with self._ledger.transaction():  # it tells of a disk that fails
                loaded = self._ledger.load()
            for damage in soundness.damage(loaded):
                raise StateDamaged(f"the state is damaged: {damage}")
            return of_accounts(loaded, known)

        return await self._finish(self._attempt(step))

    async def change(
        self, rules: Rules, labels_of: dict[str, str], loaded: Loaded, *, retention: float
    ) -> None:
        """Go by another configuration, between two steps of the ledger.

        `labels_of` are the `provider` labels of its accounts. Accounts that are not among
        them are shown no longer; they must not be polled any more. `loaded` is what is
        `remembered` of the others that the book does not have.
        """
        async with self._turn:
            accounts = {target.account for target in self.book.targets.values()}
            self.book.leave_out(accounts - labels_of.keys())
            self.book.obey(rules, labels_of)
            self.book.load(loaded)
            self._retention = retention
            with contextlib.suppress(StateUnavailable):  # then they wait for their next news
                await self._write(self._keep_choice)
                for target, verdict in self.book.homeless():
                    step = functools.partial(self._house, target, verdict)
                    self.book.apply(target, verdict, await self._write(step))

    def keep_active(self, account: str, repos: set[str]) -> None:
        """Show no unfinished builds of repos that are no longer polled."""
        self.book.polls(account, repos)

    async def target(self, account: str, repo: str, cursor: Cursor) -> Target:
        """What the ledger knows of a repo; `cursor` is where a new one begins."""
        known = self._stored.get((account, repo))
        if known is not None and self.state_ok:
            return known

        def step() -> Target:
            with self._ledger.transaction() as tx:
                return tx.target(account, repo, cursor)

        return await self._finish(self._alone(step))

    async def counted(self, target: Target, builds: Sequence[Build]) -> list[Counted | None]:
        """The row of each of these builds' attempts; None for those that were not counted.

        Raises StateUnavailable.
        """
        if not builds:
            return []
        return await self._attempt(lambda: self._ledger.counted(target, builds))

    async def record(  # noqa: PLR0913 - all that one step is made of
        self,
        target: Target,
        builds: Iterable[Build],
        *,
        cursor: Cursor,
        gone: Iterable[AttemptKey] = (),
        events: Iterable[Increment] = (),
        now: float | None = None,
    ) -> tuple[Target, bool]:
        """Judge builds, count what is news and move the cursor, all in one transaction.

        `gone` are unfinished builds to forget, `events` increments of other counters, `now`
        is the provider's clock, epoch seconds; ours if that is not known.
        Returns the target as it stands now, and whether anything was news. Raises
        StateUnavailable, nothing done.
        """
        heard, lost, extra = list(builds), list(gone), list(events)
        is_idle = not (heard or lost or extra)
        if is_idle and self.state_ok and self._may_lag(target, cursor):
            return msgspec.structs.replace(target, cursor=cursor), False
        at = time.time() if now is None else now
        return await self._finish(self._record(target, heard, cursor, lost, extra, at))

    async def _record(  # noqa: PLR0913, PLR0917 - the same
        self,
        target: Target,
        builds: list[Build],
        cursor: Cursor,
        gone: list[AttemptKey],
        events: list[Increment],
        now: float,
    ) -> tuple[Target, bool]:
        moved = msgspec.structs.replace(target, cursor=cursor)
        touched = max(now, time.time())  # by a clock that is behind it would seem idle at once

        def step() -> tuple[Target, Verdict, Change]:
            with self._ledger.transaction() as tx:
                verdict = tx.judge(target, builds, now=now)
                verdict.settled.extend(gone)
                change = digest(self.book, target, verdict, now=touched, events=events)
                tx.save(target, change)
                tx.settle(target, gone)
                news = change.deltas or change.pipelines or verdict.settled
                if news or not self.state_ok or not self._may_lag(target, cursor):
                    tx.move(target, cursor)
                    stored = moved
                else:
                    stored = self._stored[target.account, target.repo]
            return stored, verdict, change

        async with self._turn:
            stored, verdict, change = await self._write(step)
            self._stored[target.account, target.repo] = stored
            self.book.apply(target, verdict, change)
            if moved.exposed and not target.exposed:
                self.book.expose(moved)
            news = verdict.completed or verdict.jobs or verdict.active or verdict.settled
            return moved, bool(news)

    async def release(self) -> None:
        """Open the series whose hold is over."""
        while self.book.due():
            await self._finish(self._release())

    async def _release(self) -> None:
        async with self._turn:
            keys = self.book.due()

            def step() -> None:
                with self._ledger.transaction() as tx:
                    tx.release(keys)

            await self._write(step)
            self.book.release(keys)

    async def sweep(
        self,
        now: float | None = None,
        *,
        spared: Collection[str] = (),
        is_steady: bool = False,
    ) -> bool:
        """Forget what retention no longer keeps, but nothing of the `spared` accounts.

        `now` is what all clocks agree on, ours if it is not given. Where that is a leap from
        the last time nothing is done, and False returned, unless our clock `is_steady`.
        """
        at = time.time() if now is None else now
        if not is_steady and is_leap(at, self._swept_at, retention=self._retention):
            return False
        await self._finish(self._sweep(at, spared))
        return True

    async def _sweep(self, now: float, spared: Collection[str]) -> None:
        async with self._turn:
            kept = set(map(clean, spared))
            idle = self.book.idle(now - self._retention)
            idle = [labels for labels in idle if labels[1] not in kept]
            dropped = [(labels, self.book.keys(labels)) for labels in idle]

            def step() -> None:
                with self._ledger.transaction() as tx:
                    tx.forget(dropped)
                    tx.prune(now=now, spared=spared)

            await self._write(step)
            self._swept_at = now
            self.book.forget(idle)

    async def look(self) -> None:
        """See whether the state is still where it was. Raises StateUnavailable."""
        if await self._finish(self._alone(self._ledger.look)):
            self._is_ok()

    async def recall(self, account: str, answers: Memory) -> None:
        """Give `answers` back what was remembered of an account's API, the first time."""
        if answers.is_new:
            await self._finish(self._recall(account, answers))

    async def _recall(self, account: str, answers: Memory) -> None:
        async with self._turn:
            if not answers.is_new:
                return  # done by who had the turn before
            try:
                rows = await self._attempt(lambda: self._ledger.answers(account))
            except StateUnavailable as error:
                log.warning("%s: everything is asked for anew", error, extra={"account": account})
                rows = []
            answers.restore(rows)

    async def remember(self, account: str, answers: Memory) -> None:
        """Write what has changed in `answers`, of an account's API, since the last time.

        What cannot be written is written later: to lose it costs a restart some requests
        and nothing else.
        """
        await self._finish(self._remember(account, answers))

    async def _remember(self, account: str, answers: Memory) -> None:
        async with self._turn:
            if not self.state_ok:
                return  # what there is room for belongs to the counters
            changes = answers.changes()
            if not any(changes):
                return

            def step() -> None:
                with self._ledger.transaction() as tx:
                    tx.keep_answers(account, changes)

            try:
                await self._write(step)
            except StateUnavailable:
                answers.unsaved(changes)

    def _note_limits(self) -> None:
        """An API has forbidden something: that is remembered at once."""
        task = asyncio.get_running_loop().create_task(self.remember_limits())
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def remember_limits(self) -> None:
        """Write what APIs have forbidden since the last time, if anything."""
        await self._finish(self._remember_limits())

    async def _remember_limits(self) -> None:
        async with self._turn:
            changes = self.budgets.changes()

            def step() -> None:
                with self._ledger.transaction() as tx:
                    tx.keep_limits(changes, now=time.time())

            try:
                if changes:
                    await self._write(step)
            except StateUnavailable:
                self.budgets.unsaved()

    async def close(self) -> None:
        """Finish the step under way and let go of the state.

        Where the disk hangs this may be cancelled: the process can end without it.
        """
        await asyncio.gather(*self._notes)
        async with self._turn:
            await self._run(self._ledger.close)
        self._worker.shutdown()

    def _may_lag(self, target: Target, cursor: Cursor) -> bool:
        """Whether a step without news may leave the stored cursor where it is."""
        known = self._stored.get((target.account, target.repo))
        stored = None if known is None else known.cursor
        return (
            stored is not None
            and stored.since is not None
            and cursor.since is not None
            and cursor.since - stored.since < _CURSOR_LAG
            and (cursor.high, cursor.resume, cursor.stuck)
            == (stored.high, stored.resume, stored.stuck)
            and cursor.behind.keys() == stored.behind.keys()
        )
