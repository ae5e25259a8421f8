"""The pages of one list: how large they may be, and whether the list ends."""

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
"""Items of the smallest page that is tried where larger ones are too large."""
_TRUCE = 3600.0
"""Seconds before larger pages are tried again."""
_TOO_MUCH = frozenset({"too_large", "server", "timeout"})
"""What an API says that cannot make a page of some size; at the next poll it is a smaller one."""
_STALE = 3
"""Pages in a row that list nothing new before the list is taken to have no end."""
_MOST_EMPTY = 400
"""The same where there has been nothing at all."""


class Past(msgspec.Struct):
    """How the list of a repo has behaved in earlier polls."""

    size: int = _DEEP_PAGE
    """Items that a page may have without being too large."""
    shrunk_at: float = -math.inf
    """Monotonic seconds."""

    def shrink(self, size: int) -> None:
        """Try smaller pages than those of `size`, which the API could not make."""
        self.size, self.shrunk_at = max(size // 2, _SMALLEST), monotonic()

    def grow(self) -> None:
        """Try larger pages again now and then: what was too large need not stay so."""
        if monotonic() - self.shrunk_at > _TRUCE:
            self.size = min(self.size * 2, _DEEP_PAGE)


class Paginator:
    """Asks for the pages of one walk; `since` and `deep` are those of `Query`."""

    def __init__(  # noqa: PLR0913 - what one walk knows
        self,
        ask: Callable[[Query], Awaitable[Page]],
        past: Past,
        stats: ApiStats,
        *,
        since: float,
        deep: bool,
        behind: Mapping[str, float],
        unfilled: frozenset[str] = frozenset(),
    ) -> None:
        self._ask = ask
        self._past = past
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

        A later one is not, as its token counts pages of one length: the next walk begins
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
                self._past.shrink(self._size)
            raise

    @property
    def _size(self) -> int:
        return min(self._query.size, self._past.size)

    def endless(self, page: Page) -> Malformed | None:
        """The error that the list is if it does not end behind `page`, which has a next one.

        It comes to a page it has told of already, or tells of the same builds again and
        again. Empty pages prove little: what they hold may be excluded.
        """
        keys = {AttemptKey(build.key, build.attempt) for build in page.builds}
        told = any(build.only_jobs for build in page.builds) or not keys <= self._listed
        self._stale = 0 if told or not keys else self._stale + 1
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
    """Count what only the provider's code could see in an answer; the client counts the rest."""
    if isinstance(error, Malformed) and not error.counted:
        error.counted = True
        stats.errors[error.reason] += 1
