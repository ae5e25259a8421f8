"""What is news: builds as they are listed now against the rows of what was seen before.

Nothing here reads or writes a store. `reconcile` is given the rows that a batch of builds
touches and returns what is news together with the rows to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

import msgspec
from msgspec.structs import replace

from exporter.ledger.rows import (
    AttemptKey,
    Completed,
    Corrected,
    Counted,
    Findings,
    JobCompleted,
    Target,
)
from exporter.model import Build, BuildKey, Job, Status
from exporter.model.keys import without_nul

_TOUCH = 86400.0
"""Seconds after which a row that is listed again is marked as still listed."""
_MOST_MISSED = 100
"""Attempt numbers beyond this are taken for nonsense rather than for as many lost attempts."""
_FOREVER = 365 * 86400.0
"""Seconds; an unfinished build older than this is a corpse that its provider forgot."""
_LAG = 120.0
"""Seconds after the end of a build in which a list may still show it as running."""
_SAME = 1.0
"""Seconds between two readings of one end, which some APIs cut to the second."""
_REOPENED, _MISSED, _NEVER_RAN = 1, 2, 4


class JobKey(msgspec.Struct, frozen=True):
    """Which job attempt of an account."""

    key: BuildKey
    attempt: int
    job: str
    run: int | None


class Seen(msgspec.Struct):
    """The rows of all builds of a batch: by key, then by attempt."""

    attempts: dict[BuildKey, dict[int, Counted]] = {}
    active: dict[BuildKey, dict[int, Build]] = {}
    jobs: dict[JobKey, float] = {}
    """When each counted job was last marked as listed, epoch seconds."""


class Reconciled(msgspec.Struct):
    """What is news, and the rows that remember it."""

    findings: Findings = msgspec.field(default_factory=Findings)
    renamed: dict[BuildKey, BuildKey] = {}
    """Keys of counted builds whose start was not known, and what they are called from now on."""
    attempts: dict[AttemptKey, Counted] = {}
    jobs: dict[JobKey, float] = {}
    active: dict[AttemptKey, Build] = {}
    closed: dict[AttemptKey, None] = {}
    """No longer unfinished; kept in order."""


def reconcile(  # noqa: PLR0913 - two clocks
    seen: Seen,
    builds: Iterable[Build],
    *,
    target: Target,
    floor: float,
    now: float,
    stamp: float | None = None,
) -> Reconciled:
    """Compare `builds`, in the order in which they are listed, with the rows.

    What completed before `floor` (epoch seconds) is no news; `now` is the provider's clock, and
    `stamp` what rows are marked with as listed: the later of that and ours, lest one that is
    behind makes them seem old.
    """
    stamp = now if stamp is None else stamp
    reading = _Reading(seen, target=target, floor=floor, now=now, stamp=stamp)
    for build in builds:
        reading.read(build)
    return reading.found


def known_key(
    build: Build,
    attempts: Mapping[BuildKey, Mapping[int, object]],
    active: Mapping[BuildKey, Mapping[int, object]],
) -> BuildKey:
    """The key under which the rows know a build, else its own.

    A start tells apart the lives of a number that begins again, but a provider may stop
    telling it: a key without one is that of the latest life, and a start that comes to be
    known belongs to the build that was known without it, unless it is of a later attempt. But
    an unfinished build is none that was counted: it is run again, and its start is yet to come.
    """
    key = build.key
    if not build.key_per_attempt or key in attempts or key in active:
        return key
    if key.started is None:
        runs_again = build.status is not Status.COMPLETED and not build.partial
        places = (active,) if runs_again else (active, attempts)
        return max((k for rows in places for k in rows if key.is_beginning_of(k)), default=key)
    unknown = key.without_start
    return unknown if build.attempt in attempts.get(unknown, ()) else key


def row_of(build: Build, rows: Mapping[int, Counted]) -> Counted | None:
    """The row of a build among those of its key.

    Where each attempt has a key of its own the number says nothing: what is listed later may
    no longer tell that it was run again.
    """
    if build.key_per_attempt:
        return next(iter(rows.values()), None)
    return rows.get(build.attempt)


class _Reading:
    """One batch. What it finds is at once part of what was seen."""

    def __init__(
        self, seen: Seen, *, target: Target, floor: float, now: float, stamp: float
    ) -> None:
        self._attempts = {key: dict(rows) for key, rows in seen.attempts.items()}
        self._active = {key: dict(rows) for key, rows in seen.active.items()}
        self._jobs_seen = dict(seen.jobs)
        self._target = target
        self._floor = floor
        self._now = now
        self._stamp = stamp
        self.found = Reconciled()

    def read(self, build: Build) -> None:
        build = self._identified(build)
        if build.only_jobs:
            self._keep_active(build)
        elif build.status is Status.COMPLETED:
            self._completed(build)
        else:
            self._unfinished(build)
        self._jobs(build)

    # -- identity

    def _identified(self, build: Build) -> Build:
        """`build` under the key that the rows have; those take on a start that is news."""
        known = known_key(build, self._attempts, self._active)
        if known != build.key and build.key.started is None:
            build = replace(build, key=known)
        elif known != build.key:
            self.found.renamed[known] = build.key
            self._attempts[build.key] = self._attempts.pop(known)
            for job in [job for job in self._jobs_seen if job.key == known]:
                self._jobs_seen[replace(job, key=build.key)] = self._jobs_seen.pop(job)
        rows = self._attempts.get(build.key)
        if rows and build.key_per_attempt and build.attempt not in rows:
            build = replace(build, attempt=next(iter(rows)))
        return build

    # -- builds

    def _completed(self, build: Build) -> None:
        row = self._row(build)
        if row is not None:
            self._again(build, row)
            return
        self._close(build)
        if self._is_history(build):
            return
        build = self._without_waits(build)
        missed = self._missed(build)
        self._count(build, build.attempt, Counted(build.conclusion, self._listed(build)))
        self.found.findings.completed.append(Completed(build, missed))

    def _is_history(self, build: Build) -> bool:
        """Whether it completed before the floor, or retention may have forgotten it.

        One without any time of its own is also history if a walk has passed it before: else
        it would have been counted then, or been unfinished.
        """
        if build.time is not None:
            return build.time < self._floor
        if build.started_before is None:
            return False
        cursor = self._target.cursor
        passed = -inf if cursor.since is None or cursor.behind else cursor.since
        return build.started_before < max(self._floor, passed)

    def _again(self, build: Build, row: Counted) -> None:
        """A counted attempt is listed as completed again."""
        if _is_older(build, row):
            return  # a page from before its last end
        self._close(build)
        if build.time is None and build.key.started is not None:
            build = replace(build, conclusion=None)  # it was lost with the times
        is_open = bool(row.flags & _REOPENED)
        changed = build.conclusion is not None and build.conclusion != row.conclusion
        again = _ended_again(build, row)
        if (changed or again) and not row.flags & _MISSED:
            if changed:
                self.found.findings.anomalies.append("conclusion_changed")
            else:
                self.found.findings.anomalies.append("ended_again")
            self.found.findings.corrected.append(Corrected(build, row.ended))
        moves = build.changed_at is not None
        after = Counted(
            conclusion=build.conclusion if build.conclusion is not None else row.conclusion,
            listed=row.listed,
            flags=row.flags & ~_REOPENED if moves else row.flags,
            ended=build.completed_at if moves or row.ended is None else row.ended,
            changed=build.changed_at if moves else row.changed,
        )
        if row.flags & _MISSED:
            after = replace(after, conclusion=row.conclusion)
        listed = self._listed(build)
        stale = abs(listed - row.listed) > _TOUCH
        if after != row or stale or (is_open and moves):
            self._count(build, build.attempt, replace(after, listed=listed))

    def _unfinished(self, build: Build) -> None:
        row = self._row(build)
        if row is not None:
            self._reopened(build, row)
            return
        if (
            max(self._attempts.get(build.key, ()), default=0) > build.attempt
            and not build.is_withheld
        ):
            return  # a late page: a newer attempt is known already
        if build.time is not None and build.time < self._now - _FOREVER:
            return
        self._close(build, below=True)
        if self._keep_active(build):
            words = (u for u in build.unmapped if u.field == "status")
            self.found.findings.unmapped.extend(words)

    def _reopened(self, build: Build, row: Counted) -> None:
        """A counted attempt is listed as unfinished: it runs again, or the page is an old one."""
        if build.unfilled is not None:
            self._keep_active(build)  # it is asked for again until its details tell how it stands
        if row.flags & _MISSED or build.partial or _is_older(build, row):
            return
        if not row.flags & _REOPENED:
            self.found.findings.anomalies.append("reopened")
            self._count(
                build,
                build.attempt,
                replace(row, flags=row.flags | _REOPENED, listed=self._listed(build)),
            )
        # Where the provider tells no time of the change, lists may lag behind the single build.
        if build.changed_at is not None or abs(self._stamp - row.listed) > _LAG:
            known = self._active.get(build.key, {}).get(build.attempt)
            since = build.changed_at or self._now if known is None else known.created_at
            self._keep_active(replace(build, created_at=since))  # its age is that of this run

    def _keep_active(self, build: Build) -> bool:
        """Remember an unfinished build; whether it is new."""
        rows = self._active.setdefault(build.key, {})
        before = rows.get(build.attempt)
        if before != build:
            key = AttemptKey(build.key, build.attempt)
            rows[build.attempt] = self.found.active[key] = build
            self.found.closed.pop(key, None)
            findings = self.found.findings
            findings.active = [b for b in findings.active if AttemptKey(b.key, b.attempt) != key]
            findings.active.append(build)
        return before is None

    def _close(self, build: Build, *, below: bool = False) -> None:
        """Take this attempt (unless `below`) and all earlier ones off the unfinished."""
        for key in {build.key.without_start, build.key}:
            rows = self._active.get(key, {})
            last = build.attempt - (below and key == build.key)
            for attempt in [number for number in rows if number <= last]:
                if attempt < build.attempt and rows[attempt].is_withheld:
                    continue  # whatever follows it, it counts once its details are told
                known = rows.pop(attempt)
                waited = attempt < build.attempt and known.goes_on_as_next
                if waited and attempt not in self._attempts.get(build.key, ()):
                    never_ran = Counted(None, self._listed(build), _MISSED | _NEVER_RAN)
                    self._count(build, attempt, never_ran)
                self._forget(AttemptKey(key, attempt))

    def _forget(self, key: AttemptKey) -> None:
        self.found.active.pop(key, None)
        self.found.closed[key] = None
        findings = self.found.findings
        findings.active = [b for b in findings.active if AttemptKey(b.key, b.attempt) != key]

    def _without_waits(self, build: Build) -> Build:
        """`build` with all of its earlier attempts that are known never to have run."""
        rows = self._attempts.get(build.key, {})
        waits = {number for number, row in rows.items() if row.flags & _NEVER_RAN}
        waits = {number for number in waits | {*build.never_ran} if number < build.attempt}
        return replace(build, never_ran=tuple(sorted(waits)))

    def _missed(self, build: Build) -> int:
        """Count, once, the earlier attempts that nobody saw complete."""
        if build.key_per_attempt:
            return 0  # the others have keys of their own
        if build.created_at is not None and build.created_at < self._target.cursor.floor:
            return 0  # they may have completed before our time
        active = self._active.get(build.key, {}).values()
        withheld = {known.attempt for known in active if known.is_withheld}
        known = withheld.union(self._attempts.get(build.key, {}), build.never_ran)
        lost = [n for n in range(1, min(build.attempt, _MOST_MISSED)) if n not in known]
        for attempt in lost:
            self._count(build, attempt, Counted(None, self._listed(build), _MISSED))
        return len(lost)

    # -- jobs

    def _jobs(self, build: Build) -> None:
        for job in build.jobs:
            if job.status is not Status.COMPLETED:
                continue
            if job.time is not None and job.time < self._floor:
                continue
            key = JobKey(build.key, job.attempt, without_nul(job.id), job.run)
            listed = self._jobs_seen.get(key)
            if listed is None:
                self.found.findings.jobs.append(JobCompleted(build, job))
            now = self._listed(job)
            if listed is None or abs(now - listed) > _TOUCH:
                self._jobs_seen[key] = self.found.jobs[key] = now

    # -- the rows of attempts

    def _listed(self, run: Build | Job) -> float:
        """What its row is marked with: never less than its end, so that it outlives being news."""
        return self._stamp if run.time is None else max(self._stamp, run.time)

    def _row(self, build: Build) -> Counted | None:
        return self._attempts.get(build.key, {}).get(build.attempt)

    def _count(self, build: Build, attempt: int, row: Counted) -> None:
        if attempt == build.attempt and row.ended is None:
            row = replace(row, ended=build.completed_at, changed=build.changed_at)
        self._attempts.setdefault(build.key, {})[attempt] = row
        self.found.attempts[AttemptKey(build.key, attempt)] = row


def _is_older(build: Build, row: Counted) -> bool:
    """Whether a page shows a build as it was before what the row says of it."""
    if build.changed_at is None:
        return False
    known = [at for at in (row.changed, row.ended) if at is not None]
    is_over = build.status is Status.COMPLETED
    # The change that ended it is the end itself, so an unfinished one must be newer than that.
    return any(build.changed_at < at if is_over else build.changed_at <= at for at in known)


def has_changed(build: Build, row: Counted) -> bool:
    """Whether a list shows that a counted build has gone on since it was last seen."""
    if build.changed_at is None or row.flags & _MISSED:
        return False
    return build.changed_at > (row.listed if row.changed is None else row.changed)


def _ended_again(build: Build, row: Counted) -> bool:
    """Whether a build that may go on after its end has ended once more."""
    if build.changed_at is None or build.completed_at is None:
        return False
    # A row of an older format does not say when it ended, but when it was counted.
    return build.completed_at > (row.listed if row.ended is None else row.ended + _SAME)


def touched(builds: Iterable[Build]) -> set[str]:
    """The ids whose rows `reconcile` needs, whatever their starts."""
    return {build.key.id for build in builds}
