"""How builds are read from Buddy."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from exporter.errors import Gone, Malformed
from exporter.http import Api
from exporter.model import Build, Status
from exporter.model.summary import summary
from exporter.payload import each, reached, text, whole, word
from exporter.providers import Page, Provider, Query, Repo, Source, by_part, optional
from exporter.providers.bounded import Bounded
from exporter.providers.buddy.mapping import (
    NEVER_RAN,
    Action,
    Envelope,
    Execution,
    Pipeline,
    PipelinePath,
    Project,
    asked_at,
    key_of,
    labels,
    path_of,
    to_build,
    to_job,
)
from exporter.providers.buddy.vocabulary import WORDS
from exporter.providers.marks import Marks
from exporter.providers.paging import Repeats, bearable
from exporter.providers.paging import whole as whole_list

T = TypeVar("T")

_TOKEN = re.compile(r"([1-9]\d{0,8})x([1-9]\d{0,2}):([^:,/]+(?:,[^:,/]+)*)")
_PAGE = 100
_MOST_ENTRIES = 10_000
_SMALLEST = 20
"""Items of a page by default: a shorter one is the last, where none says how many there are."""
_LONG = 6 * 3600.0
"""Seconds that a build may take and still be found by the first walk when it ends in time."""


class PageAsked(NamedTuple):
    """Which page, and of how many items."""

    number: int
    size: int


class PipelinePage(NamedTuple):
    """A page of one pipeline's executions, and whether there is another one to be read."""

    builds: tuple[Build, ...] = ()
    goes_on: bool = False
    rejected: int = 0


class BuddySource(Source[Provider]):
    """Reads the builds of one account."""

    def __init__(self, account: Provider, api: Api) -> None:
        super().__init__(account, api)
        self._listed: Bounded[str, list[Pipeline]] = Bounded(_MOST_ENTRIES)
        """The pipelines of each entry, as last listed."""
        self._marks: Marks[tuple[str | None, str | None]] = Marks()
        """How pipelines looked when all of their news had been read."""

    async def discover(self, pattern: str) -> list[Repo]:
        """The active projects of a workspace."""
        workspace = path_of(pattern).workspace
        path = f"/workspaces/{quote(workspace, safe='')}/projects"
        projects = await _all(self.api, path, "projects", Project)
        active = (p.name for p in projects if word(p.status) in (None, "active"))
        entries = (f"{workspace}/{name}" for name in active)
        return [Repo(e) for e in entries if not self.account.excludes(e)]

    async def page(self, repo: Repo, query: Query) -> Page:
        """The page of that number of each pipeline that may have so many news.

        Only the first page asks which pipelines there are; the token names those that go on.
        """
        place = path_of(repo.entry)
        pipelines = self._listed.get(repo.entry)
        is_first = query.token is None
        if is_first or pipelines is None:
            pipelines = await self._pipelines(place)
            self._listed[repo.entry] = pipelines
        if query.token is None:
            number, size = 1, min(query.size, _PAGE)
            wanted = {str(p.id): p for p in pipelines if self._is_wanted(place, p, query)}
        else:
            token = _TOKEN.fullmatch(query.token)
            if token is None:
                raise Malformed(f"{query.token!r} is no page of Buddy", reason="bad_shape")
            number, size, ids = int(token[1]), int(token[2]), set(token[3].split(","))
            wanted = {str(p.id): p for p in pipelines if str(p.id) in ids}
        for one, item in wanted.items() if is_first else ():
            self._marks.note(key_of(place, one), item.look, query)
        # What is left alone could be read the last time: then not all of the project fails.
        may_fail = not (is_first and len(wanted) == len(pipelines))
        calls = {
            one: self._executions(repo, item, PageAsked(number, size), query)
            for one, item in wanted.items()
        }
        parts, unread = await by_part(calls, all_may_fail=may_fail)
        for part in unread:
            self._marks.forget(key_of(place, part.part))
        more = [one for one, part in parts.items() if part.goes_on]
        builds = (build for part in parts.values() for build in part.builds)
        return Page(
            tuple(sorted(builds, key=asked_at, reverse=True)),
            f"{number + 1}x{size}:{','.join(more)}" if more else None,
            sum(part.rejected for part in parts.values()),
            unread,
        )

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """The actions, and an end that the list lacks."""
        return await optional(self._single(repo, build)) or replace(build, partial=False)

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """The single execution, which lists its actions."""
        return await self._single(repo, known)

    async def _single(self, repo: Repo, known: Build) -> Build:
        pipeline, _, execution = known.native_id.partition("/")
        path = f"{path_of(repo.entry).path}/{quote(pipeline, safe='')}/executions"
        item = (await self.api.get(f"{path}/{quote(execution, safe='')}", into=Execution)).body
        build = to_build(item, Pipeline(pipeline, name=known.workflow), repo, self.site)
        actions = each(item.action_executions or (), Action)[0]
        mapped = (to_job(action, build, self.site) for action in actions)
        jobs = tuple(job for job in mapped if job is not None)
        if build.status is Status.COMPLETED and build.completed_at is None:
            build = replace(build, completed_at=summary(jobs).ended)
        return replace(build, jobs=jobs if self.account.jobs else (), partial=False)

    async def _pipelines(self, place: PipelinePath) -> list[Pipeline]:
        """The pipelines of a project, or the one that the entry names."""
        listed = await _all(self.api, place.path, "pipelines", Pipeline)
        names = labels(listed)
        listed = [replace(p, label=names[str(p.id)]) for p in listed]
        if not place.pipeline:
            return listed
        named = [p for p in listed if place.pipeline in (text(p.name), str(p.id), p.label)]
        if not named:
            what = f"{place.workspace}/{place.project}: no pipeline is named {place.pipeline!r}"
            raise Gone(what, reason="not_found")
        return named

    def _is_wanted(self, place: PipelinePath, item: Pipeline, query: Query) -> bool:
        """Whether the pipeline runs, looks different, or is read again whatever it looks like."""
        last, _ = item.look
        if str(item.id) in query.behind:
            return True
        same = self._marks.seen(key_of(place, item.id), query) == item.look
        return last != NEVER_RAN and (query.deep or last in WORDS.status or not same)

    async def _executions(
        self, repo: Repo, item: Pipeline, wanted: PageAsked, query: Query
    ) -> PipelinePage:
        """One page of the executions of one pipeline; in parts where that is too much."""
        path = f"{path_of(repo.entry).path}/{quote(str(item.id), safe='')}/executions"
        behind = str(item.id) in query.behind
        number, size = wanted
        few = size // 5 if size % 5 == 0 else size

        async def ask(size_asked: int, tries: int | None) -> tuple[list[msgspec.Raw], bool]:
            raws: list[msgspec.Raw] = []
            each_has = size // size_asked
            more = True
            for page in range((number - 1) * each_has + 1, number * each_has + 1):
                params = {"page": page, "per_page": size_asked}
                tried = 1 if behind else tries
                body = (await self.api.get(path, params, into=Envelope, tries=tried)).body
                listed = _listed(body, "executions", path)
                raws += listed
                more = _continues(body, page, len(listed))
                if not more:
                    break
            return raws, more

        raws, more = await bearable(ask, tuple(dict.fromkeys((size, few))))
        items, rejected = each(raws, Execution)
        builds = tuple(to_build(execution, item, repo, self.site) for execution in items)
        reaches_back = query.deep or behind
        edge = query.since_for(str(item.id)) - (_LONG if reaches_back else 0.0)
        known = more and reached(map(asked_at, builds), default=edge) < edge
        return PipelinePage(builds, more and not known, rejected)


def _listed(body: Envelope, field: str, path: str) -> list[msgspec.Raw]:
    found: list[msgspec.Raw] | None = getattr(body, field)
    if found is None:
        raise Malformed(f"{path}: the answer holds no {field}", reason="bad_shape")
    return found


def _continues(body: Envelope, number: int, items: int) -> bool:
    pages = whole(body.total_page_count)
    return items >= _SMALLEST if pages is None else number < pages


async def _all(api: Api, path: str, field: str, into: type[T]) -> list[T]:
    """The items of all pages of a list, without those that cannot be understood."""
    repeats = Repeats()

    async def fetch(size: int, token: str | None, tries: int | None) -> tuple[list[T], str | None]:
        number = 1 if token is None else int(token)
        params = {"page": number, "per_page": size}
        body = (await api.get(path, params, into=Envelope, tries=tries)).body
        raws = _listed(body, field, path)
        if repeats.again(raws, token):
            return [], None
        following = str(number + 1) if _continues(body, number, len(raws)) else None
        return each(raws, into)[0], following

    return await whole_list(fetch, what=path)
