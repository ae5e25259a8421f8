"""GitLab's lists: how they are read to their end, and where their pages begin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from exporter.errors import Malformed, ProviderError, Refused
from exporter.http import Api
from exporter.payload import each, whole
from exporter.providers import paging

T = TypeVar("T")

_NEXT = re.compile(r'<([^<>]*)>\s*;[^<>]*\brel="?next\b')
"""The address in a `Link` header (RFC 8288) that leads to the next page."""


async def everything(api: Api, path: str, params: Mapping[str, str], into: type[T]) -> list[T]:
    """The items of all pages of a list, without those that cannot be understood."""
    return await paging.whole(_pages(api, path, params, into), what=path)


async def by_keyset(
    api: Api, path: str, params: Mapping[str, str], into: type[T]
) -> tuple[list[T], ProviderError | None]:
    """The items of a long list in the order of their ids, and why there may be more.

    By keyset where GitLab offers that for the list: by offset it lists 50,000 items at most,
    and items that come or go meanwhile shift its pages.
    """
    ordered = {**params, "order_by": "id", "sort": "asc"}
    keyset = _pages(api, path, {**ordered, "pagination": "keyset"}, into)
    try:
        return await paging.readable(keyset, what=path)
    except Refused as error:
        if error.reason != "bad_shape":  # such as 405, which says that it is not offered
            raise
    return await paging.readable(_pages(api, path, ordered, into), what=path)


def _pages(api: Api, path: str, params: Mapping[str, str], into: type[T]) -> paging.Fetch[T]:
    """How the pages of a list are asked for."""

    async def fetch(size: int, token: str | None, tries: int | None) -> tuple[list[T], str | None]:
        after = dict(parse_qsl(token or "page=1"))
        query: dict[str, str | int] = {**params, "per_page": size, **after}
        answer = await api.get(path, query, into=list[msgspec.Raw], tries=tries)
        count = len(answer.body)
        number = whole(after.get("page")) or 1
        return each(answer.body, into)[0], following(answer.headers, number, full=count >= size)

    return fetch


def following(headers: Mapping[str, str], page: int, *, full: bool) -> str | None:
    """The query that asks for the page after this one, which is `full` or not.

    Keyset pages have only a link. A proxy may swallow all headers; then a full page may
    have another one after it.
    """
    if (link := _NEXT.search(headers.get("link", ""))) is not None:
        return urlsplit(link[1]).query or None
    number: int | None = page + 1
    if "x-next-page" in headers:
        number = whole(headers["x-next-page"])
    elif "link" in headers or not full:
        number = None
    return None if number is None else urlencode({"page": number})


class PagePosition(NamedTuple):
    """A page of a list that is read page by page."""

    size: int
    number: int = 1

    @classmethod
    def of(cls, token: str) -> PagePosition:
        """The page that a token names: its number, and its size if that is not the usual one."""
        number, _, size = token.partition("/")
        place = cls(whole(size or paging.SIZES[0]) or 0, whole(number) or 0)
        if place.size not in paging.SIZES or place.number < 1:
            raise Malformed(f"{token!r} is no page of GitLab", reason="bad_shape")
        return place

    @property
    def token(self) -> str:
        """The same as text."""
        number = str(self.number)
        return number if self.size == paging.SIZES[0] else f"{number}/{self.size}"

    def of_size(self, size: int) -> PagePosition:
        """The page of a smaller size that begins with the same item."""
        return PagePosition(size, (self.number - 1) * self.size // size + 1)

    def after(self, headers: Mapping[str, str], count: int) -> PagePosition | None:
        """The page after this one of `count` items; None at the end of the list."""
        more = following(headers, self.number, full=count >= self.size)
        return None if more is None else self._replace(number=self.number + 1)
