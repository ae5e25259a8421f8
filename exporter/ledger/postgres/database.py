"""Looking at a state in PostgreSQL, and making its tables, without polling anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from time import monotonic

import msgspec
import psycopg

from exporter.errors import StateDamaged, StateRefused
from exporter.ledger import LedgerConfig
from exporter.ledger.build_log import BuildLog
from exporter.ledger.postgres import schema
from exporter.ledger.postgres.driver import Access, PostgresDriver, line
from exporter.ledger.postgres.leases import PostgresLeases
from exporter.ledger.postgres.ledger import LEASE, PostgresReader
from exporter.ledger.rows import Snapshot
from exporter.ledger.shared import Beat
from exporter.ledger.sql.contents import (
    DatabaseContents,
    ServerHealth,
    WorkerContents,
    counted,
)

_MOST_DAMAGE = 20
"""Lines of it that are told."""
_BYTES = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class AS c"
    " JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = ? AND c.relkind = 'r'"
)


class Database:
    """A state in PostgreSQL. Every method raises StateRefused where that cannot be reached."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def migrate(self) -> tuple[int | None, int]:
        """Make or upgrade the tables; the format before, None if they were right, and today's."""
        with self._errors(), self._access.connect() as connection:
            return schema.prepare(connection, self._access.schema), schema.FORMAT

    def inspect(self) -> DatabaseContents:
        """What is in it."""
        with self._reader() as ledger:
            db = ledger.driver
            beat = PostgresLeases(db, "", length=LEASE, alone=False).look()
            facts = {
                "database": self._access.place,
                "schema": self._access.schema,
                "workers": [
                    WorkerContents(worker.name, beat.accounts_of(worker.id))
                    for worker in beat.workers.values()
                ],
                "bytes": int(db.execute(_BYTES, (self._access.schema,)).fetchone()[0]),
                "format": schema.FORMAT,
            }
            return msgspec.convert(facts | counted(db), DatabaseContents)

    def damage(self, rotten: Callable[[Snapshot], Iterable[str]]) -> list[str]:
        """What is wrong with it, a line each; nothing if it is sound."""
        with self._reader() as ledger:
            try:
                return list(islice(rotten(ledger.load()), _MOST_DAMAGE))
            except StateDamaged as error:
                return [str(error)]

    @contextmanager
    def build_log(self) -> Iterator[BuildLog]:
        """The build log, as it is now."""
        with self._reader() as ledger:
            yield ledger.build_log()

    def health(self) -> ServerHealth:
        """What the server says of itself."""
        with self._errors(), self._access.connect() as connection:
            ((version, is_standby, is_synchronous),) = connection.execute(
                "SELECT current_setting('server_version'), pg_is_in_recovery(),"
                " current_setting('synchronous_commit') <> 'off'"
            ).fetchall()
            began_at = monotonic()
            connection.execute("SELECT 1").fetchall()
            spent = monotonic() - began_at
            is_there = schema.format_of(connection, self._access.schema) is not None
        beat = self._beat() if is_there else None
        names = [] if beat is None else [worker.name for worker in beat.workers.values()]
        return ServerHealth(
            version, is_standby, is_synchronous, spent, names, beat is None or beat.is_agreed
        )

    def _beat(self) -> Beat:
        """How things stand among those who write it."""
        driver = PostgresDriver(self._access)
        try:
            with self._errors():
                return PostgresLeases(driver, "", length=LEASE, alone=False).look()
        finally:
            driver.close()

    @contextmanager
    def _reader(self) -> Iterator[PostgresReader]:
        driver = PostgresDriver(self._access)
        try:
            with self._errors():
                with self._access.connect() as connection:
                    found = schema.format_of(connection, self._access.schema)
                if found is None:
                    raise StateRefused(
                        f"there is no state in PostgreSQL at {self._access.place}, schema"
                        f" {self._access.schema}: `run` or `state migrate` makes it"
                    )
                ledger = PostgresReader(driver, LedgerConfig(retention=0.0, lookback=0.0))
                with ledger.snapshot():
                    yield ledger
        finally:
            driver.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise StateRefused(
                f"the state in PostgreSQL at {self._access.place} cannot be read: {line(error)}"
            ) from None
