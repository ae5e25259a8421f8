"""GitLab CI.

A build is a pipeline, a job a job of it. Trigger jobs (bridges) are no jobs, and child pipelines
are no builds: GitLab lists neither with the others.

Token: Settings, Access tokens of the project or the group, with the role Reporter and the scope
`read_api`; or a personal one of a user with that role. Public projects of public groups need
none. A CI job's own token cannot list pipelines.

Requests: one per project and poll, for what has changed in the last hours. If nothing has since
the last poll GitLab answers 304, which costs nearly no traffic but counts against the limit like
any answer. A new build costs one more once it has completed and, if it was met before that, one
when it was met; with `jobs: true` another one for each 100 jobs (each poll while it runs). A
completed one that has changed costs the same again. An unfinished build that does not change is
asked for every 15 minutes. Discovery costs one request for each 100 projects, whose number has
no limit. Where GitLab cannot make a page of 100 items, such pages are of 50 or 25.

Limits: 2000 requests a minute at gitlab.com; self-managed ones say theirs, if any, in
`RateLimit-*` headers.

Self-hosted: any GitLab that is still supported, with `url: https://HOST/api/v4`.

Known: duration (start to end, the gaps before a manual job or a retry included), queue, trigger,
jobs with their attempts, merge trains (branch `merge_queue`). Jobs that are retried are attempts
of the job of that name. A pipeline with a retried job, or a manual one that is played later,
stays the same pipeline: it is active again, and ends anew. It is counted once, as it first
completed; `cicd_build_last_conclusion`, streaks and jobs follow each of its ends, and the anomalies
`reopened`, `conclusion_changed` and `ended_again` tell of them, also when it happened while the
exporter was down.

Blocked pipelines (`manual`) and those that wait for a resource group are `waiting`, until somebody
acts or the group is free; they count when they have ended, however late.

Wildcards leave out projects that are archived, scheduled for deletion or have CI switched off,
and those that another group shares. Upper and lower case make no difference to a path.

Unknown: the attempts of a pipeline, which GitLab neither numbers nor keeps; child pipelines and
trigger jobs; the queue time of a job that GitLab tells none of (`queued_duration`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.globs import matches
from exporter.http import Answer, Api
from exporter.model import Build, BuildKey, Status
from exporter.payload import moment, reached, text, word
from exporter.providers import Incidental, Matches, Page, Provider, Query, Repo, TokenPage, optional
from exporter.providers.gitlab.lists import Place, by_keyset, everything
from exporter.providers.gitlab.mapping import (
    LISTED,
    REASONS,
    WORDS,
    JobItem,
    Pipeline,
    as_listed,
    filled_by_jobs,
    lacks,
    pipelines,
    to_build,
    to_jobs,
)
from exporter.providers.paging import SIZES, Sizes, bearable

__all__ = ["PROVIDER", "REASONS", "WORDS", "GitLab"]

_STEP = 6 * 3600
"""Seconds to which `updated_after` is rounded, so that the URL, and with it the answer of a
quiet project, stays the same for long. Without `updated_after` it always would, but then
GitLab sorts all pipelines of the project by a column without an index and may time out."""
_RECHECK = 900.0
"""Seconds after which an unfinished pipeline is read again though no list has shown it."""
_MOST_NOTES = 50_000


_DOOMED = re.compile(r"-deletion_scheduled-\d+(?:/|\Z)")
"""What GitLab puts behind the name of a group or project that it is about to delete."""
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.][A-Za-z0-9_.-]{0,254}(?<!\.git)(?<!\.atom)"
"""A part of a project's path, as GitLab allows it."""


class Project(msgspec.Struct, frozen=True):
    """What is read of a project."""

    path_with_namespace: str
    default_branch: Any = None
    archived: Any = None
    builds_access_level: Any = None
    jobs_enabled: Any = None
    marked_for_deletion_at: Any = None
    marked_for_deletion_on: Any = None


class Memo(Incidental):
    """When pipelines were read by themselves, and which projects list small pages only."""

    def __init__(self) -> None:
        self.sizes = Sizes()
        self._asked: dict[BuildKey, float] = {}

    def asked(self, key: BuildKey, now: float) -> None:
        """Note that a pipeline was read by itself."""
        self._asked.pop(key, None)
        self._asked[key] = now
        if len(self._asked) > _MOST_NOTES:
            del self._asked[next(iter(self._asked))]

    def is_due(self, key: BuildKey, now: float) -> bool:
        """Whether a pipeline has not been read by itself for long."""
        return now - self._asked.get(key, 0.0) >= _RECHECK


class GitLab(Provider):
    """GitLab CI (gitlab.com and self-managed)."""

    entry_form = (
        "group/project, the number of a project, group/*, group/** (subgroups too)"
        " or ~user/* (a user's own projects)"
    )
    entry_pattern = (
        r"\d+|[^/*~\s][^/*\s]*(?:/[^/*\s]+)+|[^/*~\s][^/*\s]*(?:/[^/*\s]+)*/\*{1,2}|~[^/*\s]+/\*"
    )
    name_pattern: ClassVar[str] = rf"{_SEGMENT}(?:/{_SEGMENT})+"
    default_url = "https://gitlab.com/api/v4"
    sites: ClassVar[tuple[str, ...]] = ("gitlab.com",)
    root_path = "/api/v4"
    anonymous = True
    token_page = TokenPage(
        path="/personal_access_tokens/self",  # of group and project tokens as well
        scopes="scopes",
        expires="expires_at",
        enough=("read_api", "api"),
        required=True,
    )
    rights = "the scope `read_api`"
    example_values: ClassVar[dict[str, Any]] = {
        "repos": ["acme/shop", "acme/*", "acme/platform/**", "~alice/*"]
    }

    provider: Literal["gitlab"]

    _memo: Memo = PrivateAttr(default_factory=Memo)

    def headers(self, token: str | None) -> dict[str, str]:
        """The header that takes personal, group and project access tokens alike."""
        return {} if token is None else {"PRIVATE-TOKEN": token}

    def identity(self, entry: str) -> str:
        """What `entry` names: paths are the same in upper and lower case."""
        return entry.lower()

    def excludes(self, entry: str) -> bool:
        """Whether a glob of `exclude` matches, in upper or lower case."""
        return any(matches(glob.lower(), entry.lower()) for glob in self.exclude)

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
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
        found, error = await by_keyset(api, path, params, Project)
        repos = (
            Repo(project.path_with_namespace, text(project.default_branch))
            for project in found
            if _is_active(project) and not self.excludes(project.path_with_namespace)
        )
        return Matches(repos, error)

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """Pipelines by the time of their last change, newest first, back to `query.since`.

        Completion, and a retry's opening again, are changes. So known ground begins at the
        first that has not changed since then, whatever the age of the pipelines in it.
        """
        size = self._memo.sizes.most(repo.entry, api.now())
        begin = Place(size) if query.token is None else Place.of(query.token)
        params: dict[str, str | int] = {
            "order_by": "updated_at",
            "sort": "desc",
            "updated_after": _rounded(query.since),
        }

        async def ask(size: int, tries: int | None) -> tuple[Place, Answer[list[Any]]]:
            place = begin.of_size(size)
            return place, await api.get(
                f"{_path(repo.entry)}/pipelines",
                {**params, "per_page": size, "page": place.number},
                into=LISTED,
                conditional=place.number == 1,
                tries=tries,
            )

        sizes = tuple(size for size in SIZES if size <= begin.size)
        place, answer = await bearable(ask, sizes)
        if place.size < begin.size:
            self._memo.sizes.shrank(repo.entry, place.size, api.now())
        items, rejected = pipelines(answer.body)
        builds = tuple(as_listed(to_build(item, repo)) for item in items)
        following = place.after(answer.headers, len(answer.body))
        if following is None or _reaches(items, query.since):
            return Page(builds, None, rejected)
        return Page(builds, following.token, rejected)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """What only the single pipeline tells, and the jobs if they are wanted or needed.

        Of an unfinished one that is known already the list tells all that changes.
        """
        if build.partial:
            build = await self._filled(api, repo, build, known)
        if not self.jobs and not lacks(build):
            return build
        path = f"{_path(repo.entry)}/pipelines/{build.native_id}/jobs"
        items = await optional(everything(api, path, {"include_retried": "true"}, JobItem))
        if items is None:
            return build
        jobs = to_jobs(items)
        build = filled_by_jobs(build, jobs)
        return replace(build, jobs=jobs) if self.jobs else build

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The jobs if they are wanted; the single pipeline seldom.

        A pipeline that the list does not show has not changed, so what is known holds.
        """
        build = known
        if known.partial or self._memo.is_due(known.key, api.now()):
            build = await self._single(api, repo, known)
        return await self.detail(api, repo, build, known)

    async def _filled(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        unfinished = build.status is not Status.COMPLETED
        if unfinished and known is not None and not known.partial:
            return replace(
                known, status=build.status, unmapped=build.unmapped, changed_at=build.changed_at
            )
        single = await optional(self._single(api, repo, build))
        if single is None:
            return replace(build, started_at=None, completed_at=None, partial=False)
        return single

    async def _single(self, api: Api, repo: Repo, build: Build) -> Build:
        path = f"{_path(repo.entry)}/pipelines/{build.native_id}"
        runs = build.status is not Status.COMPLETED  # else it is not asked for again
        item = (await api.get(path, into=Pipeline, conditional=runs)).body
        self._memo.asked(build.key, api.now())
        return to_build(item, repo)


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


PROVIDER = GitLab
