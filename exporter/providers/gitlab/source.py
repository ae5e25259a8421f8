"""How builds are read from GitLab."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from exporter.http import Answer, Api
from exporter.model import Build, Status
from exporter.payload import moment, reached, text, word
from exporter.providers import (
    Matches,
    Page,
    Provider,
    Query,
    Repo,
    Source,
    optional,
)
from exporter.providers.gitlab.cache import SingleReads
from exporter.providers.gitlab.lists import PagePosition, by_keyset, everything
from exporter.providers.gitlab.mapping import (
    LISTED,
    JobItem,
    Pipeline,
    as_listed,
    filled_by_jobs,
    lacks,
    pipelines,
    to_build,
    to_jobs,
    with_commit,
)
from exporter.providers.paging import SIZES, Sizes, bearable

_STEP = 6 * 3600
"""Seconds to which `updated_after` is rounded, so that the URL, and with it the answer of a
quiet project, stays the same for long. Without `updated_after` it always would, but then
GitLab sorts all pipelines of the project by a column without an index and may time out."""


_DOOMED = re.compile(r"-deletion_scheduled-\d+(?:/|\Z)")
"""What GitLab puts behind the name of a group or project that it is about to delete."""


class Project(msgspec.Struct, frozen=True):
    """What is read of a project."""

    path_with_namespace: str
    default_branch: Any = None
    archived: Any = None
    builds_access_level: Any = None
    jobs_enabled: Any = None
    marked_for_deletion_at: Any = None
    marked_for_deletion_on: Any = None


class GitLabSource(Source[Provider]):
    """Reads the builds of one account."""

    def __init__(self, account: Provider, api: Api) -> None:
        super().__init__(account, api)
        self._sizes = Sizes()
        self._alone = SingleReads()

    async def discover(self, pattern: str) -> list[Repo]:
        """The own projects of a group or a user, without those that nothing is to be read of.

        Not with `simple`, which would leave out whether CI is switched off.
        """
        owner, _, star = pattern.rpartition("/")
        params = {"archived": "false"}
        if owner.startswith("~"):
            path = f"/users/{quote(owner[1:], safe='')}/projects"
        else:
            path = f"/groups/{quote(owner, safe='')}/projects"
            params["include_subgroups"] = "true" if star == "**" else "false"
            params["with_shared"] = "false"
        found, error = await by_keyset(self.api, path, params, Project)
        repos = (
            Repo(project.path_with_namespace, text(project.default_branch))
            for project in found
            if _is_active(project) and not self.account.excludes(project.path_with_namespace)
        )
        return Matches(repos, error)

    async def page(self, repo: Repo, query: Query) -> Page:
        """Pipelines by the time of their last change, newest first, back to `query.since`.

        Completion, and a retry's opening again, are changes. So known ground begins at the
        first that has not changed since then, whatever the age of the pipelines in it.
        """
        size = self._sizes.most(repo.entry, self.api.now())
        begin = PagePosition(size) if query.token is None else PagePosition.of(query.token)
        params: dict[str, str | int] = {
            "order_by": "updated_at",
            "sort": "desc",
            "updated_after": _rounded(query.since),
        }

        async def ask(size: int, tries: int | None) -> tuple[PagePosition, Answer[list[Any]]]:
            place = begin.of_size(size)
            return place, await self.api.get(
                f"{_path(repo.entry)}/pipelines",
                {**params, "per_page": size, "page": place.number},
                into=LISTED,
                conditional=place.number == 1,
                tries=tries,
            )

        sizes = tuple(size for size in SIZES if size <= begin.size)
        place, answer = await bearable(ask, sizes)
        if place.size < begin.size:
            self._sizes.shrank(repo.entry, place.size, self.api.now())
        items, rejected = pipelines(answer.body)
        builds = tuple(as_listed(to_build(item, repo, self.site)) for item in items)
        following = place.after(answer.headers, len(answer.body))
        if following is None or _reaches(items, query.since):
            return Page(builds, None, rejected)
        return Page(builds, following.token, rejected)

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """What only the single pipeline tells, and the jobs if they are wanted or needed.

        Of an unfinished one that is known already the list tells all that changes.
        """
        if build.partial:
            build = await self._filled(repo, build, known)
        if not self.account.jobs and not lacks(build):
            return build
        path = f"{_path(repo.entry)}/pipelines/{build.native_id}/jobs"
        items = await optional(everything(self.api, path, {"include_retried": "true"}, JobItem))
        if items is None:
            return build
        jobs = to_jobs(items, repo, self.site)
        build = filled_by_jobs(with_commit(build, items), jobs)
        return replace(build, jobs=jobs) if self.account.jobs else build

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """The jobs if they are wanted; the single pipeline seldom.

        A pipeline that the list does not show has not changed, so what is known holds.
        """
        build = known
        if known.partial or self._alone.is_due(known.key, self.api.now()):
            build = await self._single(repo, known)
        return await self.detail(repo, build, known)

    async def _filled(self, repo: Repo, build: Build, known: Build | None) -> Build:
        unfinished = build.status is not Status.COMPLETED
        if unfinished and known is not None and not known.partial:
            return replace(
                known, status=build.status, unmapped=build.unmapped, changed_at=build.changed_at
            )
        single = await optional(self._single(repo, build))
        if single is None:
            return replace(build, started_at=None, completed_at=None, partial=False)
        return single

    async def _single(self, repo: Repo, build: Build) -> Build:
        path = f"{_path(repo.entry)}/pipelines/{build.native_id}"
        runs = build.status is not Status.COMPLETED  # else it is not asked for again
        item = (await self.api.get(path, into=Pipeline, conditional=runs)).body
        self._alone.note(build.key, self.api.now())
        return to_build(item, repo, self.site)


def _is_active(project: Project) -> bool:
    """Whether a project runs pipelines: it is not archived, nor about to be deleted.

    A group that is scheduled for deletion gets another name, which its projects tell of.
    """
    off = word(project.builds_access_level) == "disabled" or project.jobs_enabled is False
    deleted = project.marked_for_deletion_at or project.marked_for_deletion_on
    doomed = bool(deleted) or _DOOMED.search(project.path_with_namespace) is not None
    return project.archived is not True and not off and not doomed


def _path(entry: str) -> str:
    return f"/projects/{quote(entry, safe='')}"


def _rounded(since: float) -> str:
    at = datetime.fromtimestamp(since // _STEP * _STEP, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _reaches(items: list[Pipeline], since: float) -> bool:
    """Whether a page ends with pipelines that have not changed since then."""
    return reached((moment(item.updated_at) for item in items), default=since) < since
