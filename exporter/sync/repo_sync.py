"""One poll of one repo: read the pages and the details, refresh active builds, commit.

A sync reads from the newest build back to the first page whose builds are all older than the
last complete sync, less ten minutes. The cursor moves only at the end of a complete sync. A long
one commits page by page, and the next poll resumes it where it stopped.
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
from exporter.sync.notes import RepoNotes
from exporter.sync.paginator import Paginator, count
from exporter.sync.window import SyncRules, SyncWindow, corrected_floor, without_future_times

log = logging.getLogger(__name__)

_MOST_PAGES = 500
"""Pages of one poll; a longer sync goes on at the next one."""
_STUCK_OFTEN, _STUCK_LONG = 10, 600.0
"""Polls, and seconds, in which a page must fail before what is behind it is given up."""
_ANEW = 3
"""Every third such poll begins again at the first page: the token of the page may have expired."""


class SyncContext(msgspec.Struct, frozen=True):
    """What all polls of one account share."""

    source: Source[Provider]
    recorder: Recorder
    rules: SyncRules


class PollLimits(msgspec.Struct, frozen=True):
    """How far one poll may go."""

    until: float = math.inf
    """Monotonic seconds. Builds that were read by then are committed, and the next poll goes on."""
    deep_every: float | None = None
    """Seconds between two reads of the whole `rerun_window`; None is `max_interval`."""
    at_once: int = 8
    """Builds filled or refreshed side by side."""


_UNLIMITED = PollLimits()


class RepoSync:
    """One poll of one repo."""

    def __init__(
        self,
        context: SyncContext,
        *,
        repo: Repo,
        target: Target,
        notes: RepoNotes,
        limits: PollLimits = _UNLIMITED,
    ) -> None:
        self._account, self._site = context.source.account, context.source.site
        self._api = context.source.api
        self._recorder = context.recorder
        self._rules = context.rules
        self._repo = repo
        self._target = target
        self._notes = notes
        self._limits = limits
        self._deep = self._is_deep()
        self._window = SyncWindow(
            target.cursor,
            context.rules,
            now=now_of(self._api, context.rules),
            deep=self._deep,
            counts=self._account.consecutive_numbers,
        )
        self._pages = Paginator(
            partial(context.source.page, repo),
            notes.page_sizes,
            self._api.stats,
            since=self._window.horizon,
            deep=self._deep,
            behind=self._window.behind,
            unfilled=frozenset(b.native_id for b in self._active.values() if b.unfilled),
        )
        self._details = Details(
            context.source, repo, notes, max_interval=context.rules.max_interval
        )
        self._details.at_once, self._details.until = limits.at_once, limits.until
        self._builds: list[Build] = []
        """Builds that were read and are not committed yet."""
        self._seen: set[AttemptKey] = set()
        self._settled: list[Build] = []
        self._cut_off = False
        self._read_pages = 1
        self._container: Build | None = None
        self._jobs_seen: set[str] = set()
        self._whole = target.cursor.resume is None
        self.rejected = 0
        """Listed items that could not be understood."""
        self.moved = False
        """Whether anything has happened since the last sync."""
        self.is_unfinished = False
        """Whether there was more to read than fits into one poll; the next one goes on."""

    def _is_deep(self) -> bool:
        """Whether this sync reads the whole `rerun_window`, for builds that were run again."""
        last = self._notes.deep_at
        if self._target.cursor.since is None or last is None:
            return True
        return monotonic() - last >= (self._limits.deep_every or self._rules.max_interval)

    @property
    def unread(self) -> Mapping[str, ProviderError]:
        """The parts that could not be read while the rest could, and why."""
        return self._details.failed

    async def run(self) -> Target:
        """Poll; returns the target as it stands afterwards.

        The newest page comes first, whatever an earlier sync has left unread. Raises a
        ProviderError or StateUnavailable; what was read before counts all the same.
        """
        cursor = self._target.cursor
        started = monotonic()
        page = await self._page(None)
        began_at = cursor.walk
        if began_at is None:
            began_at = now_of(self._api, self._rules) - (monotonic() - started)
            if (right := corrected_floor(cursor, self._rules, now=began_at)) is not None:
                await self._commit(right)
                self.is_unfinished = True
                return self._target
        self._window.note_unread(unread.part for unread in page.unread)
        ended = await self._take(page)
        token = page.next if ended or cursor.resume is None else cursor.resume
        try:
            while not ended and token is not None and self._may_go_on:
                await self._commit(self._window.paused(token, began_at))
                page = await self._following(page, token)
                ended, token = await self._take(page), page.next
        except ProviderError as error:
            if error.account_wide:
                raise
            count(error, self._api.stats)
            self._details.failed["the rest of the list"] = error
            await self._refresh()
            await self._cannot_go_on(error, token, began_at)
        else:
            await self._refresh()
            await self._end(began_at, clean=ended and not self._details.stops)
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
        """The page at `token`: the next one, or the one where an earlier sync stopped."""
        if token == page.next and (endless := self._pages.endless(page)) is not None:
            raise endless
        self._read_pages += 1
        following = await self._page(token)
        self._window.note_unread(unread.part for unread in following.unread)
        return following

    async def _cannot_go_on(
        self, error: ProviderError, token: str | None, began_at: float | None
    ) -> None:
        """The rest of the list fails: it is tried again, and at last it is a gap."""
        stuck = self._window.stuck()
        if stuck.polls >= _STUCK_OFTEN and self._api.now() - stuck.since >= _STUCK_LONG:
            self._cut_off = True
            await self._end(began_at, clean=True)
            return
        waits = isinstance(error, TryLater) and stuck.polls % _ANEW and token is not None
        cursor = self._window.paused(token, began_at) if waits and token else self._target.cursor
        await self._commit(replace(cursor if waits else _begun_anew(cursor), stuck=stuck))

    async def _end(self, began_at: float | None, *, clean: bool) -> None:
        """The last commit; the cursor moves if the sync was complete."""
        if not clean:
            await self._commit(self._target.cursor)
            self.is_unfinished = self._details.fatal is None
            return
        events: list[Increment] = []
        if self._window.has_gap(cut_off=self._cut_off):
            log.warning(
                "builds have been missed: they are no longer listed",
                extra={"account": self._target.account, "repo": self._target.repo},
            )
            events = [increments.count(f.GAPS, self._account.label, self._target.account)]
        await self._commit(self._window.after(began_at), events=events)
        if self._deep:
            self._notes.deep_at = monotonic()
            self._notes.page_sizes.grow()
        self._notes.settle(self._settled, floor=self._window.floor)
        self._tidy()

    # -- pages

    async def _page(self, token: str | None) -> Page:
        page = await self._pages.get(token)
        self.rejected += page.rejected
        return replace(page, builds=without_future_times(page.builds, self._api.now()))

    async def _read(self, page: Page) -> bool:
        """Take in the builds of a page. Returns whether the sync may stop behind it."""
        window = self._window
        window.note_page(page.builds)
        self._notes.activity.note(
            (str(b.key), begun) for b in page.builds if (begun := b.created_at or b.started_at)
        )
        builds = [self._contained(build, last=page.next is None) for build in page.builds]
        unchanged = (
            set() if window.is_renumbered else self._notes.unchanged(builds, floor=window.floor)
        )
        news = [build for build in builds if build not in unchanged]
        rows = dict(zip(news, await self._recorder.counted(self._target, news), strict=True))
        plain: list[Build] = []
        wanting: list[Wanted] = []
        for build in builds:
            known, row = self._known(build), self._row(build, rows)
            self._mark_seen(build if known is None else known)
            counted = build in unchanged or row is not None
            if known is None and counted and not (row is not None and has_changed(build, row)):
                self._settled.append(build)
                if not build.partial and build not in unchanged:
                    plain.append(build)
            elif not self._wants_detail(build):
                plain.append(build)
                if known is None and window.is_too_old(build):
                    self._settled.append(build)
            elif known is not None or counted or window.may_count(build):
                wanting.append((build, known))
        filled = await self._details.fill(wanting)
        # Builds that are too old by their details need not be requested at each poll.
        over = {(build.key, build.attempt) for build in filled if window.is_too_old(build)}
        self._settled += [
            build
            for build, known in wanting
            if known is None and (build.key, build.attempt) in over
        ]
        # The ledger takes the attempts of one build in their order.
        found = sorted(plain + filled, key=lambda build: build.attempt)
        self._seen.update(AttemptKey(build.key, build.attempt) for build in found)
        self._builds.extend(found)
        return self._is_all_old(page.builds, filled, rows) and not self._expects_jobs

    def _is_all_old(
        self,
        listed: Sequence[Build],
        filled: Iterable[Build],
        rows: Mapping[Build, Counted | None],
    ) -> bool:
        """Whether all builds of a page are older than the window; then all later pages are too.

        The listed time of a build decides. If it has none, the end decides that its details or
        the ledger have.
        """
        times = {(b.key, b.attempt): b.time for b in filled if b.status is Status.COMPLETED}

        def is_before_window(build: Build) -> bool:
            if build.time is not None or build.only_jobs or self._window.is_before_window(build):
                return self._window.is_before_window(build)
            row = rows.get(build)
            ended = times.get((build.key, build.attempt), None if row is None else row.ended)
            return self._window.ended_before_window(ended)

        return bool(listed) and all(map(is_before_window, listed))

    def _row(self, build: Build, rows: Mapping[Build, Counted | None]) -> Counted | None:
        is_unknown = build.key_per_attempt and build.key.started is None
        if is_unknown and self._window.is_renumbered:
            return None  # the number was counted in the job's earlier life
        return rows.get(build)

    def _mark_seen(self, build: Build) -> None:
        """Note a listed build, so that it is not refreshed, but for withheld earlier attempts."""
        for key, known in self._active.items():
            is_shown = known.attempt == build.attempt or not known.is_withheld
            if key.key.is_same_build(build.key) and is_shown:
                self._seen.add(key)

    def _contained(self, build: Build, *, last: bool) -> Build:
        """A build that is only a set of jobs, with the unfinished jobs of other pages and polls.

        A job leaves it when a whole list lacks it.
        """
        if not build.only_jobs:
            return build
        before = self._container or self._known(build)
        listed = {job.id for job in build.jobs}
        self._jobs_seen |= listed
        kept = tuple(
            job
            for job in (() if before is None else before.jobs)
            if job.status is not Status.COMPLETED
            and job.id not in listed
            and (job.id in self._jobs_seen or not (last and self._whole))
        )
        self._container = replace(build, jobs=kept + build.jobs)
        return self._container

    @property
    def _expects_jobs(self) -> bool:
        """Whether unfinished jobs of the container have not been listed yet."""
        jobs = () if self._container is None else self._container.jobs
        return any(job.id not in self._jobs_seen for job in jobs)

    def _wants_detail(self, build: Build) -> bool:
        return not build.only_jobs and (build.partial or self._account.jobs)

    @property
    def _active(self) -> Mapping[AttemptKey, Build]:
        """The unfinished builds of the repo, as earlier polls have read them."""
        return self._recorder.open_builds(self._target.id)

    def _known(self, build: Build) -> Build | None:
        """The unfinished build that this is, as an earlier poll has read it."""
        found = self._active.get(AttemptKey(build.key, build.attempt))
        if found is not None or not build.key_per_attempt:
            return found
        alike = (b for b in self._active.values() if b.key.is_same_build(build.key))
        return next((b for b in alike if b.attempt == build.attempt), None)

    # -- unfinished builds

    async def _refresh(self) -> None:
        """Read unfinished builds again that no page has listed."""
        due = [
            build
            for key, build in self._active.items()
            if key not in self._seen and not build.only_jobs
        ]
        self._builds.extend(await self._details.refresh(due))

    def _tidy(self) -> None:
        """Drop the notes on builds that are no longer unfinished."""
        notes = self._notes
        for known in (notes.misses, notes.checked, notes.failures):
            for key in known.keys() - self._active.keys():
                del known[key]

    async def _commit(self, cursor: Cursor, *, events: Iterable[Increment] = ()) -> None:
        """Commit the builds that were read since the last commit, and the cursor."""
        builds, self._builds = self._builds, []
        gone, self._details.gone = self._details.gone, []
        self._target, moved = await self._recorder.record(
            self._target,
            map(self._site.with_own_links, without_future_times(builds, self._api.now())),
            cursor=cursor,
            gone=gone,
            events=events,
            now=self._api.now(),
        )
        self.moved = self.moved or moved


def now_of(api: Api, rules: SyncRules) -> float:
    """The provider's clock, or ours where that is so far ahead that it must be wrong.

    With a clock that far ahead the window would begin after builds that were never read. A clock
    that is less far ahead does no harm, as the whole `rerun_window` is read again and again.
    """
    theirs, ours = api.now(), time.time()
    return ours if theirs - ours > rules.rerun_window / 2 else theirs


def _begun_anew(cursor: Cursor) -> Cursor:
    """The cursor without the page at which a sync was to be resumed."""
    return replace(cursor, resume=None, walk=None, top=None)
