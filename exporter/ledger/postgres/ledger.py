"""The ledger in PostgreSQL, which several processes write.

The first statement of each transaction takes the next turn of the one row in `fleet`, and holds
that row to the end. So all transactions follow each other, and their turns are the order in which
they become visible: whoever has read up to a turn has missed nothing before it. The second
statement looks whether the account is still polled here. What a transaction has changed is left as
an image for the others. Where a commit was answered by nobody, the image tells what became of it.
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from exporter.errors import (
    Fenced,
    StateDamaged,
    StateInUse,
    StateLost,
    StateRefused,
    StateUnavailable,
)
from exporter.ledger import LedgerConfig, images
from exporter.ledger.postgres import schema
from exporter.ledger.postgres.driver import HELD_UP, Access, PostgresDriver, line, unavailable
from exporter.ledger.postgres.feed import PostgresFeed
from exporter.ledger.postgres.leases import PostgresLeases
from exporter.ledger.rows import Rows, Snapshot, Touched
from exporter.ledger.shared import BEATS, Shared
from exporter.ledger.sql import meta
from exporter.ledger.sql.codec import RottenError
from exporter.ledger.sql.ledger import SqlLedger, SqlTransaction

log = logging.getLogger(__name__)

LEASE = 15.0
"""Seconds after which a process that is silent has lost what it polls."""
_PAUSE = 0.25
"""Seconds between two looks whether another process has let go."""

_TURN = "UPDATE fleet SET turn = turn + 1 RETURNING turn"
_IS_HELD = (
    "SELECT l.epoch FROM lease AS l JOIN account AS a ON a.id = l.account"
    " WHERE a.name = ? AND l.worker = ?"
)
_FORGET = (
    "WITH gone AS (DELETE FROM change WHERE at < now() - make_interval(secs => ?) RETURNING turn)"
    " UPDATE fleet SET forgotten = greatest(forgotten, (SELECT max(turn) FROM gone))"
)
_TIDY = 60.0
"""Seconds between two deletions of old images."""
_KEPT = 900.0
"""Seconds that images are kept: who has not read for so long loads the state anew."""


def open_ledger(  # noqa: PLR0913 - what the `state` section of a configuration says
    url: str,
    config: LedgerConfig,
    *,
    schema_name: str,
    password: Callable[[], str | None],
    patience: float,
    alone: bool = True,
    name: str | None = None,
    lease: float = LEASE,
) -> PostgresLedger:
    """The ledger in a schema of the database at `url`; its tables are made if there are none.

    `password` is asked at each connection. Unless `alone`, other processes may write beside this
    one, which tells them its `name`. One that does not bear that is waited for, for `patience`
    seconds at most: its end may be under way. Raises StateRefused, and StateInUse where it goes on.
    """
    access = Access(url, schema=schema_name, name=name or socket.gethostname(), password=password)
    driver, leases_driver = PostgresDriver(access), PostgresDriver(access)
    with ExitStack() as unless_it_opens:
        unless_it_opens.callback(driver.close)
        unless_it_opens.callback(leases_driver.close)
        try:
            with access.connect() as connection:
                before = schema.prepare(connection, schema_name)
            if before:
                log.info("the tables of the state are upgraded", extra={"format": schema.FORMAT})
            leases = PostgresLeases(leases_driver, secrets.token_hex(8), length=lease, alone=alone)
            ledger = PostgresLedger(driver, config, leases, alone=alone)
            ledger.join(patience)
        except psycopg.Error as error:
            raise StateRefused(
                f"the state in PostgreSQL at {access.place} cannot be opened: {line(error)}"
            ) from None
        unless_it_opens.pop_all()
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


class PostgresTransaction(SqlTransaction):
    """A transaction of one process among several.

    `begun` reads whether it was let in, and the turn that it has taken; not before an answer is
    needed anyway, as each costs a round trip. Nothing is committed before that.
    """

    def __init__(
        self, ledger: PostgresLedger, db: PostgresDriver, begun: Callable[[], int]
    ) -> None:
        super().__init__(ledger, db)
        self._begun: Callable[[], int] | None = begun

    def load(self, touched: Touched, *, accounts: Collection[str]) -> Rows:
        self.admit()  # the rows in memory may be old
        return super().load(touched, accounts=accounts)

    def admit(self) -> None:
        """Go on only if it was let in. Raises Fenced, StateLost."""
        if self._begun is not None:
            self.changes.turn, self._begun = self._begun(), None

    def save_report(self, account: str, report: bytes) -> None:
        """Write what the process that polls an account says of it."""
        self._db.execute(
            "INSERT INTO account_report (account, report) VALUES (?, ?)"
            " ON CONFLICT (account) DO UPDATE SET report = excluded.report",
            (self._ledger.account_id(account), report),
        )
        self.changes.reports.append((account, report))

    def put_rules(self, rules: bytes) -> None:
        """Write what all processes go by from now on; they load the state anew."""
        meta.put_bytes(self._db, "rules", rules)
        self.changes.is_anew = True

    def finish(self) -> None:
        """Write what was begun."""
        self.admit()
        super().finish()

    def leave_image(self) -> None:
        """Tell the others what this transaction has changed."""
        if (image := images.encode(self.changes)) is not None:
            self._db.execute(
                "INSERT INTO change (turn, image) VALUES (?, ?)", (self.changes.turn, image)
            )


class PostgresLedger(PostgresReader):
    """A ledger in a schema to which other processes may write as well."""

    def __init__(
        self, driver: PostgresDriver, config: LedgerConfig, leases: PostgresLeases, *, alone: bool
    ) -> None:
        super().__init__(driver, config, caches=True)
        self._leases = leases
        self._is_alone = alone
        self._turn = 0
        self.shared = None if alone else Shared(PostgresFeed(driver.access), leases)
        self.look_every = LEASE / BEATS if alone else _TIDY

    def join(self, patience: float) -> None:
        """Become one of those who write. Raises StateInUse if another one cannot bear that."""
        until = time.monotonic() + patience
        while (other := self._leases.join()) is not None:
            if time.monotonic() >= until:
                access = self.driver.access
                raise StateInUse(
                    f"the state in PostgreSQL at {access.place}, schema {access.schema}, is in use"
                    f" by the exporter on {other}: stop it or give this one another state.schema"
                )
            time.sleep(_PAUSE)

    def load(self) -> Snapshot:
        with self.snapshot():
            turn = self.driver.execute("SELECT turn FROM fleet").fetchone()[0]
            reports = self.driver.execute(
                "SELECT a.name, r.report FROM account_report AS r JOIN account AS a"
                " ON a.id = r.account"
            ).fetchall()
            rules = meta.bytes_of(self.driver, "rules")
            snapshot = super().load()
        snapshot.turn, snapshot.reports, snapshot.rules = turn, reports, rules
        return snapshot

    @contextmanager
    def transaction(self, *accounts: str) -> Iterator[PostgresTransaction]:
        known = dict(self._accounts)
        try:
            with self.driver.transaction():
                transaction = PostgresTransaction(self, self.driver, self._ask(accounts))
                yield transaction
                transaction.finish()
                transaction.leave_image()
            self._turn = transaction.changes.turn
        except BaseException as error:
            self._accounts = known
            self.forget_rows()
            if isinstance(error, HELD_UP):
                self.driver.end_stuck()
            if isinstance(error, psycopg.Error):
                raise unavailable(error, self.driver.access, "written") from None
            if isinstance(error, RottenError):
                raise StateDamaged(f"the state is damaged ({error})") from None
            raise

    def _ask(self, accounts: tuple[str, ...]) -> Callable[[], int]:
        """Take a turn; what is returned reads it. That raises Fenced, StateLost."""
        taken = self.driver.execute(_TURN)
        if self._is_alone:
            lives = self.driver.execute(*self._leases.renewal())
        worker = self._leases.worker
        looks = [
            (account, self.driver.execute(_IS_HELD, (account, worker)))
            for account in (() if self._is_alone else accounts)
        ]

        def begun() -> int:
            (turn,) = taken.fetchone()
            if self._is_alone and lives.fetchone() is None:
                raise StateLost(
                    f"the state in PostgreSQL at {self.driver.access.place} is another exporter's"
                    " by now: this one counts nothing any more"
                )
            for account, look in looks:
                row = look.fetchone()
                if row is None or row[0] != self._leases.held.get(account):
                    raise Fenced(f"account {account} is polled by another exporter by now")
            if turn != self._turn + 1:
                self.forget_rows()  # others have written, or nobody has answered us
            return int(turn)

        return begun

    def look(self) -> bool:
        """Check that the state is still there, and if it is ours alone say that we live."""
        try:
            with self.driver.transaction():
                if self._is_alone:
                    self._ask(())()
                else:
                    self.driver.execute(_FORGET, (_KEPT,))
        except psycopg.Error as error:
            raise unavailable(error, self.driver.access, "reached") from None
        return True

    def close(self) -> None:
        try:
            self._leases.leave()
        except StateUnavailable as error:
            log.debug("the state is let go of when its time is over: %s", error)
        if self.shared is not None:
            self.shared.feed.close()
        self.driver.close()

    def _filled(self) -> None:
        for table in ("account", "target", "log_pipeline", "build"):
            self.driver.execute(
                "SELECT setval(pg_get_serial_sequence(?, 'id'),"  # noqa: S608 - names of ours
                f" (SELECT coalesce(max(id), 0) + 1 FROM {table}), false)",
                (f"{self.driver.access.schema}.{table}",),
            )
