"""Remembers what parts of a list looked like, so that unchanged ones are not read again."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from exporter.providers import Query
from exporter.providers.bounded import Bounded

T = TypeVar("T")

_MOST = 100_000
"""Parts that are remembered."""


class _Mark(NamedTuple, Generic[T]):
    look: T
    since: float
    deep: bool


class Marks(Generic[T]):
    """How each part looked when a walk read it. To lose this costs requests only.

    A mark counts only once its walk was committed, as it was if the poller has moved on since:
    an ordinary walk comes after a deep one, and `Query.since` of ordinary ones grows, only when
    the walk before has ended cleanly.
    """

    def __init__(self) -> None:
        self._marks: Bounded[str, _Mark[T]] = Bounded(_MOST)

    def seen(self, part: str, query: Query) -> T | None:
        """How a part looked in the last committed read; None if it must be read."""
        mark = self._marks.get(part)
        committed = mark is not None and (mark.deep or mark.since < query.since)
        return mark.look if mark is not None and committed and not query.deep else None

    def note(self, part: str, look: T, query: Query) -> None:
        """Record that this walk reads a part. The oldest marks are dropped beyond 100,000."""
        self._marks[part] = _Mark(look, query.since, query.deep)

    def forget(self, part: str) -> None:
        """Drop the mark of a part that could not be read."""
        self._marks.pop(part, None)
