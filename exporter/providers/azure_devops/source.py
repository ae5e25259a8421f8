"""How builds are read from AzureDevOps."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from msgspec.structs import replace

from exporter.errors import Gone, ProviderError, TryLater
from exporter.http import Api
from exporter.model import Build, Status
from exporter.payload import each, word
from exporter.providers import (
    Matches,
    Page,
    Provider,
    Query,
    Repo,
    Source,
    Unread,
    optional,
    tried,
)
from exporter.providers.azure_devops.cache import TimelineCache, is_of
from exporter.providers.azure_devops.client import MOST, Client, Versions, project
from exporter.providers.azure_devops.entra import Entra
from exporter.providers.azure_devops.mapping import (
    ProjectPath,
    Run,
    belongs,
    repositories,
    to_build,
)
from exporter.providers.azure_devops.names import Definition, Names
from exporter.providers.azure_devops.timeline import (
    Reading,
    Record,
    earlier_attempt,
    previous_timelines,
    read_timeline,
    with_reading,
)
from exporter.providers.feed import Feed
from exporter.providers.grants import Granted

_UNFINISHED = "inProgress,notStarted,cancelling,postponed"
_MOST_LISTED = 100_000
"""Projects of an organization, pipelines or unfinished builds of a project."""
_STEP = 300.0
"""Seconds to which `minTime` is rounded down, so that entries of a project can share it."""
_MOST_ATTEMPTS = 20
"""Earlier attempts that are worth a request each."""
_SOON, _LATER = 300.0, 3600.0
"""Seconds until a list of pipelines is asked for again that failed for now, or was refused."""


class _Project(msgspec.Struct, frozen=True):
    name: str
    state: Any = None


class _ListedRuns(msgspec.Struct, frozen=True):
    """A page of the builds of one project."""

    runs: tuple[Run, ...]
    next: str | None = None
    rejected: int = 0
    unread: tuple[Unread, ...] = ()


class AzureDevOpsSource(Source[Provider]):
    """Reads the builds of one account, as the service principal `entra` if there is one."""

    def __init__(self, account: Provider, api: Api, entra: Entra | None) -> None:
        super().__init__(account, api)
        self._entra = entra
        self._versions = Versions()
        self._names_of: dict[str, Names] = {}
        """By the path of a project."""
        self._timelines = TimelineCache()
        self._listings: Feed[tuple[str, str | None], _ListedRuns] = Feed()
        """The builds of projects, by project with the size of a page, and token."""
        self._granted = Granted("Entra")

    def headers(self, token: str | None) -> dict[str, str]:
        """With the token in force that Entra has granted."""
        return self.account.headers(token if self._entra is None else self._granted.token())

    async def renew(self) -> None:
        """Have the service principal granted a token if it has none that lasts for a poll."""
        if self._entra is not None:
            await self._granted.renew(self.api, partial(self._entra.grant, self.api))

    async def discover(self, pattern: str) -> list[Repo]:
        """The projects of an organization, but for those being made or deleted."""
        organization = pattern.partition("/")[0]
        path = f"/{quote(unquote(organization), safe='')}/_apis/projects"
        raws, error = await self._client().readable(path, {"stateFilter": "wellFormed"})
        entries = [
            f"{organization}/{project.name}"
            for project in each(raws, _Project, most=_MOST_LISTED)[0]
            if (word(project.state) or "wellformed") == "wellformed"
        ]
        repos = (Repo(entry) for entry in entries if not self.account.excludes(entry))
        return Matches(repos, error)

    async def page(self, repo: Repo, query: Query) -> Page:
        """Builds that finished lately; on the first page before them all unfinished ones.

        `minTime` ends the list, so that an ordinary walk reads it as one page: a list by
        `finishTime` has old builds before new ones. The unfinished are read first, so
        that one that ends between the two requests is listed last as it ended.
        """
        place, client = ProjectPath.of(repo.entry), self._client()
        since = query.since // _STEP * _STEP
        size = query.size if query.deep else MOST
        listing, is_first = await self._listings.read(
            (f"{size} {project(place).casefold()}", query.token),
            repo.entry,
            now=self.api.now,
            since=since,
            fetch=partial(self._listing, client, place, since, replace(query, size=size)),
        )
        rejected = listing.rejected if is_first else 0
        if not listing.runs:
            return Page((), listing.next, rejected, listing.unread)
        names = await self._names(place, listing.runs)
        builds = [
            to_build(run, place, names, self.site) for run in listing.runs if belongs(run, place)
        ]
        kept = [build for build in builds if not self.account.excludes(build.repo)]
        attempts = await asyncio.gather(
            *(self._listed_attempts(place, build) for build in kept), return_exceptions=True
        )
        found: list[Build] = []
        for result in attempts:
            if isinstance(result, BaseException):
                raise result
            found.extend(result)
        return Page(tuple(found), listing.next, rejected, listing.unread)

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """What a timeline adds that could not be read with the page.

        Raises TryLater, without asking again, if it could not be read then.
        """
        reading = self._timelines.reading(build)
        is_told = not build.partial
        if reading is not None:
            is_told = is_told or build.attempt < reading.attempt or _is_read(build, reading)
            is_told = is_told and not self._lacks_jobs(build, reading)
        if is_told:
            return replace(build, partial=False)
        failure = self._timelines.failure(build)
        if failure is not None:
            raise failure
        place = ProjectPath.of(repo.entry)
        attempts = await self._attempts(place, replace(build, attempt=1), anew=True)
        return replace(attempts[-1], partial=False)

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """The single build and, when it is due, its timeline."""
        place = ProjectPath.of(repo.entry)
        run = await self._client().run(place, known.native_id)
        build = to_build(run, place, await self._names(place, [run]), self.site)
        if run.deleted is True and build.status is not Status.COMPLETED:
            raise Gone(f"build {known.native_id} has been deleted", reason="not_found")
        attempts = await self._attempts(place, build)
        return replace(attempts[-1], partial=False)

    def _client(self) -> Client:
        return Client(self.api, self._versions)

    # -- lists

    async def _listing(
        self, client: Client, place: ProjectPath, since: float, query: Query
    ) -> _ListedRuns:
        path = f"{project(place)}/_apis/build/builds"
        raws: list[msgspec.Raw] = []
        unread: tuple[Unread, ...] = ()
        if query.token is None:
            params = {"statusFilter": _UNFINISHED, "queryOrder": "queueTimeDescending"}
            try:
                raws = await client.whole(path, params)
            except ProviderError as error:
                if error.account_wide or isinstance(error, Gone):
                    raise
                unread = (Unread("unfinished builds", error),)
        least = datetime.fromtimestamp(max(since, 0.0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ended, following = await client.page(
            path,
            {
                "statusFilter": "completed",
                "queryOrder": "finishTimeDescending",  # without an order some are left out
                "minTime": least,
            },
            query.size,
            query.token,
        )
        runs, rejected = each([*raws, *ended], Run, most=_MOST_LISTED)
        return _ListedRuns(tuple(_once(runs)), following, rejected, unread)

    async def _names(self, place: ProjectPath, runs: Sequence[Run]) -> Names:
        """What the pipelines and repositories of a project are called."""
        path = project(place)
        names = self._names_of.setdefault(path.casefold(), Names())
        async with names.lock:
            if self.api.now() >= names.due:
                names.due = await self._read_names(path, names)
        for run in sorted(runs, key=lambda run: run.id):
            names.learn([run.pipeline])
            for repository in repositories(run)[:1]:
                names.repository(repository)
        return names

    async def _read_names(self, path: str, names: Names) -> float:
        """Read the list of a project's pipelines; returns when to read it again.

        That is never: those that are made later are not the oldest. One that cannot be read is
        done without for a while.
        """
        raws = await tried(self._client().whole(f"{path}/_apis/build/definitions", {}))
        if isinstance(raws, ProviderError):
            return self.api.now() + (_SOON if isinstance(raws, TryLater) else _LATER)
        names.learn(each(raws, Definition, most=_MOST_LISTED)[0])
        return math.inf

    # -- timelines

    async def _listed_attempts(self, place: ProjectPath, build: Build) -> list[Build]:
        """As `_attempts`; a timeline that fails for now is this build's own trouble.

        A completed one waits for it, as only the timeline knows which attempt has ended.
        """
        if not self._timelines.spares(build, self.api.now()):
            attempts = await tried(self._attempts(place, build))
            if not isinstance(attempts, ProviderError):
                return attempts
            self._timelines.fails(build, attempts, self.api.now())
        reading = self._timelines.reading(build)
        if build.status is not Status.COMPLETED:
            known = None if reading is None or reading.over else reading
            return [build if known is None else with_reading(build, known, jobs=self.account.jobs)]
        return [replace(build, attempt=1 if reading is None else reading.attempt, partial=True)]

    async def _attempts(
        self, place: ProjectPath, build: Build, *, anew: bool = False
    ) -> list[Build]:
        """The attempts of a listed build, its newest at the end.

        The earlier ones are returned each time, so that none is lost if a poll fails.
        """
        reading = self._timelines.reading(build)
        if anew or not self._timelines.is_current(build, self.api.now()):
            reading = await self._read(place, build, reading)
            self._timelines.keep(build, reading)
        elif reading is None:
            return [build]
        return [*reading.earlier, with_reading(build, reading, jobs=self.account.jobs)]

    async def _read(self, place: ProjectPath, build: Build, before: Reading | None) -> Reading:
        """The timeline, and those of earlier attempts that were not read `before`."""
        client = self._client()
        records = await optional(client.records(place, build.native_id))
        if records is None:
            attempt = 1 if before is None else before.attempt
            return replace(read_timeline((), build, now=self.api.now()), attempt=attempt)
        reading = read_timeline(records, build, now=self.api.now())
        known = {} if before is None else {one.attempt: one for one in before.earlier}
        found: list[Build] = []
        for attempt in range(reading.attempt - 1, 0, -1)[:_MOST_ATTEMPTS]:
            one = known.get(attempt)
            if one is None:
                records = [*records, *await _earlier(client, place, build, records, attempt)]
                one = earlier_attempt(build, attempt, records, jobs=self.account.jobs)
            found.extend([] if one is None else [one])
        return replace(reading, earlier=tuple(found[::-1]))

    def _lacks_jobs(self, build: Build, reading: Reading) -> bool:
        """Whether jobs were read, but not kept with the build: they were not counted then."""
        newest = build.attempt == reading.attempt and build.status is Status.COMPLETED
        return self.account.jobs and newest and not build.jobs and reading.had_jobs


async def _earlier(
    client: Client, place: ProjectPath, build: Build, records: Sequence[Record], attempt: int
) -> list[Record]:
    """The records of the timelines that an earlier attempt has left behind."""
    found: list[Record] = []
    for timeline in previous_timelines(records, attempt):
        found.extend(await optional(client.records(place, build.native_id, timeline)) or ())
    return found


def _is_read(build: Build, reading: Reading) -> bool:
    """Whether a listed build, with what its timeline added, is all that there is to know."""
    over = build.status is Status.COMPLETED
    return reading.over == over and (not over or is_of(reading, build))


def _once(runs: list[Run]) -> list[Run]:
    """Each build once: as it is listed last, at the place where it is listed first."""
    return list({run.id: run for run in runs}.values())
