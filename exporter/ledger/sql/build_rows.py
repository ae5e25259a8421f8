"""The rows of builds: read and written as sets, whatever the size of a batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from exporter.ledger.reconcile import JobKey, Reconciled, Seen
from exporter.ledger.rows import AttemptKey, Counted, Target
from exporter.ledger.sql import Driver, Result, bulk
from exporter.ledger.sql.codec import columns, compact, decoder, key_of
from exporter.model import Build, BuildKey

_encode = msgspec.msgpack.Encoder().encode
_decode = decoder(Build)

_WANTED = """
FROM json_each(?) AS wanted CROSS JOIN {table} AS t ON t.account = ? AND t.key = wanted.value
"""
"""Joins a table with ids of builds: the rows of each id, whatever their starts.

`CROSS` has each id looked up by the table's index. SQLite, which cannot know how many there
are, would go through all rows of the account for each of them.
"""


_COLUMNS = {
    "active": "t.build",
    "attempt": "t.conclusion, t.listed, t.flags, t.ended, t.changed",
    "job": "t.job, t.run, t.listed",
}
"""What a row of a build says beside its key, by table."""
_SAME_RUN = {
    "attempt": "o.attempt = t.attempt",
    "job": "o.attempt = t.attempt AND o.job = t.job AND o.run = t.run",
    "build": "o.attempt = t.attempt",
}
"""What rows of two keys have in common that are of one run, by table."""


def seen(db: Driver, account: int, ids: Iterable[str]) -> Callable[[], Seen]:
    """Ask what is known of the builds of these ids; what is returned reads the answers."""
    wanted = _wanted(ids)
    asked = {table: _ask(db, table, account, wanted) for table in _COLUMNS}

    def read() -> Seen:
        active: dict[BuildKey, dict[int, Build]] = {}
        for key, started, attempt, blob in asked["active"]:
            active.setdefault(key_of(key, started), {})[attempt] = _decode(blob)
        return Seen(
            attempts=_attempts(asked["attempt"]),
            active=active,
            jobs={
                JobKey(key_of(key, started), attempt, str(job), run or None): listed
                for key, started, attempt, job, run, listed in asked["job"]
            },
        )

    return read


def _ask(db: Driver, table: str, account: int, wanted: str) -> Result:
    sql = f"SELECT t.key, t.started, t.attempt, {_COLUMNS[table]}" + _WANTED.format(table=table)
    return db.execute(sql, (wanted, account))


def attempts(db: Driver, account: int, ids: Iterable[str]) -> dict[BuildKey, dict[int, Counted]]:
    """The counted attempts of the builds of these ids."""
    return _attempts(_ask(db, "attempt", account, _wanted(ids)))


def _attempts(rows: Iterable[Any]) -> dict[BuildKey, dict[int, Counted]]:
    found: dict[BuildKey, dict[int, Counted]] = {}
    for key, started, attempt, *row in rows:
        found.setdefault(key_of(key, started), {})[attempt] = Counted(*row)
    return found


def _wanted(ids: Iterable[str]) -> str:
    return json.dumps([compact(ident) for ident in dict.fromkeys(ids)])


def write(db: Driver, account: int, target: Target, found: Reconciled) -> None:
    """Keep what `reconcile` has found."""
    renamed = [(*columns(new), account, *columns(old)) for old, new in found.renamed.items()]
    bulk.write(  # the build log shows one of them
        db,
        "DELETE FROM build AS t WHERE t.account = ? AND t.key = ? AND t.started = ? AND EXISTS"
        " (SELECT 1 FROM build AS o WHERE o.attempt = t.attempt AND o.account = t.account"
        " AND o.key = ? AND o.started = ?)",
        [(account, *columns(new), *columns(old)) for old, new in found.renamed.items()],
    )
    # Where a row has the new key already it was counted under it; the other ends with retention.
    for table, same in _SAME_RUN.items():
        bulk.write(
            db,
            f"UPDATE {table} AS t SET key = ?, started = ?"  # noqa: S608 - names of ours
            " WHERE t.account = ? AND t.key = ? AND t.started = ? AND NOT EXISTS"
            f" (SELECT 1 FROM {table} AS o WHERE {same} AND o.account = t.account"
            " AND o.key = ? AND o.started = ?)",
            [(*row, *row[:2]) for row in renamed],
        )
    forget(db, account, found.closed)
    bulk.write(
        db,
        "INSERT INTO active (account, key, started, attempt, target, build)"
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (account, key, started, attempt) DO UPDATE SET build = excluded.build",
        [
            (account, *columns(key), attempt, target.id, _encode(build))
            for (key, attempt), build in found.active.items()
        ],
    )
    bulk.write(
        db,
        "INSERT INTO attempt"
        " (account, key, started, attempt, conclusion, listed, flags, ended, changed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (account, key, started, attempt) DO UPDATE"
        " SET conclusion = excluded.conclusion, listed = excluded.listed, flags = excluded.flags,"
        " ended = excluded.ended, changed = excluded.changed",
        [
            (account, *columns(key), attempt, *_values(row))
            for (key, attempt), row in found.attempts.items()
        ],
    )
    bulk.write(
        db,
        "INSERT INTO job (account, key, started, attempt, job, run, listed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (account, key, started, attempt, job, run) DO UPDATE"
        " SET listed = excluded.listed",
        [
            (account, *columns(job.key), job.attempt, compact(job.job), job.run or 0, listed)
            for job, listed in found.jobs.items()
        ],
    )


def forget(db: Driver, account: int, keys: Iterable[AttemptKey]) -> None:
    """Take builds off the unfinished ones."""
    bulk.write(
        db,
        "DELETE FROM active WHERE account = ? AND key = ? AND started = ? AND attempt = ?",
        [(account, *columns(key), attempt) for key, attempt in keys],
    )


def _values(row: Counted) -> tuple[object, ...]:
    return (row.conclusion, row.listed, row.flags, row.ended, row.changed)
