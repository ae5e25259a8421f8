"""The calls of GitHub's REST API that builds and jobs need: paths, parameters, pages."""

from __future__ import annotations

import re
from typing import Any, cast
from urllib.parse import quote

import msgspec

from exporter.errors import Malformed
from exporter.http import Api
from exporter.payload import each, whole
from exporter.providers.github.payload import Installed, Place, Run, Runs, Task, Tasks

_PAGE = 100
_MOST_PAGES = 1000
"""More than any owner has; a list that is longer has no end."""

_Listed = list[msgspec.Raw] | Installed
_LISTED = cast("type[_Listed]", _Listed)

_NEXT = re.compile(r"[?&]page=(\d{1,9})(?:&[^>]*)?>; rel=\"next\"")
"""The page after this one in a `Link` header; a short page may have one."""

Params = dict[str, str | int]

_BARE = {"exclude_pull_requests": "true"}
"""Nobody reads what pull requests a run is of."""


class Client:
    """GitHub as one account sees it; `entry` is always `owner/name`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def runs(self, entry: str, number: int, size: int) -> Runs:
        """A page of the runs, by creation, the newest first.

        Without any filter: filtered lists lag behind and end after 1000 runs. The first
        page always has the same address, so that GitHub may say that it is unchanged.
        """
        params: Params = {"per_page": size, **_BARE}
        if number > 1:
            params["page"] = number
        path = f"{_actions(entry)}/runs"
        return (await self._api.get(path, params, into=Runs, conditional=number == 1)).body

    async def run(self, entry: str, run_id: str) -> Run:
        """The latest attempt of a run. Raises Gone if it is not there."""
        path = f"{_actions(entry)}/runs/{quote(run_id, safe='')}"
        return (await self._api.get(path, _BARE, into=Run, conditional=True)).body

    async def attempt(self, entry: str, run_id: str, attempt: int) -> Run:
        """One attempt of a run. Raises Gone if it is not there."""
        path = f"{_actions(entry)}/runs/{quote(run_id, safe='')}/attempts/{attempt}"
        return (await self._api.get(path, _BARE, into=Run)).body

    async def jobs(self, entry: str, run_id: str, attempt: int, *, final: bool) -> list[Task]:
        """All jobs of one attempt; not asked for again if that is `final`."""
        path = f"{_actions(entry)}/runs/{quote(run_id, safe='')}/attempts/{attempt}/jobs"
        found: list[Task] = []
        for number in range(1, _MOST_PAGES):
            answer = await self._api.get(path, _page(number), into=Tasks, conditional=not final)
            found += answer.body.items
            if not has_more(answer.body.total_count, number, _PAGE, listed=answer.body.listed):
                return found
        raise Malformed(f"the jobs of run {run_id} do not end", reason="bad_shape")

    async def places(self, path: str, **params: str) -> list[Place]:
        """All repositories of a list, a bare one or that of an App's installation."""
        found: list[Place] = []
        for number in range(1, _MOST_PAGES):
            answer = await self._api.get(path, {**params, **_page(number)}, into=_LISTED)
            listed = answer.body
            raws = listed.repositories if isinstance(listed, Installed) else listed
            found += each(raws, Place)[0]
            told = _NEXT.search(answer.headers.get("link", ""))
            if len(raws) < _PAGE and (told is None or int(told[1]) <= number):
                return found
        raise Malformed(f"the pages of {path} do not end", reason="bad_shape")


def has_more(total: Any, number: int, size: int, *, listed: int) -> bool:
    """Whether a list of `total` items has a page after this one, which had `listed` items."""
    count = whole(total)
    return listed > 0 and (listed >= size if count is None else number * size < count)


def _actions(entry: str) -> str:
    return f"/repos/{quote(entry)}/actions"


def _page(number: int) -> Params:
    params: Params = {"per_page": _PAGE}
    return {**params, "page": number} if number > 1 else params
