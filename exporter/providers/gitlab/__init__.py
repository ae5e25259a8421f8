"""GitLab CI.

A build is a pipeline, a job a job of it. Trigger jobs (bridges) are no jobs, and child pipelines
are no builds: GitLab lists neither with the others.

Token: Settings, Access tokens of the project or the group, with the role Reporter and the scope
`read_api`; or a personal one of a user with that role. Public projects of public groups need
none. A CI job's own token cannot list pipelines.

Requests: one per project and poll, for what has changed in the last hours. If nothing has since
the last poll GitLab answers 304, which costs nearly no traffic but counts against the limit like
any answer. A new build costs one more once it has completed and, if it was met before that, one
when it was met; with `jobs: true` another one for each 100 jobs (each poll while it runs). An
unfinished build that does not change is asked for every 15 minutes. Discovery costs one request
for each 100 projects.

Limits: 2000 requests a minute at gitlab.com; self-managed ones say theirs, if any, in
`RateLimit-*` headers.

Self-hosted: any GitLab that is still supported, with `url: https://HOST/api/v4`.

Known: duration (start to end, the gaps before a manual job or a retry included), queue, trigger,
jobs with their attempts. Jobs that are retried are attempts of the job of that name. A pipeline
with a retried job stays the same pipeline: it opens again and completes anew, and is counted
once, as it first completed; `cicd_build_last_conclusion` follows, and the anomaly `reopened`
tells.

Unknown: the attempts of a pipeline, which GitLab neither numbers nor keeps; child pipelines and
trigger jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import Gone, Malformed, Refused
from exporter.http import Api
from exporter.model import Build, Status
from exporter.payload import each, moment, reached, text, whole, word
from exporter.providers import Page, Provider, Query, Repo, TokenPage
from exporter.providers.gitlab.reading import (
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

__all__ = ["PROVIDER", "REASONS", "WORDS", "GitLab"]

T = TypeVar("T")

_STEP = 6 * 3600
"""Seconds to which `updated_after` is rounded, so that the URL, and with it the answer of a
quiet project, stays the same for long. Without `updated_after` it always would, but then
GitLab sorts all pipelines of the project by a column without an index and may time out."""
_SIZE = 100
_MOST_PAGES = 100
_RECHECK = 900.0
"""Seconds after which an unfinished pipeline is read again though no list has shown it."""
_MOST_BUILDS = 50_000


class Project(msgspec.Struct, frozen=True):
    """What is read of a project."""

    path_with_namespace: str
    default_branch: Any = None
    archived: Any = None
    builds_access_level: Any = None
    jobs_enabled: Any = None


class Memo:
    """Saves requests, and tells what has opened again. Lasts as long as the configuration."""

    def __init__(self) -> None:
        self._ended: dict[str, Any] = {}
        self._asked: dict[str, float] = {}

    def __eq__(self, other: object) -> bool:
        """Memories make no difference to what a provider is: a reload compares accounts."""
        return isinstance(other, Memo)

    __hash__ = None  # type: ignore[assignment]  # how Python says it: equal, but mutable

    def has_changed(self, item: Pipeline) -> bool:
        """Whether a pipeline that was listed as completed has changed since."""
        before = self._ended.get(str(item.id), item.updated_at)
        return bool(before != item.updated_at)

    def listed(self, item: Pipeline, status: Status) -> None:
        """Note a listed pipeline if it is, or once was, completed."""
        if status is Status.COMPLETED or str(item.id) in self._ended:
            _keep(self._ended, str(item.id), item.updated_at)

    def asked(self, key: str, now: float) -> None:
        """Note that a pipeline was read by itself."""
        _keep(self._asked, key, now)

    def is_due(self, key: str, now: float) -> bool:
        """Whether a pipeline has not been read by itself for long."""
        return now - self._asked.get(key, 0.0) >= _RECHECK


def _keep(notes: dict[str, Any], key: str, value: Any) -> None:
    notes.pop(key, None)
    notes[key] = value
    if len(notes) > _MOST_BUILDS:
        del notes[next(iter(notes))]


class GitLab(Provider):
    """GitLab CI (gitlab.com and self-managed)."""

    entry_form = "group/project, the number of a project, group/* or group/** (subgroups too)"
    entry_pattern = r"\d+|[^/*\s]+(?:/[^/*\s]+)+|(?:[^/*\s]+/)+\*{1,2}"
    default_url = "https://gitlab.com/api/v4"
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
        "repos": ["acme/shop", "acme/*", "acme/platform/**"]
    }

    provider: Literal["gitlab"]

    _memo: Memo = PrivateAttr(default_factory=Memo)

    def headers(self, token: str | None) -> dict[str, str]:
        """The header that takes personal, group and project access tokens alike."""
        return {} if token is None else {"PRIVATE-TOKEN": token}

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        """The group's own projects, without archived ones and those that have CI switched off.

        Not with `simple`, which would leave out whether CI is switched off.
        """
        group, _, star = pattern.rpartition("/")
        params = {
            "include_subgroups": "true" if star == "**" else "false",
            "archived": "false",
            "with_shared": "false",
            "order_by": "id",
            "sort": "asc",
        }
        found = await _all(api, f"/groups/{quote(group, safe='')}/projects", params, Project)
        return [
            Repo(project.path_with_namespace, text(project.default_branch))
            for project in found
            if _is_active(project) and not self.excludes(project.path_with_namespace)
        ]

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """Pipelines by the time of their last change, newest first, back to `query.since`.

        Completion, and a retry's opening again, are changes. So known ground begins at the
        first that has not changed since then, whatever the age of the pipelines in it.
        """
        number = whole(query.token or 1)
        if number is None:
            raise Malformed(f"{query.token!r} is no page of GitLab", reason="bad_shape")
        params: dict[str, str | int] = {
            "order_by": "updated_at",
            "sort": "desc",
            "updated_after": _rounded(query.since),
            "per_page": _SIZE,
            "page": number,
        }
        path = f"{_path(repo.entry)}/pipelines"
        answer = await api.get(path, params, into=LISTED, conditional=number == 1)
        items, rejected = pipelines(answer.body)
        builds = [await self._listed(api, repo, item) for item in items]
        following = _next(answer.headers, number, len(answer.body))
        if following is None or _reaches(items, query.since):
            return Page(tuple(builds), None, rejected)
        return Page(tuple(builds), str(following), rejected)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """What only the single pipeline tells, and the jobs if they are wanted or needed.

        Of an unfinished one that is known already the list tells all that changes.
        """
        if build.partial:
            build = await self._filled(api, repo, build, known)
        if not self.jobs and not lacks(build):
            return build
        path = f"{_path(repo.entry)}/pipelines/{build.native_id}/jobs"
        try:
            items = await _all(api, path, {"include_retried": "true"}, JobItem)
        except (Gone, Refused) as error:
            if error.account_wide:
                raise
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

    async def _listed(self, api: Api, repo: Repo, item: Pipeline) -> Build:
        """A listed pipeline; with all its details if it has opened again.

        The walk asks for no details of what was counted, but the latest conclusion and
        the retried jobs are news all the same.
        """
        build = as_listed(to_build(item, repo), moment(item.updated_at))
        if self._memo.has_changed(item):
            try:
                single = await self._single(api, repo, build)
                build = await self.detail(api, repo, single, None)
            except (Gone, Refused) as error:
                if error.account_wide:
                    raise
        self._memo.listed(item, build.status)
        return build

    async def _filled(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        unfinished = build.status is not Status.COMPLETED
        if unfinished and known is not None and not known.partial:
            return replace(known, status=build.status, unmapped=build.unmapped)
        try:
            return await self._single(api, repo, build)
        except (Gone, Refused) as error:
            if error.account_wide:
                raise
        return replace(build, started_at=None, completed_at=None, partial=False)

    async def _single(self, api: Api, repo: Repo, build: Build) -> Build:
        path = f"{_path(repo.entry)}/pipelines/{build.native_id}"
        runs = build.status is not Status.COMPLETED  # else it is not asked for again
        item = (await api.get(path, into=Pipeline, conditional=runs)).body
        self._memo.asked(build.key, api.now())
        return to_build(item, repo)


def _is_active(project: Project) -> bool:
    off = word(project.builds_access_level) == "disabled" or project.jobs_enabled is False
    return project.archived is not True and not off


def _path(entry: str) -> str:
    return f"/projects/{quote(entry, safe='')}"


def _rounded(since: float) -> str:
    at = datetime.fromtimestamp(since // _STEP * _STEP, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _reaches(items: list[Pipeline], since: float) -> bool:
    """Whether a page ends with pipelines that have not changed since then."""
    return reached((moment(item.updated_at) for item in items), default=since) < since


def _next(headers: Mapping[str, str], page: int, count: int) -> int | None:
    """The number of the page after this one of `count` items.

    A proxy may swallow the headers; then a full page may have another one after it.
    """
    if "x-next-page" in headers:
        more = whole(headers["x-next-page"]) is not None
    elif "link" in headers:
        more = 'rel="next"' in headers["link"]
    else:
        more = count >= _SIZE
    return page + 1 if more else None


async def _all(api: Api, path: str, params: Mapping[str, str], into: type[T]) -> list[T]:
    """The items of all pages of a list, without those that cannot be understood."""
    found: list[T] = []
    for page in range(1, _MOST_PAGES + 1):
        query: dict[str, str | int] = {**params, "per_page": _SIZE, "page": page}
        answer = await api.get(path, query, into=list[msgspec.Raw])
        found.extend(each(answer.body, into)[0])
        if _next(answer.headers, page, len(answer.body)) is None:
            return found
    raise Malformed(f"{path}: the list does not end", reason="bad_shape")


PROVIDER = GitLab
