"""The ledger in SQL: the statements and what surrounds them, once for every database.

Statements are written as SQLite reads them: `?` and `:name` for parameters, a set of keys as one
JSON array in `json_each(?) AS wanted`. What another database calls otherwise its driver puts into
its own words (`exporter.ledger.postgres.dialect`), so SQLite pays nothing for that. What databases
understand differently is avoided: `INSERT OR REPLACE`, `max` of two values, an order in which NULL
may come first or last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Parameters = Sequence[Any] | Mapping[str, Any]


class Result(Protocol):
    """What a statement has returned."""

    def fetchone(self) -> Any:
        """The next row, a tuple; None behind the last one."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left."""


class Driver(Protocol):
    """A connection to a database; that of `sqlite3` is one."""

    def execute(self, sql: str, parameters: Parameters = ..., /) -> Result:
        """Execute one statement."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> object:
        """Execute one statement for each of these sets of parameters."""
