"""Builds read one by one: what their list items lack, and what became of unfinished ones.

A build whose details fail delays no other. It is requested again, less and less often, and
counts as it was listed once it has failed long enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from time import monotonic
from typing import TypeVar

from msgspec.structs import replace

from exporter.errors import Gone, ProviderError
from exporter.ledger.rows import AttemptKey
from exporter.model import Build, Status, Unfilled
from exporter.providers import Provider, Repo, Source
from exporter.sync.notes import RepoNotes
from exporter.sync.paginator import count

Wanted = tuple[Build, Build | None]
"""A build as it is listed, and as an earlier poll has read it."""

T = TypeVar("T", Build, Wanted)

_MISSES = 3
"""Requests in a row that must not find an unfinished build before it is dropped."""
_FAIRLY_OFTEN, _FAIRLY_LONG = 10, 3600.0
"""Polls, and seconds, for which details must fail before a build counts without them."""
_AT_ONCE = 3
"""Polls in a row that request failing details again before they are requested less often."""
_FIRST_PAUSE, _LAST_PAUSE = 30.0, 600.0
"""Seconds, doubling, between two such polls."""


class Details:
    """Reads builds one by one for one poll."""

    def __init__(
        self, source: Source[Provider], repo: Repo, notes: RepoNotes, *, max_interval: float
    ) -> None:
        self._source = source
        self._api = source.api
        self._repo = repo
        self._notes = notes
        self._max_interval = max_interval
        self.at_once = 1
        """Builds that are read concurrently."""
        self.until = 0.0
        """Monotonic seconds after which no more requests are sent."""
        self.failed: dict[str, ProviderError] = {}
        """Why builds could not be read, by a description of each."""
        self.fatal: ProviderError | None = None
        """A failure of the whole account."""
        self.gone: list[AttemptKey] = []
        """Unfinished builds that are gone, or have another key now."""

    @property
    def stops(self) -> bool:
        """Whether to send no more requests, as the account fails or time is up for the commit."""
        return self.fatal is not None or monotonic() >= self.until

    async def fill(self, wanting: Sequence[Wanted]) -> list[Build]:
        """The builds with their details; one whose details fail is withheld or counts as listed."""
        due = [wanted for wanted in wanting if self._may_be_read(wanted[1])]
        self._still_fail(known for _, known in wanting)
        # What failed before is read last: it may use up the time.
        due.sort(key=lambda wanted: wanted[1] is not None and wanted[1].unfilled is not None)
        filled: list[Build] = []
        async for (build, known), result in self._each(due, self._detail):
            if isinstance(result, Build):
                filled.append(result)
                if known is not None and known.key != result.key:
                    self.gone.append(AttemptKey(known.key, known.attempt))
            elif result is not None:
                filled.append(self._unfilled(build, known))
        return filled

    async def refresh(self, builds: Sequence[Build]) -> list[Build]:
        """Unfinished builds read again; those that are gone are added to `gone`."""
        refreshed: list[Build] = []
        self._still_fail(builds)
        async for known, result in self._each([b for b in builds if self._is_due(b)], self._again):
            if isinstance(result, Build):
                if result.attempt != known.attempt and known.is_withheld:
                    refreshed.append(self._without_detail(_as_listed(known)))
                refreshed.append(result)
            elif result is not None and (known.partial or known.unfilled is not None):
                refreshed.append(self._unfilled(_as_listed(known), known))
        return refreshed

    def _still_fail(self, builds: Iterable[Build | None]) -> None:
        """Report what failed the last time, also where it is not requested again yet."""
        for build in builds:
            known = build and self._notes.failures.get(AttemptKey(build.key, build.attempt))
            if build and known and not self._may_be_read(build):
                self.failed[f"build {_id_of(build)}"] = known

    def _detail(self, wanted: Wanted) -> Awaitable[Build]:
        return self._source.detail(self._repo, *wanted)

    async def _again(self, known: Build) -> Build | None:
        key = AttemptKey(known.key, known.attempt)
        self._notes.checked[key] = monotonic()
        try:
            build = await self._source.refresh(self._repo, known)
        except Gone:
            misses = self._notes.misses[key] = self._notes.misses.get(key, 0) + 1
            if misses < _MISSES:
                return None
            if known.is_withheld:
                return self._without_detail(_as_listed(known))
            self.gone.append(key)
            return None
        self._notes.misses.pop(key, None)
        if build.key != known.key:
            self.gone.append(key)  # it has got its final key
        return build

    def _unfilled(self, build: Build, known: Build | None) -> Build:
        """A build whose details fail: it is withheld until they can be read."""
        now, before = self._api.now(), None if known is None else known.unfilled
        failing = Unfilled(now) if before is None else Unfilled(before.since, before.polls + 1)
        if failing.polls >= _FAIRLY_OFTEN and now - failing.since >= _FAIRLY_LONG:
            return self._without_detail(build)
        if not build.partial and build.status is not Status.COMPLETED:
            jobs = build.jobs if known is None else known.jobs
            return replace(build, jobs=jobs, unfilled=failing)  # only its jobs are not known
        return replace(build, status=Status.IN_PROGRESS, partial=True, unfilled=failing)

    def _without_detail(self, build: Build) -> Build:
        """`build` as it was listed, as its details cannot be read."""
        return replace(self._source.without_detail(build), partial=False, unfilled=None)

    def _may_be_read(self, known: Build | None) -> bool:
        """Whether a build whose details failed is due to be requested again."""
        if known is None or known.unfilled is None or known.unfilled.polls < _AT_ONCE:
            return True
        checked = self._notes.checked.get(AttemptKey(known.key, known.attempt))
        pause = _FIRST_PAUSE * 2.0 ** min(known.unfilled.polls - _AT_ONCE, 10)
        return checked is None or monotonic() - checked >= min(pause, _LAST_PAUSE)

    def _is_due(self, known: Build) -> bool:
        """Whether an unfinished build is due for a request: the older it is, the less often."""
        if known.unfilled is not None:
            return self._may_be_read(known)
        checked = self._notes.checked.get(AttemptKey(known.key, known.attempt))
        if checked is None or known.time is None:
            return True
        age = self._api.now() - known.time
        return monotonic() - checked >= min(age / 20, self._max_interval)

    async def _each(
        self, items: Sequence[T], read: Callable[[T], Awaitable[Build | None]]
    ) -> AsyncIterator[tuple[T, Build | ProviderError | None]]:
        """Each item with what reading it returned, or with the failure if that is of it alone."""
        for start in range(0, len(items), self.at_once):
            if self.stops:
                return
            part = items[start : start + self.at_once]
            results = await asyncio.gather(*map(read, part), return_exceptions=True)
            for item, result in zip(part, results, strict=True):
                key = _key_of(item)
                self._notes.failures.pop(key, None)
                if isinstance(result, ProviderError):
                    count(result, self._api.stats)
                    if result.account_wide:
                        self.fatal = result
                        continue
                    self._notes.checked[key] = monotonic()
                    self._notes.failures[key] = result
                    self.failed[f"build {_id_of(item)}"] = result
                elif isinstance(result, BaseException):
                    raise result
                yield item, result


def _key_of(item: Build | Wanted) -> AttemptKey:
    build = item if isinstance(item, Build) else item[0]
    return AttemptKey(build.key, build.attempt)


def _id_of(item: Build | Wanted) -> str:
    build = item if isinstance(item, Build) else item[0]
    return build.native_id or str(build.key)


def _as_listed(known: Build) -> Build:
    """A withheld build as its list item had it."""
    return replace(known, status=Status.COMPLETED) if known.is_withheld else known
