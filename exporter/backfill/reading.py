"""Reading the history: each repo of an account, from its newest build back to the beginning."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

import msgspec

from exporter.errors import ProviderError, TryLater, Waiting
from exporter.ledger.rows import Cursor, Target
from exporter.providers import Repo
from exporter.schedule.discovery import Discovery
from exporter.schedule.health import AccountHealth
from exporter.sync import repo_sync
from exporter.sync.limits import PollLimits
from exporter.sync.notes import RepoNotes

log = logging.getLogger(__name__)

T = TypeVar("T")

_AT_ONCE = 8
"""Repos of one account that are read side by side."""
_PIECE = 240.0
"""Seconds after which a walk commits what it has, and goes on."""
_TRIES = 5
"""Times that a request may fail in a row, beside those that the client itself makes."""
_FIRST_REST, _LAST_REST = 1.0, 60.0
"""Seconds before something is tried again, doubling."""


class Progress(msgspec.Struct):
    """How far the reading has come."""

    repos: int = 0
    """How many are known of."""
    done: int = 0
    waiting: float = 0.0
    """Until when a rate limit is waited for; monotonic seconds."""


class ReadFailure(msgspec.Struct, frozen=True):
    """A repo or a whole account whose history could not be read."""

    account: str
    repo: str
    """Empty if it is the account."""
    error: str
    target: int | None = None
    """Of which builds may have been read."""

    def __str__(self) -> str:
        where = f"{self.account}: {self.repo}" if self.repo else self.account
        return f"{where}: {self.error}"


class HistoryReader:
    """Reads the history of one account since `floor` (epoch seconds) into its recorder."""

    def __init__(self, reader: repo_sync.SyncContext, floor: float, progress: Progress) -> None:
        self._reader = reader
        self._source = reader.source
        self._provider = reader.source.account
        self._api = reader.source.api
        self._floor = floor
        self._progress = progress
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def read(self) -> list[ReadFailure]:
        """Read all of it; returns what could not be read."""
        name = self._provider.name
        discovery = Discovery(self._source, AccountHealth(name, interval=_LAST_REST))
        try:
            await self._patiently(self._source.renew)
            repos = await self._patiently(lambda: discovery.find({}))
        except ProviderError as error:
            return [ReadFailure(name, "", str(error))]
        self._progress.repos += len(repos)
        unread = await asyncio.gather(*(self._repo(repo) for repo in repos.values()))
        unresolved = [ReadFailure(name, *pair) for pair in discovery.unresolved.items()]
        return [one for one in unread if one is not None] + unresolved

    async def _repo(self, repo: Repo) -> ReadFailure | None:
        async with self._gate:
            memory = RepoNotes()
            try:
                while await self._patiently(lambda: self._piece(repo, memory)):
                    log.debug("there is more to read", extra=self._where(repo))
            except ProviderError as error:
                known = await self._target(repo)
                return ReadFailure(self._provider.name, repo.entry, str(error), known.id)
            finally:
                self._progress.done += 1
            return None

    async def _piece(self, repo: Repo, memory: RepoNotes) -> bool:
        """Go on from where the last piece ended; whether there is more."""
        await self._source.renew()
        one = repo_sync.RepoSync(
            self._reader,
            repo=repo,
            target=await self._target(repo),
            notes=memory,
            limits=PollLimits(until=monotonic() + _PIECE),
        )
        await one.run()
        return one.is_unfinished

    async def _target(self, repo: Repo) -> Target:
        begin = Cursor(floor=self._floor)
        return await self._reader.recorder.target(self._provider.name, repo.entry, begin)

    def _where(self, repo: Repo) -> dict[str, str]:
        return {"account": self._provider.name, "repo": repo.entry}

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns; it waits for rate limits and is tried again a few times."""
        failures = 0
        while True:
            try:
                return await work()
            except TryLater as error:
                if not isinstance(error, Waiting) and error.reason != "rate_limited":
                    failures += 1
                    if failures >= _TRIES:
                        raise
                rest = min(_FIRST_REST * 2.0**failures, _LAST_REST)
                delay = max(error.delay or 0.0, self._api.budget.delay(), rest)
                self._tell(error, delay)
                await asyncio.sleep(delay)

    def _tell(self, error: TryLater, delay: float) -> None:
        """Say once what is waited for."""
        if error.reason != "rate_limited":
            log.warning("tried again: %s", error, extra={"account": self._provider.name})
        elif monotonic() + delay > self._progress.waiting + 1:
            self._progress.waiting = monotonic() + delay
            log.info(
                "waiting for the rate limit",
                extra={"account": self._provider.name, "seconds": round(delay)},
            )
