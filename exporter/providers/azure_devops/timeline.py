"""What timelines of Azure DevOps say of a build: its attempts, jobs, approvals and checks.

A timeline lists stages, phases, jobs and tasks, and a checkpoint with its checks for each
stage that an approval, a lock or another check may hold. Each of them has an attempt number of
its own: a stage that is run again alone raises its own, and what ran before moves to another
timeline. So the attempt of a build is the highest number of its parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from exporter.model import FAILING, Build, Job, Status
from exporter.model.summary import earliest, latest, worst
from exporter.model.vocabulary import resolve_state
from exporter.payload import at, each, listed, moment, text, whole, word
from exporter.providers.azure_devops.vocabulary import RAN_OUT, WORDS

_RAN_TOO_LONG = "ran longer than the maximum time"
"""Part of the issue that tells a timeout; the result is `canceled` then."""
_NOBODY_CAME = re.compile(r"\btim(?:ed|e)[ -]?out\b|\bexpired\b", re.IGNORECASE)
"""Part of an issue that tells that a check failed as nobody decided in time."""
_CHECKPOINT, _CHECK = "Checkpoint", "Checkpoint."
"""What holds a stage, and how the types of its checks begin: approvals, locks, tasks."""
_MANUAL = "manualvalidation"
"""The task that waits for a person within a job, in lower case."""
_RANKED = ("Stage", "Phase", "Job")
"""Records whose `attempt` counts the runs; a task retried by itself is no new attempt."""


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """A stage, job, task or check of a timeline."""

    id: str
    parent_id: Any = None
    type: Any = None
    name: Any = None
    start_time: Any = None
    finish_time: Any = None
    state: Any = None
    result: Any = None
    attempt: Any = None
    issues: Any = None
    task: Any = None
    previous_attempts: Any = None

    @property
    def number(self) -> int:
        """Which attempt it belongs to."""
        return max(whole(self.attempt) or 1, 1)

    @property
    def started(self) -> float | None:
        """Epoch seconds."""
        return moment(self.start_time)

    @property
    def ended(self) -> float | None:
        """Epoch seconds."""
        return None if self.open else moment(self.finish_time)

    @property
    def open(self) -> bool:
        """Whether it is not completed."""
        return WORDS.status.get(word(self.state) or "") is not Status.COMPLETED

    @property
    def conclusion(self) -> str | None:
        """None while it is open or if it does not say."""
        return None if self.open else WORDS.conclusion.get(word(self.result) or "")

    @property
    def is_check(self) -> bool:
        """Whether it waits for a decision."""
        if self.type == "Task":
            return word(at(self.task, "name")) == _MANUAL
        return isinstance(self.type, str) and self.type.startswith(_CHECK)

    @property
    def messages(self) -> list[str]:
        """What its issues say."""
        return [text(at(issue, "message")) or "" for issue in listed(self.issues)]


_MOST_RECORDS = 50_000
"""Of one build: a matrix of hundreds of jobs has dozens of each."""


class Timeline(msgspec.Struct, frozen=True):
    """The answer of the timeline endpoint."""

    records: list[msgspec.Raw] | None = None

    def read(self) -> list[Record]:
        """Its records, without those that cannot be understood."""
        return each(self.records or (), Record, most=_MOST_RECORDS)[0]


class Reading(msgspec.Struct, frozen=True):
    """What a timeline adds to a listed build."""

    over: bool
    """Whether the build was listed as completed."""
    finished: float | None
    """`finishTime` of the listed build. Epoch seconds."""
    touched: float | None
    """When the listed build was last changed, while it was unfinished. Epoch seconds."""
    read_at: float
    """Epoch seconds, the provider's clock."""
    attempt: int = 1
    started: float | None = None
    """The earliest start in this attempt. Epoch seconds."""
    ended: float | None = None
    """The latest end in this attempt. Epoch seconds."""
    changed: float | None = None
    """The newest time in it. Epoch seconds."""
    conclusion: str | None = None
    """What its parts say together."""
    timed_out: bool = False
    ran_out: bool = False
    """Nothing failed but the wait for a decision."""
    waiting: bool = False
    """Held for a person or a lock, with no job running."""
    jobs: tuple[Job, ...] = ()
    had_jobs: bool = False
    earlier: tuple[Build, ...] = ()
    """The attempts before, as far as timelines tell them. Each is `partial`, so that it is
    left alone if it was counted when it was the newest."""

    @property
    def slim(self) -> Reading:
        """What must be remembered of a completed build."""
        return replace(self, jobs=()) if self.over else self


def read_timeline(records: Sequence[Record], build: Build, *, now: float) -> Reading:
    """What the records say of a listed build.

    It may have been run again since it was listed: attempts that began after the listed end
    are not its own.
    """
    over, finished = build.status is Status.COMPLETED, build.completed_at
    attempt = _attempt(records, finished)
    own = [record for record in records if record.number <= attempt]
    jobs = _jobs(own, build)
    newest = [r for r in own if r.type in _RANKED and r.number == attempt]
    held = any(_holds(record) for record in own)
    running = any(job.status is Status.IN_PROGRESS for job in jobs)
    return Reading(
        over=over,
        finished=finished,
        touched=None if over else build.changed_at,
        read_at=now,
        attempt=attempt,
        started=earliest(r.started for r in newest),
        ended=latest(r.ended for r in newest),
        changed=latest(at for r in records for at in (r.started, r.ended)),
        conclusion=_worst(own, jobs),
        timed_out=any(_timed_out(record) for record in own),
        ran_out=over and _ran_out(own),
        waiting=not over and held and not running,
        jobs=jobs,
        had_jobs=bool(jobs),
    )


def _attempt(records: Sequence[Record], finished: float | None) -> int:
    """The highest number of what ran by then, or the one before what ran only later."""
    ranked = [record for record in records if record.type in _RANKED]
    if finished is None:
        return max((record.number for record in ranked), default=1)
    later = [record.number for record in ranked if _is_after(record, finished)]
    own = [record.number for record in ranked if not _is_after(record, finished)]
    return max(max(own, default=1), min(later, default=1) - 1)


def _is_after(record: Record, finished: float) -> bool:
    began = record.ended if record.started is None else record.started
    return record.open if began is None else began > finished


def _holds(record: Record) -> bool:
    return record.open and (record.is_check or record.type == _CHECKPOINT)


def _timed_out(record: Record) -> bool:
    return any(_RAN_TOO_LONG in message.lower() for message in record.messages)


# -- checks


def _ran_out(records: Sequence[Record]) -> bool:
    """Whether a build that is over failed only because nobody decided in time.

    The stage of such a check is skipped, or has failed with nothing in it that did.
    """
    checks = [record for record in records if record.is_check]
    checks = checks or [record for record in records if record.type == _CHECKPOINT]
    undecided = [check for check in checks if _is_undecided(check)]
    if not undecided or any(c.conclusion in FAILING and c not in undecided for c in checks):
        return False
    parents = _parents(records)
    excused = {place for check in undecided for place in _above(check.id, parents)}
    return not any(
        _timed_out(record)
        or (record.type in _RANKED and record.id not in excused and record.conclusion in FAILING)
        for record in records
    )


def _is_undecided(check: Record) -> bool:
    if check.open or word(check.result) in RAN_OUT:
        return True
    return check.conclusion == "failed" and any(map(_NOBODY_CAME.search, check.messages))


# -- jobs


def _jobs(records: Sequence[Record], build: Build) -> tuple[Job, ...]:
    parents = _parents(records)
    gated = {
        place
        for record in records
        if _holds(record)
        for place in _above(record.id, parents)  # up to the stage it holds, or its job
    }
    tasks: dict[str | None, list[Record]] = {}
    for record in records:
        tasks.setdefault(text(record.parent_id), []).append(record)
    jobs = (
        _to_job(record, [record, *tasks.get(record.id, ())], gated, _above(record.id, parents))
        for record in records
        if record.type == "Job"
    )
    return tuple(replace(job, url=job_page(build, job.id)) for job in jobs)


def job_page(build: Build, job: str) -> str | None:
    """The address of a job's page, which is its build's with the log of that job."""
    if build.url is None:
        return None
    return f"{build.url}{'&' if '?' in build.url else '?'}view=logs&j={quote(job, safe='')}"


def _parents(records: Sequence[Record]) -> dict[str, str | None]:
    return {record.id: text(record.parent_id) for record in records}


def _above(record: str, parents: dict[str, str | None]) -> list[str]:
    """The ids of the records that `record` is inside of, as far as they are listed."""
    found: list[str] = []
    parent = parents.get(record)
    while parent is not None and parent not in found:
        found.append(parent)
        parent = parents.get(parent)
    return found


def _to_job(record: Record, inside: Sequence[Record], gated: set[str], above: list[str]) -> Job:
    """A job; it waits for a person if it is such a task, or its stage is held.

    `inside` are the job and its tasks.
    """
    started, ended = record.started, moment(record.finish_time)
    state = resolve_state(
        WORDS, word(record.state), word(record.result), started=started, ended=ended
    )
    status, conclusion = state.status, state.conclusion
    if status is Status.QUEUED and gated.intersection(above):
        status = Status.WAITING
    if status is Status.IN_PROGRESS and record.id in gated:
        status = Status.WAITING
    if conclusion == "cancelled" and any(map(_timed_out, inside)):
        conclusion = "timeout"
    elif conclusion == "failed" and _ran_out(inside):
        conclusion = "cancelled"
    return Job(
        id=record.id,
        name=text(record.name) or "",
        attempt=record.number,
        **state._replace(status=status, conclusion=conclusion).fields(),
    )


def _worst(records: Sequence[Record], jobs: Iterable[Job]) -> str | None:
    """What the jobs say together; where they have nothing to say, what holds them does."""
    results = {job.conclusion for job in jobs}
    parts = {r.conclusion for r in records if r.type in _RANKED or r.is_check} - {None}
    found = worst(results)
    return worst(results | parts) if found in (None, "passed", "skipped") else found


# -- builds


def with_reading(build: Build, reading: Reading, *, jobs: bool) -> Build:
    """A listed build with its attempt, and with its jobs if wanted.

    `startTime` stays that of the first attempt, so a later one starts with its records. What
    the build does not say of its end its jobs do.
    """
    conclusion, status, ended = build.conclusion, build.status, build.completed_at
    if status is Status.COMPLETED:
        ended = reading.ended if ended is None else ended
        conclusion = reading.conclusion if conclusion is None else conclusion
    if conclusion == "cancelled" and reading.timed_out:
        conclusion = "timeout"
    if conclusion == "failed" and reading.ran_out:
        conclusion = "cancelled"
    first = reading.attempt == 1 and build.started_at is not None
    started = build.started_at if first else reading.started
    if status is Status.IN_PROGRESS and started is None:
        status = Status.QUEUED  # asked to run again, or approved, and no agent is free
    if status in (Status.QUEUED, Status.IN_PROGRESS) and reading.waiting:
        status = Status.WAITING
    return replace(
        build,
        attempt=reading.attempt,
        status=status,
        conclusion=conclusion,
        started_at=started,
        completed_at=ended,
        changed_at=ended
        if status is Status.COMPLETED
        else latest((build.changed_at, reading.changed)),
        jobs=reading.jobs if jobs else (),
        partial=False,
    )


def previous_timelines(records: Iterable[Record], attempt: int) -> list[str]:
    """Ids of the timelines that hold an earlier attempt."""
    entries = (
        entry
        for record in records
        for entry in listed(record.previous_attempts)
        if whole(at(entry, "attempt")) == attempt
    )
    ids = (text(at(entry, "timelineId")) for entry in entries)
    return list(dict.fromkeys(id_ for id_ in ids if id_ is not None))


def earlier_attempt(
    build: Build, attempt: int, records: Sequence[Record], *, jobs: bool
) -> Build | None:
    """An attempt that was run again, as its parts tell it; None if they do not.

    `records` are those of its own timelines and of the ones after it.
    """
    until = earliest(record.started for record in records if record.number > attempt)
    parts = [
        record
        for record in records
        if record.number <= attempt
        and (record.ended is None or until is None or record.ended <= until)
    ]
    own = [record for record in parts if record.type in _RANKED and record.number == attempt]
    ended = latest(record.ended for record in own)
    if ended is None:
        return None
    found = _jobs(parts, build)
    return replace(
        build,
        attempt=attempt,
        status=Status.COMPLETED,
        conclusion="cancelled" if _ran_out(parts) else _worst(parts, found),
        started_at=build.started_at if attempt == 1 else earliest(r.started for r in own),
        completed_at=ended,
        changed_at=ended,
        unmapped=(),
        jobs=tuple(job for job in found if job.attempt == attempt) if jobs else (),
        partial=True,
    )
