"""The ledger on SQLite: judges builds and commits what follows, or nothing."""

from __future__ import annotations

import json
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from exporter.errors import StateUnavailable
from exporter.model import Build
from exporter.record import (
    AnswerChanges,
    AnswerKey,
    AttemptKey,
    Change,
    Counted,
    Cursor,
    Labels,
    Loaded,
    SeriesKey,
    Spread,
    StoredAnswer,
    StoredSeries,
    Target,
    Vector,
    Verdict,
    plus,
)
from exporter.state import rows, sqlite
from exporter.state.reconcile import known_key, reconcile, row_of, touched
from exporter.state.rows import compact

_Row = tuple[Vector, Vector | None, bool]
"""A series: its numbers, those that are held back, and whether it takes increments at once."""

_SEPARATOR = "\x1f"  # a control character, which no label value has
_OUT_OF_USE = 7 * 86400.0
"""Seconds after which an answer that nobody asked for again is forgotten."""
_encode = msgspec.msgpack.Encoder().encode
_build = msgspec.msgpack.Decoder(Build).decode
_cursor = msgspec.msgpack.Decoder(Cursor).decode
_spread = msgspec.msgpack.Decoder(Spread).decode


class Terms(msgspec.Struct, frozen=True):
    """How long the ledger remembers, and what it takes for history. Spans in seconds."""

    retention: float
    lookback: float
    quiet: bool = True
    """Whether history is left uncounted where an earlier state was lost or is not kept."""
    native: bool = False
    """Whether anybody wants to know of the native buckets that were counted."""


def open_ledger(
    url: str, terms: Terms, *, on_corrupt: Literal["fail", "quarantine"] = "fail"
) -> SqliteLedger:
    """The ledger that `state.url` names: `sqlite:///PATH` or `memory:`."""
    path = None if url == "memory:" else Path(url.removeprefix("sqlite:///"))
    connection = sqlite.connect(path, on_corrupt=on_corrupt, now=time.time())
    return SqliteLedger(connection, terms, volatile=path is None)


class SqliteLedger:
    """A ledger in one SQLite file that nobody else may use meanwhile."""

    def __init__(self, connection: sqlite3.Connection, terms: Terms, *, volatile: bool) -> None:
        self.terms = terms
        self._db = connection
        self.is_volatile = volatile
        self._accounts: dict[str, int] = dict(
            connection.execute("SELECT name, id FROM account").fetchall()
        )

    def load(self) -> Loaded:
        names = {number: name for name, number in self._accounts.items()}
        rows = self._db.execute("SELECT id, account, repo, cursor, quiet FROM target")
        native = "SELECT family, labels, spread FROM native"
        spreads = {
            (family, labels): _spread(blob)
            for family, labels, blob in (self._db.execute(native) if self.terms.native else ())
        }
        return Loaded(
            targets=[
                Target(id=i, account=names[a], repo=r, cursor=_cursor(c), quiet=bool(q))
                for i, a, r, c, q in rows
            ],
            active=[
                (target, _build(blob))
                for target, blob in self._db.execute("SELECT target, build FROM active")
            ],
            series=[
                StoredSeries(
                    SeriesKey(family, _split(labels)),
                    _unpack(vector),
                    None if held is None else _unpack(held),
                    bool(opened),
                    spreads.get((family, labels)),
                )
                for family, labels, vector, held, opened in self._db.execute(
                    "SELECT family, labels, vector, held, opened FROM series"
                )
            ],
            pipelines=[
                (target, _split(labels), facts)
                for target, labels, facts in self._db.execute(
                    "SELECT target, labels, facts FROM pipeline"
                )
            ],
            series_limit=int(self.meta("series_limit") or 0),
        )

    def counted(self, target: Target, builds: Sequence[Build]) -> list[Counted | None]:
        account = self._accounts.get(target.account)
        if account is None:
            return [None] * len(builds)
        attempts = rows.attempts(self._db, account, touched(builds))
        return [row_of(build, attempts.get(known_key(build, attempts, {}), {})) for build in builds]

    def answers(self, account: str) -> list[StoredAnswer]:
        try:
            rows = self._db.execute(
                "SELECT url, shape, etag, packed, reader, used FROM answer WHERE account = ?",
                (self._accounts.get(account),),
            ).fetchall()
        except sqlite3.Error as error:
            raise StateUnavailable(f"the state cannot be read ({error})") from error
        answers = [StoredAnswer(AnswerKey(*row[:2]), *row[2:]) for row in rows]
        return sorted(answers, key=lambda answer: answer.used)

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        db = self._db
        accounts = dict(self._accounts)
        try:
            db.execute("BEGIN IMMEDIATE")
            yield SqliteTransaction(self, db)
            db.execute("COMMIT")
        except BaseException as error:
            self._accounts = accounts
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StateUnavailable(
                    f"the state cannot be written ({error}): free space or repair the disk;"
                    " nothing is counted until then"
                ) from error
            raise

    def close(self) -> None:
        self._db.close()

    # -- for the transaction

    def account_id(self, name: str) -> int:
        """The number of an account, made if it is new."""
        if name not in self._accounts:
            made = self._db.execute("INSERT INTO account (name) VALUES (?) RETURNING id", (name,))
            self._accounts[name] = made.fetchone()[0]
        return self._accounts[name]

    def is_quiet(self, first_poll: float) -> bool:
        """Whether history read now may have been counted by a state that was lost."""
        if not self.terms.quiet:
            return False
        lost_at = self.meta("quarantined_at")
        return self.is_volatile or (
            lost_at is not None and first_poll - self.terms.lookback < lost_at
        )

    def pruned_to(self, account: str) -> float:
        """What of an account completed before this has been forgotten. Epoch seconds."""
        row = self._db.execute(
            "SELECT pruned_to FROM account WHERE name = ?", (account,)
        ).fetchone()
        return 0.0 if row is None or row[0] is None else float(row[0])

    def meta(self, key: str) -> float | None:
        """A number kept under a name; None if there is none."""
        row = self._db.execute(
            "SELECT value FROM cicd_exporter_meta WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else row[0]


class SqliteTransaction:
    """One atomic step of a `SqliteLedger`."""

    def __init__(self, ledger: SqliteLedger, db: sqlite3.Connection) -> None:
        self._ledger = ledger
        self._db = db

    def target(self, account: str, repo: str, cursor: Cursor) -> Target:
        number = self._ledger.account_id(account)
        row = self._db.execute(
            "SELECT id, cursor, quiet FROM target WHERE account = ? AND repo = ?", (number, repo)
        ).fetchone()
        if row is None:
            quiet = self._ledger.is_quiet(cursor.floor + self._ledger.terms.lookback)
            row = self._db.execute(
                "INSERT INTO target (account, repo, cursor, quiet) VALUES (?, ?, ?, ?)"
                " RETURNING id, cursor, quiet",
                (number, repo, _encode(cursor), quiet),
            ).fetchone()
        return Target(
            id=row[0], account=account, repo=repo, cursor=_cursor(row[1]), quiet=bool(row[2])
        )

    def judge(self, target: Target, builds: Iterable[Build], *, now: float) -> Verdict:
        floor = max(
            target.cursor.floor,
            now - self._ledger.terms.retention,
            self._ledger.pruned_to(target.account),
        )
        account = self._ledger.account_id(target.account)
        listed = list(builds)
        seen = rows.seen(self._db, account, list(touched(listed)))
        findings = reconcile(seen, listed, target=target, floor=floor, now=now)
        rows.write(self._db, account, target, findings)
        return findings.verdict

    def settle(self, target: Target, keys: Iterable[AttemptKey]) -> None:
        account = self._ledger.account_id(target.account)
        self._db.executemany(
            "DELETE FROM active WHERE account = ? AND key = ? AND attempt = ?",
            [(account, compact(key), attempt) for key, attempt in keys],
        )

    def save(self, target: Target, change: Change) -> None:
        known = self._rows(delta.series for delta in change.deltas)
        spreads: dict[SeriesKey, Spread] = {}
        for delta in change.deltas:
            vector, held, opened = known.get(delta.series) or (
                (0.0,) * len(delta.vector),
                None,
                False,
            )
            if delta.held:
                held = plus(held or (0.0,) * len(delta.vector), delta.vector)
            else:
                vector = plus(vector, delta.vector)
            known[delta.series] = vector, held, opened or delta.opened
            if delta.cells:
                if delta.series not in spreads:
                    spreads[delta.series] = self._spread(delta.series) or Spread()
                spreads[delta.series].add(delta)
        self._put({delta.series: known[delta.series] for delta in change.deltas})
        for series, spread in spreads.items():
            self._put_spread(series, spread)
        self._db.executemany(
            "INSERT INTO pipeline (labels, target, facts) VALUES (?, ?, ?)"
            " ON CONFLICT (labels) DO UPDATE SET facts = excluded.facts",
            [(_SEPARATOR.join(labels), target.id, facts) for labels, facts in change.pipelines],
        )

    def move(self, target: Target, cursor: Cursor) -> None:
        self._db.execute("UPDATE target SET cursor = ? WHERE id = ?", (_encode(cursor), target.id))

    def release(self, keys: Iterable[SeriesKey]) -> None:
        opening = list(keys)
        known = self._rows(opening)
        self._put(
            {
                key: (plus(vector, held) if held else vector, None, True)
                for key, (vector, held, _) in known.items()
            }
        )
        for key in opening:
            spread = self._spread(key)
            if spread is not None and spread.held:
                spread.release()
                self._put_spread(key, spread)

    def forget(self, pipelines: Iterable[tuple[Labels, Iterable[SeriesKey]]]) -> None:
        for labels, keys in pipelines:
            self._db.execute("DELETE FROM pipeline WHERE labels = ?", (_SEPARATOR.join(labels),))
            self._drop(keys)

    def _drop(self, keys: Iterable[SeriesKey]) -> None:
        names = [(family, _SEPARATOR.join(labels)) for family, labels in keys]
        self._db.executemany("DELETE FROM series WHERE family = ? AND labels = ?", names)
        self._db.executemany("DELETE FROM native WHERE family = ? AND labels = ?", names)

    def bounds(self, family: str, bounds: tuple[float, ...]) -> bool:
        wanted = _pack(bounds)
        row = self._db.execute(
            "SELECT value FROM cicd_exporter_meta WHERE key = ?", (f"bounds {family}",)
        ).fetchone()
        if row is not None and row[0] == wanted:
            return True
        self._db.execute(
            "INSERT OR REPLACE INTO cicd_exporter_meta VALUES (?, ?)", (f"bounds {family}", wanted)
        )
        self._db.execute("DELETE FROM series WHERE family = ?", (family,))
        self._db.execute("DELETE FROM native WHERE family = ?", (family,))
        return row is None

    def limit(self, samples: int) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO cicd_exporter_meta VALUES ('series_limit', ?)", (samples,)
        )

    def keep_answers(self, account: str, changes: AnswerChanges) -> None:
        if self._ledger.is_volatile:
            return  # they would be in memory twice, and end with it
        number = self._ledger.account_id(account)
        self._db.executemany(
            "DELETE FROM answer WHERE account = ? AND url = ? AND shape = ?",
            [(number, *key) for key in changes.dropped],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO answer (account, url, shape, used, reader, etag, packed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (number, *row.key, row.used, row.reader, row.etag, row.packed)
                for row in changes.kept
            ],
        )

    def prune(self, *, now: float) -> None:
        before = now - self._ledger.terms.retention
        self._db.execute("DELETE FROM attempt WHERE listed < ?", (before,))
        self._db.execute("DELETE FROM job WHERE listed < ?", (before,))
        self._db.execute("DELETE FROM answer WHERE used < ?", (now - _OUT_OF_USE,))
        self._db.execute("UPDATE account SET pruned_to = max(ifnull(pruned_to, 0.0), ?)", (before,))

    def _rows(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, _Row]:
        names = {(key.family, _SEPARATOR.join(key.labels)): key for key in keys}
        found = self._db.execute(
            "SELECT s.family, s.labels, s.vector, s.held, s.opened FROM json_each(?) AS wanted"
            " JOIN series AS s ON s.family = wanted.value ->> 0 AND s.labels = wanted.value ->> 1",
            (json.dumps(list(names)),),
        )
        return {
            names[family, labels]: (
                _unpack(vector),
                None if held is None else _unpack(held),
                bool(opened),
            )
            for family, labels, vector, held, opened in found
        }

    def _put(self, changed: Mapping[SeriesKey, _Row]) -> None:
        self._db.executemany(
            "INSERT INTO series (family, labels, vector, held, opened) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (family, labels) DO UPDATE"
            " SET vector = excluded.vector, held = excluded.held, opened = excluded.opened",
            [
                (
                    key.family,
                    _SEPARATOR.join(key.labels),
                    _pack(vector),
                    None if held is None else _pack(held),
                    opened,
                )
                for key, (vector, held, opened) in changed.items()
            ],
        )

    def _spread(self, key: SeriesKey) -> Spread | None:
        row = self._db.execute(
            "SELECT spread FROM native WHERE family = ? AND labels = ?",
            (key.family, _SEPARATOR.join(key.labels)),
        ).fetchone()
        return None if row is None else _spread(row[0])

    def _put_spread(self, key: SeriesKey, spread: Spread) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO native (family, labels, spread) VALUES (?, ?, ?)",
            (key.family, _SEPARATOR.join(key.labels), _encode(spread)),
        )


def _split(labels: str) -> Labels:
    return tuple(labels.split(_SEPARATOR)) if labels else ()


def _pack(vector: Vector) -> bytes:
    return struct.pack(f"<{len(vector)}d", *vector)


def _unpack(blob: bytes) -> Vector:
    return struct.unpack(f"<{len(blob) // 8}d", blob)
