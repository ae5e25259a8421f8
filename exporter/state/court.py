"""What is news: builds judged against what was seen before."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from exporter.model import Build, Status
from exporter.record import AttemptKey, Completed, JobCompleted, Target, Verdict

_TOUCH = 86400.0
"""Seconds after which a row that is listed again is marked as still listed."""
_MOST_MISSED = 100
"""Attempt numbers beyond this are taken for nonsense rather than for as many lost attempts."""
_FOREVER = 365 * 86400.0
"""Seconds; an unfinished build older than this is a corpse that its provider forgot."""
_REOPENED, _MISSED = 1, 2

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Build).decode


class Court:
    """Judges the builds of one target inside a transaction.

    `floor` (epoch seconds): what completed before is no news. `now`: our clock.
    """

    def __init__(
        self, db: sqlite3.Connection, account: int, target: Target, *, floor: float, now: float
    ) -> None:
        self._db = db
        self._account = account
        self._target = target
        self._floor = floor
        self._now = now
        self.verdict = Verdict()

    def hear(self, build: Build) -> None:
        """Record one build and add to the verdict what it brings."""
        if build.only_jobs:
            self._keep_active(build)
        elif build.status is Status.COMPLETED:
            self._completed(build)
        else:
            self._unfinished(build)
        self._jobs(build)

    def _completed(self, build: Build) -> None:
        row = self._attempt(build)
        if row is not None:
            self._again(build, *row)
            return
        self._close(build)
        if build.time is not None and build.time < self._floor:
            return  # history, or what retention may have forgotten
        missed = self._missed(build)
        self._insert(build, build.attempt, build.conclusion, 0)
        self.verdict.completed.append(Completed(build, missed))

    def _again(self, build: Build, conclusion: str | None, listed: float, flags: int) -> None:
        """A counted attempt is listed again."""
        changed = build.conclusion is not None and conclusion != build.conclusion
        if changed and not flags & _MISSED:
            self.verdict.anomalies.append("conclusion_changed")
            self.verdict.corrected.append(build)
            conclusion = build.conclusion
        if changed or self._now - listed > _TOUCH:
            self._update(build, conclusion, flags)

    def _unfinished(self, build: Build) -> None:
        row = self._attempt(build)
        if row is not None:
            conclusion, _, flags = row
            if not flags & (_REOPENED | _MISSED):
                self.verdict.anomalies.append("reopened")
                self._update(build, conclusion, flags | _REOPENED)
            return
        if self._newest_attempt(build) > build.attempt:
            return  # a late page: a newer attempt is known already
        if build.time is not None and build.time < self._now - _FOREVER:
            return
        self._close(build, below=True)
        if self._keep_active(build):
            self.verdict.unmapped.extend(u for u in build.unmapped if u.field == "status")

    def _keep_active(self, build: Build) -> bool:
        """Remember an unfinished build; whether it is new."""
        where = (self._account, compact(build.key), build.attempt)
        blob = _encode(build)
        row = self._db.execute(
            "SELECT build FROM active WHERE account = ? AND key = ? AND attempt = ?", where
        ).fetchone()
        if row is None or row[0] != blob:
            self._db.execute(
                "INSERT INTO active (account, key, attempt, target, build) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (account, key, attempt) DO UPDATE SET build = excluded.build",
                (*where, self._target.id, blob),
            )
            self.verdict.active.append(build)
        return row is None

    def _close(self, build: Build, *, below: bool = False) -> None:
        """Take this attempt (unless `below`) and all earlier ones off the unfinished."""
        rows = self._db.execute(
            "DELETE FROM active WHERE account = ? AND key = ? AND attempt <= ?"
            " RETURNING attempt, build",
            (self._account, compact(build.key), build.attempt - below),
        ).fetchall()
        for attempt, blob in rows:
            # What was held for a person and went on as another attempt has never run.
            if attempt < build.attempt and _decode(blob).status is Status.WAITING:
                self._insert(build, attempt, None, _MISSED)
        if rows:
            closed = {AttemptKey(build.key, attempt) for attempt, _ in rows}
            self.verdict.settled.extend(sorted(closed))
            self.verdict.active = [
                b for b in self.verdict.active if AttemptKey(b.key, b.attempt) not in closed
            ]

    def _missed(self, build: Build) -> int:
        """Count, once, the earlier attempts that nobody saw complete."""
        if build.created_at is not None and build.created_at < self._target.cursor.floor:
            return 0  # they may have completed before our time
        known = {
            attempt
            for (attempt,) in self._db.execute(
                "SELECT attempt FROM attempt WHERE account = ? AND key = ?",
                (self._account, compact(build.key)),
            )
        }
        lost = [n for n in range(1, min(build.attempt, _MOST_MISSED)) if n not in known]
        for attempt in lost:
            self._insert(build, attempt, None, _MISSED)
        # A key with a start in it is of one attempt alone: the others have keys of their own.
        return 0 if "@" in build.key else len(lost)

    def _jobs(self, build: Build) -> None:
        for job in build.jobs:
            if job.status is not Status.COMPLETED:
                continue
            if job.time is not None and job.time < self._floor:
                continue
            where = (self._account, compact(build.key), job.attempt, compact(job.id))
            row = self._db.execute(
                "SELECT listed FROM job WHERE account = ? AND key = ? AND attempt = ? AND job = ?",
                where,
            ).fetchone()
            if row is None:
                self._db.execute("INSERT INTO job VALUES (?, ?, ?, ?, ?)", (*where, self._now))
                self.verdict.jobs.append(JobCompleted(build, job))
            elif self._now - row[0] > _TOUCH:
                self._db.execute(
                    "UPDATE job SET listed = ?"
                    " WHERE account = ? AND key = ? AND attempt = ? AND job = ?",
                    (self._now, *where),
                )

    # -- the table of attempts

    def _attempt(self, build: Build) -> Any:
        return self._db.execute(
            "SELECT conclusion, listed, flags FROM attempt"
            " WHERE account = ? AND key = ? AND attempt = ?",
            (self._account, compact(build.key), build.attempt),
        ).fetchone()

    def _newest_attempt(self, build: Build) -> int:
        newest = self._db.execute(
            "SELECT max(attempt) FROM attempt WHERE account = ? AND key = ?",
            (self._account, compact(build.key)),
        ).fetchone()[0]
        return 0 if newest is None else int(newest)

    def _insert(self, build: Build, attempt: int, conclusion: str | None, flags: int) -> None:
        self._db.execute(
            "INSERT INTO attempt (account, key, attempt, conclusion, listed, flags)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (self._account, compact(build.key), attempt, conclusion, self._now, flags),
        )

    def _update(self, build: Build, conclusion: str | None, flags: int) -> None:
        self._db.execute(
            "UPDATE attempt SET conclusion = ?, listed = ?, flags = ?"
            " WHERE account = ? AND key = ? AND attempt = ?",
            (conclusion, self._now, flags, self._account, compact(build.key), build.attempt),
        )


def compact(text: str) -> str | int:
    """A decimal id as a number, which the store keeps in fewer bytes; else the text."""
    if text.isascii() and text.isdigit() and len(text) < 19 and (text[0] != "0" or text == "0"):
        return int(text)
    return text
