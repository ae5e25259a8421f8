"""Azure DevOps Pipelines: builds of projects, jobs from their timelines.

Token: User settings, Personal access tokens, New token; the organization; of the scopes Build:
Read (`vso.build`) and, for a wildcard, Project and Team: Read (`vso.project`). The scope Full
access is never needed. `username` is for a Server that wants one. Or a service principal or
managed identity of Microsoft Entra that is a user of the organization: `entra` in place of the
token, with a secret or a federated token (workload identity); its bearer tokens are renewed
before they end. A token of Entra in `token_file` is sent as a bearer token too, and read again
when whoever renews it has written it.

Requests: an idle poll of a project costs 2: one for all unfinished builds, one for those that
have finished lately. They serve all its repositories that are polled within 15 seconds. A new
build costs 1 more when it has finished, for its timeline, which alone knows the attempt, a
timeout, an approval and the jobs. The timeline of an unfinished build is read again after a 20th
of its age, at least every 5 minutes. A repeated run costs its timeline and one for each attempt
before, once. After a restart the timelines of `rerun_window` are read once, and for each project
the list of its pipelines.

Limits: 200 TSTU in 5 minutes, a measure of load; delays come before refusals.

Self-hosted: Azure DevOps Server 2019 or newer by `url` `https://HOST/tfs`; the organization is
the collection. Version 7.1 of the API is asked for first, and an older one where the server
refuses that.

Known: duration, queue, trigger, jobs, attempts. An attempt is told by the highest `attempt` of
stages, phases and jobs. It is found by a build's `finishTime` having changed; attempts that fell
between two polls come from the timelines of `previousAttempts`. `startTime` is of the first
attempt, so a later one starts with the first record of it. Stages count their attempts apart, so
a build whose stages are run again one by one may end more than once in one attempt: the later
end is no further attempt but `ended_again` of `cicd_exporter_anomalies_total`, and moves the last
conclusion and the streak; its jobs count. So it is with stages that are started by hand. A build
that ends because nobody approved it, or because another check or lock in front of a stage ran
out, is `cancelled`, though Azure calls it failed; one that is rejected is `failed`. Its duration
holds the wait, up to 30 days; those of its jobs do not.

Unknown: queue times of jobs; whether a person or a script asked for a run (`manual`). Classic
releases are no builds and are not read. Builds of a pipeline that is paused or disabled stay
`queued` until `polling.max_open_age`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Literal
from urllib.parse import quote, unquote

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import Gone, ProviderError
from exporter.http import Api
from exporter.model import Build, Status
from exporter.payload import each, word
from exporter.providers import Fault, Matches, Page, Provider, Query, Repo, Unread, basic
from exporter.providers.azure_devops.client import MOST, Client, project
from exporter.providers.azure_devops.entra import Entra
from exporter.providers.azure_devops.mapping import (
    PROJECT,
    Place,
    Run,
    belongs,
    repositories,
    to_build,
)
from exporter.providers.azure_devops.memo import Listing, Memo, is_of
from exporter.providers.azure_devops.names import Definition, Names
from exporter.providers.azure_devops.timeline import (
    Reading,
    Record,
    earlier_attempt,
    previous_timelines,
    read_timeline,
    with_reading,
)
from exporter.providers.azure_devops.vocabulary import WORDS
from exporter.providers.grants import Granted

__all__ = ["PROVIDER", "WORDS", "AzureDevOps", "Entra", "Place", "Run", "read_timeline", "to_build"]

_UNFINISHED = "inProgress,notStarted,cancelling,postponed"
_MOST_LISTED = 100_000
"""Projects of an organization, pipelines or unfinished builds of a project."""
_STEP = 300.0
"""Seconds to which `minTime` is rounded down, so that entries of a project can share it."""
_MOST_ATTEMPTS = 20
"""Earlier attempts that are worth a request each."""
_JWT = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*")
"""How tokens of Entra look; personal access tokens have no dots."""


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
    entry_form = "organization/project, organization/project/repository or organization/*"
    entry_pattern = r"[^/*]+/(\*|[^/*]+(/[^*]*[^/*])?)"
    name_pattern: ClassVar[str] = rf"[^/]+/{PROJECT}"
    has_odd_names = True
    default_url = "https://dev.azure.com"
    sites: ClassVar[tuple[str, ...]] = (".visualstudio.com", "azure.com", "azure.microsoft.com")
    credentials: ClassVar[tuple[str, ...]] = ("token_env", "token_file", "entra")

    provider: Literal["azure_devops"]
    username: str | None = None
    """User name for HTTP Basic; a personal access token needs none."""
    entra: Entra | None = None
    """In place of a token, a service principal of Microsoft Entra: {tenant_id: ..., client_id:
    ..., and one of client_secret_file, federated_token_file}."""

    _memo: Memo = PrivateAttr(default_factory=Memo)
    _granted: Granted = PrivateAttr(default_factory=partial(Granted, "Entra"))

    @classmethod
    def faults(cls, account: dict[str, Any]) -> list[Fault]:
        """Entries of another shape, and a service principal that cannot be used."""
        found = super().faults(account)
        entra = account.get("entra")
        if isinstance(entra, Entra) and (fault := entra.fault()) is not None:
            key, what = fault
            found.append((("entra", key), what))
        return found

    @property
    def secret_files(self) -> tuple[str, ...]:
        """The secret or the token by which Entra knows the service principal."""
        if self.entra is None:
            return ()
        named = (self.entra.client_secret_file, self.entra.federated_token_file)
        return tuple(filter(None, named))

    def headers(self, token: str | None) -> dict[str, str]:
        """Basic, with any user name, or a bearer token of Entra.

        And no redirect to a page for people to sign in. Raises Refused(`unauthorized`) if
        the service principal has been granted no token yet.
        """
        quiet = {"X-TFS-FedAuthRedirect": "Suppress"}
        if self.entra is not None:
            return quiet | {"Authorization": f"Bearer {self._granted.token()}"}
        if token is None:
            return quiet
        if _JWT.fullmatch(token):
            return quiet | {"Authorization": f"Bearer {token}"}
        return quiet | {"Authorization": basic(self.username or "", token)}

    async def renew(self, api: Api) -> None:
        """Have the service principal granted a token if it has none that lasts for a poll."""
        if self.entra is not None:
            await self._granted.renew(api, partial(self.entra.grant, api))

    @property
    def reads_below(self) -> bool:
        """A project brings its repositories."""
        return True

    def identity(self, entry: str) -> str:
        """Upper and lower case are one, and `my%20tools` is `my tools`."""
        return unquote(entry).casefold()

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        """The projects of an organization, but for those being made or deleted."""
        organization = pattern.partition("/")[0]
        path = f"/{quote(unquote(organization), safe='')}/_apis/projects"
        raws, error = await self._client(api).readable(path, {"stateFilter": "wellFormed"})
        entries = [
            f"{organization}/{project.name}"
            for project in each(raws, _Project, most=_MOST_LISTED)[0]
            if (word(project.state) or "wellformed") == "wellformed"
        ]
        repos = (Repo(entry) for entry in entries if not self.excludes(entry))
        return Matches(repos, error)

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """Builds that finished lately; on the first page before them all unfinished ones.

        `minTime` ends the list, so that an ordinary walk reads it as one page: a list by
        `finishTime` has old builds before new ones. The unfinished come first, for one
        that ends between the two requests is then heard of in the right order.
        """
        place, client = Place.of(repo.entry), self._client(api)
        since = query.since // _STEP * _STEP
        size = query.size if query.deep else MOST
        listing = await self._memo.listing(
            (f"{size} {project(place).casefold()}", query.token),
            repo.entry,
            since,
            clock=api.now,
            fetch=partial(self._listing, client, place, since, replace(query, size=size)),
        )
        if not listing.runs:
            return Page((), listing.next, listing.rejected, listing.unread)
        names = await self._names(api, place, listing.runs)
        builds = [to_build(run, place, names) for run in listing.runs if belongs(run, place)]
        kept = [build for build in builds if not self.excludes(build.repo)]
        attempts = await asyncio.gather(
            *(self._listed_attempts(api, place, build) for build in kept), return_exceptions=True
        )
        found: list[Build] = []
        for result in attempts:
            if isinstance(result, BaseException):
                raise result
            found.extend(result)
        return Page(tuple(found), listing.next, listing.rejected, listing.unread)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """What a timeline adds that could not be read with the page.

        Raises TryLater, without asking again, if it could not be read then.
        """
        reading = self._memo.reading(build)
        is_told = not build.partial
        if reading is not None:
            is_told = is_told or build.attempt < reading.attempt or _is_read(build, reading)
            is_told = is_told and not self._lacks_jobs(build, reading)
        if is_told:
            return replace(build, partial=False)
        failure = self._memo.failure(build)
        if failure is not None:
            raise failure
        place = Place.of(repo.entry)
        attempts = await self._attempts(api, place, replace(build, attempt=1), anew=True)
        return replace(attempts[-1], partial=False)

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The single build and, when it is due, its timeline."""
        place = Place.of(repo.entry)
        run = await self._client(api).run(place, known.native_id)
        build = to_build(run, place, await self._names(api, place, [run]))
        if run.deleted is True and build.status is not Status.COMPLETED:
            raise Gone(f"build {known.native_id} has been deleted", reason="not_found")
        attempts = await self._attempts(api, place, build)
        return replace(attempts[-1], partial=False)

    def _client(self, api: Api) -> Client:
        return Client(api, self._memo.versions)

    # -- lists

    async def _listing(self, client: Client, place: Place, since: float, query: Query) -> Listing:
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
        return Listing(tuple(_once(runs)), following, rejected, unread)

    async def _names(self, api: Api, place: Place, runs: Sequence[Run]) -> Names:
        """What the pipelines and repositories of a project are called."""
        path = project(place)

        async def fetch() -> list[Definition]:
            raws = await self._client(api).whole(f"{path}/_apis/build/definitions", {})
            return each(raws, Definition, most=_MOST_LISTED)[0]

        names = await self._memo.names(path.casefold(), clock=api.now, fetch=fetch)
        for run in sorted(runs, key=lambda run: run.id):
            names.learn([run.pipeline])
            for repository in repositories(run)[:1]:
                names.repository(repository)
        return names

    # -- timelines

    async def _listed_attempts(self, api: Api, place: Place, build: Build) -> list[Build]:
        """As `_attempts`; a timeline that fails for now is this build's own trouble.

        A completed one waits for it, as only the timeline knows which attempt has ended.
        """
        if not self._memo.spares(build, api.now()):
            try:
                return await self._attempts(api, place, build)
            except ProviderError as error:
                if error.account_wide:
                    raise
                self._memo.fails(build, error, api.now())
        reading = self._memo.reading(build)
        if build.status is not Status.COMPLETED:
            known = None if reading is None or reading.over else reading
            return [build if known is None else with_reading(build, known, jobs=self.jobs)]
        return [replace(build, attempt=1 if reading is None else reading.attempt, partial=True)]

    async def _attempts(
        self, api: Api, place: Place, build: Build, *, anew: bool = False
    ) -> list[Build]:
        """The attempts of a listed build, its newest at the end.

        Those before are told each time, so that none is lost with a poll that fails.
        """
        reading = self._memo.reading(build)
        if anew or not self._memo.is_current(build, api.now()):
            reading = await self._read(api, place, build, reading)
            self._memo.keep(build, reading)
        elif reading is None:
            return [build]
        return [*reading.earlier, with_reading(build, reading, jobs=self.jobs)]

    async def _read(self, api: Api, place: Place, build: Build, before: Reading | None) -> Reading:
        """The timeline, and those of earlier attempts that were not read `before`."""
        client = self._client(api)
        try:
            records = await client.records(place, build.native_id)
        except ProviderError as error:
            if not error.is_final:
                raise
            attempt = 1 if before is None else before.attempt
            return replace(read_timeline((), build, now=api.now()), attempt=attempt)
        reading = read_timeline(records, build, now=api.now())
        known = {} if before is None else {told.attempt: told for told in before.earlier}
        found: list[Build] = []
        for attempt in range(reading.attempt - 1, 0, -1)[:_MOST_ATTEMPTS]:
            told = known.get(attempt)
            if told is None:
                records = [*records, *await _earlier(client, place, build, records, attempt)]
                told = earlier_attempt(build, attempt, records, jobs=self.jobs)
            found.extend([] if told is None else [told])
        return replace(reading, earlier=tuple(found[::-1]))

    def _lacks_jobs(self, build: Build, reading: Reading) -> bool:
        """Whether jobs were told and are no longer remembered: they were not counted then."""
        newest = build.attempt == reading.attempt and build.status is Status.COMPLETED
        return self.jobs and newest and not build.jobs and reading.had_jobs


async def _earlier(
    client: Client, place: Place, build: Build, records: Sequence[Record], attempt: int
) -> list[Record]:
    """The records of the timelines that an earlier attempt has left behind."""
    found: list[Record] = []
    for timeline in previous_timelines(records, attempt):
        try:
            found.extend(await client.records(place, build.native_id, timeline))
        except ProviderError as error:
            if not error.is_final:
                raise
    return found


def _is_read(build: Build, reading: Reading) -> bool:
    """Whether a listed build, with what its timeline added, is all that there is to know."""
    over = build.status is Status.COMPLETED
    return reading.over == over and (not over or is_of(reading, build))


def _once(runs: list[Run]) -> list[Run]:
    """Each build once, as it was last told, where it was first listed."""
    return list({run.id: run for run in runs}.values())


PROVIDER = AzureDevOps
