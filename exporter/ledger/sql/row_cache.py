"""A cache of rows that were read or written recently.

It is exact as long as no other connection writes to the file, which the ledger's lock prevents.
A transaction that fails takes back its writes, so the cache is cleared then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RowCache(Generic[K, V]):
    """Rows by name, at most `most`; None stands for a row that does not exist."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[K, V | None] = {}

    def get(self, names: Collection[K], read: Callable[[list[K]], Mapping[K, V]]) -> dict[K, V]:
        """The rows with these names that exist; `read` is called for those not in the cache."""
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
        """Note rows that have been written."""
        if self._most:
            self._rows.update(rows)

    def clear(self) -> None:
        """Remove all rows."""
        self._rows = {}
