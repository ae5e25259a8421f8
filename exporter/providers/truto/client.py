"""The calls of the unified API that builds and jobs need: paths, parameters, pages."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import quote

from exporter.http import Api
from exporter.model import Build
from exporter.providers import Query, paging
from exporter.providers.truto.integration import Integration, Scope
from exporter.providers.truto.payload import Envelope, Listing, Resource, Run, listing

T = TypeVar("T")

_UNIFIED = "/unified/ci-cd"

Params = dict[str, str | int]


async def pages(
    api: Api,
    path: str,
    params: Params,
    into: type[T],
    *,
    sizes: tuple[int, ...] = paging.SIZES,
) -> Listing[T]:
    """All pages of a list as one; `next` is then None. An empty page may have a successor.

    Where there are no `sizes` the API chooses how many items a page has.
    """
    found = await readable(api, path, params, into, sizes=sizes)
    if found.error is not None:
        raise found.error
    return found


async def readable(
    api: Api,
    path: str,
    params: Params,
    into: type[T],
    *,
    sizes: tuple[int, ...] = paging.SIZES,
) -> Listing[T]:
    """The same as far as the list can be read, with the failure beyond.

    Raises what speaks of the whole account, and the failure of a list that tells nothing.
    """
    rejected = count = 0

    async def fetch(size: int, token: str | None, tries: int | None) -> tuple[list[T], str | None]:
        nonlocal rejected, count
        asked = params if token is None else {**params, "next_cursor": token}
        found = await page(api, path, {**asked, "limit": size} if sizes else asked, into, tries)
        rejected, count = (0, 0) if token is None else (rejected, count)
        rejected, count = rejected + found.rejected, count + 1
        return found.items, found.next

    items, error = await paging.readable(fetch, what=path, sizes=sizes or (0,))
    return Listing(items, rejected=rejected, pages=count, error=error)


async def page(
    api: Api, path: str, params: Params, into: type[T], tries: int | None = None
) -> Listing[T]:
    """One page of a list."""
    return listing((await api.get(path, params, into=Envelope, tries=tries)).body, into)


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
        return await pages(self._api, f"{_UNIFIED}/jobs", params, Run)

    async def job(self, entry: str, build: Build, job_id: str) -> Run:
        """`GET /unified/ci-cd/jobs/{id}`: the bare object. Raises Gone if it is not there."""
        params = self._scoped(self._how.job, entry, build.native_id, bare="jobs")
        return await self._single("jobs", job_id, params)

    async def places(self, resource: str, scope: dict[str, str]) -> Listing[Resource]:
        """All of `GET /unified/ci-cd/{repos,workspaces,workflow}`, as far as it can be read."""
        params: Params = {"integrated_account_id": self._account, **scope}
        return await readable(self._api, f"{_UNIFIED}/{resource}", params, Resource)

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
