"""What was committed, read by turns.

Turns become visible in their order, as the row that counts them is held to the end of each
transaction. So the commits between two turns are all there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from exporter.errors import StateBehind
from exporter.ledger import images
from exporter.ledger.postgres.driver import Access, PostgresDriver, unavailable
from exporter.ledger.shared import News

_READ = (
    "SELECT f.turn, f.forgotten, pg_postmaster_start_time()::text, c.turn, c.image"
    " FROM fleet AS f LEFT JOIN change AS c ON c.turn > ? AND c.turn <= f.turn"
    " WHERE f.one = 1 ORDER BY c.turn"
)
"""Both ends and the one row are named, so that the index is used, and nothing is compiled, also
where the server has never counted the rows of a table."""


class PostgresFeed:
    """A `Feed` with a connection of its own."""

    def __init__(self, access: Access) -> None:
        self._driver = PostgresDriver(access)
        self._server: str | None = None
        """When the server began that was read last."""

    def read(self, since: int) -> News:
        """What was committed after the turn `since`. Raises StateBehind, StateUnavailable."""
        with self._reading():
            rows = self._driver.execute(_READ, (since,)).fetchall()
        turn, forgotten, server, *_ = rows[0]
        before, self._server = self._server, server
        if before not in {None, server} or not forgotten <= since <= turn:
            raise StateBehind("the state must be loaded anew")
        commits = [images.decode(row[4], turn=row[3]) for row in rows if row[4] is not None]
        return News(turn, commits)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            self._driver.close()
            raise unavailable(error, self._driver.access, "read") from None

    def close(self) -> None:
        """End the connection."""
        self._driver.close()
