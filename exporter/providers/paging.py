"""Lists that are read to their end, in pages that the API can bear."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from exporter.errors import Malformed, ProviderError
from exporter.model import Build
from exporter.providers import Page
from exporter.providers.bounded import Bounded

T = TypeVar("T")

SIZES = (100, 50, 25)
"""Items asked for on a page: fewer where an API cannot make larger ones."""
_MOST_PAGES = 1000
_SMALL_FOR = 3600.0
"""Seconds before large pages are tried again."""
_MOST_LISTS = 10_000
TOO_MUCH = frozenset({"server", "timeout", "too_large"})
"""What an API says that cannot make a page of this size."""
_LONGEST_TOKEN = 4096
"""Characters. A longer one fits into no request, and one that grows has no end."""

Fetch = Callable[[int, str | None, int | None], Awaitable[tuple[list[T], str | None]]]
"""Given size, token (None asks for the first page) and how often to try (None: as usual), the
items of a page and the token of the next one, None at the end."""


class Sizes:
    """How many items the pages of each list may have: fewer for a while after large ones failed."""

    def __init__(self) -> None:
        self._known: Bounded[str, tuple[int, float]] = Bounded(_MOST_LISTS)

    def most(self, what: str, now: float) -> int:
        """The items of the largest page of the list `what` that is worth a request."""
        size, since = self._known.get(what, (SIZES[0], now))
        return size if now - since < _SMALL_FOR else SIZES[0]

    def shrank(self, what: str, size: int, now: float) -> None:
        """Note that larger pages than this could not be made."""
        self._known[what] = (size, now)


class Repeats:
    """Notices a list whose pages are all the same, as its API ignores which page is asked for."""

    def __init__(self) -> None:
        self._before: list[bytes] = []

    def again(self, items: Iterable[msgspec.Raw], token: str | None) -> bool:
        """Whether the page of `token` (None: the first) is the one before it once more."""
        before, self._before = self._before, list(map(bytes, items))
        return token is not None and self._before == before


async def whole(fetch: Fetch[T], *, what: str, sizes: tuple[int, ...] = SIZES) -> list[T]:
    """All items of the list `what`; begun anew with smaller pages where large ones fail.

    Raises what `fetch` raises for the smallest pages, and Malformed if the list has no end.
    """
    found, error = await readable(fetch, what=what, sizes=sizes)
    if error is not None:
        raise error
    return found


async def readable(
    fetch: Fetch[T], *, what: str, sizes: tuple[int, ...] = SIZES
) -> tuple[list[T], ProviderError | None]:
    """The same, as far as the list can be read, and the failure that it cannot be read beyond.

    Raises what speaks of the whole account, and the failure of a list that tells nothing.
    """
    most: list[T] = []

    async def read(size: int, tries: int | None) -> None:
        nonlocal most
        found: list[T] = []
        try:
            await _read(fetch, what, size, tries, found)
        finally:
            most = max(found, most, key=len)

    try:
        await bearable(read, sizes)
    except ProviderError as error:
        if error.account_wide or not most:
            raise
        return most, error
    return most, None


async def bearable(
    ask: Callable[[int, int | None], Awaitable[T]], sizes: tuple[int, ...] = SIZES
) -> T:
    """What `ask` returns for the first of the sizes that the API can make.

    `ask` is given a size and how often to try (None: as usual).
    """
    for size in sizes[:-1]:
        try:
            return await ask(size, 1)
        except ProviderError as error:
            if error.account_wide or error.reason not in TOO_MUCH:
                raise
    return await ask(sizes[-1], None)


async def _read(fetch: Fetch[T], what: str, size: int, tries: int | None, found: list[T]) -> None:
    """Put the items of all pages into `found`, also where a later page fails."""
    token: str | None = None
    asked: set[str | None] = set()
    while token not in asked and len(asked) < _MOST_PAGES:
        asked.add(token)
        items, token = await fetch(size, token, tries)
        found += items
        if token is None:
            return
        if len(token) > _LONGEST_TOKEN:
            break
    raise Malformed(f"the pages of {what} do not end", reason="bad_shape")


def bounded(page: Page) -> Page:
    """`page`, at which its list is cut off if the token of the next one cannot be sent."""
    if page.next is None or len(page.next) <= _LONGEST_TOKEN:
        return page
    return replace(page, next=None, cut_off=True)


def dated(builds: Iterable[Build]) -> list[Build]:
    """Builds of a list, newest first; those without any time began before those above them."""
    found: list[Build] = []
    later: float | None = None
    for build in builds:
        begun = build.started_at if build.created_at is None else build.created_at
        if begun is not None:
            later = begun if later is None else min(later, begun)
        found.append(replace(build, started_before=later) if build.time is None else build)
    return found
