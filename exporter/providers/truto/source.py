"""How builds are read from Truto."""

from __future__ import annotations

from msgspec.structs import replace

from exporter.errors import Gone, Malformed, ProviderError
from exporter.http import Api
from exporter.model import Build, BuildKey, Job, Status
from exporter.payload import at, reached, text
from exporter.providers import Matches, Page, Provider, Query, Repo, Source, optional, paging
from exporter.providers.truto import (
    health,
)
from exporter.providers.truto.cache import Lookups
from exporter.providers.truto.client import Client
from exporter.providers.truto.description import described_by
from exporter.providers.truto.integration import Integration
from exporter.providers.truto.mapping import (
    PATIENCE,
    Jobs,
    filled_by_jobs,
    inherited,
    joined,
    judged_by_jobs,
    lacks,
    to_build,
    to_jobs,
    to_loose_jobs,
    with_words_of,
)
from exporter.providers.truto.payload import Resource, Run


class TrutoSource(Source[Provider]):
    """Reads the builds of the integrated account `account_id`, as `how` says."""

    def __init__(self, account: Provider, api: Api, how: Integration, account_id: str) -> None:
        super().__init__(account, api)
        self._how = how
        self._account_id = account_id
        self._lookups = Lookups()

    async def health(self) -> None:
        """Raise Refused if Truto says that a person must see to the account."""
        await health.check(self.api, self._account_id)

    async def discover(self, pattern: str) -> list[Repo]:
        """What the repos, workspaces or workflow list holds, but for the inactive."""
        how = self._how.discovery
        if how is None:
            return []
        found: dict[str, Repo] = {}
        listing = await self._client().places(how.resource, how.scope(pattern))
        for place in listing.items:
            entry = how.entry(pattern, place)
            if entry is not None and _is_active(place) and not self.account.excludes(entry):
                branch = text(place.default_branch)
                found[entry] = Repo(entry, branch and branch.removeprefix("refs/heads/"))
        return Matches(found.values(), listing.error)

    async def page(self, repo: Repo, query: Query) -> Page:
        """One page of the builds list; of the jobs list where there are no builds."""
        how, client = self._how, self._client()
        if how.builds is None:
            listing = await client.loose_jobs(repo.entry, query)
            container = Build(
                key=BuildKey(repo.entry),
                repo=repo.entry,
                workflow=repo.entry.rpartition("/")[2],
                status=Status.IN_PROGRESS,
                only_jobs=True,
            )
            jobs = to_loose_jobs(how, listing.items, container, self.site)
            container = replace(container, jobs=jobs)
            return paging.bounded(Page((container,), listing.next, listing.rejected))
        listing = await client.builds(repo.entry, query)
        listed = [to_build(how, item, repo, self.site) for item in listing.items]
        oldest = reached((build.created_at for build in listed), default=query.since)
        ends = how.in_order and not query.deep and oldest < query.since
        builds = paging.dated(listed) if how.in_order else listed
        kept = [
            build
            for build, item in zip(builds, listing.items, strict=True)
            if how.belongs(item, repo.entry)
            and not self.account.excludes(build.repo)
            and not self._lookups.is_nothing(build.key)
        ]
        page = Page(tuple(kept), None if ends else listing.next, listing.rejected)
        return paging.bounded(page)

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """The gaps of the list item, from the single build and then from the jobs.

        Where nothing tells even whether it has completed, the build stays partial.
        """
        if build.only_jobs:
            return build
        client = self._client()
        if build.partial and not self._how.judged_by_jobs:
            build = await self._with_single(client, repo, build)
        if not self._needs_jobs(build):
            return build
        jobs = await optional(self._jobs(client, repo, build, known))
        if jobs is None:
            return build
        build = self._with_jobs(build, jobs, now=self.api.now())
        # Shown neither as unfinished nor as completed, and forgotten when it is refreshed.
        nothing = not jobs.all and self._is_nothing(build, now=self.api.now())
        return replace(build, partial=True) if nothing else build

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """The single build, and its jobs if they are wanted or needed.

        Where the jobs alone tell how a build stands only they are asked for.
        """
        client = self._client()
        if self._how.judged_by_jobs:
            return await self._judged(repo, known)
        single = self._mapped(await client.build(repo.entry, known), repo)
        build = inherited(_same(single, known), known, repo.entry)
        # Its gaps are not the single build's to fill a second time.
        return await self.detail(repo, replace(build, partial=False), known)

    async def _judged(self, repo: Repo, known: Build) -> Build:
        """A build as its jobs tell it; where it has none for long, the build itself is asked.

        Raises Gone if it came to nothing, which is no build.
        """
        gone = Gone(f"{known.key} came to nothing: it has no jobs", reason="not_found")
        if self._lookups.is_nothing(known.key):
            raise gone
        client, now = self._client(), self.api.now()
        jobs = await self._jobs(client, repo, known, known)
        build = self._with_jobs(replace(known, status=Status.QUEUED), jobs, now=now)
        if jobs.all or not self._is_nothing(build, now=now):
            return build
        single = self._mapped(await client.build(repo.entry, known), repo)
        if single.status is not Status.COMPLETED:
            raise gone
        return replace(inherited(single, known, repo.entry), partial=False)

    def _is_nothing(self, build: Build, *, now: float) -> bool:
        """Whether a build that has no job will never get one; that is remembered."""
        nothing = (
            self._how.judged_by_jobs
            and build.status is Status.QUEUED
            and build.created_at is not None
            and build.created_at < now - PATIENCE
        )
        if nothing:
            self._lookups.came_to_nothing(build.key)
        return nothing

    def _mapped(self, item: Run, repo: Repo) -> Build:
        return to_build(self._how, item, repo, self.site)

    def _client(self) -> Client:
        return Client(self.api, self._how, self._account_id)

    def _needs_jobs(self, build: Build) -> bool:
        how = self._how
        return how.jobs is not None and (self.account.jobs or how.judged_by_jobs or lacks(build))

    async def _with_single(self, client: Client, repo: Repo, build: Build) -> Build:
        """What the single build adds.

        A completed build only has its gaps filled; of any other the list item says too
        little to go by. No single build, no addition. Whether this endpoint adds
        anything to a completed one is documented nowhere, so what it brought before decides.
        """
        completed = build.status is Status.COMPLETED
        build = replace(build, partial=not completed)
        if completed and not self._lookups.is_worthwhile():
            return build
        try:
            single = self._mapped(await client.build(repo.entry, build), repo)
        except ProviderError as error:
            if not (error.is_final or isinstance(error, Malformed)) or error.account_wide:
                raise
            if completed:
                self._lookups.brought(nothing=True)
            return build
        if not completed:
            return replace(inherited(single, build, repo.entry), partial=False)
        fuller = joined(build, single)
        self._lookups.brought(nothing=fuller == build)  # but for what only people read
        return described_by(fuller, single) if single.attempt == build.attempt else fuller

    def _with_jobs(self, build: Build, jobs: Jobs, *, now: float) -> Build:
        by_jobs = self._how.judged_by_jobs
        build = judged_by_jobs(build, jobs, now=now) if by_jobs else filled_by_jobs(build, jobs)
        build = replace(build, partial=False)
        return replace(build, jobs=jobs.all) if self.account.jobs else with_words_of(build, jobs)

    async def _jobs(self, client: Client, repo: Repo, build: Build, known: Build | None) -> Jobs:
        """The jobs of a build: the list, or fewer single jobs where it has many pages.

        Completed builds always have theirs listed, as jobs may have been added.
        """
        unfinished = self._lookups.cheaper_alone(build, known)
        if unfinished and known is not None and self._how.job is not None:
            jobs = await self._each(client, repo, known, unfinished)
            if jobs is not None:
                return jobs
        listing = await client.jobs(repo.entry, build)
        self._lookups.listed(build, listing.pages)
        return to_jobs(self._how, listing.items, build, self.site)

    async def _each(
        self, client: Client, repo: Repo, known: Build, unfinished: tuple[Job, ...]
    ) -> Jobs | None:
        """The known jobs, the unfinished ones read again; None where only the list will do.

        That is when one is gone, and when all are complete where that ends the build.
        """
        try:
            items = [await client.job(repo.entry, known, job.id) for job in unfinished]
        except Gone:
            return None
        fresh = to_jobs(self._how, items, known, self.site)
        read = {(job.id, job.attempt): job for job in (*known.jobs, *fresh.all)}
        jobs = tuple(read.values())
        ended = all(job.status is Status.COMPLETED for job in jobs)
        return None if ended and self._how.judged_by_jobs else Jobs(jobs, fresh.blocked)


def _same(single: Build, known: Build) -> Build:
    """`single` if it is the build that is known; raises Gone if it is another.

    Only Jenkins can tell: its keys hold the start, and a job made anew starts its
    numbers again. A key without a start is the beginning of the one with it.
    """
    if not single.key.is_same_build(known.key):
        raise Gone(f"another build has taken the place of {known.key}", reason="not_found")
    return replace(single, key=max(single.key, known.key))


def _is_active(place: Resource) -> bool:
    """What the place says of itself, then its raw object: flags of GitHub, Travis, Jenkins."""
    raw = place.remote_data
    return (text(place.status) or "active").lower() != "inactive" and not (
        any(at(raw, word) is True for word in ("archived", "disabled"))
        or any(at(raw, word) is False for word in ("active", "buildable"))
        or at(raw, "color") == "disabled"
    )
