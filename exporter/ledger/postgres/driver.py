"""One connection to PostgreSQL, made anew when it has failed.

A transaction sends its statements in a pipeline: what returns no rows is waited for at the end.
Tables are named with their schema, and all else is set for one transaction alone, so that a pooler
may give each to another session.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.types.string import StrDumper

from exporter.errors import StateRefused, StateUnavailable
from exporter.ledger.postgres.dialect import translated
from exporter.ledger.sql import Parameters, Result

log = logging.getLogger(__name__)
logging.getLogger("psycopg").setLevel(logging.ERROR)  # who loses a connection says so itself

Connection = psycopg.Connection[tuple[Any, ...]]

_BEGIN = (
    "SELECT set_config('statement_timeout', '8s', true),"
    " set_config('lock_timeout', '5s', true),"
    " set_config('idle_in_transaction_session_timeout', '8s', true),"
    " set_config('jit', 'off', true)"  # it takes longer than any of these statements
)
HELD_UP = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)
"""What a statement ends with that has waited for others for too long."""
_END_STUCK = """
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a
WHERE a.application_name LIKE 'cicd-exporter/%' AND a.usename = current_user
  AND a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND a.backend_xid IS NOT NULL AND a.state_change < now() - interval '9 s'
"""
"""Ends transactions of exporters that have written and in which nothing has happened for longer
than any statement may take. The server does not end them itself where a pipeline was cut short."""
_LEAST_VERSION = 130000


class _Text(StrDumper):
    """Writes text without what PostgreSQL cannot hold: NULs and lone surrogates."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\ufffd").encode("utf-8", "replace").decode())


class Access:
    """How to reach the database: `url` is libpq's form, `password` is asked at each connection."""

    def __init__(
        self, url: str, *, schema: str, name: str, password: Callable[[], str | None]
    ) -> None:
        self.url = url
        self.schema = schema
        self.name = name
        self._password = password

    @property
    def place(self) -> str:
        """Host and database, for people: nothing of it is secret."""
        known = psycopg.conninfo.conninfo_to_dict(self.url)
        where = ":".join(str(known[key]) for key in ("host", "port") if known.get(key))
        return f"{where or 'localhost'}/{known.get('dbname') or known.get('user') or ''}"

    def connect(self) -> Connection:
        """A connection. Raises psycopg.Error, StateRefused."""
        options: dict[str, Any] = {
            "connect_timeout": 5,
            "keepalives": 1,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "application_name": f"cicd-exporter/{self.name}",
        }
        if (password := self._password()) is not None:
            options["password"] = password
        made = psycopg.connect(self.url, autocommit=True, prepare_threshold=None, **options)
        made.adapters.register_dumper(str, _Text)
        if made.info.server_version < _LEAST_VERSION:
            made.close()
            raise StateRefused(
                f"PostgreSQL at {self.place} is older than version 13: upgrade it, or set another"
                " state.url"
            )
        return made


class PostgresDriver:
    """A `Driver`; outside a `transaction` each statement is one of its own."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._connection: Connection | None = None
        self._is_inside = False
        self._schema = ""

    # -- what the statements call

    def execute(self, sql: str, parameters: Parameters = (), /) -> Result:
        """Execute one statement. Raises psycopg.Error."""
        connection = self._connected()
        return connection.execute(translated(sql, self._schema), parameters)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> None:
        """Execute one statement for each of these sets of parameters."""
        with self._connected().cursor() as cursor:
            cursor.executemany(translated(sql, self._schema), parameters)

    def client_port(self) -> int:
        """Our port of the connection; -1 of a socket in the file system."""
        ours = socket.socket(fileno=os.dup(self._connected().fileno()))
        with ours:
            return -1 if ours.family == socket.AF_UNIX else int(ours.getsockname()[1])

    # -- transactions

    def _connected(self) -> Connection:
        """The connection, made if there is none. Raises psycopg.Error, StateRefused."""
        if self._connection is None or self._connection.closed:
            self._connection = self.access.connect()
            self._schema = sql.Identifier(self.access.schema).as_string(self._connection)
        return self._connection

    @contextmanager
    def transaction(self, *, mode: str = "") -> Iterator[None]:
        """A transaction, committed at the end; inside of another one it is part of that.

        `mode` is what SQL has it begin with, such as READ ONLY. Raises psycopg.Error.
        """
        if self._is_inside:
            yield
            return
        connection = self._connected()
        self._is_inside = True
        try:
            with connection.pipeline():
                connection.execute(f"BEGIN {mode}".encode())
                connection.execute(_BEGIN)
                yield
                connection.execute("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise
        finally:
            self._is_inside = False

    def _roll_back(self, connection: Connection) -> None:
        """Leave no transaction open: what cannot be rolled back is closed."""
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
            return
        self.close()

    def end_stuck(self) -> None:
        """End what other exporters have left half done, after a lock was not to be had.

        A process that is stopped in the middle of a transaction would hold up all others.
        """
        with suppress(psycopg.Error):
            for (ended,) in self._connected().execute(_END_STUCK).fetchall():
                log.warning(
                    "a transaction of an exporter that does not answer was ended",
                    extra={"ended": bool(ended)},
                )

    def close(self) -> None:
        """Close the connection; the next transaction makes another one."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def line(error: Exception) -> str:
    """What an error of the database says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def unavailable(error: Exception, access: Access, what: str) -> StateUnavailable:
    """Why the state cannot be used for now."""
    return StateUnavailable(
        f"the state in PostgreSQL at {access.place} cannot be {what} ({line(error)}): nothing is"
        " counted until it can"
    )
