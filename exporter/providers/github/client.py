"""The calls of GitHub's REST API that builds and jobs need: paths, parameters, pages."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, TypeVar, cast
from urllib.parse import quote

import msgspec

from exporter.errors import Malformed, ProviderError, Refused
from exporter.http import Api
from exporter.payload import each, whole
from exporter.providers import optional, paging
from exporter.providers.github.listed import ListPage
from exporter.providers.github.mapping import (
    Installed,
    Organization,
    Repository,
    Run,
    Runs,
    Task,
    Tasks,
)
from exporter.providers.github.workflows import Workflow, Workflows

_Listed = list[msgspec.Raw] | Installed
_LISTED = cast("type[_Listed]", _Listed)

_NEXT = re.compile(r"[?&]page=(\d{1,9})(?:&[^>]*)?>; rel=\"next\"")
"""The page after this one in a `Link` header; a short page may have one."""

Params = dict[str, str | int]
Token = str | None
Listed = tuple[list[Repository], ProviderError | None]
"""Repositories, and why there are more."""

T = TypeVar("T")

_UNPROCESSABLE = "answered 422"
"""What GitHub says of pages behind those that it lists ("pagination is limited")."""
_WITHHELD = "the list lacks repos of organizations whose single sign-on does not know the token"
_AUTHORIZE = "Authorize the token for the organization's single sign-on."
_CAP = 1000
"""Items behind which some of its lists have empty pages instead."""


class CutOff(Refused):
    """A list goes on, but GitHub does not show how."""


class Client:
    """GitHub as one account sees it; `entry` is always `owner/name`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def runs(self, entry: str, number: int, size: int) -> tuple[Runs, bool]:
        """A page of the runs, by creation, the newest first; and whether it has changed.

        Without any filter: filtered lists lag behind and end after 1000 runs. The first
        page always has the same address, so that GitHub may say that it is unchanged.
        Raises CutOff for a page that GitHub lists no more.
        """
        try:
            answer = await self._api.get(
                f"{_actions(entry)}/runs",
                _page(number, size),
                into=Runs,
                conditional=number == 1,
            )
        except Refused as error:
            if number > 1 and _UNPROCESSABLE in str(error):
                raise CutOff(str(error), reason=error.reason) from None
            raise
        except Malformed as error:
            if error.reason == "redirect" and not error.account_wide:
                error.args = (f"{error}; if the repo was renamed, `repos` wants its new name",)
            raise
        runs = answer.body
        if runs.listed == 0 and _CAP <= (number - 1) * size < (whole(runs.total_count) or 0):
            raise CutOff(f"{entry}: the list ends before its total", reason="bad_shape")
        return runs, answer.status != HTTPStatus.NOT_MODIFIED

    async def run(self, entry: str, run_id: str) -> Run:
        """The latest attempt of a run. Raises Gone if it is not there."""
        path = f"{_actions(entry)}/runs/{quote(run_id, safe='')}"
        return (await self._api.get(path, into=Run, conditional=True)).body

    async def attempt(self, entry: str, run_id: int, attempt: int) -> Run:
        """One attempt of a run. Raises Gone if it is not there."""
        path = f"{_actions(entry)}/runs/{run_id}/attempts/{attempt}"
        return (await self._api.get(path, into=Run, tries=1)).body

    async def jobs(self, entry: str, run_id: str, attempt: int, *, final: bool) -> list[Task]:
        """All jobs of one attempt; not asked for again if that is `final`."""
        path = f"{_actions(entry)}/runs/{quote(run_id, safe='')}/attempts/{attempt}/jobs"
        return await self._whole(path, Tasks, conditional=not final)

    async def workflows(self, entry: str) -> list[Workflow]:
        """All workflows of a repo."""
        return await self._whole(f"{_actions(entry)}/workflows", Workflows, conditional=True)

    async def _whole(self, path: str, into: type[ListPage[T]], *, conditional: bool) -> list[T]:
        """All items of a list that tells how many it has."""

        async def fetch(size: int, token: str | None, tries: int | None) -> tuple[list[T], Token]:
            number = int(token or 1)
            answer = await self._api.get(
                path, _page(number, size), into=into, conditional=conditional, tries=tries
            )
            page = answer.body
            more = has_more(page.total_count, number, size, listed=page.listed)
            return page.items, str(number + 1) if more else None

        return await paging.whole(fetch, what=path)

    async def private_repos(self, owner: str) -> int:
        """How many private repos an organization tells this token of; 0 if it tells none."""
        path = f"/orgs/{quote(owner)}"
        found = await optional(self._api.get(path, into=Organization, tries=1))
        return 0 if found is None else whole(found.body.total_private_repos) or 0

    async def places(self, path: str, **params: str) -> Listed:
        """The repositories of a list, a bare one or that of an App's installation.

        And why there are more, where the list cannot be read to its end or lacks some.
        """
        withheld = False

        async def fetch(
            size: int, token: str | None, tries: int | None
        ) -> tuple[list[Repository], Token]:
            nonlocal withheld
            number = int(token or 1)
            answer = await self._api.get(
                path, {**params, **_page(number, size)}, into=_LISTED, tries=tries
            )
            listed = answer.body
            raws = listed.repositories if isinstance(listed, Installed) else listed
            found = _NEXT.search(answer.headers.get("link", ""))
            sso = answer.headers.get("x-github-sso", "")
            withheld |= sso.lower().startswith("partial-results")
            more = len(raws) >= size or (found is not None and int(found[1]) > number)
            return each(raws, Repository)[0], str(number + 1) if more else None

        found, error = await paging.readable(fetch, what=path)
        if error is None and withheld:
            error = Refused(_WITHHELD, reason="forbidden", advice=_AUTHORIZE)
        return found, error


def has_more(total: Any, number: int, size: int, *, listed: int) -> bool:
    """Whether a list of `total` items has a page after this one, which had `listed` items."""
    count = whole(total)
    return listed > 0 and (listed >= size if count is None else number * size < count)


def _actions(entry: str) -> str:
    return f"/repos/{quote(entry)}/actions"


def _page(number: int, size: int) -> Params:
    params: Params = {"per_page": size}
    return {**params, "page": number} if number > 1 else params
