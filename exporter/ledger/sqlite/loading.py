"""Reading a state: everything at once, and what becomes of errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from exporter.errors import StateDamaged, StateUnavailable
from exporter.ledger.rows import Cursor, Snapshot, Target
from exporter.ledger.sqlite import limits, polling, series, state_file
from exporter.ledger.sqlite.codec import RottenError, decoder, unpack
from exporter.model import Build

BOUNDS = "bounds "
"""What the name begins with under which the bounds of a histogram family are kept."""

_build = decoder(Build)
_cursor = decoder(Cursor)


@contextmanager
def reading() -> Iterator[None]:
    """Raise what goes wrong as StateDamaged or StateUnavailable."""
    try:
        yield
    except sqlite3.Error as error:
        if state_file.is_corruption(error):
            raise StateDamaged(f"the state cannot be read: it is damaged ({error})") from error
        raise StateUnavailable(
            f"the state cannot be read ({error}): repair the disk; nothing is counted until then"
        ) from error


def accounts(rows: sqlite3.Connection | sqlite3.Cursor) -> dict[str, int]:
    """The numbers of all accounts by name. Raises sqlite3.Error."""
    return dict(rows.execute("SELECT name, id FROM account").fetchall())


def load(db: sqlite3.Connection, *, native: bool) -> Snapshot:
    """Everything that a process needs in memory.

    `native` tells whether native buckets are wanted. Raises StateDamaged, StateUnavailable.
    """
    # A cursor that an error holds on to would keep the connection open after its end.
    with reading(), closing(db.cursor()) as rows:
        names = {number: name for name, number in accounts(rows).items()}
        targets = list(_targets(rows, names))
        snapshot = Snapshot(
            targets=targets,
            pipelines=list(series.all_pipelines(rows)),
            series=list(series.read_all(rows, native=native)),
            open_builds=[
                (target, _build(blob))
                for target, blob in rows.execute("SELECT target, build FROM active")
            ],
            samples=dict(
                rows.execute("SELECT name, samples FROM account WHERE samples NOT NULL").fetchall()
            ),
            swept_at=number(db, "swept_at"),
            limits=limits.load(rows),
            polling=polling.load(rows, names),
            series_limit=int(number(db, "series_limit") or 0),
            bounds={
                key.removeprefix(BOUNDS): unpack(blob)
                for key, blob in rows.execute(
                    "SELECT key, value FROM cicd_exporter_meta WHERE key GLOB ?", (f"{BOUNDS}*",)
                )
            },
        )
        known = {target.id for target in targets}
        if not known.issuperset(row[0] for row in (*snapshot.open_builds, *snapshot.pipelines)):
            raise RottenError("a build or pipeline belongs to a repo that does not exist")
        return snapshot


def _targets(rows: sqlite3.Cursor, names: Mapping[int, str]) -> Iterator[Target]:
    for row in rows.execute("SELECT id, account, repo, cursor, quiet FROM target"):
        ident, account, repo, cursor, quiet = row
        if account not in names:
            raise RottenError("a repo belongs to an account that does not exist")
        yield Target(ident, names[account], repo, _cursor(cursor), bool(quiet))


def number(db: sqlite3.Connection, key: str) -> float | None:
    """A number kept under a name; None if there is none."""
    row = db.execute("SELECT value FROM cicd_exporter_meta WHERE key = ?", (key,)).fetchone()
    if row is not None and not isinstance(row[0], int | float):
        raise RottenError(f"{key} is no number")
    return None if row is None else row[0]
