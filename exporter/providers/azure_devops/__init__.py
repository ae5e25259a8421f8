"""Azure DevOps Pipelines: builds of projects, jobs from their timelines.

Token: User settings, Personal access tokens, New token; the organization; of the scopes Build:
Read (`vso.build`) and, for a wildcard, Project and Team: Read (`vso.project`). The scope Full
access is never needed. `username` is for a Server that wants one.

Requests: an idle poll of a project costs 2: one for all unfinished builds, one for those that
have finished lately. They serve all its repositories that are polled within 15 seconds. A new
build costs 1 more when it has finished, for its timeline, which alone knows the attempt, a
timeout, an approval and the jobs. The timeline of an unfinished build is read again after a 20th
of its age, at least every 5 minutes. A repeated run costs its timeline and one for each attempt
before, once. After a restart the timelines of `rerun_window` are read once.

Limits: 200 TSTU in 5 minutes, a measure of load; delays come before refusals.

Self-hosted: Azure DevOps Server by `url` `https://HOST/tfs`; the organization is the collection.

Known: duration, queue, trigger, jobs, attempts. An attempt is told by the highest `attempt` of
stages, phases and jobs. It is found by a build's `finishTime` having changed; attempts that fell
between two polls come from the timelines of `previousAttempts`. `startTime` is of the first
attempt, so a later one starts with the first record of it.

Unknown: queue times of jobs; whether a person or a script asked for a run (`manual`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Literal
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import Malformed, ProviderError, TryLater
from exporter.http import Api
from exporter.model import Build, Status
from exporter.payload import each, text, word
from exporter.providers import Page, Provider, Query, Repo, basic
from exporter.providers.azure_devops.memo import Listing, Memo
from exporter.providers.azure_devops.reading import (
    Place,
    Reading,
    Record,
    Run,
    Timeline,
    belongs,
    earlier_attempt,
    previous_timelines,
    read_timeline,
    to_build,
    with_reading,
)
from exporter.providers.azure_devops.words import WORDS

__all__ = ["PROVIDER", "WORDS", "AzureDevOps", "Place", "Run", "read_timeline", "to_build"]

_UNFINISHED = "inProgress,notStarted,cancelling,postponed"
_MOST = 1000
"""Unfinished builds, builds that finished lately, or projects on a page."""
_MOST_PAGES = 100
_STEP = 300.0
"""Seconds to which `minTime` is rounded down, so that entries of a project can share it."""
_MOST_ATTEMPTS = 20
"""Earlier attempts that are worth a request each."""


class _List(msgspec.Struct, frozen=True):
    value: list[msgspec.Raw]


class _Project(msgspec.Struct, frozen=True):
    name: str
    state: Any = None


class AzureDevOps(Provider):
    """Azure DevOps Services; for Azure DevOps Server `url` is https://HOST/tfs.

    `repos` holds organization/project, organization/project/repository and organization/*;
    at a Server the collection takes the place of the organization.
    """

    rights = "Build (read), for a wildcard Project and Team (read) too"
    example_values: ClassVar[dict[str, Any]] = {"repos": ["acme/shop", "acme/tools/deploy"]}
    api_version: ClassVar[str] = "7.1"
    entry_form = "organization/project, organization/project/repository or organization/*"
    entry_pattern = r"[^/*]+/(\*|[^/*]+(/[^*]*[^/*])?)"
    default_url = "https://dev.azure.com"

    provider: Literal["azure_devops"]
    username: str | None = None
    """User name for HTTP Basic; a personal access token needs none."""

    _memo: Memo = PrivateAttr(default_factory=Memo)

    def headers(self, token: str | None) -> dict[str, str]:
        """Basic, with any user name; and no redirect to a page for people to sign in."""
        quiet = {"X-TFS-FedAuthRedirect": "Suppress"}
        if token is None:
            return quiet
        return quiet | {"Authorization": basic(self.username or "", token)}

    @property
    def reads_below(self) -> bool:
        """A project brings its repositories."""
        return True

    def identity(self, entry: str) -> str:
        """Upper and lower case are one."""
        return entry.casefold()

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        """The projects of an organization, but for those being made or deleted."""
        organization = pattern.partition("/")[0]
        path = f"/{quote(organization, safe='')}/_apis/projects"
        raws = await self._everything(api, path, {"stateFilter": "wellFormed"})
        entries = [
            f"{organization}/{project.name}"
            for project in each(raws, _Project)[0]
            if (word(project.state) or "wellformed") == "wellformed"
        ]
        return [Repo(entry) for entry in entries if not self.excludes(entry)]

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """Builds that finished lately; on the first page before them all unfinished ones.

        `minTime` ends the list, so that an ordinary walk reads it as one page: a list by
        `finishTime` has old builds before new ones. The unfinished come first, for one
        that ends between the two requests is then heard of in the right order.
        """
        place = Place.of(repo.entry)
        since = query.since // _STEP * _STEP
        size = query.size if query.deep else _MOST
        listing = await self._memo.listing(
            (f"{size} {_project(place).casefold()}", query.token),
            repo.entry,
            since,
            clock=api.now,
            fetch=partial(self._listing, api, place, since, replace(query, size=size)),
        )
        builds = [to_build(run, place) for run in listing.runs if belongs(run, place)]
        kept = [build for build in builds if not self.excludes(build.repo)]
        attempts = await asyncio.gather(
            *(self._listed_attempts(api, place, build) for build in kept), return_exceptions=True
        )
        found: list[Build] = []
        for result in attempts:
            if isinstance(result, BaseException):
                raise result
            found.extend(result)
        return Page(tuple(found), listing.next, listing.rejected)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """What a timeline adds that could not be read with the page."""
        reading = self._memo.reading(build)
        if reading is not None and not self._lacks_jobs(build, reading):
            is_earlier = build.attempt < reading.attempt
            if is_earlier or not build.partial or self._memo.is_current(build, api.now()):
                return replace(build, partial=False)
        elif not build.partial:
            return build
        attempts = await self._attempts(
            api, Place.of(repo.entry), replace(build, attempt=1), anew=True
        )
        return replace(attempts[-1], partial=False)

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The single build and, when it is due, its timeline."""
        place = Place.of(repo.entry)
        path = f"{_project(place)}/_apis/build/builds/{quote(known.native_id, safe='')}"
        answer = await api.get(path, self._params(), into=Run)
        attempts = await self._attempts(api, place, to_build(answer.body, place))
        return replace(attempts[-1], partial=False)

    # -- lists

    def _params(self, **more: str | int) -> dict[str, str | int]:
        return {"api-version": self.api_version} | more

    async def _listing(self, api: Api, place: Place, since: float, query: Query) -> Listing:
        path = f"{_project(place)}/_apis/build/builds"
        raws: list[msgspec.Raw] = []
        if query.token is None:
            raws = await self._everything(
                api, path, {"statusFilter": _UNFINISHED, "queryOrder": "queueTimeDescending"}
            )
        least = datetime.fromtimestamp(max(since, 0.0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ended, following = await self._part(
            api,
            path,
            {
                "statusFilter": "completed",
                "queryOrder": "finishTimeDescending",  # without an order some are left out
                "minTime": least,
                "$top": query.size,
            },
            query.token,
        )
        runs, rejected = each([*raws, *ended], Run)
        return Listing(tuple(_once(runs)), following, rejected)

    async def _part(
        self, api: Api, path: str, params: dict[str, str | int], token: str | None
    ) -> tuple[list[msgspec.Raw], str | None]:
        """One page of a list, and the token of the next one."""
        more = {} if token is None else {"continuationToken": token}
        answer = await api.get(path, self._params() | params | more, into=_List)
        return answer.body.value, text(answer.headers.get("x-ms-continuationtoken"))

    async def _everything(
        self, api: Api, path: str, params: dict[str, str | int]
    ) -> list[msgspec.Raw]:
        """All pages of a list."""
        found: list[msgspec.Raw] = []
        token: str | None = None
        for _ in range(_MOST_PAGES):
            raws, following = await self._part(api, path, params | {"$top": _MOST}, token)
            found.extend(raws)
            if following is None or following == token:
                return found
            token = following
        raise Malformed(f"the pages of {path} do not end", reason="bad_shape")

    # -- timelines

    async def _listed_attempts(self, api: Api, place: Place, build: Build) -> list[Build]:
        """As `_attempts`; a timeline that fails for now is this build's own trouble."""
        try:
            return await self._attempts(api, place, build)
        except TryLater as error:
            if error.account_wide:
                raise
            reading = self._memo.reading(build)
            attempt = 1 if reading is None else reading.attempt
            return [replace(build, attempt=attempt, partial=True)]

    async def _attempts(
        self, api: Api, place: Place, build: Build, *, anew: bool = False
    ) -> list[Build]:
        """The attempts of a listed build, its newest at the end.

        Those before are told each time, so that none is lost with a poll that fails. All
        are `partial` then: the poller takes those that it must fill in the order listed.
        """
        reading = self._memo.reading(build)
        if anew or not self._memo.is_current(build, api.now()):
            reading = await self._read(api, place, build, reading)
            self._memo.keep(build, reading)
        elif reading is None:
            return [build]
        newest = with_reading(build, reading, jobs=self.jobs)
        return [*reading.earlier, replace(newest, partial=bool(reading.earlier))]

    async def _read(self, api: Api, place: Place, build: Build, before: Reading | None) -> Reading:
        """The timeline, and those of earlier attempts that were not read `before`."""
        finished = build.completed_at if build.status is Status.COMPLETED else None
        try:
            records = await self._records(api, place, build)
        except ProviderError as error:
            if error.account_wide or isinstance(error, TryLater):
                raise
            attempt = _unread_attempt(build, before)
            return Reading(finished=finished, read_at=api.now(), attempt=attempt)
        reading = read_timeline(records, finished=finished, now=api.now())
        known = {} if before is None else {told.attempt: told for told in before.earlier}
        found: list[Build] = []
        for attempt in range(reading.attempt - 1, 0, -1)[:_MOST_ATTEMPTS]:
            told = known.get(attempt)
            if told is None:
                records = [*records, *await self._earlier(api, place, build, records, attempt)]
                told = earlier_attempt(build, attempt, records, jobs=self.jobs)
            found.extend([] if told is None else [told])
        return replace(reading, earlier=tuple(found[::-1]))

    async def _earlier(
        self, api: Api, place: Place, build: Build, records: Sequence[Record], attempt: int
    ) -> list[Record]:
        """The records of the timelines that an earlier attempt has left behind."""
        found: list[Record] = []
        for timeline in previous_timelines(records, attempt):
            try:
                found.extend(await self._records(api, place, build, timeline))
            except ProviderError as error:
                if error.account_wide or isinstance(error, TryLater):
                    raise
        return found

    async def _records(
        self, api: Api, place: Place, build: Build, timeline: str = ""
    ) -> list[Record]:
        path = f"{_project(place)}/_apis/build/builds/{quote(build.native_id, safe='')}/timeline"
        if timeline:
            path += f"/{quote(timeline, safe='')}"
        answer = await api.get(path, self._params(), into=Timeline | None)  # type: ignore[arg-type]
        body: Timeline | None = answer.body
        return [] if body is None else body.read()

    def _lacks_jobs(self, build: Build, reading: Reading) -> bool:
        """Whether jobs were told and are no longer remembered: they were not counted then."""
        newest = build.attempt == reading.attempt and build.status is Status.COMPLETED
        return self.jobs and newest and not build.jobs and reading.had_jobs


def _project(place: Place) -> str:
    return f"/{quote(place.organization, safe='')}/{quote(place.project, safe='')}"


def _unread_attempt(build: Build, before: Reading | None) -> int:
    """Which attempt this is if the timeline is gone or refused."""
    if before is None:
        return 1
    return before.attempt + (before.finished not in (None, build.completed_at))


def _once(runs: list[Run]) -> list[Run]:
    """Each build once, as it was last told, where it was first listed."""
    return list({run.id: run for run in runs}.values())


PROVIDER = AzureDevOps
