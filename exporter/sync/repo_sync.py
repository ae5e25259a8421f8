"""One poll of one repo: read the pages and the details, refresh active builds, commit.

A sync reads from the newest build back to the first page whose builds are all older than the
last complete sync, less ten minutes. The cursor moves only at the end of a complete sync. A long
one commits page by page, and a later poll resumes it where it stopped. The first one of a repo, its
first walk, is read in parts: the newest page, and in polls of their own the past behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from time import monotonic

import msgspec
from msgspec.structs import replace

from exporter.errors import ProviderError, TryLater
from exporter.ledger.reconcile import has_changed
from exporter.ledger.rows import AttemptKey, Counted, Cursor, Target
from exporter.metrics import families as f
from exporter.metrics import increments
from exporter.metrics.increments import Increment
from exporter.model import Build, Status
from exporter.providers import Page, Provider, Repo, Source
from exporter.recorder import Recorder
from exporter.sync.containers import Container
from exporter.sync.details import Details, Wanted
from exporter.sync.limits import UNLIMITED, Part, PollLimits
from exporter.sync.notes import RepoNotes
from exporter.sync.paginator import Paginator, count
from exporter.sync.window import (
    SyncRules,
    SyncWindow,
    begun_anew,
    believed,
    corrected_floor,
    without_future_times,
)

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


class RepoSync:
    """One poll of one repo."""

    def __init__(
        self,
        context: SyncContext,
        *,
        repo: Repo,
        target: Target,
        notes: RepoNotes,
        limits: PollLimits = UNLIMITED,
    ) -> None:
        self._account, self._site = context.source.account, context.source.site
        self._api = context.source.api
        self._recorder = context.recorder
        self._rules = context.rules
        self._repo = repo
        self._target = target
        self._notes = notes
        self._limits = limits
        self._resumes = target.cursor.resume is not None
        self._reads_past = limits.part is Part.PAST and self._resumes and not target.exposed
        """Whether the newest page is left out."""
        self._deep = self._is_deep()
        self._window = self._window_by_now()
        self._pages = Paginator(
            partial(context.source.page, repo),
            notes.page_sizes,
            self._api.stats,
            since=self._window.horizon,
            deep=self._deep or notes.may_have_skipped,
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
        self._read_pages = 0
        self._container = Container(
            whole=not self._resumes,
            known=[b for b in self._active.values() if b.only_jobs] if self._reads_past else (),
        )
        self.rejected = 0
        """Listed items that could not be understood."""
        self.moved = False
        """Whether anything has happened since the last sync."""
        self.is_unfinished = False
        """Whether there was more to read than fits into one poll; the next one goes on."""

    def _window_by_now(self) -> SyncWindow:
        """What is to be read, by the clock as far as it is known."""
        return SyncWindow(
            self._target.cursor,
            self._rules,
            now=believed(self._api.now(), self._rules) if self._api.has_answered else None,
            deep=self._deep,
            counts=self._account.consecutive_numbers,
        )

    def _is_deep(self) -> bool:
        """Whether this sync reads the whole `rerun_window`, for builds that were run again."""
        last = self._notes.deep_at
        if self._target.cursor.since is None or last is None:
            return True
        return monotonic() - last >= (self._limits.deep_every or self._rules.max_interval)

    @property
    def share_read(self) -> float:
        """How much of the time that is to be read the pages cover so far, from 0 to 1."""
        return self._window.share_read

    @property
    def unread(self) -> Mapping[str, ProviderError]:
        """The parts that could not be read while the rest could, and why."""
        return self._details.failed

    async def run(self) -> Target:
        """Poll; returns the target as it stands afterwards.

        The newest page comes first, unless only the past is asked for. Raises a ProviderError
        or StateUnavailable; what was read before counts all the same.
        """
        cursor, page, ended = self._target.cursor, None, False
        began_at, token = cursor.walk, cursor.resume
        if not self._reads_past:
            started = monotonic()
            page = await self._page(None)
            if began_at is None:
                began_at = believed(self._api.now(), self._rules) - (monotonic() - started)
                if (right := corrected_floor(cursor, self._rules, now=began_at)) is not None:
                    await self._commit(right)
                    self.is_unfinished = True
                    return self._target
            self._window.note_unread(unread.part for unread in page.unread)
            ended = await self._take(page)
            token = page.next if ended or cursor.resume is None else cursor.resume
            if self._resumes and not ended:
                self._notes.may_have_skipped = True
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
            clean = ended and not self._details.stops
            await (self._end(began_at) if clean else self._pause(token, began_at))
        if self._details.fatal is not None:
            raise self._details.fatal
        return self._target

    @property
    def _may_go_on(self) -> bool:
        if self._limits.part is Part.NEWEST or self._details.stops:
            return False
        is_time_up = monotonic() >= self._limits.pause_at and self._read_pages > 0
        return self._read_pages < _MOST_PAGES and not is_time_up

    async def _take(self, page: Page) -> bool:
        """Read the builds of a page; whether all that was to be read has been."""
        self._cut_off = self._cut_off or page.cut_off
        for unread in page.unread:
            count(unread.error, self._api.stats)
            self._details.failed[unread.part] = unread.error
        return await self._read(page) or page.next is None

    async def _following(self, page: Page | None, token: str) -> Page:
        """The page at `token`: the one after `page`, or the one where an earlier sync stopped."""
        follows = page is not None and token == page.next
        if page is not None and follows and (endless := self._pages.endless(page)) is not None:
            raise endless
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
            await self._end(began_at)
            return
        waits = isinstance(error, TryLater) and stuck.polls % _ANEW and token is not None
        cursor = self._window.paused(token, began_at) if waits and token else self._target.cursor
        await self._commit(replace(cursor if waits else begun_anew(cursor), stuck=stuck))

    async def _pause(self, token: str | None, began_at: float | None) -> None:
        """The last commit of a sync that a later poll resumes.

        It does so behind the page that was read last, unless details of that are missing.
        """
        cursor = self._target.cursor
        if token is not None and token != cursor.resume and not self._details.stops:
            cursor = self._window.paused(token, began_at)
        await self._commit(cursor)
        self.is_unfinished = self._details.fatal is None

    async def _end(self, began_at: float | None) -> None:
        """The last commit of a complete sync: the cursor moves."""
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
        if not self._resumes:
            self._notes.may_have_skipped = False
        self._notes.settle(self._settled, floor=self._window.floor)
        self._tidy()

    # -- pages

    async def _page(self, token: str | None) -> Page:
        page = await self._pages.get(token)
        if not self._window.is_certain:  # by our clock, hours ahead, all of the page were old
            self._window = self._window_by_now()
        self._read_pages += 1
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
        return self._is_all_old(page.builds, filled, rows) and not self._container.expects_jobs

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
        """A build that is only a set of jobs, with the unfinished jobs of other pages and polls."""
        if not build.only_jobs:
            return build
        return self._container.joined(build, self._known(build), last=last)

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
        """Read unfinished builds again that no page has listed.

        The past is not where they are listed: the poll of the newest page reads them again.
        """
        if self._reads_past:
            return
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
