"""Reading a state: everything at once, and what becomes of errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from exporter.errors import StateDamaged, StateUnavailable
from exporter.ledger.rows import Cursor, Loaded, SeriesKey, Spread, StoredSeries, Target
from exporter.ledger.sqlite import limits, polling, state_file
from exporter.ledger.sqlite.codec import RottenError, decoder, split, unpack
from exporter.model import Build

BOUNDS = "bounds "
"""What the name begins with under which the bounds of a histogram family are kept."""

_build = decoder(Build)
_cursor = decoder(Cursor)
_spread = decoder(Spread)


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


def load(db: sqlite3.Connection, accounts: Mapping[str, int], *, native: bool) -> Loaded:
    """Everything that a process needs in memory. `accounts` are their numbers by name.

    `native` tells whether native buckets are wanted. Raises StateDamaged, StateUnavailable.
    """
    # A cursor that an error holds on to would keep the connection open after its end.
    with reading(), closing(db.cursor()) as rows:
        targets = list(_targets(rows, accounts))
        loaded = Loaded(
            targets=targets,
            active=[
                (target, _build(blob))
                for target, blob in rows.execute("SELECT target, build FROM active")
            ],
            series=list(_series(rows, native=native)),
            pipelines=[
                (target, split(labels), facts)
                for target, labels, facts in rows.execute(
                    "SELECT target, labels, facts FROM pipeline"
                )
            ],
            swept_at=number(db, "swept_at"),
            limits=limits.load(rows),
            polling=polling.load(rows, {number: name for name, number in accounts.items()}),
            series_limit=int(number(db, "series_limit") or 0),
            bounds={
                key.removeprefix(BOUNDS): unpack(blob)
                for key, blob in rows.execute(
                    "SELECT key, value FROM cicd_exporter_meta WHERE key GLOB ?", (f"{BOUNDS}*",)
                )
            },
        )
        known = {target.id for target in targets}
        if not known.issuperset(row[0] for row in (*loaded.active, *loaded.pipelines)):
            raise RottenError("a build or pipeline belongs to a repo that does not exist")
        return loaded


def _targets(rows: sqlite3.Cursor, accounts: Mapping[str, int]) -> Iterator[Target]:
    names = {number: name for name, number in accounts.items()}
    for row in rows.execute("SELECT id, account, repo, cursor, quiet FROM target"):
        ident, account, repo, cursor, quiet = row
        if account not in names:
            raise RottenError("a repo belongs to an account that does not exist")
        yield Target(ident, names[account], repo, _cursor(cursor), bool(quiet))


def _series(rows: sqlite3.Cursor, *, native: bool) -> Iterator[StoredSeries]:
    spreads = {}
    if native:
        rows.execute("SELECT family, labels, spread FROM native")
        spreads = {(family, labels): _spread(blob) for family, labels, blob in rows}
    rows.execute("SELECT family, labels, vector, held, opened FROM series")
    for family, labels, vector, held, opened in rows:
        yield StoredSeries(
            SeriesKey(family, split(labels)),
            unpack(vector),
            None if held is None else unpack(held),
            bool(opened),
            spreads.get((family, labels)),
        )


def number(db: sqlite3.Connection, key: str) -> float | None:
    """A number kept under a name; None if there is none."""
    row = db.execute("SELECT value FROM cicd_exporter_meta WHERE key = ?", (key,)).fetchone()
    if row is not None and not isinstance(row[0], int | float):
        raise RottenError(f"{key} is no number")
    return None if row is None else row[0]
