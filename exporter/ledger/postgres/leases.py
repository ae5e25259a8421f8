"""Who polls what: rows of workers and of leases.

A worker lives until it has been silent for the length of a lease. Where its connection led to the
server itself, and not to a pooler, it is known to be dead sooner: two beats after the last one, if
the process of the server is gone that served it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import psycopg

from exporter.ledger.postgres.driver import HELD_UP, PostgresDriver, unavailable
from exporter.ledger.shared import BEATS, Beat, Held, Worker, WorkerFacts
from exporter.ledger.sql import meta

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(WorkerFacts).decode

_LIVES = (
    "w.expires > now() AND (w.backend IS NULL OR w.at > now() - make_interval(secs => ?) OR EXISTS"
    " (SELECT 1 FROM pg_stat_get_activity(w.backend) AS p WHERE p.backend_start <= w.at))"
)
_LIVING = (
    "SELECT w.id, w.name, extract(epoch FROM w.started)::float8, w.facts FROM worker AS w"  # noqa: S608 - of ours
    f" WHERE {_LIVES} ORDER BY w.started, w.id"
)
_OTHERS = f"SELECT w.name FROM worker AS w WHERE w.id <> ? AND (w.alone OR ?) AND {_LIVES}"  # noqa: S608 - of ours
_BEAT = (
    "INSERT INTO worker (id, name, at, expires, backend, alone, facts)"
    " VALUES (?, ?, now(), now() + make_interval(secs => ?),"
    " CASE WHEN coalesce(inet_client_port(), -1) = ? THEN pg_backend_pid() END, ?, ?)"
    " ON CONFLICT (id) DO UPDATE"
    " SET at = excluded.at, expires = excluded.expires, backend = excluded.backend,"
    " facts = excluded.facts"
)
_RENEW = (
    "UPDATE worker SET at = now(), expires = now() + make_interval(secs => ?) WHERE id = ?"
    " RETURNING id"
)
_GONE = "DELETE FROM worker WHERE expires < now() - make_interval(secs => ?)"
_HELD = "SELECT a.name, l.worker, l.epoch FROM lease AS l JOIN account AS a ON a.id = l.account"
_SHOWN = "UPDATE scrape SET shown = ? WHERE shown < ?"
_LOCK = "SELECT f.turn FROM fleet AS f FOR UPDATE"
_WANTED = "(SELECT a.id FROM json_each(?) AS wanted JOIN account AS a ON a.name = wanted.value)"
_KNOW = (
    "INSERT INTO account (name, samples) SELECT wanted.value, 0 FROM json_each(?) AS wanted"
    " ON CONFLICT (name) DO NOTHING"
)
_OFFER = f"INSERT INTO lease (account) SELECT k.id FROM {_WANTED} AS k ON CONFLICT DO NOTHING"  # noqa: S608 - of ours
_TAKE = (
    f"UPDATE lease AS l SET worker = ?, epoch = l.epoch + 1 WHERE l.account IN {_WANTED}"  # noqa: S608 - of ours
    " AND (l.worker IS NULL OR l.worker = ? OR NOT EXISTS"
    f" (SELECT 1 FROM worker AS w WHERE w.id = l.worker AND {_LIVES}))"
    " RETURNING (SELECT a.name FROM account AS a WHERE a.id = l.account), l.epoch"
)
_GIVE_BACK = f"UPDATE lease SET worker = NULL WHERE worker = ? AND account IN {_WANTED}"  # noqa: S608 - of ours
_LEAVE = ("UPDATE lease SET worker = NULL WHERE worker = ?", "DELETE FROM worker WHERE id = ?")


class _TakenError(Exception):
    """A lease of a group is another worker's: nothing of the transaction is kept."""


class PostgresLeases:
    """The `Leases` of one worker, with a connection of its own.

    One that is `alone` bears no other worker beside it.
    """

    def __init__(self, driver: PostgresDriver, worker: str, *, length: float, alone: bool) -> None:
        self.worker = worker
        self.length = length
        self.held: Mapping[str, int] = {}
        """The epochs of the leases that are ours, by account."""
        self._driver = driver
        self._has_left = False
        self._is_alone = alone
        self._silence = 2 * length / BEATS
        """Seconds after the last beat in which it does not matter what the server knows."""

    def join(self) -> str | None:
        """Say that we are here; the name of a worker that does not bear us, if there is one.

        Raises psycopg.Error.
        """
        with self._driver.transaction():
            self._driver.execute(_LOCK)
            asked = (self.worker, self._is_alone, self._silence)
            other = self._driver.execute(_OTHERS, asked).fetchone()
            if other is None:
                self._say(WorkerFacts())
        return None if other is None else str(other[0])

    def look(self) -> Beat:
        """How things stand, and nothing of us. Raises psycopg.Error."""
        living = self._driver.execute(_LIVING, (self._silence,))
        leases = self._driver.execute(_HELD)
        scraped = self._driver.execute("SELECT s.shown FROM scrape AS s")
        rules = meta.bytes_of(self._driver, "rules")
        workers = {
            worker: Worker(worker, name, started_at, _known(facts))
            for worker, name, started_at, facts in living.fetchall()
        }
        held = {
            account: Held(worker, epoch)
            for account, worker, epoch in leases.fetchall()
            if worker in workers
        }
        return Beat(workers, held, scraped.fetchone()[0], rules)

    def renewal(self) -> tuple[str, tuple[Any, ...]]:
        """The statement that says that we live, part of another transaction; a row if we do."""
        return _RENEW, (self.length, self.worker)

    def beat(self, facts: WorkerFacts, *, shown: int) -> Beat:
        """Say that we live, and how far was shown. Raises StateUnavailable."""
        with self._errors(), self._driver.transaction():
            self._say(facts)
            self._driver.execute(_SHOWN, (shown, shown))
            self._driver.execute(_GONE, (self.length * BEATS,))
            beat = self.look()
        held = beat.held.items()
        self.held = {name: one.epoch for name, one in held if one.worker == self.worker}
        return beat

    def _say(self, facts: WorkerFacts) -> None:
        self._driver.execute(
            _BEAT,
            (
                self.worker,
                self._driver.access.name,
                self.length,
                self._driver.client_port(),
                self._is_alone,
                _encode(facts),
            ),
        )

    def take(self, accounts: Collection[str]) -> Mapping[str, int]:
        """Take the leases of all these accounts, or of none. Raises StateUnavailable."""
        names = json.dumps(sorted(accounts))
        taken: dict[str, int] = {}
        with self._errors(), suppress(_TakenError), self._driver.transaction():
            self._driver.execute(_LOCK)
            self._driver.execute(_KNOW, (names,))
            self._driver.execute(_OFFER, (names,))
            rows = self._driver.execute(
                _TAKE, (self.worker, names, self.worker, self._silence)
            ).fetchall()
            if len(rows) < len(accounts):
                raise _TakenError
            taken = dict(rows)
        self.held = {**self.held, **taken}
        return taken

    def give_back(self, accounts: Collection[str]) -> None:
        """Let others have these leases. Raises StateUnavailable."""
        with self._errors(), self._driver.transaction():
            self._driver.execute(_GIVE_BACK, (self.worker, json.dumps(sorted(accounts))))
        self.held = {name: epoch for name, epoch in self.held.items() if name not in accounts}

    def leave(self) -> None:
        """Give back everything, and be no worker any more. Raises StateUnavailable."""
        if self._has_left:
            return
        self._has_left = True
        try:
            with self._errors(), self._driver.transaction():
                for statement in _LEAVE:
                    self._driver.execute(statement, (self.worker,))
        finally:
            self._driver.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            if isinstance(error, HELD_UP):
                self._driver.end_stuck()
            self._driver.close()
            raise unavailable(error, self._driver.access, "reached") from None


def _known(facts: bytes) -> WorkerFacts:
    """What a worker says of itself, as far as this version understands it."""
    try:
        return _decode(facts)
    except msgspec.DecodeError:
        return WorkerFacts()
