"""The ledger on a SQL database: judges builds and commits what follows, or nothing."""

from __future__ import annotations

import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import msgspec

from exporter.http.stored import ResponseChanges, ResponseKey, StoredLimits, StoredResponse
from exporter.ledger import LedgerConfig
from exporter.ledger.build_log import LoggedBuild
from exporter.ledger.polling import PollingChanges
from exporter.ledger.reconcile import known_key, reconcile, row_of, touched
from exporter.ledger.rows import (
    AttemptKey,
    Changes,
    Counted,
    Cursor,
    Findings,
    Labels,
    PipelineRow,
    RowChanges,
    Rows,
    SeriesKey,
    SeriesRow,
    Snapshot,
    Target,
    Touched,
)
from exporter.ledger.shared import Shared
from exporter.ledger.sql import (
    Driver,
    build_log,
    build_rows,
    bulk,
    copying,
    limits,
    loading,
    meta,
    polling,
    retention,
    series,
)
from exporter.ledger.sql.build_log import SqlBuildLog
from exporter.ledger.sql.codec import decoder
from exporter.ledger.sql.copying import Digest
from exporter.ledger.sql.row_cache import RowCache
from exporter.model import Build

_MOST_SERIES, _MOST_PIPELINES = 8192, 2048
"""Rows that are kept in memory: some megabytes."""
_ANSWER = (str, bytes, bytes, float)
"""What the columns of a stored response hold; one that holds anything else is not used."""

_encode = msgspec.msgpack.Encoder().encode
_cursor = decoder(Cursor)


class SqlLedger:
    """What ledgers on all databases share.

    `reading` is entered for each read: it turns errors of the database into those of the contract.
    `caches` tells whether rows are kept in memory, as nobody else writes them.
    """

    look_every = 30.0
    _convert = staticmethod(copying.as_text)
    """What a value of another store is in this one."""
    shared: Shared | None = None
    is_volatile = False
    """Whether the state ends with the process."""

    def __init__(
        self,
        config: LedgerConfig,
        *,
        reading: Callable[[], AbstractContextManager[None]],
        caches: bool,
    ) -> None:
        self.config = config
        self.series = RowCache[SeriesKey, SeriesRow](_MOST_SERIES if caches else 0)
        self.pipelines = RowCache[Labels, PipelineRow](_MOST_PIPELINES if caches else 0)
        self._reading = reading
        self._accounts: dict[str, int] = {}

    @property
    def _db(self) -> Driver:
        raise NotImplementedError

    def transaction(self, *accounts: str) -> AbstractContextManager[SqlTransaction]:
        raise NotImplementedError

    def look(self) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def _cursor(self) -> AbstractContextManager[Driver]:
        """What reads and is closed at the end, also where an error holds on to it."""
        return nullcontext(self._db)

    def configure(self, config: LedgerConfig) -> None:
        self.config = config
        self.forget_rows()  # they may lack their native buckets

    def load(self) -> Snapshot:
        with self._reading(), self._cursor() as rows:
            return loading.load(rows, native=self.config.native)

    def counted(self, target: Target, builds: Sequence[Build]) -> list[Counted | None]:
        with self._reading():
            account = self._known_account(target.account)
            if account is None:
                return [None] * len(builds)
            attempts = build_rows.attempts(self._db, account, touched(builds))
        return [row_of(build, attempts.get(known_key(build, attempts, {}), {})) for build in builds]

    def copy_into(self, target: SqlLedger) -> dict[str, Digest]:
        """Copy all of it into an empty ledger, in one transaction of that; what it was, by table.

        Raises StateRefused, StateUnavailable, StateDamaged; the target is as before then.
        """
        with self._reading(), target.transaction():
            copied = copying.copy(self._db, target._db, target._convert)
            target._filled()
        return copied

    def _filled(self) -> None:
        """Go on with the ids that were copied. Called inside the transaction."""

    def build_log(self) -> SqlBuildLog:
        return SqlBuildLog(self._db, self._reading)

    def responses(self, account: str) -> list[StoredResponse]:
        with self._reading():
            rows = self._db.execute(
                "SELECT url, shape, etag, packed, reader, used FROM answer WHERE account = ?",
                (self._known_account(account),),
            ).fetchall()
        answers = [
            StoredResponse(ResponseKey(*row[:2]), *row[2:])
            for row in rows
            if all(map(isinstance, row[2:], _ANSWER))
        ]
        return sorted(answers, key=lambda answer: answer.used)

    # -- for the transaction

    def forget_rows(self) -> None:
        """Read all rows of series and pipelines anew: they may be others in the database."""
        self.series.clear()
        self.pipelines.clear()

    def account_id(self, name: str) -> int:
        """The number of an account, made if it is new."""
        known = self._known_account(name)
        if known is None:
            made = self._db.execute(
                "INSERT INTO account (name, samples) VALUES (?, 0) RETURNING id", (name,)
            )
            known = self._accounts[name] = made.fetchone()[0]
        return known

    def _known_account(self, name: str) -> int | None:
        if name not in self._accounts:  # another connection may have made it
            self._accounts = loading.accounts(self._db)
        return self._accounts.get(name)

    def is_gauges_only(self, first_poll: float) -> bool:
        """Whether history read now may have been counted by a state that was lost."""
        if not self.config.gauges_only:
            return False
        lost_at = meta.number(self._db, "quarantined_at")
        return self.is_volatile or (
            lost_at is not None and first_poll - self.config.lookback < lost_at
        )


class SqlTransaction:
    """One atomic step of a `SqlLedger`."""

    def __init__(self, ledger: SqlLedger, db: Driver) -> None:
        self._ledger = ledger
        self._db = db
        self._unfinished: list[Callable[[], None]] = []
        self.changes = Changes()

    def target(self, account: str, repo: str, cursor: Cursor) -> Target:
        number = self._ledger.account_id(account)
        row = self._db.execute(
            "SELECT id, cursor, quiet FROM target WHERE account = ? AND repo = ?", (number, repo)
        ).fetchone()
        if row is None:
            gauges_only = self._ledger.is_gauges_only(cursor.floor + self._ledger.config.lookback)
            row = self._db.execute(
                "INSERT INTO target (account, repo, cursor, quiet) VALUES (?, ?, ?, ?)"
                " RETURNING id, cursor, quiet",
                (number, repo, _encode(cursor), gauges_only),
            ).fetchone()
        found = Target(
            id=row[0], account=account, repo=repo, cursor=_cursor(row[1]), gauges_only=bool(row[2])
        )
        self.changes.targets.append(found)
        return found

    def reconcile(self, target: Target, builds: Iterable[Build], *, now: float) -> Findings:
        # What is decided for good needs the consent of both clocks.
        earliest, latest = sorted((now, time.time()))
        account, listed = self._ledger.account_id(target.account), list(builds)
        # All is asked for before the first answer is read: a database may be far away.
        pruned_to = retention.pruned_to(self._db, target.account, now=latest)
        seen = build_rows.seen(self._db, account, touched(listed))
        floor = max(target.cursor.floor, earliest - self._ledger.config.retention, pruned_to())
        found = reconcile(seen(), listed, target=target, floor=floor, now=now, stamp=latest)
        build_rows.write(self._db, account, target, found)
        self.changes.closed += ((target.id, key) for key in found.closed)
        self.changes.open_builds += ((target.id, build) for build in found.active.values())
        return found.findings

    def close(self, target: Target, keys: Iterable[AttemptKey]) -> None:
        account = self._ledger.account_id(target.account)
        gone = list(keys)
        build_rows.forget(self._db, account, gone)
        self.changes.closed += ((target.id, key) for key in gone)

    def log(
        self, target: Target, builds: Sequence[tuple[AttemptKey, LoggedBuild]], *, now: float
    ) -> None:
        if builds:
            account, kept = self._ledger.account_id(target.account), self._ledger.config.builds
            rest = build_log.write(self._db, account, builds, kept=kept, now=now)
            self._unfinished.append(rest)

    def finish(self) -> None:
        """Write what was begun. Called before the transaction commits."""
        for rest in self._unfinished:
            rest()
        self._unfinished.clear()

    def load(self, touched: Touched, *, accounts: Collection[str]) -> Rows:
        sql = (
            "SELECT coalesce(sum(samples), 0) FROM account WHERE name IN"
            " (SELECT wanted.value FROM json_each(?) AS wanted)"
        )
        (samples,) = self._db.execute(sql, (json.dumps([*accounts]),)).fetchone()
        self.finish()
        pipelines = self._ledger.pipelines.get(
            touched.pipelines, functools.partial(series.read_pipelines, self._db)
        )
        absent = {labels for labels in touched.pipelines if labels not in pipelines}
        width = len(next(iter(absent), ()))
        keys = touched.series
        if absent:
            keys = [key for key in keys if key.labels[:width] not in absent]
        native = self._ledger.config.native
        known = self._ledger.series.get(
            keys, functools.partial(series.read, self._db, native=native)
        )
        return Rows(pipelines, known, int(samples))

    def save(self, account: str, changes: RowChanges) -> None:
        series.write_pipelines(self._db, changes.pipelines)
        self._ledger.pipelines.put((row.labels, row) for row in changes.pipelines)
        self._write(changes.series)
        if changes.samples:
            sql = "UPDATE account SET samples = samples + ? WHERE id = ?"
            number = self._ledger.account_id(account)
            self._db.execute(sql, (changes.samples, number))
        self.changes.pipelines += changes.pipelines
        self.changes.series += changes.series
        self.changes.exemplars += changes.exemplars
        for family, times in Counter(changes.dropped).items():
            self.changes.dropped[family] = meta.add_dropped(self._db, family, times)

    def advance_cursor(self, target: Target, cursor: Cursor) -> None:
        self._db.execute("UPDATE target SET cursor = ? WHERE id = ?", (_encode(cursor), target.id))
        self.changes.targets.append(msgspec.structs.replace(target, cursor=cursor))

    def release(self, keys: Iterable[SeriesKey]) -> None:
        known = series.read(self._db, keys, native=True)
        released = [row.released() for row in known.values()]
        self._write(released)
        self.changes.series += released

    def _write(self, rows: Collection[SeriesRow]) -> None:
        series.write(self._db, rows)
        self._ledger.series.put((row.series, row) for row in rows)

    def snapshot(self) -> Snapshot:
        return self._ledger.load()

    def pipelines(self) -> list[PipelineRow]:
        return list(series.all_pipelines(self._db))

    def series_of(
        self, pipelines: Collection[Labels], families: Collection[str]
    ) -> list[SeriesRow]:
        return list(series.read_of(self._db, pipelines, families))

    def forget(self, pipelines: Collection[Labels], families: Collection[str]) -> None:
        series.forget(self._db, pipelines, families)
        self._ledger.forget_rows()
        self.changes.forgotten += pipelines

    def count_samples(self, samples: Mapping[str, int]) -> None:
        bulk.write(
            self._db,
            "UPDATE account SET samples = ? WHERE name = ? AND (samples IS NULL OR samples <> ?)",
            [(number, account, number) for account, number in samples.items()],
        )

    def check_buckets(self, family: str, bounds: tuple[float, ...]) -> bool:
        known = meta.bounds_of(self._db, family)
        if known == bounds:
            return True
        meta.put_bounds(self._db, family, bounds)
        self._ledger.forget_rows()
        self._db.execute("DELETE FROM series WHERE family = ?", (family,))
        self._db.execute("DELETE FROM native WHERE family = ?", (family,))
        self.changes.is_anew = True
        return known is None

    def set_series_limit(self, samples: int) -> None:
        meta.put_number(self._db, "series_limit", samples)

    def save_responses(self, account: str, changes: ResponseChanges) -> None:
        if self._ledger.is_volatile:
            return  # they would be in memory twice, and end with it
        number = self._ledger.account_id(account)
        bulk.write(
            self._db,
            "DELETE FROM answer WHERE account = ? AND url = ? AND shape = ?",
            [(number, *key) for key in changes.dropped],
        )
        bulk.write(
            self._db,
            "INSERT INTO answer (account, url, shape, used, reader, etag, packed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, url, shape) DO UPDATE"
            " SET used = excluded.used, reader = excluded.reader, etag = excluded.etag,"
            " packed = excluded.packed",
            [
                (number, *row.key, row.used, row.reader, row.etag, row.packed)
                for row in changes.kept
            ],
        )

    def save_limits(self, changes: Iterable[StoredLimits], *, now: float) -> None:
        kept = list(changes)
        limits.keep(self._db, kept, now=now)
        self.changes.limits += kept

    def save_polling(self, account: str, changes: PollingChanges) -> None:
        polling.write(self._db, self._ledger.account_id(account), changes)
        self.changes.polled.append((account, changes))

    def save_report(self, account: str, report: bytes) -> None:
        raise NotImplementedError

    def put_rules(self, rules: bytes) -> None:
        raise NotImplementedError

    def prune(self, *, now: float, spared: Collection[str] = ()) -> None:
        retention.prune(self._db, now - self._ledger.config.retention, now=now, spared=spared)
