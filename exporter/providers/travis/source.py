"""How builds are read from Travis."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from exporter.errors import Malformed
from exporter.http import Api
from exporter.model import Build
from exporter.payload import at, each, text, whole
from exporter.providers import Matches, Page, Provider, Query, Repo, Source, paging
from exporter.providers.travis.cache import RunsSeen
from exporter.providers.travis.mapping import BuildItem, to_build

_LIMIT = 100


class RepoItem(msgspec.Struct, frozen=True):
    """What is read of a repository."""

    slug: str
    active: Any = None
    default_branch: Any = None


class PaginatedAnswer(msgspec.Struct, frozen=True):
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


class TravisSource(Source[Provider]):
    """Reads the builds of one account."""

    def __init__(self, account: Provider, api: Api) -> None:
        super().__init__(account, api)
        self._seen = RunsSeen()

    async def discover(self, pattern: str) -> list[Repo]:
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
            listing = (await self.api.get(path, params, into=PaginatedAnswer, tries=tries)).body
            raws = _present(listing.repositories)
            following = listing.next(offset, len(raws), size)
            return each(raws, RepoItem)[0], None if following is None else str(following)

        listed, error = await paging.readable(fetch, what=f"the repos of {owner}")
        repos = (
            Repo(item.slug, text(at(item.default_branch, "name")))
            for item in listed
            if item.active is not False and not self.account.excludes(item.slug)
        )
        return Matches(repos, error)

    async def page(self, repo: Repo, query: Query) -> Page:
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
        listing = (await self.api.get(path, params, into=PaginatedAnswer)).body
        raws = _present(listing.builds)
        items, rejected = each(raws, BuildItem)
        builds = tuple(
            map(self._noted, paging.dated(to_build(item, repo, self.site) for item in items))
        )
        following = listing.next(offset, len(raws), limit)
        return Page(builds, None if following is None else str(following), rejected)

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """The list has said it all, jobs included."""
        return build

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """The single build, unless a list has shown a later run of it already."""
        successor = self._seen.successor(known)
        if successor is not None:
            return successor
        params = {"include": "build.jobs"}
        answer = await self.api.get(
            f"/build/{quote(known.native_id, safe='')}", params, into=BuildItem
        )
        return self._noted(to_build(answer.body, repo, self.site))

    def _noted(self, build: Build) -> Build:
        return self._seen.read(build if self.account.jobs else replace(build, jobs=()))


def _present(items: list[msgspec.Raw] | None) -> list[msgspec.Raw]:
    if items is None:
        raise Malformed("the answer has no list", reason="bad_shape")
    return items
