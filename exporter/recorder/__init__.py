"""Joins ledger and view: commit first, show afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from exporter.errors import StateUnavailable
from exporter.ledger import Ledger, Transaction
from exporter.ledger.build_log import BuildLog
from exporter.ledger.rows import (
    AttemptKey,
    Changes,
    Counted,
    Cursor,
    Findings,
    Snapshot,
    Target,
)
from exporter.metrics.increments import Increment
from exporter.metrics.rules import MetricsRules
from exporter.model import Build
from exporter.recorder.budgets import Budgets
from exporter.recorder.clocks import is_leap
from exporter.recorder.cursors import may_lag
from exporter.recorder.decisions import (
    Decide,
    apply_series_limit,
    decide,
    fit,
    forget_idle,
    load_sound,
    not_shown,
)
from exporter.recorder.open_builds import OpenBuilds
from exporter.recorder.persistence import Persistence
from exporter.view.series_view import SeriesView

T = TypeVar("T")

_DAMAGED = "the state is damaged: {}"


class Recorder(Persistence):
    """The one way into the ledger, and from it into what is shown."""

    def __init__(self, ledger: Ledger, view: SeriesView, *, retention: float) -> None:
        super().__init__(ledger)
        self.view = view
        self.retention = retention
        """Seconds that finished builds are remembered."""
        self._swept_at: float | None = None
        self._stored: dict[tuple[str, str], Target] = {}
        """By account and repo: what the ledger would tell if it was asked again."""
        self._accounts: tuple[str, ...] = ()
        self._open_builds = OpenBuilds()
        self.news: Callable[[Target, Findings], None] | None = None
        """Called with what a commit has found, once it is shown."""
        self.rules: bytes | None = None
        """What all processes go by that write the state; None where nobody else does."""
        self.rules_of: Callable[[bytes | None], MetricsRules] = lambda _: self.view.rules
        """What these rules, which everything was loaded with, say about metrics."""
        self.renewed: Callable[[], None] = lambda: None
        """Called once there is another view, as everything was loaded anew."""
        if ledger.shared is not None:
            view.mark_by(lambda: self.position - 1)  # a scrape of this turn has what is shown

    def start(self, accounts: Iterable[str], *, rules_for_all: bytes | None = None) -> None:
        """Load what is remembered of the configured accounts.

        `rules_for_all` are what all processes go by from now on, if not what they do. Raises
        StateUnavailable, and StateDamaged where it is not what was written there.
        """
        self._accounts = tuple(accounts)
        with self._ledger.transaction() as tx:
            snapshot = load_sound(tx)
            self.rules = rules_for_all or snapshot.rules
            if (rules := self.rules_of(self.rules)) != self.view.rules:
                self.view = self.view.emptied(rules)
            fit(tx, snapshot, self._accounts, rules)
            if rules_for_all is not None and rules_for_all != snapshot.rules:
                tx.put_rules(rules_for_all)
        self.budgets = Budgets(snapshot.limits, self._note_limits)
        self._swept_at = snapshot.swept_at
        self._take_over(snapshot)
        if self._ledger.shared is not None:
            self._relearn(snapshot)
        else:
            self.polling.add(snapshot.polling, self._accounts)
            for target, builds in self.view.unassigned():
                with self._ledger.transaction() as tx:
                    self._assign(target, builds, tx)
                self._show(tx.changes)

    def _show(self, changes: Changes) -> None:
        """Show what was committed."""
        self.view.apply(changes)
        self._open_builds.apply(changes)
        if self._ledger.shared is not None:
            self._follow_others(changes)

    def _follow_others(self, changes: Changes) -> None:
        """Know what others may have committed of what is kept here for the next poll."""
        for target in changes.targets:
            self._stored[target.account, target.repo] = target
        for account, rows in changes.polled:
            self.polling.learn(account, rows)
            self.view.polls(account, self.polling.polled(account))
        self.budgets.learn(changes.limits)
        self.reports.update(changes.reports)

    def _renew(self, snapshot: Snapshot) -> None:
        self._stored.clear()
        self._open_builds = OpenBuilds()
        self.rules = snapshot.rules
        self.view = self.view.emptied(self.rules_of(snapshot.rules))
        self._show(snapshot)
        self._relearn(snapshot)
        self.renewed()

    def _relearn(self, snapshot: Snapshot) -> None:
        self.polling.relearn(snapshot.polling)
        for account in snapshot.polling:
            self.view.polls(account, self.polling.polled(account))

    def _assign(self, target: Target, builds: list[Build], tx: Transaction) -> None:
        """Give unfinished builds a pipeline which shows them."""
        self._deciding(target)(tx, Findings(active=builds), now=time.time())

    def _deciding(self, target: Target) -> Decide:
        """What becomes of the rows that news of a repo touches, by the rules of now."""
        return functools.partial(
            decide,
            target=target,
            provider=self.view.provider_of(target),
            rules=self.view.rules,
            accounts=self._accounts,
            seen=frozenset(self.view.due()),
        )

    async def agree(self, rules_for_all: bytes) -> None:
        """Put in force what all processes go by from now on, and load everything anew.

        Raises StateUnavailable, nothing done.
        """

        def decide(tx: Transaction) -> None:
            snapshot = load_sound(tx, fault=_DAMAGED)
            fit(tx, snapshot, self._accounts, self.rules_of(rules_for_all))
            tx.put_rules(rules_for_all)

        async with self._lock:
            await self._commit(decide, shows=False)
            await self._load_in_turn()

    async def prepare(self, rules: MetricsRules, labels_of: dict[str, str]) -> None:
        """Raise StateUnavailable where a `change` to these needs what cannot be read."""
        if not self._needs_state(rules, labels_of):
            return

        def step() -> None:
            with self._ledger.transaction() as tx:
                load_sound(tx, fault=_DAMAGED)

        await self._finish(self._alone(step))

    def _needs_state(self, rules: MetricsRules, labels_of: dict[str, str]) -> bool:
        """Whether something may be shown then that is not shown now, or the other way around."""
        has_more = bool(labels_of.keys() - set(self._accounts))
        return has_more or rules.series_limit != self.view.rules.series_limit

    async def change(
        self, rules: MetricsRules, labels_of: dict[str, str], *, retention: float
    ) -> None:
        """Go by another configuration, between two steps of the ledger.

        `labels_of` are the `provider` labels of its accounts. Accounts that are not among
        them are shown no longer; they must not be polled any more. Raises StateUnavailable,
        nothing done, where the state is needed and cannot be read and written.
        """
        if self._ledger.shared is not None:
            await self._change_shared(rules, labels_of, retention=retention)
            return
        async with self._lock:
            known = {*self.view.pipelines}
            accounts, added = tuple(labels_of), labels_of.keys() - set(self._accounts)

            def decide(tx: Transaction) -> Snapshot:
                snapshot = load_sound(tx, fault=_DAMAGED)
                marked = apply_series_limit(tx, snapshot, accounts, rules.series_limit)
                return not_shown(snapshot, known - marked, added)

            shown = None
            if self._needs_state(rules, labels_of):
                shown = await self._commit(decide, shows=False)
            self.view.configure(rules, labels_of)
            self._accounts, self.retention = accounts, retention
            self._open_builds.keep(self.view.targets)
            if shown is not None:
                self._show(shown)
                self.polling.add(shown.polling, added)
            with contextlib.suppress(StateUnavailable):  # then they wait for their next news
                for target, builds in self.view.unassigned():
                    assign = functools.partial(self._assign, target, builds)
                    await self._commit(assign, target.account)

    async def _change_shared(
        self, rules: MetricsRules, labels_of: dict[str, str], *, retention: float
    ) -> None:
        """As `change`, where what all must go by is not ours to change."""
        async with self._lock:
            is_other = labels_of != self.view.labels_of
            ours = self.rules_of(self.rules)
            self.view.configure(replace(ours, repo_labels=rules.repo_labels), labels_of)
            self._accounts, self.retention = tuple(labels_of), retention
            if is_other:  # images of accounts that were not shown have been left out
                self._forget_position()
                with contextlib.suppress(StateUnavailable):  # then whoever follows next does it
                    await self._load_in_turn()

    @property
    def look_every(self) -> float:
        """Seconds between two calls of `look`."""
        return self._ledger.look_every

    def open_builds(self, target: int) -> Mapping[AttemptKey, Build]:
        """The unfinished builds of a target."""
        return self._open_builds.of(target)

    def keep_active(self, account: str, repos: set[str]) -> None:
        """Show no unfinished builds of repos that are no longer polled."""
        if self._ledger.shared is None:  # else that follows from what is committed
            self.view.polls(account, repos)

    async def target(self, account: str, repo: str, cursor: Cursor) -> Target:
        """What the ledger knows of a repo; `cursor` is where a new one begins."""
        known = self._stored.get((account, repo))
        if known is not None and self.state_ok:
            return known

        async def ask() -> Target:
            async with self._lock:
                return await self._commit(
                    lambda tx: tx.target(account, repo, cursor), account, proves=False
                )

        return await self._finish(ask())

    async def counted(self, target: Target, builds: Sequence[Build]) -> list[Counted | None]:
        """The row of each of these builds' attempts; None for those that were not counted.

        Raises StateUnavailable.
        """
        if not builds:
            return []
        return await self._attempt(lambda: self._ledger.counted(target, builds))

    async def read_log(self, read: Callable[[BuildLog], T]) -> T:
        """What `read` returns of the build log, between two steps of the ledger.

        May be cancelled. Raises StateUnavailable.
        """
        return await self._alone(lambda: read(self._ledger.build_log()))

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
        listed, lost, extra = list(builds), list(gone), list(events)
        is_idle = not (listed or lost or extra)
        if is_idle and self.state_ok and may_lag(self._stored_cursor(target), cursor):
            return replace(target, cursor=cursor), False
        at = time.time() if now is None else now
        return await self._finish(self._record(target, listed, cursor, lost, extra, at))

    async def _record(  # noqa: PLR0913, PLR0917 - the same
        self,
        target: Target,
        builds: list[Build],
        cursor: Cursor,
        gone: list[AttemptKey],
        events: list[Increment],
        now: float,
    ) -> tuple[Target, bool]:
        moved = replace(target, cursor=cursor)
        touched_at = max(now, time.time())  # by a clock that is behind it would seem idle at once
        async with self._lock:
            decide = self._deciding(target)
            moves = not self.state_ok or not may_lag(self._stored_cursor(target), cursor)
            # Only with what is written anyway, and not where there may be no room for it.
            saved = self.polling.changes_of(target.account) if moves and self.state_ok else {}

            def step(tx: Transaction) -> tuple[Target, Findings, bool]:
                findings = tx.reconcile(target, builds, now=now)
                tx.close(target, gone)
                rows = decide(tx, findings, now=touched_at, events=events)
                closed = bool(tx.changes.closed)
                if rows.series or rows.pipelines or closed or moves:
                    tx.advance_cursor(target, cursor)
                    stored = moved
                else:
                    stored = self._stored[target.account, target.repo]
                self._write_polling(tx, saved)
                return stored, findings, closed

            try:
                stored, findings, closed = await self._commit(step, target.account)
            except BaseException:
                self.polling.unsaved(saved)
                raise
            self._stored[target.account, target.repo] = stored
            self.view.apply(Changes(targets=[moved]))
            if self.news is not None:
                self.news(moved, findings)
            return moved, bool(findings.completed or findings.jobs or findings.active or closed)

    async def release(self) -> None:
        """Open the series whose hold is over."""
        while self.view.due(self._ours()):
            await self._finish(self._release())

    async def _release(self) -> None:
        async with self._lock:
            ours = self._ours()
            keys = self.view.due(ours)
            await self._commit(lambda tx: tx.release(keys), *(() if ours is None else ours))

    def _ours(self) -> Collection[str] | None:
        """The accounts that are polled here; None where nobody else polls any."""
        return None if self._ledger.shared is None else self._ledger.shared.leases.held

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
        if not is_steady and is_leap(at, self._swept_at, retention=self.retention):
            return False
        await self._finish(self._sweep(at, spared))
        return True

    async def _sweep(self, now: float, spared: Collection[str]) -> None:
        async with self._lock:
            busy = self.view.busy()
            kept = {t.id: t.account for t in self.view.targets.values() if t.account not in spared}

            def step(tx: Transaction) -> None:
                forget_idle(tx, before=now - self.retention, accounts=kept, busy=busy)
                tx.prune(now=now, spared=spared)

            await self._commit(step)
            self._swept_at = now

    async def look(self) -> None:
        """See whether the state is still where it was. Raises StateUnavailable."""
        if await self._finish(self._alone(self._ledger.look)):
            self._is_ok()

    async def close(self) -> None:
        """Finish the step under way and let go of the state.

        Where the disk hangs this may be cancelled: the process can end without it.
        """
        await asyncio.gather(*self._notes)
        async with self._lock:
            await self._run(self._ledger.close)
        self._worker.shutdown()
        self._end_reading()

    def _stored_cursor(self, target: Target) -> Cursor | None:
        known = self._stored.get((target.account, target.repo))
        return None if known is None else known.cursor
