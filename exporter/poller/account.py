"""One account: which repos it has, whose turn it is, and what to do when it is in trouble."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
import zlib
from collections.abc import Coroutine
from time import monotonic
from typing import Any

import msgspec

from exporter.errors import Gone, ProviderError, Refused, StateUnavailable, TryLater
from exporter.exposition import AccountView, RepoView
from exporter.metrics import families as f
from exporter.metrics.effects import observation
from exporter.poller import walk
from exporter.providers import Repo
from exporter.record import Cursor, Vector, plus

log = logging.getLogger(__name__)

POLL_DEADLINE = 300.0
"""Seconds for one poll of one repo; a longer walk goes on at the next poll."""
_WORKERS = 4
"""Repos of one account polled side by side."""
_SPREAD = 0.1
"""Seconds between the first polls of an account's repos."""
_DISCOVERY = 3600.0
_HEALTH = 600.0
_ONCE_TRIES = 20
_ONCE_PATIENCE = 60.0
"""Seconds that a single poll of everything waits for a rate limit to end, so often."""
_FIRST_BACKOFF, _LAST_BACKOFF = 15.0, 300.0
"""Seconds that an account in trouble is left alone, doubling."""


class RepoState(msgspec.Struct):
    """One polled repo. `due` is monotonic, the other times are epoch seconds."""

    repo: Repo
    due: float
    interval: float
    memory: walk.Memory = msgspec.field(default_factory=walk.Memory)
    last_success: float = 0.0
    error: str | None = None
    failures: int = 0
    target: int | None = None


class AccountPoller:
    """Polls the repos of one account."""

    def __init__(
        self,
        reader: walk.Reader,
        *,
        interval: float,
    ) -> None:
        self.provider = reader.provider
        self.api = reader.api
        self.up = False
        self.error: str | None = None
        self.repos: dict[str, RepoState] = {}
        self.rejected = 0
        self._reader = reader
        self._recorder = reader.recorder
        self._rules = reader.rules
        self._interval = reader.provider.interval or interval
        self._queue: list[tuple[float, str]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._prepared_at: float | None = None
        self._preparing = False
        self._scheduled = False
        self._healthy_at: float | None = None
        self._rest_until = 0.0
        self._backoff = _FIRST_BACKOFF
        self._failing: set[str] = set()
        self._unresolved: dict[str, str] = {}
        self._polls: Vector = (0.0,) * (len(f.POLL_BUCKETS) + 2)
        self._adopt(self._named())

    # -- the schedule

    async def round(self) -> None:
        """Start the polls that are due, as far as workers are free."""
        now = monotonic()
        if now < self._rest_until or self._preparing:
            return
        if self._needs_preparing(now):
            self._preparing = self._scheduled = True
            self._spawn(self._prepare())
            return
        self._start_due()

    def _start_due(self) -> None:
        now = monotonic()
        if now < self._rest_until:
            return
        # An account in trouble is tried with one repo before all of them knock again.
        workers = _WORKERS if self.error is None else 1
        while self._queue and self._queue[0][0] <= now and self._busy < workers:
            due, entry = heapq.heappop(self._queue)
            state = self.repos.get(entry)
            if state is not None and state.due == due:  # else the repo was dropped meanwhile
                self._busy += 1
                self._spawn(self._turn(state))

    async def once(self) -> bool:
        """Poll every repo once; whether all went well.

        A rate limit that ends soon is waited for.
        """
        gate = asyncio.Semaphore(_WORKERS)

        async def one(state: RepoState) -> None:
            async with gate:
                if self._rest_until <= monotonic():
                    await self._poll(state)

        for _ in range(_ONCE_TRIES):
            if self._prepared_at is None:
                await self._prepare()
            left = [state for state in self.repos.values() if not state.last_success]
            await asyncio.gather(*(one(state) for state in left))
            wait = self.api.blocked_until - monotonic()
            if not 0 < wait <= _ONCE_PATIENCE:
                break
            log.info("waiting for the rate limit", extra={"account": self.provider.name})
            await asyncio.sleep(wait)
            self._rest_until = 0.0
        polled = [state.error is None and state.last_success > 0 for state in self.repos.values()]
        return self.error is None and not self._unresolved and all(polled)

    async def stop(self) -> None:
        """Cancel what is under way and wait until it has let go."""
        self._rest_until = math.inf  # nothing new is begun
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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
                await self._discover()
                # A wildcard in trouble is tried again with the next look at the account's health.
                self._prepared_at = now - _DISCOVERY + _HEALTH if self._unresolved else now
        except ProviderError as error:
            self._in_trouble(error)
        finally:
            self._preparing = False
        if self._scheduled:
            self._start_due()

    async def _discover(self) -> None:
        found = self._named()
        self._unresolved = {}
        for pattern in filter(self.provider.is_wildcard, self.provider.repos):
            try:
                repos = await self.provider.discover(self.api, pattern)
            except ProviderError as error:
                if error.account_wide:
                    raise
                self._not_resolved(pattern, error)
            else:
                # Discovery knows more of a repo than an entry does.
                found |= {repo.entry: repo for repo in repos}
        if self._unresolved:  # what it found before may still be there
            found = {entry: state.repo for entry, state in self.repos.items()} | found
        self._adopt(found)
        self._recorder.keep_active(self.provider.name, set(self.repos))
        log.info(
            "polling",
            extra={
                "account": self.provider.name,
                "repos": len(self.repos),
                "polls_per_hour": round(len(self.repos) * 3600 / self._interval),
            },
        )

    def _not_resolved(self, pattern: str, error: ProviderError) -> None:
        """One wildcard's trouble is not that of the other entries."""
        self._unresolved[pattern] = f"{pattern} cannot be discovered: {error}"
        log.warning(
            "a wildcard cannot be discovered: %s",
            error,
            extra={"account": self.provider.name, "pattern": pattern, "reason": error.reason},
        )

    def _named(self) -> dict[str, Repo]:
        """The entries that need no discovery."""
        entries = (e for e in self.provider.repos if not self.provider.is_wildcard(e))
        return {entry: Repo(entry) for entry in entries}

    def _adopt(self, found: dict[str, Repo]) -> None:
        """Poll these repos from now on, and no others."""
        entries = {e for e in found if not any(self._covers(wide, e) for wide in found)}
        now = monotonic()
        for entry in self.repos.keys() - entries:
            del self.repos[entry]
        # Spread by hash, so that a restart or a second exporter does not knock in the same order.
        fresh = sorted(entries - self.repos.keys(), key=lambda e: zlib.crc32(e.encode()))
        for turn, entry in enumerate(fresh):
            due = now + min(turn * _SPREAD, self._interval)
            self.repos[entry] = RepoState(found[entry], due, self._interval)
            heapq.heappush(self._queue, (due, entry))
        for entry, state in self.repos.items():
            state.repo = found[entry]

    def _covers(self, wide: str, narrow: str) -> bool:
        return wide != narrow and self.provider.covers(wide, narrow)

    # -- one poll

    async def _turn(self, state: RepoState) -> None:
        started = monotonic()
        try:
            await self._poll(state)
        finally:
            self._busy -= 1
            if self.repos.get(state.repo.entry) is state:
                state.due = max(started + state.interval, self._rest_until)
                heapq.heappush(self._queue, (state.due, state.repo.entry))
        self._start_due()

    async def _poll(self, state: RepoState) -> None:
        started = monotonic()
        poll: walk.Walk | None = None
        try:
            async with asyncio.timeout(POLL_DEADLINE):
                await self.provider.renew(self.api)
                target = await self._recorder.target(
                    self.provider.name,
                    state.repo.entry,
                    Cursor(floor=time.time() - self._rules.lookback),
                )
                state.target = target.id
                poll = walk.Walk(
                    self._reader,
                    repo=state.repo,
                    target=target,
                    memory=state.memory,
                )
                await poll.run()
        except TimeoutError:
            late = f"the poll took longer than {POLL_DEADLINE:g} s and goes on at the next one"
            self._failed(state, TryLater(late, reason="timeout"))
        except ProviderError as error:
            self._failed(state, error)
            if isinstance(error, Refused) or error.reason == "server":
                await self._diagnose()
        except StateUnavailable as error:
            state.error = str(error)
        else:
            self._succeeded(state)
        finally:
            if poll is not None:
                self.rejected += poll.rejected
            seconds = monotonic() - started
            self._polls = plus(self._polls, observation(seconds, f.POLL_BUCKETS))

    async def _diagnose(self) -> None:
        """Whether the provider says more about the account than the refusal did."""
        if self._rest_until > monotonic() and self.error is not None and not self.up:
            return
        try:
            await self.provider.health(self.api)
        except ProviderError as error:
            if error.account_wide:
                self._in_trouble(error)

    def _succeeded(self, state: RepoState) -> None:
        state.last_success = time.time()
        state.error, state.failures = None, 0
        state.interval = self._interval
        self._failing.discard(state.repo.entry)
        if self.error is not None:
            log.info("the account is fine again", extra={"account": self.provider.name})
        self.up, self.error = True, None
        self._backoff = _FIRST_BACKOFF
        if self._rest_until < math.inf:
            self._rest_until = 0.0

    def _failed(self, state: RepoState, error: ProviderError) -> None:
        if state.error != str(error):
            log.warning(
                "a poll failed: %s",
                error,
                extra={
                    "account": self.provider.name,
                    "repo": state.repo.entry,
                    "reason": error.reason,
                },
            )
        state.error = str(error)
        state.failures += 1
        longest = max(self._rules.max_interval, self._interval)
        if error.account_wide:
            state.interval = self._interval  # the whole account rests instead
        elif isinstance(error, Gone | Refused):
            state.interval = longest
        else:
            state.interval = min(self._interval * 2 ** min(state.failures - 1, 10), longest)
        self._failing.add(state.repo.entry)
        if error.account_wide or self._failing >= self.repos.keys():
            self._in_trouble(error)

    def _in_trouble(self, error: ProviderError) -> None:
        """The account as a whole fails: leave it alone for a while."""
        if self.error != str(error):
            log.error(
                "the account is down: %s",
                error,
                extra={"account": self.provider.name, "reason": error.reason},
            )
        self.up, self.error = False, str(error)
        delay = error.delay if isinstance(error, TryLater) and error.delay else self._backoff
        self._backoff = min(self._backoff * 2, _LAST_BACKOFF)
        self._rest_until = max(self._rest_until, monotonic() + delay)

    # -- what others see

    def view(self) -> AccountView:
        """For the exposition."""
        return AccountView(
            provider=self.provider.label,
            account=self.provider.name,
            stats=self.api.stats,
            up=self.up,
            budget_exhausted=self.api.blocked_until > monotonic(),
            rejected=self.rejected,
            polls=self._polls,
            repos=[RepoView(e, s.last_success, s.interval) for e, s in self.repos.items()],
        )

    def status(self, counted: dict[int, int]) -> dict[str, object]:
        """For the status page: `counted` builds by target. Times are ISO 8601, UTC."""
        return {
            "name": self.provider.name,
            "provider": self.provider.label,
            "url": self.provider.root,
            "up": self.up,
            "error": self.error or "; ".join(self._unresolved.values()) or None,
            "repos": [self._repo_status(state, counted) for state in self.repos.values()],
        }

    def _repo_status(self, state: RepoState, counted: dict[int, int]) -> dict[str, object]:
        book = self._recorder.book
        due = max(state.due, self._rest_until)
        next_poll = time.time() + max(due - monotonic(), 0.0)
        return {
            "repo": state.repo.entry,
            "last_success_at": _iso(state.last_success) if state.last_success else None,
            "next_poll_at": _iso(next_poll),
            "error": state.error,
            "active": 0 if state.target is None else len(book.active.get(state.target, {})),
            "builds": 0 if state.target is None else counted.get(state.target, 0),
        }


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
