"""One poll of one repo: walk the pages, fill the gaps, refresh the unfinished, commit.

The walk goes from the newest build back to known ground: a page on which everything is
older than the last whole walk, less an overlap. The cursor moves only at the end of a
clean walk. Long walks commit page by page and are resumed where they stopped.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from time import monotonic

import msgspec
from msgspec.structs import replace

from exporter.errors import ProviderError, TryLater
from exporter.http import Api
from exporter.ledger.reconcile import has_changed
from exporter.ledger.rows import AttemptKey, Counted, Cursor, Target
from exporter.metrics import families as f
from exporter.metrics import increments
from exporter.metrics.increments import Increment
from exporter.model import Build, Status
from exporter.providers import Page, Provider, Repo, Source
from exporter.recorder import Recorder
from exporter.sync.details import Details, Wanted
from exporter.sync.notes import Memory
from exporter.sync.paginator import Paginator, count
from exporter.sync.window import Rules, SyncWindow, righted, sound

log = logging.getLogger(__name__)

_MOST_PAGES = 500
"""Pages of one poll; a longer walk goes on at the next one."""
_STUCK_OFTEN, _STUCK_LONG = 10, 600.0
"""Polls, and seconds, in which a page must fail before what is behind it is given up."""
_ANEW = 3
"""After so many such polls the list is read from its beginning: the page may have expired."""


class Reader(msgspec.Struct, frozen=True):
    """What all polls of one account share."""

    source: Source[Provider]
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


class RepoSync:
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
        self._account = reader.source.account
        self._api = reader.source.api
        self._recorder = reader.recorder
        self._rules = reader.rules
        self._repo = repo
        self._target = target
        self._memory = memory
        self._bounds = bounds
        self._deep = self._is_deep()
        self._ground = SyncWindow(
            target.cursor,
            reader.rules,
            now=now_of(self._api, reader.rules),
            deep=self._deep,
            counts=self._account.consecutive_numbers,
        )
        self._pages = Paginator(
            partial(reader.source.page, repo),
            memory.past,
            self._api.stats,
            since=self._ground.horizon,
            deep=self._deep,
            behind=self._ground.behind,
            unfilled=frozenset(b.native_id for b in self._active.values() if b.unfilled),
        )
        self._details = Details(reader.source, repo, memory, max_interval=reader.rules.max_interval)
        self._details.at_once, self._details.until = bounds.at_once, bounds.until
        self._builds: list[Build] = []
        """What was read and is not committed yet."""
        self._met: set[AttemptKey] = set()
        self._told: list[Build] = []
        self._cut_off = False
        self._read_pages = 1
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

    @property
    def unread(self) -> Mapping[str, ProviderError]:
        """What could not be read while the rest could, by what it is."""
        return self._details.failed

    async def run(self) -> Target:
        """Poll; returns the target as it stands afterwards.

        The newest page comes first, whatever is left of an earlier walk. Raises a
        ProviderError or StateUnavailable; what was read before counts all the same.
        """
        cursor = self._target.cursor
        began = monotonic()
        page = await self._page(None)
        walk = cursor.walk
        if walk is None:
            walk = now_of(self._api, self._rules) - (monotonic() - began)
            if (right := righted(cursor, self._rules, now=walk)) is not None:
                await self._commit(right)
                self.is_unfinished = True
                return self._target
        self._ground.cannot_read(unread.part for unread in page.unread)
        ended = await self._take(page)
        token = page.next if ended or cursor.resume is None else cursor.resume
        try:
            while not ended and token is not None and self._may_go_on:
                await self._commit(self._ground.paused(token, walk))
                page = await self._following(page, token)
                ended, token = await self._take(page), page.next
        except ProviderError as error:
            if error.account_wide:
                raise
            count(error, self._api.stats)
            self._details.failed["the rest of the list"] = error
            await self._refresh()
            await self._cannot_go_on(error, token, walk)
        else:
            await self._refresh()
            await self._end(walk, clean=ended and not self._details.stops)
        if self._details.fatal is not None:
            raise self._details.fatal
        return self._target

    @property
    def _may_go_on(self) -> bool:
        return self._read_pages < _MOST_PAGES and not self._details.stops

    async def _take(self, page: Page) -> bool:
        """Read the builds of a page; whether all that was to be read has been."""
        self._cut_off = self._cut_off or page.cut_off
        for unread in page.unread:
            count(unread.error, self._api.stats)
            self._details.failed[unread.part] = unread.error
        return await self._read(page) or page.next is None

    async def _following(self, page: Page, token: str) -> Page:
        """The page of `token`, which is behind `page` or where an earlier walk was broken off."""
        if token == page.next and (endless := self._pages.endless(page)) is not None:
            raise endless
        self._read_pages += 1
        following = await self._page(token)
        self._ground.cannot_read(unread.part for unread in following.unread)
        return following

    async def _cannot_go_on(
        self, error: ProviderError, token: str | None, walk: float | None
    ) -> None:
        """The rest of the list fails: it is tried again, and at last it is a gap."""
        stuck = self._ground.stuck()
        if stuck.polls >= _STUCK_OFTEN and self._api.now() - stuck.since >= _STUCK_LONG:
            self._cut_off = True
            await self._end(walk, clean=True)
            return
        waits = isinstance(error, TryLater) and stuck.polls % _ANEW and token is not None
        cursor = self._ground.paused(token, walk) if waits and token else self._target.cursor
        await self._commit(replace(cursor if waits else _begun_anew(cursor), stuck=stuck))

    async def _end(self, walk: float | None, *, clean: bool) -> None:
        """The last commit; the cursor moves if the walk was a whole and clean one."""
        if not clean:
            await self._commit(self._target.cursor)
            self.is_unfinished = self._details.fatal is None
            return
        events: list[Increment] = []
        if self._ground.has_gap(cut_off=self._cut_off):
            log.warning(
                "builds have been missed: they are no longer listed",
                extra={"account": self._target.account, "repo": self._target.repo},
            )
            events = [increments.count(f.GAPS, self._account.label, self._target.account)]
        await self._commit(self._ground.after(walk), events=events)
        if self._deep:
            self._memory.deep_at = monotonic()
            self._memory.past.grow()
        self._memory.tell(self._told, floor=self._ground.floor)
        self._tidy()

    # -- pages

    async def _page(self, token: str | None) -> Page:
        page = await self._pages.get(token)
        self.rejected += page.rejected
        return replace(page, builds=sound(page.builds, self._api.now()))

    async def _read(self, page: Page) -> bool:
        """Take in the builds of a page; whether they are all known ground."""
        ground = self._ground
        ground.meet(page.builds)
        self._memory.pulse.note(
            (str(b.key), begun) for b in page.builds if (begun := b.created_at or b.started_at)
        )
        builds = [self._contained(build, last=page.next is None) for build in page.builds]
        told = set() if ground.renumbered else self._memory.told(builds, floor=ground.floor)
        news = [build for build in builds if build not in told]
        rows = dict(zip(news, await self._recorder.counted(self._target, news), strict=True))
        plain: list[Build] = []
        wanting: list[Wanted] = []
        for build in builds:
            known, row = self._known(build), self._row(build, rows)
            self._meet(build if known is None else known)
            counted = build in told or row is not None
            if known is None and counted and not (row is not None and has_changed(build, row)):
                self._told.append(build)
                if not build.partial and build not in told:
                    plain.append(build)
            elif not self._wants_detail(build):
                plain.append(build)
                if known is None and ground.is_over(build):
                    self._told.append(build)
            elif known is not None or counted or ground.may_be_news(build):
                wanting.append((build, known))
        filled = await self._details.fill(wanting)
        # What its details show to be history need not be asked for at each poll.
        over = {(build.key, build.attempt) for build in filled if ground.is_over(build)}
        self._told += [
            build
            for build, known in wanting
            if known is None and (build.key, build.attempt) in over
        ]
        # The attempts of one build are heard in their order.
        found = sorted(plain + filled, key=lambda build: build.attempt)
        self._met.update(AttemptKey(build.key, build.attempt) for build in found)
        self._builds.extend(found)
        return self._is_all_old(page.builds, filled, rows) and not self._expects_jobs

    def _is_all_old(
        self,
        listed: Sequence[Build],
        filled: Iterable[Build],
        rows: Mapping[Build, Counted | None],
    ) -> bool:
        """Whether a page has nothing but what is known ground: so is all that is behind it.

        By the times that it shows itself, not by jobs that it does not; where it shows none,
        by those that were read or counted.
        """
        times = {(b.key, b.attempt): b.time for b in filled if b.status is Status.COMPLETED}

        def is_old(build: Build) -> bool:
            if build.time is not None or build.only_jobs or self._ground.is_old(build):
                return self._ground.is_old(build)
            row = rows.get(build)
            ended = times.get((build.key, build.attempt), None if row is None else row.ended)
            return self._ground.is_beyond(ended)

        return bool(listed) and all(map(is_old, listed))

    def _row(self, build: Build, rows: Mapping[Build, Counted | None]) -> Counted | None:
        is_unknown = build.key_per_attempt and build.key.started is None
        if is_unknown and self._ground.renumbered:
            return None  # the number was counted in the job's earlier life
        return rows.get(build)

    def _meet(self, build: Build) -> None:
        """What a page showed needs no request of its own, but for attempts before that."""
        for key, known in self._active.items():
            is_shown = known.attempt == build.attempt or not known.is_withheld
            if key.key.is_same_build(build.key) and is_shown:
                self._met.add(key)

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
        return not build.only_jobs and (build.partial or self._account.jobs)

    @property
    def _active(self) -> Mapping[AttemptKey, Build]:
        """The unfinished builds of the repo, as earlier polls knew them."""
        return self._recorder.open_builds(self._target.id)

    def _known(self, build: Build) -> Build | None:
        """The unfinished build that this is, as an earlier poll knew it."""
        found = self._active.get(AttemptKey(build.key, build.attempt))
        if found is not None or not build.key_per_attempt:
            return found
        alike = (b for b in self._active.values() if b.key.is_same_build(build.key))
        return next((b for b in alike if b.attempt == build.attempt), None)

    # -- unfinished builds

    async def _refresh(self) -> None:
        """Read known unfinished builds again that no page has shown."""
        due = [
            build
            for key, build in self._active.items()
            if key not in self._met and not build.only_jobs
        ]
        self._builds.extend(await self._details.refresh(due))

    def _tidy(self) -> None:
        """Remember nothing of builds that are no longer unfinished."""
        memory = self._memory
        for notes in (memory.misses, memory.checked, memory.failures):
            for key in notes.keys() - self._active.keys():
                del notes[key]

    async def _commit(self, cursor: Cursor, *, events: Iterable[Increment] = ()) -> None:
        """Count what was read since the last commit, and move the cursor."""
        builds, self._builds = self._builds, []
        gone, self._details.gone = self._details.gone, []
        self._target, moved = await self._recorder.record(
            self._target,
            sound(builds, self._api.now()),
            cursor=cursor,
            gone=gone,
            events=events,
            now=self._api.now(),
        )
        self.moved = self.moved or moved


def now_of(api: Api, rules: Rules) -> float:
    """The provider's clock, or ours where that is so far ahead that it must be wrong.

    It would make known ground, and history, of what was never read. What is less far ahead
    does no harm: the whole `rerun_window` is read again and again.
    """
    told, ours = api.now(), time.time()
    return ours if told - ours > rules.rerun_window / 2 else told


def _begun_anew(cursor: Cursor) -> Cursor:
    """The cursor without the page where a walk was to go on."""
    return replace(cursor, resume=None, walk=None, top=None)
