"""The ledger in a SQLite file that no other process uses."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

from exporter.errors import StateRefused, StateUnavailable
from exporter.ledger import LedgerConfig
from exporter.ledger.sql import loading
from exporter.ledger.sql.codec import RottenError
from exporter.ledger.sql.copying import as_sqlite
from exporter.ledger.sql.ledger import SqlLedger, SqlTransaction
from exporter.ledger.sqlite import state_file
from exporter.ledger.sqlite.presence import Fault, File
from exporter.ledger.sqlite.state_file import reading

log = logging.getLogger(__name__)


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


def open_ledger(
    url: str,
    config: LedgerConfig,
    *,
    on_corrupt: Literal["fail", "quarantine"] = "fail",
    damage: str | None = None,
    alone: bool = True,
) -> SqliteLedger:
    """The ledger that `state.url` names: `sqlite:///PATH` or `memory:`.

    `damage` is what was found to be wrong with its content. Unless `alone` this process may
    open the file once more. Raises StateRefused.
    """
    path = None if url == "memory:" else Path(url.removeprefix("sqlite:///"))
    opened = state_file.connect(
        path, on_corrupt=on_corrupt, now=time.time(), damage=damage, alone=alone
    )
    return SqliteLedger(opened, config, alone=alone)


class SqliteLedger(SqlLedger):
    """A ledger in one SQLite file that nobody else may use meanwhile."""

    _convert = staticmethod(as_sqlite)

    def __init__(
        self, opened: state_file.Opened, config: LedgerConfig, *, alone: bool = True
    ) -> None:
        super().__init__(config, reading=reading, caches=alone)
        self.is_volatile = opened.file is None
        self._opened = opened
        self._fault: Fault | None = None
        """What became of the file behind our back; nothing is written as long as that is so."""
        self._accounts = loading.accounts(opened.connection)

    @property
    def _db(self) -> sqlite3.Connection:
        return self._opened.connection

    def _cursor(self) -> closing[sqlite3.Cursor]:
        # One that is open would keep the connection open after its end.
        return closing(self._db.cursor())

    @contextmanager
    def transaction(self, *accounts: str) -> Iterator[SqlTransaction]:
        del accounts  # nobody else could write about them
        if self._fault is not None:
            raise StateUnavailable(self._fault.text)
        db = self._db
        known = dict(self._accounts)
        try:
            _roll_back(db)  # what a disk that failed has left
            db.execute("BEGIN IMMEDIATE")
            transaction = SqlTransaction(self, db)
            yield transaction
            transaction.finish()
            db.execute("COMMIT")
        except BaseException as error:
            self._accounts = known
            self.forget_rows()
            with suppress(sqlite3.Error):
                _roll_back(db)
            if isinstance(error, sqlite3.Error | RottenError):
                raise StateUnavailable(
                    f"the state cannot be written ({error}): free space or repair the disk;"
                    " nothing is counted until then"
                ) from error
            raise

    def look(self) -> bool:
        file = self._opened.file
        if file is None:
            return False
        before, self._fault = self._fault, self._find_fault(file)
        if self._fault is None:
            return before is not None
        text = self._fault.text
        if before != self._fault:  # a file that comes back soon was only being moved about
            if self._fault.cure is None:
                file.disown(self._db)
            raise StateUnavailable(text)
        if self._fault.cure is None:
            raise StateUnavailable(text)
        try:
            self._opened = state_file.mended(self._opened, file, self._fault.cure)
        except (sqlite3.Error, OSError, StateRefused) as error:
            raise StateUnavailable(f"{text}; it cannot: {error}") from error
        self._fault = None
        log.warning("the state file has been written anew", extra={"file": str(file.path)})
        return True

    def _find_fault(self, file: File) -> Fault | None:
        try:
            found = file.fault()
            if found is None:
                file.mark(self._db)
            return found
        except OSError as error:  # nobody can look there, which says nothing of the file
            log.debug("the state file cannot be looked at: %s", error)
            return self._fault
        except sqlite3.Error as error:
            raise StateUnavailable(f"the state cannot be written ({error})") from error

    def close(self) -> None:
        with suppress(sqlite3.Error):  # all that was committed is on the disk
            self._opened.close()
