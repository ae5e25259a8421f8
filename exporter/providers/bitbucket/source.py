"""How builds are read from Bitbucket."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from exporter.errors import Gone, Malformed, ProviderError, Refused
from exporter.http import Answer, Api
from exporter.model import Build
from exporter.payload import at, each, reached, text, whole
from exporter.providers import (
    Matches,
    Page,
    Provider,
    Query,
    Repo,
    Source,
    optional,
    paging,
    tried,
)
from exporter.providers.bitbucket.cache import PipelineSwitches
from exporter.providers.bitbucket.mapping import (
    Pipeline,
    Step,
    apart,
    braced,
    filled,
    to_build,
    to_job,
)

T = TypeVar("T")

_TOKEN = re.compile(r"([1-9]\d{0,8})x([1-9]\d{0,2})")
_LONG = 6 * 3600.0
"""Seconds that a build may take and still be found by the first walk when it ends in time."""


class PagedValues(msgspec.Struct, frozen=True):
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


class ListedRepo(msgspec.Struct, frozen=True):
    """What is read of a repository."""

    full_name: str
    updated_on: Any = None
    mainbranch: Any = None


class BitbucketSource(Source[Provider]):
    """Reads the builds of one account."""

    def __init__(self, account: Provider, api: Api) -> None:
        super().__init__(account, api)
        self._sizes = paging.Sizes()
        self._switches = PipelineSwitches()

    async def discover(self, pattern: str) -> list[Repo]:
        """The repos of a workspace whose pipelines are switched on."""
        workspace = pattern.partition("/")[0]
        wanted = "values.full_name,values.updated_on,values.mainbranch.name,next,size,pagelen"
        path = f"/repositories/{_quoted(workspace)}"
        found: list[Repo] = []
        pages = _pages(self.api, path, {"fields": wanted}, ListedRepo)
        listed, error = await paging.readable(pages, what=path)
        for repo in listed:
            entry = f"{workspace}/{repo.full_name.rpartition('/')[2]}"
            excluded = self.account.excludes(entry)
            if not excluded and await self._has_pipelines(entry, repo.updated_on):
                found.append(Repo(entry, text(at(repo.mainbranch, "name"))))
        return Matches(found, error)

    async def page(self, repo: Repo, query: Query) -> Page:
        """A page of the pipelines, newest first; the size is that of the page before, or less."""
        most = min(query.size, self._sizes.most(repo.entry, self.api.now()))
        token = _TOKEN.fullmatch(query.token or f"1x{most}")
        if token is None:
            raise Malformed(f"{query.token!r} is no page of Bitbucket", reason="bad_shape")
        first, size = int(token[1]), int(token[2])

        async def ask(length: int, tries: int | None) -> tuple[int, int, Answer[PagedValues]]:
            number = (first - 1) * size // length + 1
            # Without `sort` the oldest would come first; the minus sign is in no description.
            params: dict[str, str | int] = {"sort": "-created_on", "pagelen": length}
            path = f"{_path(repo.entry)}/pipelines"
            return (
                number,
                length,
                await self.api.get(path, params | {"page": number}, into=PagedValues, tries=tries),
            )

        lengths = tuple(size // parts for parts in (1, 2, 4) if size % parts == 0)
        number, length, answer = await paging.bearable(ask, lengths)
        if length < size:
            self._sizes.shrank(repo.entry, length, self.api.now())
        items, rejected = each(answer.body.values, Pipeline)
        builds = tuple(to_build(item, repo, self.site) for item in items)
        # Created earlier than wanted is the rest of the list too; what of it still runs is
        # known. Only a walk through a window may be the first one, which knows nothing yet.
        edge = query.since - (_LONG if query.deep else 0.0)
        oldest = reached((build.created_at for build in builds), default=edge)
        more = oldest >= edge and answer.body.continues(number, length)
        return Page(builds, f"{number + 1}x{length}" if more else None, rejected)

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """The start, which only the steps tell, and the steps themselves."""
        path = f"{_path(repo.entry)}/pipelines/{_braced(build.native_id)}/steps"
        build = replace(build, partial=False)
        steps = await optional(paging.whole(_pages(self.api, path, {}, Step), what=path))
        if steps is None:
            return build
        jobs = tuple(to_job(step, build, self.site) for step in apart(steps))
        build = filled(build, jobs)
        return replace(build, jobs=jobs) if self.account.jobs else build

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """The single pipeline, and its steps if they are wanted or needed."""
        path = f"{_path(repo.entry)}/pipelines/{_braced(known.native_id)}"
        build = to_build((await self.api.get(path, into=Pipeline)).body, repo, self.site)
        wants = build.partial or self.account.jobs
        return await self.detail(repo, build, known) if wants else build

    async def _has_pipelines(self, entry: str, changed: Any) -> bool:
        """Whether the repo uses Pipelines; true if that cannot be found out.

        One repo that fails hides none of the others.
        """
        now = self.api.now()
        known = self._switches.known(entry, changed, now)
        if known is not None:
            return known
        path = f"{_path(entry)}/pipelines_config"
        config = await tried(self.api.get(path, into=dict[str, Any]))
        if isinstance(config, ProviderError):
            enabled, is_sure = not isinstance(config, Gone), isinstance(config, Gone | Refused)
        else:
            enabled, is_sure = config.body.get("enabled") is not False, True
        if enabled and is_sure:
            self._switches.note_on(entry)
        elif not enabled:
            self._switches.note_off(entry, changed, now)
        return enabled


def _path(entry: str) -> str:
    workspace, _, slug = entry.partition("/")
    return f"/repositories/{_quoted(workspace)}/{_quoted(slug)}"


def _quoted(name: str) -> str:
    """A name or an id as a part of a path."""
    return quote(braced(name), safe="")


def _braced(uuid: str) -> str:
    return quote(f"{{{uuid}}}", safe="")


def _pages(api: Api, path: str, params: Mapping[str, str | int], into: type[T]) -> paging.Fetch[T]:
    """How the pages of a list are asked for; items that cannot be understood are left out."""
    repeats = paging.Repeats()

    async def fetch(size: int, token: str | None, tries: int | None) -> tuple[list[T], str | None]:
        page = int(token or 1)
        query = {**params, "pagelen": size, "page": page}
        body = (await api.get(path, query, into=PagedValues, tries=tries)).body
        if repeats.again(body.values, token):
            return [], None
        more = str(page + 1) if body.continues(page, size) else None
        return each(body.values, into)[0], more

    return fetch
