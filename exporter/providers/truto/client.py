"""The calls of the unified API that builds and jobs need: paths, parameters, pages."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import quote

from exporter.errors import Malformed
from exporter.http import Api
from exporter.model import Build
from exporter.providers import Query
from exporter.providers.truto.integration import Integration, Scope
from exporter.providers.truto.payload import Envelope, Listing, Place, Run, listing

T = TypeVar("T")

_UNIFIED = "/unified/ci-cd"
_MOST_JOB_PAGES = 100
_MOST_PLACE_PAGES = 1000
_PAGE = 100

Params = dict[str, str | int]


async def pages(
    api: Api, path: str, params: Params, into: type[T], *, most: int = _MOST_JOB_PAGES
) -> Listing[T]:
    """All pages of a list as one; `next` is then None.

    An empty page may have a successor. Raises Malformed when a cursor comes twice or
    there are more pages than `most`: such a list has no end.
    """
    first = await page(api, path, params, into)
    items, rejected, count = first.items, first.rejected, 1
    cursor, seen = first.next, set[str]()
    while cursor is not None:
        if cursor in seen or count >= most:
            raise Malformed(f"the pages of {path} do not end", reason="bad_shape")
        seen.add(cursor)
        more = await page(api, path, {**params, "next_cursor": cursor}, into)
        items, rejected, count = items + more.items, rejected + more.rejected, count + 1
        cursor = more.next
    return Listing(items, rejected=rejected, pages=count)


async def page(api: Api, path: str, params: Params, into: type[T]) -> Listing[T]:
    """One page of a list."""
    return listing((await api.get(path, params, into=Envelope)).body, into)


class Client:
    """The unified API as one integrated account sees it."""

    def __init__(self, api: Api, how: Integration, account: str) -> None:
        self._api = api
        self._how = how
        self._account = account

    async def builds(self, entry: str, query: Query) -> Listing[Run]:
        """One page of `GET /unified/ci-cd/builds`."""
        params = self._scoped(self._how.builds, entry, bare="builds")
        return await self._page("builds", params, query)

    async def build(self, entry: str, build: Build) -> Run:
        """`GET /unified/ci-cd/builds/{id}`: the bare object.

        Its page leaves out parameters that some systems cannot do without, so the
        list's are sent. Raises Gone if it is not there.
        """
        params = self._scoped(self._how.builds, entry, bare="builds")
        return await self._single("builds", build.native_id, params)

    async def loose_jobs(self, entry: str, query: Query) -> Listing[Run]:
        """One page of `GET /unified/ci-cd/jobs` where there are no builds (Buddy)."""
        return await self._page("jobs", self._scoped(self._how.jobs, entry, bare="jobs"), query)

    async def jobs(self, entry: str, build: Build) -> Listing[Run]:
        """`GET /unified/ci-cd/jobs` for one build, all pages."""
        params = self._scoped(self._how.jobs, entry, build.native_id, bare="jobs")
        return await pages(self._api, f"{_UNIFIED}/jobs", {**params, "limit": _PAGE}, Run)

    async def job(self, entry: str, build: Build, job_id: str) -> Run:
        """`GET /unified/ci-cd/jobs/{id}`: the bare object. Raises Gone if it is not there."""
        params = self._scoped(self._how.job, entry, build.native_id, bare="jobs")
        return await self._single("jobs", job_id, params)

    async def places(self, resource: str, scope: dict[str, str]) -> list[Place]:
        """All of `GET /unified/ci-cd/{repos,workspaces,workflow}`."""
        params: Params = {"integrated_account_id": self._account, **scope, "limit": _PAGE}
        found = await pages(
            self._api, f"{_UNIFIED}/{resource}", params, Place, most=_MOST_PLACE_PAGES
        )
        return found.items

    def _scoped(self, scope: Scope | None, entry: str, build_id: str = "", *, bare: str) -> Params:
        params: Params = {"integrated_account_id": self._account}
        if scope is not None:
            params |= scope(entry, build_id)
        if bare in self._how.bare:
            params["truto_ignore_remote_data"] = "true"
        return params

    async def _page(self, resource: str, params: Params, query: Query) -> Listing[Run]:
        params["limit"] = query.size
        if query.token is not None:
            params["next_cursor"] = query.token
        return await page(self._api, f"{_UNIFIED}/{resource}", params, Run)

    async def _single(self, resource: str, native_id: str, params: Params) -> Run:
        path = f"{_UNIFIED}/{resource}/{quote(native_id, safe='')}"
        return (await self._api.get(path, params, into=Run)).body
