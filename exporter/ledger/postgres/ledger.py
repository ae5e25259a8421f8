"""The ledger in PostgreSQL, written by one process at a time.

The first statement of each transaction takes the next turn of the row in `owner`, if this process
still has it. So a process that slept while another one took over writes nothing, and one whose
commit was answered by nobody finds a turn more than it knows of and loads the state anew.
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg

from exporter.errors import StateBehind, StateDamaged, StateInUse, StateLost, StateRefused
from exporter.ledger import LedgerConfig
from exporter.ledger.postgres import schema
from exporter.ledger.postgres.driver import Access, PostgresDriver, line, unavailable
from exporter.ledger.rows import Snapshot
from exporter.ledger.sql.codec import RottenError
from exporter.ledger.sql.ledger import SqlLedger, SqlTransaction

log = logging.getLogger(__name__)

LEASE = 15.0
"""Seconds after which a process that has written nothing may be replaced, though the server still
has its connection: the network may have lost the process. One that was killed may be at once."""
_PAUSE = 0.25
"""Seconds between two looks whether another process has let go."""

_SEEN = "at = now(), backend = pg_backend_pid()"
LIVES = (
    "EXISTS (SELECT 1 FROM pg_stat_activity AS a WHERE a.pid = o.backend"
    " AND a.backend_start <= o.at)"
)
"""Whether the server still has the connection of the owner `o`."""
_TAKE = (
    f"UPDATE owner AS o SET worker = ?, name = ?, epoch = epoch + 1, {_SEEN}"  # noqa: S608 - of ours
    f" WHERE o.worker IS NULL OR o.at < now() - make_interval(secs => ?) OR NOT {LIVES}"
    " RETURNING epoch, turn"
)
_FENCE = f"UPDATE owner SET turn = turn + 1, {_SEEN} WHERE worker = ? AND epoch = ? RETURNING turn"  # noqa: S608 - of ours
_BEAT = f"UPDATE owner SET {_SEEN} WHERE worker = ? AND epoch = ? RETURNING turn"  # noqa: S608 - of ours
_GIVE_BACK = "UPDATE owner SET worker = NULL WHERE worker = ? AND epoch = ?"


def open_ledger(
    url: str,
    config: LedgerConfig,
    *,
    schema_name: str,
    password: Callable[[], str | None],
    patience: float,
) -> PostgresLedger:
    """The ledger in a schema of the database at `url`; its tables are made if there are none.

    `password` is asked at each connection. A process that still writes is waited for, for
    `patience` seconds at most: its end may be under way. Raises StateRefused.
    """
    access = Access(url, schema=schema_name, name=socket.gethostname(), password=password)
    driver = PostgresDriver(access)
    try:
        with access.connect() as connection:
            before = schema.prepare(connection, schema_name)
        if before:
            log.info("the tables of the state are upgraded", extra={"format": schema.FORMAT})
        ledger = PostgresLedger(driver, config)
        ledger.take(patience)
    except psycopg.Error as error:
        driver.close()
        raise StateRefused(
            f"the state in PostgreSQL at {access.place} cannot be opened: {line(error)}"
        ) from None
    except BaseException:
        driver.close()
        raise
    return ledger


class PostgresReader(SqlLedger):
    """A ledger that nobody writes here."""

    def __init__(
        self, driver: PostgresDriver, config: LedgerConfig, *, caches: bool = False
    ) -> None:
        super().__init__(config, reading=self.reading, caches=caches)
        self.driver = driver

    @property
    def _db(self) -> PostgresDriver:
        return self.driver

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raise what goes wrong with a read as the contract names it."""
        try:
            yield
        except psycopg.Error as error:
            raise unavailable(error, self.driver.access, "read") from None
        except RottenError as error:
            raise StateDamaged(f"the state is damaged: it cannot be read ({error})") from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Enter a read of which all statements see the same rows."""
        with (
            self.reading(),
            self.driver.transaction(mode="ISOLATION LEVEL REPEATABLE READ, READ ONLY"),
        ):
            yield

    def load(self) -> Snapshot:
        with self.snapshot():
            return super().load()


class PostgresLedger(PostgresReader):
    """A ledger in a schema that no other process writes to meanwhile."""

    look_every = LEASE / 3

    def __init__(self, driver: PostgresDriver, config: LedgerConfig) -> None:
        super().__init__(driver, config, caches=True)
        self._worker = secrets.token_hex(8)
        self._epoch = self._turn = 0

    def take(self, patience: float) -> None:
        """Become the one who writes. Raises StateRefused if another process does."""
        access, until = self.driver.access, time.monotonic() + patience
        while True:
            row, name = None, "another host"
            # Who stopped inside a transaction keeps the row until the server ends that.
            with suppress(psycopg.errors.LockNotAvailable), self.driver.transaction():
                row = self.driver.execute(_TAKE, (self._worker, access.name, LEASE)).fetchone()
                name = self.driver.execute("SELECT name FROM owner").fetchone()[0]
            if row is not None:
                self._epoch, self._turn = row
                return
            if time.monotonic() >= until:
                raise StateInUse(
                    f"the state in PostgreSQL at {access.place}, schema {access.schema}, is in use"
                    f" by the exporter on {name}: stop it or give this one another state.schema"
                )
            time.sleep(_PAUSE)

    def load(self) -> Snapshot:
        with self.snapshot():
            turn = self.driver.execute("SELECT turn FROM owner").fetchone()[0]
            snapshot = super().load()
        self._turn = turn
        return snapshot

    @contextmanager
    def transaction(self) -> Iterator[SqlTransaction]:
        accounts = dict(self._accounts)
        try:
            with self.driver.transaction():
                turn = self._fenced(_FENCE)
                if turn != self._turn + 1:
                    raise StateBehind("the state holds a commit that was answered by nobody")
                yield SqlTransaction(self, self.driver)
            self._turn = turn
        except BaseException as error:
            self._accounts = accounts
            self.forget_rows()
            if isinstance(error, psycopg.Error):
                raise unavailable(error, self.driver.access, "written") from None
            if isinstance(error, RottenError):
                raise StateDamaged(f"the state is damaged ({error})") from None
            raise

    def look(self) -> bool:
        try:
            with self.driver.transaction():
                self._fenced(_BEAT)
        except psycopg.Error as error:
            raise unavailable(error, self.driver.access, "reached") from None
        return True

    def close(self) -> None:
        try:
            with self.driver.transaction():
                self.driver.execute(_GIVE_BACK, (self._worker, self._epoch))
        except psycopg.Error as error:
            log.debug("the state is let go of when its time is over: %s", line(error))
        self.driver.close()

    def _filled(self) -> None:
        for table in ("account", "target", "log_pipeline", "build"):
            self.driver.execute(
                "SELECT setval(pg_get_serial_sequence(?, 'id'),"  # noqa: S608 - names of ours
                f" (SELECT coalesce(max(id), 0) + 1 FROM {table}), false)",
                (f"{self.driver.access.schema}.{table}",),
            )

    def _fenced(self, sql: str) -> int:
        """The turn that the statement returns. Raises StateLost if another one writes by now."""
        row = self.driver.execute(sql, (self._worker, self._epoch)).fetchone()
        if row is None:
            raise StateLost(
                f"the state in PostgreSQL at {self.driver.access.place} is another exporter's by"
                " now: this one counts nothing any more"
            )
        return int(row[0])
