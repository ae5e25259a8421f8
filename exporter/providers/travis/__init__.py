"""Travis CI.

Token: Settings, API authentication, Copy token, or `travis token` of the command line client. It
has no scopes and may do what its user may, so make a user for it who can only see these repos.
Public repos need none.

Requests: one per repo and poll, jobs included; a new build costs none besides. A build that is
older than the first page and still runs costs one each poll. Discovery costs one for each 100
repos.

Limits: 2000 requests a minute, 500 without a token.

Self-hosted: Travis CI Enterprise, with `url: https://HOST/api`.

Known: duration, queue (the build itself has no creation time: it is that of its first job),
trigger, jobs. A job is named by its stage and its place in the build; a job of a later stage is
queued from the end of the stage before, as all jobs are created with the build.

Unknown: the names that people gave jobs, which only the configuration has; whether the button or
the API started a build; how many restarts there were.

A restart uses the same id again, wipes start and end and is numbered nowhere. So a run is known by
its id and its start: each restart has a key of its own, which every later reading finds again, also
in another process. A first run that has not started, or never did, has a key without a start, which
stands for the run that is known of this id, if there is one. A restart that has not started has the
time when it was ordered (`restarted_at` of a job) in place of the start. That a run is a restart
(attempt 2, no queue time) is told by that time or, where an older API has none, by an earlier start
that this process has seen; which restart it is nobody tells. Of a restart that came and went
between two polls only the last run is left to see.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import Malformed
from exporter.http import Api, PublishedLimit
from exporter.model import Build, Status
from exporter.payload import at, each, text, whole
from exporter.providers import Incidental, Matches, Page, Provider, Query, Repo, paging
from exporter.providers.travis.mapping import BuildItem, to_build
from exporter.providers.travis.stages import queued_by_stage
from exporter.providers.travis.vocabulary import NAME, WORDS

__all__ = ["NAME", "PROVIDER", "WORDS", "Travis", "queued_by_stage"]

T = TypeVar("T")

_LIMIT = 100
_MOST_BUILDS = 20_000


class RepoItem(msgspec.Struct, frozen=True):
    """What is read of a repository."""

    slug: str
    active: Any = None
    default_branch: Any = None


class Listing(msgspec.Struct, frozen=True):
    """A list answer: builds or repositories, and where the list goes on."""

    builds: list[msgspec.Raw] | None = None
    repositories: list[msgspec.Raw] | None = None
    pagination: Any = msgspec.field(name="@pagination", default=None)

    def next(self, offset: int, count: int, limit: int) -> int | None:
        """The offset of the page after this one, which has `count` of at most `limit` items.

        The API names it: some installations count from the last id instead of the first item.
        """
        if not isinstance(self.pagination, dict):
            return offset + count if count >= limit else None
        return whole(at(self.pagination, "next.offset"))


class Memo(Incidental):
    """What was read of each build before. Lasts as long as the configuration."""

    def __init__(self) -> None:
        self._last: dict[str, Build] = {}
        self._first: dict[str, float] = {}

    def successor(self, known: Build) -> Build | None:
        """The run that a list has shown in place of the one that is known."""
        last = self._last.get(known.native_id)
        return None if last is None or last.key == known.key else last

    def read(self, build: Build) -> Build:
        """Note a build; it is given back as a restart if an earlier run of it was seen.

        Only a completed one is: while it runs, its attempt must be what the answer alone
        says, as the process that sees it complete may be another.
        """
        start = build.started_at
        first = self._first.get(build.native_id)
        if first is None and start is not None:
            _keep(self._first, build.native_id, start)
        is_later = first is not None and start is not None and first < start
        if is_later and build.status is Status.COMPLETED and build.attempt == 1:
            build = replace(build, attempt=2, created_at=None)
        _keep(self._last, build.native_id, build)
        return build


def _keep(notes: dict[str, T], key: str, value: T) -> None:
    notes.pop(key, None)
    notes[key] = value
    if len(notes) > _MOST_BUILDS:
        del notes[next(iter(notes))]


class Travis(Provider):
    """Travis CI (travis-ci.com and Enterprise)."""

    entry_form = "owner/repo or owner/*"
    entry_pattern = r"[^/*\s]+/(?:[^/*\s]+|\*)"
    name_pattern: ClassVar[str] = NAME
    default_url = "https://api.travis-ci.com"
    sites: ClassVar[tuple[str, ...]] = (
        "travis-ci.com",
        ".travis-ci.com",
        "travis-ci.org",
        ".travis-ci.org",
    )
    published_limits = (PublishedLimit(2000, 60.0),)
    anonymous = True
    rights = "the API token of a user who may see the repo"
    example_values: ClassVar[dict[str, Any]] = {"repos": ["acme/shop", "acme/*"]}

    provider: Literal["travis"]

    _memo: Memo = PrivateAttr(default_factory=Memo)

    def headers(self, token: str | None) -> dict[str, str]:
        """The version of the API is a header too."""
        version = {"Travis-API-Version": "3"}
        return version if token is None else {**version, "Authorization": f"token {token}"}

    def identity(self, entry: str) -> str:
        """Owners and repos are the same in upper and lower case."""
        return entry.casefold()

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        """The owner's repos that are switched on."""
        owner = quote(pattern.partition("/")[0], safe="")

        async def fetch(
            size: int, token: str | None, tries: int | None
        ) -> tuple[list[RepoItem], str | None]:
            offset = int(token or 0)
            params: dict[str, str | int] = {
                "repository.active": "true",
                "sort_by": "id",
                "limit": size,
                "offset": offset,
            }
            path = f"/owner/{owner}/repos"
            listing = (await api.get(path, params, into=Listing, tries=tries)).body
            raws = _present(listing.repositories)
            following = listing.next(offset, len(raws), size)
            return each(raws, RepoItem)[0], None if following is None else str(following)

        listed, error = await paging.readable(fetch, what=f"the repos of {owner}")
        repos = (
            Repo(item.slug, text(at(item.default_branch, "name")))
            for item in listed
            if item.active is not False and not self.excludes(item.slug)
        )
        return Matches(repos, error)

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """A page of the builds with their jobs, newest first."""
        offset = whole(query.token or 0)
        if offset is None:
            raise Malformed(f"{query.token!r} is no page of Travis CI", reason="bad_shape")
        limit = min(query.size, _LIMIT)
        params: dict[str, str | int] = {
            "limit": limit,
            "offset": offset,
            "sort_by": "id:desc",
            "include": "build.jobs",
        }
        path = f"/repo/{quote(repo.entry, safe='')}/builds"
        listing = (await api.get(path, params, into=Listing)).body
        raws = _present(listing.builds)
        items, rejected = each(raws, BuildItem)
        builds = tuple(map(self._noted, paging.dated(to_build(item, repo) for item in items)))
        following = listing.next(offset, len(raws), limit)
        return Page(builds, None if following is None else str(following), rejected)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """The list has said it all, jobs included."""
        return build

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The single build, unless a list has shown a later run of it already."""
        successor = self._memo.successor(known)
        if successor is not None:
            return successor
        params = {"include": "build.jobs"}
        answer = await api.get(f"/build/{quote(known.native_id, safe='')}", params, into=BuildItem)
        return self._noted(to_build(answer.body, repo))

    def _noted(self, build: Build) -> Build:
        return self._memo.read(build if self.jobs else replace(build, jobs=()))


def _present(items: list[msgspec.Raw] | None) -> list[msgspec.Raw]:
    if items is None:
        raise Malformed("the answer has no list", reason="bad_shape")
    return items


PROVIDER = Travis
