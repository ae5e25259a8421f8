"""The pages of one list: their size, and whether the list ends."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic

import msgspec
from msgspec.structs import replace

from exporter.errors import Malformed, ProviderError
from exporter.http import ApiStats
from exporter.ledger.rows import AttemptKey
from exporter.providers import Page, Query

_PAGE, _DEEP_PAGE = 30, 100
"""Items asked for on a page: few when little is new, many when much must be read."""
_SMALLEST = 10
"""Items of the smallest page that is requested."""
_TRUCE = 3600.0
"""Seconds after which larger pages are tried again."""
_TOO_MUCH = frozenset({"too_large", "server", "timeout"})
"""Reasons for which the next poll requests smaller pages."""
_STALE = 3
"""Pages in a row without a new build after which a list is endless."""
_MOST_EMPTY = 400
"""Empty pages after which a list without any build is endless."""


class PageSizes(msgspec.Struct):
    """How many items a page of one list may have, as learned from earlier polls."""

    size: int = _DEEP_PAGE
    """Items to request at most."""
    shrunk_at: float = -math.inf
    """When pages were last too large; monotonic seconds."""

    def shrink(self, size: int) -> None:
        """Request smaller pages than those of `size`, which the API could not serve."""
        self.size, self.shrunk_at = max(size // 2, _SMALLEST), monotonic()

    def grow(self) -> None:
        """Request larger pages again once in a while."""
        if monotonic() - self.shrunk_at > _TRUCE:
            self.size = min(self.size * 2, _DEEP_PAGE)


class Paginator:
    """Requests the pages of one sync; `since` and `deep` are those of `Query`."""

    def __init__(  # noqa: PLR0913 - all parts of a query
        self,
        ask: Callable[[Query], Awaitable[Page]],
        page_sizes: PageSizes,
        stats: ApiStats,
        *,
        since: float,
        deep: bool,
        behind: Mapping[str, float],
        unfilled: frozenset[str] = frozenset(),
    ) -> None:
        self._ask = ask
        self._page_sizes = page_sizes
        self._stats = stats
        self._query = Query(
            since=since,
            size=_DEEP_PAGE if deep else _PAGE,
            deep=deep,
            behind=behind,
            unfilled=unfilled,
        )
        self._tokens: set[str | None] = set()
        self._listed: set[AttemptKey] = set()
        self._stale = 0

    async def get(self, token: str | None) -> Page:
        """One page. A first one that is too large is asked for once more, half as long.

        A later one is not, as its token counts pages of one length: the next sync begins
        with shorter ones. Raises what the provider raises.
        """
        self._tokens.add(token)
        size = self._size
        try:
            return await self._get(token)
        except Malformed:
            if token is not None or self._size == size:
                raise
        return await self._get(token)

    async def _get(self, token: str | None) -> Page:
        try:
            return await self._ask(replace(self._query, size=self._size, token=token))
        except ProviderError as error:
            count(error, self._stats)
            if error.reason in _TOO_MUCH:
                self._page_sizes.shrink(self._size)
            raise

    @property
    def _size(self) -> int:
        return min(self._query.size, self._page_sizes.size)

    def endless(self, page: Page) -> Malformed | None:
        """The error if the list does not end behind `page`, which has a next one; else None.

        An endless list returns to a page that was read, or lists the same builds again and
        again. Empty pages prove little, as the builds on them may be excluded.
        """
        keys = {AttemptKey(build.key, build.attempt) for build in page.builds}
        has_news = any(build.only_jobs for build in page.builds) or not keys <= self._listed
        self._stale = 0 if has_news or not keys else self._stale + 1
        self._listed |= keys
        if page.next in self._tokens:
            what = "repeats its cursor"
        elif self._stale >= _STALE:
            what = "repeats its builds"
        elif not self._listed and len(self._tokens) >= _MOST_EMPTY:
            what = f"has {_MOST_EMPTY} empty pages"
        else:
            return None
        return Malformed(
            f"the list of builds {what}: it cannot be read to the end", reason="bad_shape"
        )


def count(error: ProviderError, stats: ApiStats) -> None:
    """Count an error that only the provider could find in a response; the client counts others."""
    if isinstance(error, Malformed) and not error.counted:
        error.counted = True
        stats.errors[error.reason] += 1
