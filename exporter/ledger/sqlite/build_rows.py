"""The rows of builds in SQLite: read and written as sets, whatever the size of a batch."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator

import msgspec

from exporter.ledger.reconcile import Findings, JobKey, Seen
from exporter.ledger.rows import Counted, Target
from exporter.ledger.sqlite import bulk
from exporter.ledger.sqlite.codec import decoder
from exporter.model import Build, start_of, without_start

_encode = msgspec.msgpack.Encoder().encode
_decode = decoder(Build)

_WANTED = """
FROM json_each(?) AS wanted CROSS JOIN {table} AS t
  ON t.account = ? AND t.key >= json_extract(wanted.value, '$[0]')
  AND t.key <= json_extract(wanted.value, '$[1]')
"""
"""Joins a table with ranges of keys: one key alone, or all lives of a number.

`CROSS` has each range looked up by the table's index. SQLite, which cannot know how many there
are, would go through all rows of the account for each range.
"""


def seen(db: sqlite3.Connection, account: int, keys: list[str]) -> Seen:
    """What is known of the builds of these keys; a bare key stands for all lives of its number."""
    active: dict[str, dict[int, Build]] = {}
    wanted = _ranges(keys)
    sql = "SELECT t.key, t.attempt, t.build" + _WANTED.format(table="active")
    for key, attempt, blob in db.execute(sql, (wanted, account)):
        active.setdefault(str(key), {})[attempt] = _decode(blob)
    sql = "SELECT t.key, t.attempt, t.job, t.listed" + _WANTED.format(table="job")
    return Seen(
        attempts=attempts(db, account, keys),
        active=active,
        jobs={
            JobKey(str(key), attempt, str(job)): listed
            for key, attempt, job, listed in db.execute(sql, (wanted, account))
        },
    )


def attempts(
    db: sqlite3.Connection, account: int, keys: Iterable[str]
) -> dict[str, dict[int, Counted]]:
    """The counted attempts of the builds of these keys."""
    found: dict[str, dict[int, Counted]] = {}
    sql = (
        "SELECT t.key, t.attempt, t.conclusion, t.listed, t.flags, t.ended, t.changed"
        + _WANTED.format(table="attempt")
    )
    for key, attempt, *row in db.execute(sql, (_ranges(keys), account)):
        found.setdefault(str(key), {})[attempt] = Counted(*row)
    return found


def write(db: sqlite3.Connection, account: int, target: Target, findings: Findings) -> None:
    """Keep what `reconcile` has found."""
    renamed = [(compact(new), account, compact(old)) for old, new in findings.renamed.items()]
    bulk.write(db, "UPDATE OR IGNORE attempt SET key = ? WHERE account = ? AND key = ?", renamed)
    bulk.write(db, "UPDATE OR IGNORE job SET key = ? WHERE account = ? AND key = ?", renamed)
    bulk.write(
        db,
        "DELETE FROM active WHERE account = ? AND key = ? AND attempt = ?",
        [(account, compact(key), attempt) for key, attempt in findings.closed],
    )
    bulk.write(
        db,
        "INSERT INTO active (account, key, attempt, target, build) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (account, key, attempt) DO UPDATE SET build = excluded.build",
        [
            (account, compact(key), attempt, target.id, _encode(build))
            for (key, attempt), build in findings.active.items()
        ],
    )
    bulk.write(
        db,
        "INSERT OR REPLACE INTO attempt"
        " (account, key, attempt, conclusion, listed, flags, ended, changed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (account, compact(key), attempt, *_values(row))
            for (key, attempt), row in findings.attempts.items()
        ],
    )
    bulk.write(
        db,
        "INSERT OR REPLACE INTO job (account, key, attempt, job, listed) VALUES (?, ?, ?, ?, ?)",
        [
            (account, compact(job.key), job.attempt, compact(job.job), listed)
            for job, listed in findings.jobs.items()
        ],
    )


def _values(row: Counted) -> tuple[object, ...]:
    return (row.conclusion, row.listed, row.flags, row.ended, row.changed)


def _ranges(keys: Iterable[str]) -> str:
    return json.dumps([*_range_of(keys)])


def _range_of(keys: Iterable[str]) -> Iterator[tuple[str | int, str | int]]:
    for key in dict.fromkeys(keys):
        is_bare = without_start(key) == key and start_of(key) is None
        # Digits come before a colon, and nothing else may follow the place of a start.
        yield compact(key), f"{key}:" if is_bare else compact(key)


def compact(text: str) -> str | int:
    """A decimal id as a number, which the store keeps in fewer bytes; else the text."""
    if text.isascii() and text.isdigit() and len(text) < 19 and (text[0] != "0" or text == "0"):
        return int(text)
    return text
