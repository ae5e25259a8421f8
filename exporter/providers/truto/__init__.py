"""The unified CI/CD API (Truto): one API before seven CI systems.

A build is what the CI system behind calls one; what is special about each is in its own file.

Token: an API token of the Truto environment that the integrated account belongs to. It can read
everything in that environment; narrower ones do not exist.

Requests: one per repo and poll, each of which Truto passes on to the CI system, so they count
against its limits as well. What a list item lacks is looked for in its raw object, in the single
build and in the build's jobs, in this order. So a new build costs nothing more behind GitHub,
Azure DevOps and (as a rule) Travis CI, one more behind Jenkins (the single build), two behind
Bitbucket (the single build, while it has anything to add, and the jobs), and behind CircleCI one
for its jobs each poll until they have ended. With `jobs: true` each build costs one for its jobs
per poll while it runs, and one then. The account's health costs two every 10 minutes.

Limits: 50 requests in 10 seconds for an account, 500 for a token.

Self-hosted: none; `url` serves tests and regions.

Known: duration of all but Buddy; queue of all but Jenkins and Buddy; trigger; attempts of
GitHub, Travis CI and Bitbucket; jobs of all but Jenkins. Behind this API a build of CircleCI is
a pipeline, and Buddy has only jobs.

Unknown: attempts that fell between two polls, which cannot be asked for; a smaller right than
all of an environment.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec.structs import replace
from pydantic import Field, PrivateAttr, model_validator

from exporter.errors import Gone, Malformed, ProviderError
from exporter.http import Api, Dialect, PublishedLimit
from exporter.model import Build, BuildKey, Job, Status
from exporter.payload import at, reached, text
from exporter.providers import Fault, Matches, Page, Provider, Query, Repo, optional, paging
from exporter.providers.truto import (
    azuredevops,
    bitbucket,
    buddy,
    circleci,
    github,
    health,
    jenkins,
    refusals,
    travisci,
)
from exporter.providers.truto.client import Client
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
from exporter.providers.truto.memo import Memo
from exporter.providers.truto.payload import Place

INTEGRATIONS: dict[str, Integration] = {
    "github": github.INTEGRATION,
    "azuredevops": azuredevops.INTEGRATION,
    "bitbucket": bitbucket.INTEGRATION,
    "circleci": circleci.INTEGRATION,
    "jenkins": jenkins.INTEGRATION,
    "travisci": travisci.INTEGRATION,
    "buddy": buddy.INTEGRATION,
}

_OF_INTEGRATIONS: dict[str, tuple[PublishedLimit, ...]] = {
    "bitbucket": (PublishedLimit(1000, 3600.0),)
}
"""The unified API adds nothing to the limits of the CI systems: their quota is spent."""


class Truto(Provider):
    """An integrated account of the unified API (Truto).

    What `repos` holds, by integration:
      - github: owner/name, owner/*
      - azuredevops: workspace_id, workspace_id/repo, *
      - bitbucket: workspace_id/repo, workspace_id/*
      - circleci: vcs/org/repo, such as gh/acme/shop
      - jenkins: workflow_id, *
      - travisci: repo_id, *
      - buddy: workspace/project/workflow; jobs only
    """

    dialect = Dialect(limit_mark=b'"rate_limit_error"', explained=refusals.explained)
    rights = "the environment at Truto that the integrated account is in"
    example_values: ClassVar[dict[str, Any]] = {
        "name": "acme-unified",
        "integrated_account_id": "62f44730-dd91-461e-bd6a-aedd9e0ad79d",
        "repos": ["acme/shop", "acme/api"],
    }
    default_url = "https://api.truto.one"
    sites: ClassVar[tuple[str, ...]] = ("truto.one", "app.truto.one")
    published_limits = (PublishedLimit(50, 10.0), PublishedLimit(500, 10.0, by_token=True))
    has_odd_names = True  # they are never a part of a path here, but values of parameters

    provider: Literal["truto"]
    integration: Literal[
        "github", "azuredevops", "bitbucket", "circleci", "jenkins", "travisci", "buddy"
    ]
    """The CI system behind the account."""
    integrated_account_id: Annotated[str, Field(min_length=1)]
    """Id of the integrated account at Truto."""

    _memo: Memo = PrivateAttr(default_factory=Memo)

    @model_validator(mode="before")
    @classmethod
    def _buddy_has_only_jobs(cls, keys: Any) -> Any:
        if isinstance(keys, dict) and keys.get("integration") == "buddy" and "jobs" not in keys:
            return {**keys, "jobs": True}
        return keys

    @property
    def label(self) -> str:
        """The native provider's word, so that dashboards need not care which way it came."""
        return self._how.label

    @property
    def quota(self) -> str:
        """Truto's own limit and the CI system's are those of one integrated account."""
        return self.integrated_account_id

    @property
    def published(self) -> tuple[PublishedLimit, ...]:
        """Truto's limits, and the CI system's where its headers do not tell them."""
        told = super().published
        return told and told + _OF_INTEGRATIONS.get(self.integration, ())

    @property
    def consecutive_numbers(self) -> bool:
        """Jenkins numbers its builds without holes, and its lists may hold nothing else."""
        return self.integration == "jenkins"

    @classmethod
    def faults(cls, account: dict[str, Any]) -> list[Fault]:
        """Entries of the wrong shape for the integration, and Buddy without jobs."""
        how = INTEGRATIONS.get(account.get("integration", ""))
        if how is None:
            return []
        found: list[Fault] = [
            (("repos", i), fault)
            for i, entry in enumerate(account.get("repos", ()))
            if (fault := how.entry.fault(entry)) is not None
        ]
        if how.builds is None and account.get("jobs") is False:
            what = f"there is nothing but jobs of {how.label} here (write true, or leave it out)"
            found.append((("jobs",), what))
        return found

    def headers(self, token: str | None) -> dict[str, str]:
        """Authentication is a bearer token of one Truto environment."""
        accept = {"Accept": "application/json"}
        return accept if token is None else {"Authorization": f"Bearer {token}", **accept}

    @property
    def reads_below(self) -> bool:
        """Whether a project brings its repos."""
        return self._how.entry.nested

    async def health(self, api: Api) -> None:
        """Raise Refused if Truto says that a person must see to the account."""
        await health.check(api, self.integrated_account_id)

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        """What the repos, workspaces or workflow list holds, but for the inactive."""
        how = self._how.discovery
        if how is None:
            return []
        found: dict[str, Repo] = {}
        listing = await self._client(api).places(how.resource, how.scope(pattern))
        for place in listing.items:
            entry = how.entry(pattern, place)
            if entry is not None and _is_active(place) and not self.excludes(entry):
                branch = text(place.default_branch)
                found[entry] = Repo(entry, branch and branch.removeprefix("refs/heads/"))
        return Matches(found.values(), listing.error)

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """One page of the builds list; of the jobs list where there are no builds."""
        how, client = self._how, self._client(api)
        if how.builds is None:
            listing = await client.loose_jobs(repo.entry, query)
            container = Build(
                key=BuildKey(repo.entry),
                repo=repo.entry,
                workflow=repo.entry.rpartition("/")[2],
                status=Status.IN_PROGRESS,
                jobs=to_loose_jobs(how, listing.items),
                only_jobs=True,
            )
            return paging.bounded(Page((container,), listing.next, listing.rejected))
        listing = await client.builds(repo.entry, query)
        listed = [to_build(how, item, repo) for item in listing.items]
        oldest = reached((build.created_at for build in listed), default=query.since)
        ends = how.in_order and not query.deep and oldest < query.since
        builds = paging.dated(listed) if how.in_order else listed
        kept = [
            build
            for build, item in zip(builds, listing.items, strict=True)
            if how.belongs(item, repo.entry)
            and not self.excludes(build.repo)
            and not self._memo.is_nothing(build.key)
        ]
        page = Page(tuple(kept), None if ends else listing.next, listing.rejected)
        return paging.bounded(page)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """The gaps of the list item, from the single build and then from the jobs.

        Where nothing tells even whether it has completed, the build stays partial.
        """
        if build.only_jobs:
            return build
        client = self._client(api)
        if build.partial and not self._how.judged_by_jobs:
            build = await self._with_single(client, repo, build)
        if not self._needs_jobs(build):
            return build
        jobs = await optional(self._jobs(client, repo, build, known))
        if jobs is None:
            return build
        build = self._with_jobs(build, jobs, now=api.now())
        # Shown neither as unfinished nor as completed, and forgotten when it is refreshed.
        nothing = not jobs.all and self._is_nothing(build, now=api.now())
        return replace(build, partial=True) if nothing else build

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The single build, and its jobs if they are wanted or needed.

        Where the jobs alone tell how a build stands only they are asked for.
        """
        client = self._client(api)
        if self._how.judged_by_jobs:
            return await self._judged(api, repo, known)
        single = to_build(self._how, await client.build(repo.entry, known), repo)
        build = inherited(_same(single, known), known, repo.entry)
        # Its gaps are not the single build's to fill a second time.
        return await self.detail(api, repo, replace(build, partial=False), known)

    async def _judged(self, api: Api, repo: Repo, known: Build) -> Build:
        """A build as its jobs tell it; where it has none for long, the build itself is asked.

        Raises Gone if it came to nothing, which is no build.
        """
        gone = Gone(f"{known.key} came to nothing: it has no jobs", reason="not_found")
        if self._memo.is_nothing(known.key):
            raise gone
        client, now = self._client(api), api.now()
        jobs = await self._jobs(client, repo, known, known)
        build = self._with_jobs(replace(known, status=Status.QUEUED), jobs, now=now)
        if jobs.all or not self._is_nothing(build, now=now):
            return build
        single = to_build(self._how, await client.build(repo.entry, known), repo)
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
            self._memo.came_to_nothing(build.key)
        return nothing

    @property
    def name_pattern(self) -> str:  # type: ignore[override]  # each integration has its own
        """The names that the CI system behind allows."""
        return self._how.entry.names

    def identity(self, entry: str) -> str:
        """What an entry names at the CI system, however it is spelled."""
        return self._how.entry.identity(entry)

    @property
    def _how(self) -> Integration:
        return INTEGRATIONS[self.integration]

    def _client(self, api: Api) -> Client:
        return Client(api, self._how, self.integrated_account_id)

    def _needs_jobs(self, build: Build) -> bool:
        how = self._how
        return how.jobs is not None and (self.jobs or how.judged_by_jobs or lacks(build))

    async def _with_single(self, client: Client, repo: Repo, build: Build) -> Build:
        """What the single build adds.

        A completed build only has its gaps filled; of any other the list item says too
        little to go by. No single build, no addition. Whether this endpoint adds
        anything to a completed one is documented nowhere, so the memo decides.
        """
        completed = build.status is Status.COMPLETED
        build = replace(build, partial=not completed)
        if completed and not self._memo.is_worthwhile():
            return build
        try:
            single = to_build(self._how, await client.build(repo.entry, build), repo)
        except ProviderError as error:
            if not (error.is_final or isinstance(error, Malformed)) or error.account_wide:
                raise
            if completed:
                self._memo.heard(nothing=True)
            return build
        if not completed:
            return replace(inherited(single, build, repo.entry), partial=False)
        fuller = joined(build, single)
        self._memo.heard(nothing=fuller == build)
        return fuller

    def _with_jobs(self, build: Build, jobs: Jobs, *, now: float) -> Build:
        by_jobs = self._how.judged_by_jobs
        build = judged_by_jobs(build, jobs, now=now) if by_jobs else filled_by_jobs(build, jobs)
        build = replace(build, partial=False)
        return replace(build, jobs=jobs.all) if self.jobs else with_words_of(build, jobs)

    async def _jobs(self, client: Client, repo: Repo, build: Build, known: Build | None) -> Jobs:
        """The jobs of a build: the list, or fewer single jobs where it has many pages.

        Completed builds always have theirs listed, as jobs may have been added.
        """
        unfinished = self._memo.cheaper_alone(build, known)
        if unfinished and known is not None and self._how.job is not None:
            jobs = await self._each(client, repo, known, unfinished)
            if jobs is not None:
                return jobs
        listing = await client.jobs(repo.entry, build)
        self._memo.listed(build, listing.pages)
        return to_jobs(self._how, listing.items, build)

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
        fresh = to_jobs(self._how, items, known)
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


def _is_active(place: Place) -> bool:
    """What the place says of itself, then its raw object: flags of GitHub, Travis, Jenkins."""
    raw = place.remote_data
    return (text(place.status) or "active").lower() != "inactive" and not (
        any(at(raw, word) is True for word in ("archived", "disabled"))
        or any(at(raw, word) is False for word in ("active", "buildable"))
        or at(raw, "color") == "disabled"
    )


PROVIDER = Truto
