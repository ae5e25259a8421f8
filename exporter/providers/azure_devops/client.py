"""The requests to Azure DevOps, in the newest version of its API that the server knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from exporter.errors import ProviderError, Refused
from exporter.http import Answer, Api
from exporter.payload import text
from exporter.providers.azure_devops.mapping import ProjectPath, Run
from exporter.providers.azure_devops.timeline import Record, Timeline
from exporter.providers.paging import bearable, readable

T = TypeVar("T")

Params = Mapping[str, str | int]
_Page = tuple[list[msgspec.Raw], str | None]

VERSIONS = ("7.1", "7.0", "6.0", "5.1", "5.0", "4.1")
"""Of the API, newest first. All that is asked for was released in each of them, so that no
request needs `-preview`; servers from 2019 on know 5.0, and newer ones know older versions."""
MOST = 1000
"""Items of the largest page that is asked for."""
_VERSION = re.compile(r"(?<![\d.])\d{1,2}\.\d(?![\d.]*\d)")


class Versions:
    """Which version a server knows, as its refusals tell."""

    def __init__(self) -> None:
        self.newest = VERSIONS[0]
        """The newest that has not been refused."""

    def refuses(self, version: str, error: Refused) -> bool:
        """Learn from a refusal; whether it was of the version and there is an older one.

        It quotes the version that was asked for and names the newest that the server knows,
        in whatever language. That may be one that needs `-preview`, so the one below is taken.
        """
        said = _VERSION.findall(str(error).partition(": ")[2])
        if error.reason != "bad_shape" or version not in said:
            return False
        named = max((_number(n) for n in said if _number(n) < _number(version)), default=None)
        older = [
            known
            for known in VERSIONS
            if _number(known) < _number(version) and (named is None or _number(known) <= named)
        ]
        if not older:
            return False
        self.newest = min(self.newest, older[0], key=_number)
        return True


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


class _List(msgspec.Struct, frozen=True):
    value: list[msgspec.Raw]


class Client:
    """One account's requests."""

    def __init__(self, api: Api, versions: Versions) -> None:
        self._api = api
        self._versions = versions

    async def run(self, place: ProjectPath, native_id: str) -> Run:
        """A single build."""
        path = f"{project(place)}/_apis/build/builds/{quote(native_id, safe='')}"
        return (await self._get(path, {}, into=Run)).body

    async def page(self, path: str, params: Params, size: int, token: str | None) -> _Page:
        """A page of a list with up to `size` items, and the token of the next one.

        Its token is a place in the list and no number of items, so that a page which the
        server cannot make is asked for again with fewer of them.
        """

        async def ask(size: int, tries: int | None) -> _Page:
            return await self._page(path, params, size, token, tries)

        return await bearable(ask, (size, max(size // 10, 1)))

    async def whole(self, path: str, params: Params) -> list[msgspec.Raw]:
        """All pages of a list."""
        found, error = await self.readable(path, params)
        if error is not None:
            raise error
        return found

    async def readable(
        self, path: str, params: Params
    ) -> tuple[list[msgspec.Raw], ProviderError | None]:
        """A list as far as it can be read, and the failure that it cannot be read beyond."""
        pages = partial(self._page, path, params)
        return await readable(pages, what=path, sizes=(MOST, MOST // 4, MOST // 20))

    async def _page(
        self, path: str, params: Params, size: int, token: str | None, tries: int | None
    ) -> _Page:
        more = {} if token is None else {"continuationToken": token}
        answer = await self._get(path, {**params, "$top": size, **more}, into=_List, tries=tries)
        return answer.body.value, text(answer.headers.get("x-ms-continuationtoken"))

    async def records(self, place: ProjectPath, native_id: str, timeline: str = "") -> list[Record]:
        """A timeline of a build, by default the one in force. It is asked for once."""
        path = f"{project(place)}/_apis/build/builds/{quote(native_id, safe='')}/timeline"
        if timeline:
            path += f"/{quote(timeline, safe='')}"
        kind: Any = Timeline | None
        body: Timeline | None = (await self._get(path, {}, into=kind, tries=1)).body
        return [] if body is None else body.read()

    async def _get(
        self, path: str, params: Params, *, into: type[T], tries: int | None = None
    ) -> Answer[T]:
        while True:
            version = self._versions.newest
            asked = {"api-version": version, **params}
            try:
                return await self._api.get(path, asked, into=into, tries=tries)
            except Refused as error:
                if not self._versions.refuses(version, error):
                    raise


def project(place: ProjectPath) -> str:
    """The path of a project."""
    return f"/{quote(place.organization, safe='')}/{quote(place.project, safe='')}"
