"""Looking at a state in PostgreSQL, and making its tables, without polling anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import msgspec
import psycopg

from exporter.errors import StateDamaged, StateRefused
from exporter.ledger import LedgerConfig
from exporter.ledger.build_log import BuildLog
from exporter.ledger.postgres import schema
from exporter.ledger.postgres.driver import Access, PostgresDriver, line
from exporter.ledger.postgres.ledger import PostgresReader
from exporter.ledger.rows import Snapshot
from exporter.ledger.sql.contents import Contents, counted

_MOST_DAMAGE = 20
"""Lines of it that are told."""
_LIVING = (
    "SELECT o.name FROM owner AS o WHERE o.worker IS NOT NULL AND EXISTS (SELECT 1 FROM"
    " pg_stat_activity AS a WHERE a.pid = o.backend AND a.backend_start <= o.at)"
)
_BYTES = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class AS c"
    " JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = ? AND c.relkind = 'r'"
)


class Inspection(Contents, frozen=True, kw_only=True):
    """What a state in a database holds; `bytes` are those of its tables and indexes."""

    database: str
    """Host and name."""
    schema: str
    owner: str | None
    """The host of the exporter that writes it; None if none does."""


class Health(msgspec.Struct, frozen=True):
    """What may be wrong with a server."""

    version: str
    is_standby: bool
    is_synchronous: bool
    """Whether a commit is on the disk when it is answered."""
    round_trip: float
    """Seconds."""


class Database:
    """A state in PostgreSQL. Every method raises StateRefused where that cannot be reached."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def migrate(self) -> tuple[int | None, int]:
        """Make or upgrade the tables; the format before, None if they were right, and today's."""
        with self._errors(), self._access.connect() as connection:
            return schema.prepare(connection, self._access.schema), schema.FORMAT

    def inspect(self) -> Inspection:
        """What is in it."""
        with self._reader() as ledger:
            db = ledger.driver
            living = db.execute(_LIVING).fetchone()
            facts = {
                "database": self._access.place,
                "schema": self._access.schema,
                "owner": None if living is None else living[0],
                "bytes": int(db.execute(_BYTES, (self._access.schema,)).fetchone()[0]),
                "format": schema.FORMAT,
            }
            return msgspec.convert(facts | counted(db), Inspection)

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

    def health(self) -> Health:
        """What the server says of itself."""
        with self._errors(), self._access.connect() as connection:
            row = connection.execute(
                "SELECT current_setting('server_version'), pg_is_in_recovery(),"
                " current_setting('synchronous_commit') <> 'off', clock_timestamp()"
            ).fetchone()
            if row is None:
                raise StateRefused("the server answers nothing")
            began = connection.execute("SELECT clock_timestamp()").fetchone()
            ended = connection.execute("SELECT clock_timestamp()").fetchone()
            span = 0.0 if began is None or ended is None else (ended[0] - began[0]).total_seconds()
            return Health(str(row[0]), bool(row[1]), bool(row[2]), span)

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
