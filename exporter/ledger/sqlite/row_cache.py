"""Rows that were read or written lately, in memory.

As long as nobody else writes to the file they are what it has: the lock that a ledger takes
keeps everybody out. A transaction that fails takes back what it has written, so all are
forgotten then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RowCache(Generic[K, V]):
    """At most so many rows by name, those that are not there among them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[K, V | None] = {}

    def get(self, names: Collection[K], read: Callable[[list[K]], Mapping[K, V]]) -> dict[K, V]:
        """Those of these rows that there are; `read` gets what is not known yet."""
        rows = self._rows
        unknown = [name for name in names if name not in rows]
        if unknown:
            found = read(unknown)
            if len(rows) + len(unknown) > self._most:
                self.clear()
                rows = {name: rows.get(name) for name in names}
            rows.update((name, found.get(name)) for name in unknown)
            if len(rows) <= self._most:
                self._rows = rows
        return {name: row for name in names if (row := rows[name]) is not None}

    def put(self, rows: Iterable[tuple[K, V]]) -> None:
        """These have been written."""
        if self._most:
            self._rows.update(rows)

    def clear(self) -> None:
        """Forget all of them."""
        self._rows = {}
