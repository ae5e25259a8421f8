"""How builds are read from CircleCI."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from exporter.errors import Gone, ProviderError, TryLater
from exporter.http import Api
from exporter.model import Build, Status
from exporter.payload import each, moment, reached, text, word
from exporter.providers import (
    Page,
    Provider,
    Query,
    Repo,
    Source,
    Unread,
    by_part,
    optional,
    paging,
)
from exporter.providers.circleci.cache import PipelineReads
from exporter.providers.circleci.mapping import (
    PATIENCE,
    Listed,
    Pipeline,
    Workflow,
    is_carried_over,
    to_builds,
    with_jobs,
    with_workflow,
    working,
)

T = TypeVar("T")

_LONG = 6 * 3600.0
"""Seconds that a build may take and still be found by the first walk when it ends in time."""
_TOGETHER = 60.0
"""Seconds in which all workflows of a configuration are created for sure."""
_GIVEN_UP = 7 * 86400.0
"""Seconds after which a pipeline that cannot be read is not asked for any more."""
_PAGE = 20
"""Items of every page; no parameter changes it."""
_LATER = TryLater("it failed, and is asked for again later, as many others are", reason="server")


class PagedItems(msgspec.Struct, frozen=True):
    """A page of any list."""

    items: list[msgspec.Raw]
    next_page_token: Any = None


class CircleCISource(Source[Provider]):
    """Reads the builds of one account."""

    def __init__(self, account: Provider, api: Api) -> None:
        super().__init__(account, api)
        self._reads = PipelineReads()

    async def page(self, repo: Repo, query: Query) -> Page:
        """The workflows of a page of pipelines, newest pipeline first.

        Left out are those of pipelines that had ended when they were last read, unless
        their window is read again, and of pipelines older than what is wanted. A pipeline
        that could not be read is asked for until it can be, wherever the list has it, or has
        failed for a week.
        """
        params = {} if query.token is None else {"page-token": query.token}
        path = f"/project/{quote(repo.entry, safe='')}/pipeline"
        body = (await self.api.get(path, params, into=PagedItems)).body
        pipelines, rejected = each(body.items, Pipeline)
        deep = query.deep
        # Only a walk through a window may be the first one, which knows nothing yet.
        edge = query.since - (_LONG if deep else 0.0)
        behind = self._behind(query, now=self.api.now())
        asked: dict[str, Pipeline | None] = {
            p.id: p
            for p in pipelines
            if p.id in behind or self._is_wanted(p, query.since, edge, deep=deep)
        }
        if query.token is None:
            asked |= dict.fromkeys(behind - {p.id for p in pipelines})
        calls: dict[str, Awaitable[Page]] = {}
        unread: list[Unread] = []
        for part, item in sorted(asked.items(), key=lambda each: self._reads.asked_at(each[0])):
            error = self._reads.failure(part, self.api.now())
            if error is None and item is None and len(calls) >= 2 * _PAGE:
                error = _LATER
            if error is not None:
                unread.append(Unread(part, error))
                continue
            tries = 1 if part in behind else 2
            calls[part] = self._workflows(repo, part, item, tries=tries)
        found = list((await by_part(calls))[0].values())
        oldest = reached((moment(p.created_at) for p in pipelines), default=edge)
        more = bool(pipelines) and oldest >= edge
        return paging.bounded(
            Page(
                builds=tuple(build for page in found for build in page.builds),
                next=text(body.next_page_token) if more else None,
                rejected=rejected + sum(page.rejected for page in found),
                unread=(*unread, *(part for page in found for part in page.unread)),
            )
        )

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """The start, which only the jobs tell, the end where it is missing, and the jobs."""
        build = replace(build, partial=False)
        if not build.native_id:
            return build
        path = f"/workflow/{quote(build.native_id, safe='')}/job"
        found = await optional(_all(self.api, path, Listed))
        if found is None:
            return build
        mine = [item for item in found[0] if not is_carried_over(item, build)]
        build = with_jobs(build, mine, now=self.api.now())
        return build if self.account.jobs else replace(build, jobs=())

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """The single workflow, and its jobs if they are wanted or needed.

        Those of a re-run are, as it may be said to run long after all of them have ended.
        """
        path = f"/workflow/{quote(known.native_id, safe='')}"
        item = (await self.api.get(path, into=Workflow)).body
        words = tuple(unknown for unknown in known.unmapped if unknown.field == "trigger")
        build = with_workflow(replace(known, unmapped=words, jobs=()), item)
        wants = build.partial or self.account.jobs or build.attempt > 1
        return await self.detail(repo, build, known) if wants else build

    def _behind(self, query: Query, *, now: float) -> set[str]:
        """The pipelines that could not be read and have not failed for too long."""
        return {part for part, since in query.behind.items() if since >= now - _GIVEN_UP}

    def _is_wanted(self, item: Pipeline, since: float, edge: float, *, deep: bool) -> bool:
        """Whether a pipeline may have workflows that are news."""
        created = moment(item.created_at)
        if created is None or created >= since:
            return deep or item.id not in self._reads
        return created >= edge and item.id not in self._reads

    async def _workflows(
        self, repo: Repo, part: str, item: Pipeline | None, *, tries: int | None
    ) -> Page:
        """The workflows of one pipeline; itself, if it came to nothing.

        `item` is the pipeline as the list has it, None if it is on another page by now. A
        failure is its own: the list has answered.
        """
        path = f"/pipeline/{quote(part, safe='')}"
        try:
            if item is None:
                try:
                    item = (await self.api.get(path, into=Pipeline, tries=tries)).body
                except Gone:
                    return Page(())  # deleted, so nothing is left to be read
            workflows, rejected = await _all(self.api, f"{path}/workflow", Workflow, tries=tries)
        except ProviderError as error:
            if error.account_wide:
                raise
            self._reads.fails(part, error, self.api.now())
            return Page((), unread=(Unread(part, error),))
        builds = to_builds(item, workflows, repo, self.site)
        age = self.api.now() - (moment(item.created_at) or 0.0)
        begun = word(item.state) == "errored" or any(working(workflows))
        settled = age > (_TOGETHER if begun else PATIENCE)
        ended = all(build.status is Status.COMPLETED for build in builds)
        self._reads.note(item.id, done=settled and ended and not rejected)
        return Page(builds, rejected=rejected)


async def _all(
    api: Api, path: str, into: type[T], *, tries: int | None = None
) -> tuple[list[T], int]:
    """The items of all pages of a list, and how many could not be understood."""
    rejected = 0
    repeats = paging.Repeats()

    async def fetch(_: int, token: str | None, __: int | None) -> tuple[list[T], str | None]:
        nonlocal rejected
        params = {} if token is None else {"page-token": token}
        body = (await api.get(path, params, into=PagedItems, tries=tries)).body
        if repeats.again(body.items, token):
            return [], None
        items, odd = each(body.items, into)
        rejected += odd
        return items, text(body.next_page_token)

    return await paging.whole(fetch, what=path, sizes=(_PAGE,)), rejected
