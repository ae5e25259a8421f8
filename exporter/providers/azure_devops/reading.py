"""What builds and timelines of Azure DevOps say: pure reading, no requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from exporter.model import Build, Job, Ref, Status
from exporter.payload import at, each, listed, moment, text, whole, word
from exporter.providers.azure_devops.words import WORDS
from exporter.words import standing, trigger

_RAN_TOO_LONG = "ran longer than the maximum time"
"""Part of the issue that tells a timeout; the result is `canceled` then."""
_HELD = ("Checkpoint.Approval", "Checkpoint.ManualValidation")
_RANKED = ("Stage", "Phase", "Job")
"""Records whose `attempt` counts the runs; a task retried by itself is no new attempt."""
_WORST_FIRST = ("failed", "timeout", "error", "cancelled", "partial", "passed")


class Place(NamedTuple):
    """The parts of an entry; `repository` is empty for a whole project."""

    organization: str
    project: str
    repository: str

    @classmethod
    def of(cls, entry: str) -> Place:
        """The place that an entry names. A GitHub repository's name has a slash in it."""
        organization, project, repository = (*entry.split("/", 2), "")[:3]
        return cls(organization, project, repository)


class Run(msgspec.Struct, frozen=True, rename="camel"):
    """A build as it is listed; its attempt is known to its timeline only."""

    id: int
    status: Any = None
    result: Any = None
    reason: Any = None
    source_branch: Any = None
    queue_time: Any = None
    start_time: Any = None
    finish_time: Any = None
    definition: Any = None
    repository: Any = None


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
    def open(self) -> bool:
        """Whether it is not completed."""
        return WORDS.status.get(word(self.state) or "") is not Status.COMPLETED


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

    finished: float | None
    """`finishTime` of the listed build, None while it is unfinished. Epoch seconds."""
    read_at: float
    """Epoch seconds, the provider's clock."""
    attempt: int = 1
    started: float | None = None
    """The earliest start in this attempt. Epoch seconds."""
    timed_out: bool = False
    waiting: bool = False
    """Held for a person, with no job running."""
    jobs: tuple[Job, ...] = ()
    had_jobs: bool = False
    earlier: tuple[Build, ...] = ()
    """The attempts before, as far as timelines tell them. Each is `partial`, so that it is
    left alone if it was counted when it was the newest."""

    @property
    def slim(self) -> Reading:
        """What must be remembered of a completed build."""
        return self if self.finished is None else replace(self, jobs=())


def to_build(run: Run, place: Place) -> Build:
    """A listed build, taken for its first attempt. The repo label is as the contract says."""
    started, finished = moment(run.start_time), moment(run.finish_time)
    stands = standing(WORDS, word(run.status), word(run.result), started=started, ended=finished)
    why, unmapped = trigger(WORDS, word(run.reason))
    branch, ref = _branch(text(run.source_branch), why)
    repository = place.repository or next(iter(repositories(run)), "")
    default = text(at(run.repository, "defaultBranch"))
    return Build(
        key=f"{place.organization.casefold()}/{run.id}",
        native_id=str(run.id),
        number=whole(run.id),
        repo="/".join(filter(None, (place.organization, place.project, repository))),
        workflow=text(at(run.definition, "name")) or "",
        branch=branch,
        ref=ref,
        default_branch=default and default.removeprefix("refs/heads/"),
        status=stands.status,
        conclusion=stands.conclusion,
        trigger=why,
        created_at=moment(run.queue_time),
        started_at=started,
        completed_at=finished if stands.status is Status.COMPLETED else None,
        unmapped=(*stands.unmapped, *unmapped),
    )


def _branch(name: str | None, why: str) -> tuple[str | None, Ref]:
    if name is None:
        return None, Ref.BRANCH
    if name.startswith("refs/tags/"):
        return name.removeprefix("refs/tags/"), Ref.TAG
    if name.startswith("refs/pull/") or why == "merge_request":
        return name.removeprefix("refs/pull/").removeprefix("refs/heads/"), Ref.PULL_REQUEST
    return name.removeprefix("refs/heads/"), Ref.BRANCH


def repositories(run: Run) -> list[str]:
    """The names of a build's repository; GitHub's are its id."""
    names = (text(at(run.repository, "name")), text(at(run.repository, "id")))
    return [name for name in names if name is not None]


def belongs(run: Run, place: Place) -> bool:
    """Whether a build of the project is of the entry's repository. Names ignore case."""
    names = {name.casefold() for name in repositories(run)}
    return not place.repository or place.repository.casefold() in names


def read_timeline(records: Sequence[Record], *, finished: float | None, now: float) -> Reading:
    """What the records say of a build that was listed with `finished` as its end.

    The build may have been run again since it was listed: attempts that began after the
    listed end are not its own.
    """
    attempt = _attempt(records, finished)
    own = [record for record in records if record.number <= attempt]
    jobs = _jobs(own)
    starts = [r.started for r in own if r.type in _RANKED and r.number == attempt]
    held = any(_holds(record) for record in own)
    running = any(job.status is Status.IN_PROGRESS for job in jobs)
    return Reading(
        finished=finished,
        read_at=now,
        attempt=attempt,
        started=min((at for at in starts if at is not None), default=None),
        timed_out=any(_timed_out(record) for record in own),
        waiting=finished is None and held and not running,
        jobs=jobs,
        had_jobs=bool(jobs),
    )


def _attempt(records: Sequence[Record], finished: float | None) -> int:
    ranked = [record for record in records if record.type in _RANKED]
    newest = max((record.number for record in ranked), default=1)
    if finished is None:
        return newest
    later = [r.number for r in ranked if r.started is not None and r.started > finished]
    return max(min(later) - 1, 1) if later else newest


def _holds(record: Record) -> bool:
    manual = word(at(record.task, "name")) == "manualvalidation"
    return (record.type in _HELD or manual) and record.open


def _timed_out(record: Record) -> bool:
    told = (text(at(issue, "message")) or "" for issue in listed(record.issues))
    return any(_RAN_TOO_LONG in message.lower() for message in told)


def _jobs(records: Sequence[Record]) -> tuple[Job, ...]:
    parents = {record.id: text(record.parent_id) for record in records}
    gated = {
        place
        for record in records
        if _holds(record)
        for place in _above(record.id, parents)  # up to the stage it holds, or its job
    }
    jobs = (_to_job(r, records, parents, gated) for r in records if r.type == "Job")
    return tuple(jobs)


def _above(record: str, parents: dict[str, str | None]) -> list[str]:
    """The ids of the records that `record` is inside of, as far as they are listed."""
    found: list[str] = []
    parent = parents.get(record)
    while parent is not None and parent not in found:
        found.append(parent)
        parent = parents.get(parent)
    return found


def _to_job(
    record: Record,
    records: Sequence[Record],
    parents: dict[str, str | None],
    gated: set[str],
) -> Job:
    """A job; it waits for a person if it is such a task, or its stage is held."""
    started, ended = record.started, moment(record.finish_time)
    stands = standing(WORDS, word(record.state), word(record.result), started=started, ended=ended)
    status, conclusion = stands.status, stands.conclusion
    if status is Status.QUEUED and gated.intersection(_above(record.id, parents)):
        status = Status.WAITING
    if status is Status.IN_PROGRESS and record.id in gated:
        status = Status.WAITING
    if conclusion == "cancelled" and any(
        _timed_out(r) for r in records if r is record or r.parent_id == record.id
    ):
        conclusion = "timeout"
    return Job(
        id=record.id,
        name=text(record.name) or "",
        attempt=record.number,
        status=status,
        conclusion=conclusion,
        started_at=started,
        completed_at=ended if status is Status.COMPLETED else None,
        unmapped=stands.unmapped,
    )


def with_reading(build: Build, reading: Reading, *, jobs: bool) -> Build:
    """A listed build with its attempt, and with its jobs if wanted.

    `startTime` stays that of the first attempt, so a later one starts with its records.
    """
    conclusion, status = build.conclusion, build.status
    if conclusion == "cancelled" and reading.timed_out:
        conclusion = "timeout"
    if status in (Status.QUEUED, Status.IN_PROGRESS) and reading.waiting:
        status = Status.WAITING
    return replace(
        build,
        attempt=reading.attempt,
        status=status,
        conclusion=conclusion,
        started_at=build.started_at if reading.attempt == 1 else reading.started,
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
    """An attempt that was run again, as its jobs tell it; None if they do not.

    `records` are those of its own timelines and of the ones after it.
    """
    after = [r.started for r in records if r.number > attempt and r.started is not None]
    until = min(after, default=None)
    found = [
        job
        for job in _jobs([record for record in records if record.number <= attempt])
        if job.completed_at is None or until is None or job.completed_at <= until
    ]
    own = [job for job in found if job.attempt == attempt]
    ends = [job.completed_at for job in own if job.completed_at is not None]
    if not ends:
        return None
    said = {job.conclusion for job in found}
    starts = [job.started_at for job in own if job.started_at is not None]
    return replace(
        build,
        attempt=attempt,
        status=Status.COMPLETED,
        conclusion=next((c for c in _WORST_FIRST if c in said), None)
        or ("skipped" if said == {"skipped"} else None),
        started_at=build.started_at if attempt == 1 else min(starts, default=None),
        completed_at=max(ends),
        unmapped=(),
        jobs=tuple(own) if jobs else (),
        partial=True,
    )
