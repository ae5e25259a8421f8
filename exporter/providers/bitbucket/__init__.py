"""Bitbucket Pipelines.

A build is one run of a pipeline, a job one step of it.

Token: for one repository: Repository settings, Access tokens, with Repositories: Read and
Pipelines: Read (`repository`, `pipeline`); there are such tokens of projects and workspaces in
paid plans. Else an API token of the Atlassian account (Security, Create API token with scopes)
with `read:repository:bitbucket` and `read:pipeline:bitbucket`, and the account's e-mail as
`username`.

Requests: one per repo and poll; a new build costs one more for its steps, once it has completed
(one for each 100 steps; with `jobs: true` one each poll while it runs). Discovery costs one for
each 100 repos and, when a repo is first met, one that tells whether its pipelines are switched
on.

Limits: 1000 requests an hour for one user, so N repos cannot be polled more often than every 3.6
N seconds: 16 repos at the interval of one minute. Access tokens of workspaces with more than 100
paid seats get up to 10 000.

Self-hosted: none; Bitbucket Data Center has no Pipelines.

Known: duration (start of the first step to the end of the pipeline), queue, trigger (a run by
the API looks like one by hand), attempts (`run_number`), jobs. What a completed pipeline does not
say of its end and result is that of its steps. Where pipelines have no `run_number`, one whose
steps run again ends anew, with the anomaly `ended_again` or `conclusion_changed`.

Paused pipelines (a manual step, another deployment) and halted ones (stopped until somebody runs
the rest) are `waiting` until then, and count when they have ended, however late.

Unknown: queue times of jobs; an attempt that was run again before anybody saw it complete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import Gone, Malformed, ProviderError, Refused
from exporter.globs import matches
from exporter.http import Answer, Api, Dialect, PublishedLimit
from exporter.model import Build
from exporter.payload import at, each, reached, text, whole
from exporter.providers import (
    Incidental,
    Matches,
    Page,
    Provider,
    Query,
    Repo,
    basic,
    optional,
    paging,
)
from exporter.providers.bitbucket.mapping import (
    WORDS,
    Pipeline,
    Step,
    apart,
    filled,
    is_pull_request,
    selected,
    to_build,
    to_job,
)

__all__ = ["PROVIDER", "WORDS", "Bitbucket", "is_pull_request", "selected"]

T = TypeVar("T")

_TOKEN = re.compile(r"([1-9]\d{0,8})x([1-9]\d{0,2})")
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_AGAIN = 86400.0
"""Seconds after which a repo without pipelines is asked again without a sign of change."""
_LONG = 6 * 3600.0
"""Seconds that a build may take and still be found by the first walk when it ends in time."""


class Envelope(msgspec.Struct, frozen=True):
    """A page of any list. `next` is an absolute URL and may be missing before the last page."""

    values: list[msgspec.Raw]
    next: Any = None
    page: Any = None
    pagelen: Any = None
    size: Any = None

    def continues(self, page: int, pagelen: int) -> bool:
        """Whether there is a page after this one, the number `page` of `pagelen` items each."""
        size, given = whole(self.size), whole(self.pagelen) or pagelen
        if text(self.next) is not None:
            return True
        if size is not None:
            return bool(self.values) and page * given < size
        return len(self.values) >= given


class Listed(msgspec.Struct, frozen=True):
    """What is read of a repository."""

    full_name: str
    updated_on: Any = None
    mainbranch: Any = None


class Memo(Incidental):
    """Which repos have no pipelines, so that they are not asked at each discovery."""

    def __init__(self) -> None:
        self.sizes = paging.Sizes()
        self.on: set[str] = set()
        self.off: dict[str, tuple[Any, float]] = {}
        """When the repo last changed, and the epoch seconds of the answer."""

    def is_off(self, entry: str, changed: Any, now: float) -> bool:
        """Whether the repo had no pipelines lately, and has not changed since."""
        then, at = self.off.get(entry, (None, -_AGAIN))
        return then == changed and now - at < _AGAIN


class Bitbucket(Provider):
    """Bitbucket Pipelines (Bitbucket Cloud).

    1000 requests an hour are allowed, and each repo costs one a poll.
    """

    entry_form = "workspace/repo or workspace/*"
    entry_pattern = r"[^/*]+/(?:[^/*]+|\*)"
    name_pattern: ClassVar[str] = (
        rf"(?:\{{?{_UUID}\}}?|[A-Za-z0-9_-]+)/(?!\.{{1,2}}\Z)[A-Za-z0-9_.-]{{1,100}}"
    )
    default_url = "https://api.bitbucket.org/2.0"
    sites: ClassVar[tuple[str, ...]] = ("bitbucket.org",)
    published_limits = (PublishedLimit(1000, 3600.0),)
    dialect = Dialect(scope_headers=("x-accepted-oauth-scopes",))
    rights = "the scopes `repository` and `pipeline` (read)"
    example_values: ClassVar[dict[str, Any]] = {
        "username": "ci-reader@acme.example",
        "interval": "5m",
        "repos": ["acme/shop", "acme/*"],
    }

    provider: Literal["bitbucket"]
    username: str | None = None
    """E-mail of the account that an API token belongs to; leave it out for access tokens."""

    _memo: Memo = PrivateAttr(default_factory=Memo)

    @property
    def consecutive_numbers(self) -> bool:
        """Build numbers count the pipelines of one repo."""
        return True

    def headers(self, token: str | None) -> dict[str, str]:
        """Basic for the API token of a user, else a bearer token."""
        if token is None:
            return {}
        if self.username is not None:
            return {"Authorization": basic(self.username, token)}
        return {"Authorization": f"Bearer {token}"}

    def identity(self, entry: str) -> str:
        """What `entry` names: in upper or lower case, an id with or without its braces."""
        return "/".join(part.strip("{}") for part in entry.lower().split("/"))

    def excludes(self, entry: str) -> bool:
        """Whether a glob of `exclude` matches, in upper or lower case."""
        return any(matches(glob.lower(), entry.lower()) for glob in self.exclude)

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        """The repos of a workspace whose pipelines are switched on."""
        workspace = pattern.partition("/")[0]
        wanted = "values.full_name,values.updated_on,values.mainbranch.name,next,size,pagelen"
        path = f"/repositories/{_quoted(workspace)}"
        found: list[Repo] = []
        pages = _pages(api, path, {"fields": wanted}, Listed)
        listed, error = await paging.readable(pages, what=path)
        for repo in listed:
            entry = f"{workspace}/{repo.full_name.rpartition('/')[2]}"
            excluded = self.excludes(entry)
            if not excluded and await self._has_pipelines(api, entry, repo.updated_on):
                found.append(Repo(entry, text(at(repo.mainbranch, "name"))))
        return Matches(found, error)

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """A page of the pipelines, newest first; the size is that of the page before, or less."""
        most = min(query.size, self._memo.sizes.most(repo.entry, api.now()))
        token = _TOKEN.fullmatch(query.token or f"1x{most}")
        if token is None:
            raise Malformed(f"{query.token!r} is no page of Bitbucket", reason="bad_shape")
        first, size = int(token[1]), int(token[2])

        async def ask(length: int, tries: int | None) -> tuple[int, int, Answer[Envelope]]:
            number = (first - 1) * size // length + 1
            # Without `sort` the oldest would come first; the minus sign is in no description.
            params: dict[str, str | int] = {"sort": "-created_on", "pagelen": length}
            path = f"{_path(repo.entry)}/pipelines"
            return (
                number,
                length,
                await api.get(path, params | {"page": number}, into=Envelope, tries=tries),
            )

        lengths = tuple(size // parts for parts in (1, 2, 4) if size % parts == 0)
        number, length, answer = await paging.bearable(ask, lengths)
        if length < size:
            self._memo.sizes.shrank(repo.entry, length, api.now())
        items, rejected = each(answer.body.values, Pipeline)
        builds = tuple(to_build(item, repo) for item in items)
        # Created earlier than wanted is the rest of the list too; what of it still runs is
        # known. Only a walk through a window may be the first one, which knows nothing yet.
        edge = query.since - (_LONG if query.deep else 0.0)
        oldest = reached((build.created_at for build in builds), default=edge)
        more = oldest >= edge and answer.body.continues(number, length)
        return Page(builds, f"{number + 1}x{length}" if more else None, rejected)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """The start, which only the steps tell, and the steps themselves."""
        path = f"{_path(repo.entry)}/pipelines/{_braced(build.native_id)}/steps"
        build = replace(build, partial=False)
        steps = await optional(paging.whole(_pages(api, path, {}, Step), what=path))
        if steps is None:
            return build
        jobs = tuple(to_job(step, build) for step in apart(steps))
        build = filled(build, jobs)
        return replace(build, jobs=jobs) if self.jobs else build

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The single pipeline, and its steps if they are wanted or needed."""
        path = f"{_path(repo.entry)}/pipelines/{_braced(known.native_id)}"
        build = to_build((await api.get(path, into=Pipeline)).body, repo)
        wants = build.partial or self.jobs
        return await self.detail(api, repo, build, known) if wants else build

    async def _has_pipelines(self, api: Api, entry: str, changed: Any) -> bool:
        """Whether the repo uses Pipelines; where that cannot be told, it does.

        One repo that fails hides none of the others.
        """
        memo, now = self._memo, api.now()
        if entry in memo.on:
            return True
        if memo.is_off(entry, changed, now):
            return False
        try:
            config = await api.get(f"{_path(entry)}/pipelines_config", into=dict[str, Any])
        except ProviderError as error:
            if error.account_wide:
                raise
            enabled, is_sure = not isinstance(error, Gone), isinstance(error, Gone | Refused)
        else:
            enabled, is_sure = config.body.get("enabled") is not False, True
        if enabled and is_sure:
            memo.on.add(entry)
        elif not enabled:
            memo.off[entry] = (changed, now)
        return enabled


def _path(entry: str) -> str:
    workspace, _, slug = entry.partition("/")
    return f"/repositories/{_quoted(workspace)}/{_quoted(slug)}"


def _quoted(name: str) -> str:
    """A name or an id as a part of a path; ids have braces, which people leave out."""
    return quote(f"{{{name}}}" if re.fullmatch(_UUID, name) else name, safe="")


def _braced(uuid: str) -> str:
    return quote(f"{{{uuid}}}", safe="")


def _pages(api: Api, path: str, params: Mapping[str, str | int], into: type[T]) -> paging.Fetch[T]:
    """How the pages of a list are asked for; items that cannot be understood are left out."""
    last: list[bytes] = []

    async def fetch(size: int, token: str | None, tries: int | None) -> tuple[list[T], str | None]:
        nonlocal last
        page = int(token or 1)
        query = {**params, "pagelen": size, "page": page}
        body = (await api.get(path, query, into=Envelope, tries=tries)).body
        before, last = last, [bytes(raw) for raw in body.values]
        if page > 1 and last == before:  # pages are not told apart here
            return [], None
        more = str(page + 1) if body.continues(page, size) else None
        return each(body.values, into)[0], more

    return fetch


PROVIDER = Bitbucket
