"""One account: whose turn it is, how a poll went, and what to do when it is in trouble."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
import zlib
from collections.abc import Collection, Coroutine, Iterable
from time import monotonic
from typing import Any

from exporter.errors import ProviderError, Refused, StateUnavailable, TryLater, Waiting
from exporter.http import TALLY, Tally
from exporter.ledger.rows import Cursor, Vector, plus
from exporter.metrics import families as f
from exporter.metrics.increments import observation
from exporter.model import Build
from exporter.outputs.prometheus import AccountView
from exporter.providers import Repo
from exporter.schedule.discovery import Discovery
from exporter.schedule.due_queue import DueQueue
from exporter.schedule.health import AccountHealth
from exporter.schedule.outcome import Outcome
from exporter.schedule.plan import BudgetGroup, Demand
from exporter.schedule.repo import RepoState, told
from exporter.schedule.watch import Watch
from exporter.sync import repo_sync
from exporter.sync.activity import Span

log = logging.getLogger(__name__)

POLL_DEADLINE = 300.0
"""Seconds for one poll of one repo; a longer walk goes on at the next poll."""
_WORTH_COMMITTING = 0.8
"""The share of it after which a walk commits what it has and ends."""
_WORKERS = 8
"""Repos of one account polled side by side."""
_AHEAD = 0.98
"""The most of a longer interval that is waited, as a poll then waits for its turn."""
_AGAIN = 1.0
"""Seconds after which a poll that had to wait for the budget asks for its turn again."""
_SPREAD = 0.1
"""Seconds between the first polls of an account's repos."""
_DISCOVERY = 3600.0
_HEALTH = 600.0
_ONCE_TRIES = 40
_ONCE_PATIENCE = 60.0
"""Seconds that a single poll of everything waits for a rate limit to end, so often."""


class AccountPoller:
    """Polls the repos of one account.

    `share` is what it has in common with other accounts of the same credential.
    """

    def __init__(
        self, reader: repo_sync.Reader, *, interval: float, share: BudgetGroup | None = None
    ) -> None:
        self.provider = reader.provider
        self.api = reader.api
        self.share = BudgetGroup(reader.api.budget) if share is None else share
        self.repos: dict[str, RepoState] = {}
        self.rejected = 0
        interval = reader.provider.interval or interval
        self.trouble = AccountHealth(self.provider.name, interval=interval)
        self.discovery = Discovery(self.provider, self.trouble)
        self._reader = reader
        self._recorder = reader.recorder
        self._span = Span(interval, max(interval, reader.rules.max_interval))
        self._outcome = Outcome(self.trouble, self._span, self.repos)
        self._turns = DueQueue(self.repos)
        self._watch = Watch(self.provider.name, self.api, self.trouble, self._turns, self.share)
        self._catching_up = 0
        self._known: dict[str, RepoState] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._prepared_at: float | None = None
        self._preparing = False
        self._scheduled = False
        self._healthy_at: float | None = None
        self._announced = False
        self._polls: Vector = (0.0,) * (len(f.POLL_BUCKETS) + 2)
        self.waiting: str | None = None
        """What polls wait for, if they do."""
        self.share.members[self.provider.name] = self._wishes
        self._adopt(self.discovery.named())

    def inherit(self, old: AccountPoller) -> None:
        """Take over what a stopped poller of the same account has learned."""
        self.api.stats = old.api.stats
        self.rejected, self._polls = old.rejected, old._polls
        self.trouble.inherit(old.trouble)
        self._known = old.repos
        found = self.discovery.named()
        if any(map(self.provider.is_wildcard, self.provider.repos)):
            # What wildcards found stays until the discovery at the next round says otherwise.
            stay = {entry: state.repo for entry, state in old.repos.items()}
            found = {e: repo for e, repo in stay.items() if not self.provider.excludes(e)} | found
        self.repos.clear()
        self._adopt(found)

    # -- the schedule

    async def round(self) -> None:
        """Start the polls that are due, as far as workers and the budget are free."""
        now = monotonic()
        self._watch.look(now)
        if self._watch.may_be_mended(now, self.repos.values()):
            self._spawn(self._watch.take_new_credential(list(self.repos.values())))
        if now < self.trouble.rest_until or self._preparing or self.share.budget.is_closed:
            return
        if self._needs_preparing(now):
            self._preparing = self._scheduled = True
            self._spawn(self._prepare())
            return
        self._start_due()

    def _start_due(self) -> None:
        now = monotonic()
        if now < self.trouble.rest_until:
            return
        # An account in trouble is tried with one repo before all of them knock again.
        workers = _WORKERS if self.trouble.error is None else 1
        readers = 1 if self.share.is_short else workers
        while self._busy < workers:
            state = self._turns.take(now, with_history=self._catching_up < readers)
            if state is None:
                return
            turn = self.share.budget.prepay()
            if turn is None:
                self._turns.put_back(state)
                return
            self._busy += 1
            self._catching_up += state.is_unfinished
            self._spawn(self._turn(state, Tally(turn=turn)))

    async def once(self) -> bool:
        """Poll every repo once; whether all went well.

        A rate limit that ends soon is waited for.
        """
        gate = asyncio.Semaphore(_WORKERS)
        budget = self.share.budget

        async def one(state: RepoState) -> None:
            async with gate:
                if self.trouble.rest_until <= monotonic() and not budget.is_closed:
                    await self._poll(state, Tally())

        for _ in range(_ONCE_TRIES):
            if self._prepared_at is None:
                await self._prepare()
            left = [state for state in self.repos.values() if not state.last_success]
            await asyncio.gather(*(one(state) for state in left))
            wait = budget.delay()
            if not 0 < wait <= _ONCE_PATIENCE or all(s.last_success for s in left):
                break
            log.info("waiting for the rate limit", extra={"account": self.provider.name})
            await asyncio.sleep(wait)
            self.trouble.rest_until = 0.0
        polled = [not state.failures and state.last_success > 0 for state in self.repos.values()]
        return self.trouble.error is None and not self.discovery.unresolved and all(polled)

    async def stop(self) -> None:
        """Cancel what is under way and wait until it has let go."""
        self.trouble.rest_until = math.inf  # nothing new is begun
        self.share.leave(self.provider.name, self._wishes)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._recorder.remember(self.provider.name, self.api.answers)
        await self.api.aclose()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "a poll broke down: this is a bug, please report it",
                exc_info=task.exception(),
                extra={"account": self.provider.name},
            )

    # -- which repos

    def _needs_preparing(self, now: float) -> bool:
        if self._prepared_at is None or self._healthy_at is None:
            return True
        return now - self._prepared_at >= _DISCOVERY or now - self._healthy_at >= _HEALTH

    async def _prepare(self) -> None:
        """Ask for the account's health and discover what its wildcards match."""
        try:
            await self.provider.renew(self.api)
            await self.provider.health(self.api)
            now = monotonic()
            self._healthy_at = now
            if self._prepared_at is None or now - self._prepared_at >= _DISCOVERY:
                before = {entry: state.repo for entry, state in self.repos.items()}
                self._adopt(await self.discovery.find(self.api, before))
                self._announced = False
                # A wildcard in trouble is tried again with the next look at the account's health.
                unresolved = self.discovery.unresolved
                self._prepared_at = now - _DISCOVERY + _HEALTH if unresolved else now
        except Waiting:
            return  # asked again at the first round with a budget
        except ProviderError as error:
            self.trouble.met(error, now=time.time())
        finally:
            self._preparing = False
        if self._scheduled:
            self._start_due()

    def _adopt(self, found: dict[str, Repo]) -> None:
        """Poll these repos from now on, and no others."""
        now = monotonic()
        for entry in self.repos.keys() - found.keys():
            del self.repos[entry]
        # Spread by hash, so that a restart or a second exporter does not knock in the same order.
        fresh = sorted(found.keys() - self.repos.keys(), key=lambda e: zlib.crc32(e.encode()))
        interval = self._span.interval
        for turn, entry in enumerate(fresh):
            wish = Demand(interval, interval, self._span.longest)
            due = now + min(turn * _SPREAD, interval)
            state = self._known.pop(entry, None)
            if state is None:
                state = RepoState(found[entry], due, wish, interval, now, begun_at=now)
            else:
                state.wish, due = wish, min(state.due, now + interval)
            self.repos[entry] = state
            self._turns.wait(state, due)
        for entry, state in self.repos.items():
            state.repo = found[entry]
        self._show_active()

    def _show_active(self) -> None:
        """Show the unfinished builds of the repos that are there."""
        there = {entry for entry, state in self.repos.items() if not state.is_gone}
        self._recorder.keep_active(self.provider.name, there)

    # -- one poll

    async def _turn(self, state: RepoState, tally: Tally) -> None:
        started, put_off, was_unfinished = monotonic(), False, state.is_unfinished
        state.begun_at, state.is_polled = started, True
        try:
            put_off = await self._poll(state, tally)
        finally:
            self._busy -= 1
            self._catching_up -= was_unfinished
            state.is_polled = False
            state.interval = self.share.plan.interval(state.wish)
            due = monotonic() + _AGAIN if put_off else started + self._pause(state.interval)
            if state.is_unfinished and not put_off:
                self._turns.go_on(state)
            else:
                self._turns.wait(state, max(due, self.trouble.rest_until))
        self._start_due()

    def _pause(self, interval: float) -> float:
        """Seconds to the next poll; those of idle repos must not fall into step."""
        if interval <= self._span.interval or self.share.is_short:
            return interval
        return interval * random.uniform(0.9, _AHEAD)  # noqa: S311 - no secret

    async def _poll(self, state: RepoState, tally: Tally) -> bool:
        """Poll a repo; whether that must be done again as soon as the budget allows."""
        started = monotonic()
        TALLY.set(tally)
        poll: repo_sync.RepoSync | None = None
        try:
            async with asyncio.timeout(POLL_DEADLINE):
                poll = await self._walk(state, until=started + _WORTH_COMMITTING * POLL_DEADLINE)
                await poll.run()
        except TimeoutError:
            late = (
                f"the poll took longer than {POLL_DEADLINE:g} s and is begun anew at the next one"
            )
            self._failed(state, TryLater(late, reason="timeout"))
        except Waiting as error:
            self.waiting = str(error)
            return True
        except ProviderError as error:
            self._failed(state, error)
            if isinstance(error, Refused) or error.reason == "server":
                await self._diagnose()
        except StateUnavailable as error:
            state.error, state.reason = str(error), "state"
        except Exception as error:  # noqa: BLE001 - it is logged, and one repo's own
            self._outcome.broke_down(state, error)
        else:
            self._succeeded(state, poll)
        finally:
            if poll is not None:
                self.rejected += poll.rejected
                self.share.costs.note(tally, news=poll.moved or not state.last_success)
            seconds = monotonic() - started
            self._polls = plus(self._polls, observation(seconds, f.POLL_BUCKETS))
            log.debug("polled", extra=told(self.provider.name, state, tally, seconds))
        return False

    async def _walk(self, state: RepoState, *, until: float) -> repo_sync.RepoSync:
        """A walk through the repo from where the last one ended."""
        await self._recorder.recall(self.provider.name, self.api.answers)
        await self.provider.renew(self.api)
        rules = self._reader.rules
        floor = repo_sync.now_of(self.api, rules) - rules.lookback
        target = await self._recorder.target(
            self.provider.name, state.repo.entry, Cursor(floor=floor)
        )
        state.target = target.id
        return repo_sync.RepoSync(
            self._reader,
            repo=state.repo,
            target=target,
            memory=state.memory,
            bounds=self.share.bounds(until, self._span.longest),
        )

    async def _diagnose(self) -> None:
        """Whether the provider says more about the account than the refusal did."""
        trouble = self.trouble
        if trouble.rest_until > monotonic() and trouble.error is not None:
            return
        try:
            await self.provider.health(self.api)
        except ProviderError as error:
            if error.account_wide and not isinstance(error, Waiting):
                trouble.met(error, now=time.time())

    def _succeeded(self, state: RepoState, poll: repo_sync.RepoSync) -> None:
        was_gone = state.is_gone
        self._outcome.succeeded(state, poll, self.active(state), now=self.api.now())
        if was_gone:
            self._show_active()
        self.waiting = None
        if not self._announced:
            self._announce()

    def _failed(self, state: RepoState, error: ProviderError) -> None:
        was_gone = state.is_gone
        self._outcome.failed(state, error)
        if was_gone != state.is_gone:
            self._show_active()

    def _announce(self) -> None:
        """Log what polling will cost, now that an answer has told of the limits."""
        self._announced = True
        share = self.share
        planned = sum(1.0 / share.plan.interval(state.wish) for state in self.repos.values())
        at_least = len(self.repos) / self._span.longest
        per_hour = {
            "planned": round(3600 * share.costs.requests(planned)),
            "if_idle": round(3600 * share.costs.requests(at_least)),
            "limit": share.limit() or "unknown",
        }
        log.info(
            "polling",
            extra={
                "account": self.provider.name,
                "repos": len(self.repos),
                **{f"requests_per_hour_{name}": value for name, value in per_hour.items()},
            },
        )

    def _wishes(self) -> Iterable[Demand]:
        return [state.wish for state in self.repos.values()]

    # -- what others see

    def active(self, state: RepoState) -> Collection[Build]:
        """The unfinished builds of a repo."""
        known = self._recorder.book.active
        return () if state.target is None else known.get(state.target, {}).values()

    def view(self) -> AccountView:
        """For the exposition."""
        return AccountView(
            provider=self.provider.label,
            account=self.provider.name,
            stats=self.api.stats,
            up=self.trouble.up,
            budget_exhausted=self.share.is_exhausted,
            rejected=self.rejected + self.discovery.rejected,
            polls=self._polls,
            repos=self.repos,
        )
