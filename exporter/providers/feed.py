"""Listings that serve many repos of an account."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import msgspec

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

LIFETIME = 15.0
"""Seconds that an answer may serve other repos than the one that was polled."""


class _Answer(msgspec.Struct, Generic[T]):
    content: T
    since: float
    at: float
    served: set[str]

    def is_for(self, reader: str, since: float, now: float) -> bool:
        """Whether it is fresh, reaches back to `since`, and is news to a reader."""
        is_fresh = 0 <= now - self.at < LIFETIME
        return is_fresh and self.since <= since and reader not in self.served


class Feed(Generic[K, T]):
    """A listing that holds the builds of many repos, in pages that are asked for once.

    Its readers are repos, by their entries, and wildcards. They share an answer for `LIFETIME`
    seconds, and those that ask for the same page at the same time wait for one request. Each
    reader gets an answer once: its next poll asks anew. A request that fails is the trouble of the
    poll that made it; a part that is missing in an answer belongs in its content (`Page.unread`).

        builds: Feed[str, list[Item]] = Feed()
        items, is_first = await builds.read("page 1", repo.entry, now=api.now, fetch=fetch)
    """

    def __init__(self) -> None:
        self._answers: dict[K, _Answer[T]] = {}
        self._locks: WeakValueDictionary[K, asyncio.Lock] = WeakValueDictionary()

    async def read(
        self,
        page: K,
        reader: str,
        *,
        now: Callable[[], float],
        fetch: Callable[[], Awaitable[T]],
        since: float = 0.0,
    ) -> tuple[T, bool]:
        """The content of a page for a reader, and whether that is the first to get it.

        `now` is the provider's clock. `since` is how far back the content must reach, in epoch
        seconds. Raises what `fetch` raises.
        """
        async with self._locks.setdefault(page, asyncio.Lock()):
            at = now()
            answer = self._answers.get(page)
            if answer is not None and answer.is_for(reader, since, at):
                answer.served.add(reader)
                return answer.content, False
            content = await fetch()
            # One that was fetched meanwhile is newer than `at` and stays.
            self._answers = {p: a for p, a in self._answers.items() if at - a.at < LIFETIME}
            self._answers[page] = _Answer(content, since, at, {reader})
            return content, True

    def latest(self, page: K) -> T | None:
        """The last content of a page, however old; None if there is none."""
        answer = self._answers.get(page)
        return None if answer is None else answer.content
