"""One poll of one repo: walk the pages, fill the gaps, refresh the unfinished, commit.

The walk goes from the newest build back to known ground: a page on which everything is
older than the last whole walk, less an overlap. The cursor moves only at the end of a
clean walk. Long walks commit page by page and are resumed where they stopped.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from exporter.errors import Gone, ProviderError, TryLater
from exporter.http import Api
from exporter.metrics import effects
from exporter.metrics import families as f
from exporter.metrics.effects import Increment
from exporter.model import Build, Status
from exporter.poller.ground import Ground, Rules, righted, sound
from exporter.poller.memory import Memory
from exporter.poller.pages import Pages, count
from exporter.poller.recorder import Recorder
from exporter.providers import Page, Provider, Repo
from exporter.record import AttemptKey, Cursor, Target

log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_PAGES = 500
"""Pages of one poll; a longer walk goes on at the next one."""
_HISTORY = 8
"""Builds in a row that turn out to be too old before the rest is taken to be so too."""
_MOST_FAILURES = 10
"""Builds that may fail to be filled before a poll gives up."""
_MISSES = 3
"""Times in a row that an unfinished build must be gone before it is given up."""


class Reader(msgspec.Struct, frozen=True):
    """What all polls of one account share."""

    provider: Provider
    api: Api
    recorder: Recorder
    rules: Rules


class Bounds(msgspec.Struct, frozen=True):
    """How far one poll may go. Monotonic seconds, and a span of seconds."""

    until: float = math.inf
    """What was read by then is committed, and the rest is left to the next poll."""
    deep_every: float | None = None
    """How often to read the whole `rerun_window`; every `max_interval` if nothing is said."""
    at_once: int = 8
    """Builds filled or refreshed side by side."""


_UNBOUND = Bounds()


class Walk:
    """One poll of one repo."""

    def __init__(
        self,
        reader: Reader,
        *,
        repo: Repo,
        target: Target,
        memory: Memory,
        bounds: Bounds = _UNBOUND,
    ) -> None:
        self._provider = reader.provider
        self._api = reader.api
        self._recorder = reader.recorder
        self._rules = reader.rules
        self._repo = repo
        self._target = target
        self._memory = memory
        self._bounds = bounds
        self._deep = self._is_deep()
        self._ground = Ground(
            target.cursor,
            reader.rules,
            now=reader.api.now(),
            deep=self._deep,
            counts=reader.provider.consecutive_numbers,
        )
        self._pages = Pages(
            partial(reader.provider.page, reader.api, repo),
            memory.past,
            reader.api.stats,
            since=self._ground.horizon,
            deep=self._deep,
        )
        self._met: set[AttemptKey] = set()
        self._told: list[Build] = []
        self._gone: list[AttemptKey] = []
        self._trouble: ProviderError | None = None
        self._failures = 0
        self._history = 0
        self._container: Build | None = None
        self._jobs_met: set[str] = set()
        self._whole = target.cursor.resume is None
        self.rejected = 0
        """Listed items that could not be understood."""
        self.moved = False
        """Whether anything has happened since the last walk."""
        self.is_unfinished = False
        """Whether there was more to read than fits into one poll; the next one goes on."""

    def _is_deep(self) -> bool:
        """Whether this walk reads `rerun_window` again, to see what was run again."""
        last = self._memory.deep_at
        if self._target.cursor.since is None or last is None:
            return True
        return monotonic() - last >= (self._bounds.deep_every or self._rules.max_interval)

    async def run(self) -> Target:
        """Poll; returns the target as it stands afterwards.

        Raises a ProviderError or StateUnavailable; what was committed before stays.
        """
        cursor = self._target.cursor
        began = monotonic()
        token, walk = cursor.resume, cursor.walk
        builds: list[Build] = []
        ended = False
        for _ in range(_MOST_PAGES):
            page = await self._page(token)
            if walk is None:
                walk = self._api.now() - (monotonic() - began)
                if (right := righted(cursor, self._rules, now=walk)) is not None:
                    await self._commit([], right)
                    self.is_unfinished = True
                    return self._target
            filled, reached = await self._read(page)
            builds.extend(filled)
            token, ended = page.next, page.next is None or reached
            if token is None or ended or self._gives_up:
                break
            if (endless := self._pages.endless(page)) is not None:
                await self._commit(builds, _begun_anew(cursor))
                raise endless
            await self._commit(builds, self._ground.paused(token, walk))
            builds = []
        builds.extend(await self._refresh())
        clean = ended and not self._gives_up
        await self._end(builds, walk, clean=clean)
        if self._trouble is not None:
            raise self._trouble
        self.is_unfinished = not clean
        return self._target

    async def _end(self, builds: list[Build], walk: float | None, *, clean: bool) -> None:
        """The last commit; the cursor moves if the walk was a whole and clean one."""
        if not clean:
            await self._commit(builds, self._target.cursor)
            return
        events: list[Increment] = []
        if self._ground.has_gap():
            log.warning(
                "builds have been missed: they are no longer listed",
                extra={"account": self._target.account, "repo": self._target.repo},
            )
            events = [effects.count(f.GAPS, self._provider.label, self._target.account)]
        await self._commit(builds, self._ground.after(walk), events=events)
        if self._deep:
            self._memory.deep_at = monotonic()
            self._memory.past.grow()
        self._memory.tell(self._told, floor=self._ground.floor)
        self._tidy()

    @property
    def _gives_up(self) -> bool:
        """Whether going on makes no sense; else one build's trouble stays its own."""
        trouble = self._trouble
        if trouble is None:  # what was read must be committed before the deadline comes
            return monotonic() >= self._bounds.until
        return trouble.account_wide or self._failures >= _MOST_FAILURES

    # -- pages

    async def _page(self, token: str | None) -> Page:
        try:
            page = await self._pages.get(token)
        except ProviderError as error:
            if token is not None and not isinstance(error, TryLater):
                # The stored page may have expired: the next poll begins from the newest again.
                await self._commit([], _begun_anew(self._target.cursor))
            raise
        self.rejected += page.rejected
        return replace(page, builds=sound(page.builds, self._api.now()))

    async def _read(self, page: Page) -> tuple[list[Build], bool]:
        """The builds of a page, filled, and whether they are all known ground."""
        ground = self._ground
        ground.meet(page.builds)
        self._memory.pulse.note(
            (b.key, begun) for b in page.builds if (begun := b.created_at or b.started_at)
        )
        builds = [self._contained(build, last=page.next is None) for build in page.builds]
        told = set() if ground.renumbered else self._memory.told(builds, floor=ground.floor)
        settled = await self._recorder.settled(
            self._target, [AttemptKey(b.key, b.attempt) for b in builds if b not in told]
        )
        # By what the page itself shows, not by jobs that it does not.
        old = bool(builds) and all(map(ground.is_old, page.builds))
        reached = old and not self._expects_jobs
        plain: list[Build] = []
        wanting: list[tuple[Build, Build | None]] = []
        for build in builds:
            known = self._known(build)
            self._meet(build if known is None else known)
            if known is None and (build in told or self._is_settled(build, settled)):
                self._told.append(build)
                if not build.partial and build not in told:
                    plain.append(build)
            elif not self._wants_detail(build):
                plain.append(build)
                if known is None and ground.is_over(build):
                    self._told.append(build)
            elif known is not None or ground.may_be_news(build):
                wanting.append((build, known))
        filled, history = await self._fill(wanting)
        # The attempts of one build are heard in their order.
        found = sorted(plain + filled, key=lambda build: build.attempt)
        self._met.update(AttemptKey(build.key, build.attempt) for build in found)
        return found, reached or history

    def _meet(self, build: Build) -> None:
        """What a page showed, in whichever attempt, needs no request of its own."""
        active = self._recorder.book.active.get(self._target.id, {})
        self._met.update(key for key in active if key.key == build.key)

    def _is_settled(self, build: Build, settled: set[AttemptKey]) -> bool:
        if build.key.endswith("@") and self._ground.renumbered:
            return False  # the number was counted in the job's earlier life
        return AttemptKey(build.key, build.attempt) in settled

    def _contained(self, build: Build, *, last: bool) -> Build:
        """A container of jobs keeps the unfinished ones that are on other pages.

        Also those that only earlier polls have met, until the list has ended without them.
        """
        if not build.only_jobs:
            return build
        before = self._container or self._known(build)
        listed = {job.id for job in build.jobs}
        self._jobs_met |= listed
        kept = tuple(
            job
            for job in (() if before is None else before.jobs)
            if job.status is not Status.COMPLETED
            and job.id not in listed
            and (job.id in self._jobs_met or not (last and self._whole))
        )
        self._container = replace(build, jobs=kept + build.jobs)
        return self._container

    @property
    def _expects_jobs(self) -> bool:
        """Whether unfinished jobs of the container have not been met yet."""
        container = self._container
        return container is not None and any(job.id not in self._jobs_met for job in container.jobs)

    def _wants_detail(self, build: Build) -> bool:
        return not build.only_jobs and (build.partial or self._provider.jobs)

    def _known(self, build: Build) -> Build | None:
        """The unfinished build that this is, as an earlier poll knew it."""
        active = self._recorder.book.active.get(self._target.id, {})
        if build.key.endswith("@"):
            return next((b for b in active.values() if b.key.startswith(build.key)), None)
        return active.get(AttemptKey(build.key, build.attempt))

    async def _fill(
        self, wanting: Sequence[tuple[Build, Build | None]]
    ) -> tuple[list[Build], bool]:
        """Builds with their details; and whether only history was left.

        A build that cannot be filled for now is kept as a partial unfinished one, which
        is not shown, so that it is refreshed by itself until it can be counted.
        """
        filled: list[Build] = []
        for start in range(0, len(wanting), self._bounds.at_once):
            if self._gives_up:
                break
            part = wanting[start : start + self._bounds.at_once]
            done = await self._gather(
                [partial(self._provider.detail, self._api, self._repo, *pair) for pair in part]
            )
            for (build, known), detailed in zip(part, done, strict=True):
                if detailed is not None:
                    filled.append(detailed)
                    self._history = self._history + 1 if self._ground.is_history(detailed) else 0
                    if known is not None and known.key != detailed.key:
                        self._gone.append(AttemptKey(known.key, known.attempt))
                elif known is None and not self._gives_up:
                    filled.append(replace(build, status=Status.IN_PROGRESS, partial=True))
            if self._history >= _HISTORY:
                return filled, True
        return filled, False

    # -- unfinished builds

    async def _refresh(self) -> list[Build]:
        """Known unfinished builds that no page showed, read again; the gone are noted."""
        active = self._recorder.book.active.get(self._target.id, {})
        due = [
            build
            for key, build in list(active.items())
            if key not in self._met and not build.only_jobs and self._is_due(key, build)
        ]
        refreshed: list[Build] = []
        for start in range(0, len(due), self._bounds.at_once):
            if self._gives_up:
                break
            part = due[start : start + self._bounds.at_once]
            done = await self._gather([partial(self._again, known) for known in part])
            refreshed.extend(build for build in done if build is not None)
        return refreshed

    async def _again(self, known: Build) -> Build | None:
        key = AttemptKey(known.key, known.attempt)
        self._memory.checked[key] = monotonic()
        try:
            build = await self._provider.refresh(self._api, self._repo, known)
        except Gone:
            misses = self._memory.misses[key] = self._memory.misses.get(key, 0) + 1
            if misses >= _MISSES:
                self._gone.append(key)
            return None
        self._memory.misses.pop(key, None)
        if build.key != known.key:
            self._gone.append(key)  # it has got its final key
        return build

    def _tidy(self) -> None:
        """Remember nothing of builds that are no longer unfinished."""
        active = self._recorder.book.active.get(self._target.id, {})
        for notes in (self._memory.misses, self._memory.checked):
            for key in notes.keys() - active.keys():
                del notes[key]

    def _is_due(self, key: AttemptKey, build: Build) -> bool:
        """The older an unfinished build, the less often it is worth a request."""
        checked = self._memory.checked.get(key)
        begun = build.time
        if checked is None or begun is None:
            return True
        age = self._api.now() - begun
        return monotonic() - checked >= min(age / 20, self._rules.max_interval)

    async def _gather(self, calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T | None]:
        """Run calls side by side; a failing one is None and is the trouble of this poll."""
        results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
        done: list[T | None] = []
        for result in results:
            if isinstance(result, ProviderError):
                count(result, self._api.stats)
                if self._trouble is None or result.account_wide:
                    self._trouble = result
                self._failures += 1
                done.append(None)
            elif isinstance(result, BaseException):
                raise result
            else:
                done.append(result)
        return done

    async def _commit(
        self, builds: Iterable[Build], cursor: Cursor, *, events: Iterable[Increment] = ()
    ) -> None:
        gone, self._gone = self._gone, []
        heard = sound(builds, self._api.now())
        self._target, moved = await self._recorder.record(
            self._target, heard, cursor=cursor, gone=gone, events=events, now=self._api.now()
        )
        self.moved = self.moved or moved


def _begun_anew(cursor: Cursor) -> Cursor:
    """The cursor without the page where a walk was to go on."""
    return replace(cursor, resume=None, walk=None, top=None)
