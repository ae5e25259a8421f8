"""The polls of all accounts with one credential: what may begin, and when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from time import monotonic
from typing import Any

from exporter.http import RequestCount
from exporter.schedule.account import AccountPoller
from exporter.schedule.budget_group import BudgetGroup
from exporter.schedule.dispatch import Lease
from exporter.schedule.gates import STOPPED, Gate, not_now
from exporter.schedule.repo import RepoState

log = logging.getLogger(__name__)

_TO_CATCH_UP, _AT_LEAST = 4, 2
"""How many of them polls in turn leave to repos that catch up, and how many while they are late."""
_ROUND = 1.0
"""Seconds between two visits of one account."""
_WORKERS = 8
"""Repos of one account polled side by side."""
_ONCE_TRIES = 40
_ONCE_PIECES = 100
"""Polls in which the past of one repo must be read then."""
_ONCE_PATIENCE = 60.0
"""Seconds that a single poll of everything waits for a rate limit to end, so often."""


class _Lane:
    """The polls of one account that are under way."""

    def __init__(self, account: AccountPoller) -> None:
        self.account = account
        self.tasks: set[asyncio.Task[None]] = set()
        self.busy = 0
        """Repos that are polled now."""
        self.catching_up = 0
        """How many of them catch up."""
        self.is_begun = False
        self.is_preparing = False
        self.is_stopped = False

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` beside the rounds."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "a poll broke down: this is a bug, please report it",
                exc_info=task.exception(),
                extra={"account": self.account.provider.name},
            )

    async def stop(self) -> None:
        """Begin nothing more, cancel what is under way and wait until it has let go."""
        self.is_stopped = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class BudgetRunner:
    """Polls the accounts of one credential. It alone says that something is not polled now.

    Each account has workers of its own, so one that hangs or fails holds up no other.
    """

    def __init__(self, group: BudgetGroup) -> None:
        self.group = group
        self._lanes: dict[AccountPoller, _Lane] = {}

    @property
    def name(self) -> bytes:
        """Which credential, the same in every process."""
        return self.group.name

    @property
    def names(self) -> frozenset[str]:
        """The accounts that are polled."""
        return frozenset(account.provider.name for account in self._lanes)

    @property
    def accounts(self) -> list[AccountPoller]:
        """Those that are polled."""
        return list(self._lanes)

    def add(self, account: AccountPoller) -> None:
        """Poll an account from now on."""
        self._lanes[account] = _Lane(account)
        self.group.join(account.provider.name, account.demands)

    async def remove(self, account: AccountPoller) -> None:
        """End the polls of an account."""
        lane = self._lanes.pop(account)
        self.group.leave(account.provider.name, account.demands)
        await lane.stop()

    # -- not now

    def not_now(self, account: AccountPoller, repo: RepoState | None = None) -> Gate | None:
        """Why nothing is sent for the account, or this repo of it, and until when.

        None if a poll may begin; requests are then only spaced, as the API's published limit
        asks.
        """
        now = monotonic()
        lane = self._lanes.get(account)
        if lane is None or lane.is_stopped:
            return STOPPED
        gates = [
            Gate(self.group.budget.blocked_until, "rate_limited"),
            Gate(self.group.budget.reserved_until, "reserve"),
            Gate(account.health.backoff_until, "backing_off"),
        ]
        if repo is not None:
            gates += [Gate(repo.backoff_until, "repo_backoff"), Gate(repo.due, "not_due")]
        return not_now(gates, now)

    # -- rounds

    def resume(self) -> None:
        """Know what was learned of the accounts by whoever has polled them meanwhile."""
        for account in self._lanes:
            account.resume()

    async def round(self, lease: Lease) -> None:
        """Poll as long as the lease holds; hand back at its end, or when cancelled."""
        for lane in self._lanes.values():
            lane.is_stopped = False
        try:
            while not lease.is_over:
                lanes = list(self._lanes.values())
                for lane in lanes:
                    if not lane.is_stopped:
                        self._visit(lane)
                    # Not all accounts at the same moment: scrapes would wait for all their polls.
                    await asyncio.sleep(_ROUND / len(lanes))
                if not lanes:
                    await asyncio.sleep(_ROUND)
        finally:
            await self._hand_back()

    async def _hand_back(self) -> None:
        """Let another process go on: stop what is under way, and write what was learned."""
        lanes = list(self._lanes.values())
        await asyncio.gather(*(lane.stop() for lane in lanes))
        for lane in lanes:
            await lane.account.flush()
            lane.account.rest()

    def visit(self, account: AccountPoller) -> None:
        """Start the polls of an account that are due, as far as workers and the budget allow."""
        self._visit(self._lanes[account])

    def _visit(self, lane: _Lane) -> None:
        account = lane.account
        try:
            account.save()
            if not lane.is_begun:
                lane.is_begun = True
                account.polled.begin()
            account.watch.look()
            account.first_walks.look(monotonic())
            if account.watch.may_be_mended():
                lane.spawn(account.watch.take_new_credential())
            if lane.is_preparing or self.not_now(account) is not None:
                return
            if account.needs_preparing:
                lane.is_preparing = True
                lane.spawn(self._prepare(lane))
            else:
                self._start_due(lane)
        except Exception:  # of one account alone: the others must have their turn
            log.exception(
                "an account cannot be polled: this is a bug, please report it",
                extra={"account": account.provider.name},
            )

    async def _prepare(self, lane: _Lane) -> None:
        try:
            await lane.account.prepare()
        finally:
            lane.is_preparing = False
        self._start_due(lane)

    def _start_due(self, lane: _Lane) -> None:
        account = lane.account
        if self.not_now(account) is not None:
            return
        now = monotonic()
        # An account in trouble is tried with one repo before all of them knock again.
        workers = _WORKERS if account.health.error is None else 1
        readers = 1 if self.group.is_short else workers
        queue = account.polled.queue
        while lane.busy < workers:
            left = _AT_LEAST if queue.is_late(now) else _TO_CATCH_UP
            state = queue.take(
                now,
                with_past=lane.catching_up < readers,
                past_first=lane.busy - lane.catching_up >= max(workers - left, 1),
            )
            if state is None:
                return
            admitted_at = self.group.budget.admit_first()
            if admitted_at is None:
                queue.put_back(state)
                return
            self._start(lane, state, RequestCount(admitted_at=admitted_at))

    def _start(self, lane: _Lane, state: RepoState, requests: RequestCount) -> None:
        catches_up = state.reads_past or state.awaits_newest
        lane.busy += 1
        lane.catching_up += catches_up

        def ended(task: asyncio.Task[None]) -> None:
            lane.busy -= 1
            lane.catching_up -= catches_up
            if not task.cancelled():
                self._start_due(lane)
            elif state.is_polled:  # it was stopped before it began
                lane.account.polled.queue.put_back(state)

        lane.spawn(lane.account.poll_in_turn(state, requests)).add_done_callback(ended)

    def hasten(self, account: AccountPoller, entry: str) -> bool:
        """Poll a repo as soon as limits and backoff allow; False if it is not polled at all.

        Repeated calls make one poll. A call during a poll of the repo makes one more follow.
        """
        state = account.repos.get(entry)
        if state is None or account not in self._lanes:
            return False
        account.polled.hasten(state)
        lane = self._lanes[account]
        if not lane.is_preparing and not account.needs_preparing:
            self._start_due(lane)
        return True

    # -- all at once

    async def once(self) -> bool:
        """Poll every repo of every account once; whether all went well."""
        return all(await asyncio.gather(*map(self._once, self.accounts)))

    async def _once(self, account: AccountPoller) -> bool:
        """Poll every repo of an account once. A rate limit that ends soon is waited for."""
        gate = asyncio.Semaphore(_WORKERS)

        async def one(state: RepoState) -> None:
            async with gate:
                state.reads_past = False
                if self.not_now(account) is None:
                    await account.poll(state, RequestCount())

        async def past(state: RepoState) -> None:
            async with gate:
                state.reads_past, pieces = True, 0
                while state.is_unfinished and pieces < _ONCE_PIECES:
                    pieces += 1
                    if self.not_now(account) or await account.poll(state, RequestCount()):
                        return

        for _ in range(_ONCE_TRIES):
            if account.discovery.ended_at is None:
                await account.prepare()
            left = [s for s in account.repos.values() if not s.was_polled or s.is_unfinished]
            await asyncio.gather(*(one(state) for state in left if not state.was_polled))
            await asyncio.gather(*map(past, left))
            wait = self.group.budget.delay()
            is_done = all(state.was_polled and not state.is_unfinished for state in left)
            if not 0 < wait <= _ONCE_PATIENCE or is_done:
                break
            log.info("waiting for the rate limit", extra={"account": account.provider.name})
            await asyncio.sleep(wait)
            account.health.backoff_until = 0.0
        return account.is_well
