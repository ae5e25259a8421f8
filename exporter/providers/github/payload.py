"""What GitHub answers, as far as it is read, and the builds and jobs it stands for.

Items are decoded each on its own as soon as their list arrives, so that of a list that is
remembered only this much is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from exporter.model import Build, Job, Ref, Status, carried_over
from exporter.payload import each, moment, text, whole, word
from exporter.providers import Repo
from exporter.providers.github.words import WORDS
from exporter.words import standing, trigger

_LONGEST = 36 * 86400.0
"""Seconds. GitHub ends a run after 35 days ("Limits"), waiting included."""
_LAG = 300.0
"""Seconds for which a completed run is not taken for complete while a job of it is not."""
_NUMBERED = "dynamic/dependabot/"
"""Dependabot names its runs `npm_and_yarn in /. - Update #123`: no name of a workflow."""
_QUEUE = "gh-readonly-queue/"
"""What the branches begin with that a merge queue makes for its groups."""

_Odd = str | int | float | bool | list[Any] | None


class Named(msgspec.Struct, omit_defaults=True):
    """A repository inside a run."""

    full_name: Any = None


class Run(msgspec.Struct, omit_defaults=True):
    """The latest attempt of a workflow run, or one that was asked for."""

    id: int
    name: Any = None
    path: Any = None
    head_branch: Any = None
    event: Any = None
    status: Any = None
    conclusion: Any = None
    run_number: Any = None
    run_attempt: Any = None
    """Absent before GitHub Enterprise Server 3.4."""
    created_at: Any = None
    run_started_at: Any = None
    """When this attempt began to be, also while it is queued."""
    updated_at: Any = None
    repository: Named | _Odd = None
    head_repository: Named | _Odd = None
    """Null once the fork is deleted."""

    @property
    def attempt(self) -> int:
        """Which attempt of the run this is."""
        return max(1, whole(self.run_attempt) or 1)


class Task(msgspec.Struct, omit_defaults=True):
    """A job of a run."""

    id: int
    name: Any = None
    status: Any = None
    conclusion: Any = None
    run_attempt: Any = None
    created_at: Any = None
    """Absent in old versions of GitHub Enterprise Server."""
    started_at: Any = None
    completed_at: Any = None


class Place(msgspec.Struct):
    """A repository."""

    full_name: str
    archived: Any = None
    disabled: Any = None
    default_branch: Any = None


class Runs(msgspec.Struct, omit_defaults=True):
    """A page of runs."""

    workflow_runs: list[msgspec.Raw]
    """Empty once read."""
    total_count: Any = None
    items: list[Run] = []
    rejected: int = 0
    """Runs that could not be understood."""

    @property
    def listed(self) -> int:
        """How many runs the page had."""
        return len(self.items) + self.rejected

    def __post_init__(self) -> None:
        if self.workflow_runs:
            self.items, self.rejected = each(self.workflow_runs, Run)
            self.workflow_runs = []


class Tasks(msgspec.Struct, omit_defaults=True):
    """A page of jobs."""

    jobs: list[msgspec.Raw]
    """Empty once read."""
    total_count: Any = None
    items: list[Task] = []
    rejected: int = 0

    @property
    def listed(self) -> int:
        """How many jobs the page had."""
        return len(self.items) + self.rejected

    def __post_init__(self) -> None:
        if self.jobs:
            self.items, self.rejected = each(self.jobs, Task)
            self.jobs = []


class Installed(msgspec.Struct):
    """A page of the repositories that an App is installed on."""

    repositories: list[msgspec.Raw]


def to_build(run: Run, repo: Repo) -> Build:
    """A run as it tells of itself; what its times are worth `without_jobs` says."""
    created, started, updated = map(moment, (run.created_at, run.run_started_at, run.updated_at))
    conclusion = word(run.conclusion)
    status, conclusion, unmapped = standing(
        WORDS,
        word(run.status),
        conclusion,
        started=started,
        ended=None if conclusion is None else updated,
    )
    why, unknown = trigger(WORDS, word(run.event))
    ref = _ref(run, why)
    ended = updated if status is Status.COMPLETED else None
    if ended is not None and started is not None and ended - started > _LONGEST:
        ended = None  # touched long after its end, as when its logs are deleted
    return Build(
        key=str(run.id),
        native_id=str(run.id),
        repo=repo.entry,
        default_branch=repo.default_branch,
        workflow=_workflow(run),
        branch=text(run.head_branch),
        ref=ref,
        number=whole(run.run_number),
        attempt=run.attempt,
        trigger="merge_request" if why == "push" and ref is Ref.PULL_REQUEST else why,
        status=status,
        conclusion=conclusion,
        created_at=created,
        started_at=None if status is Status.QUEUED else started,
        completed_at=ended,
        unmapped=unmapped + unknown,
    )


def _ref(run: Run, why: str) -> Ref:
    if why == "merge_group" or (text(run.head_branch) or "").startswith(_QUEUE):
        return Ref.MERGE_QUEUE
    return Ref.PULL_REQUEST if why == "merge_request" or _is_of_a_fork(run) else Ref.BRANCH


def _is_of_a_fork(run: Run) -> bool:
    head, own = (
        text(place.full_name) if isinstance(place, Named) else None
        for place in (run.head_repository, run.repository)
    )
    return head is not None and own is not None and head.lower() != own.lower()


def _workflow(run: Run) -> str:
    path = (text(run.path) or "").partition("@")[0]
    file = path.rpartition("/")[2]
    return file if path.startswith(_NUMBERED) else text(run.name) or file


def without_jobs(build: Build) -> Build:
    """`build` with the times that a run alone vouches for.

    The start of a first attempt is its creation, also while it is queued: so it says
    nothing of the queue. Once completed the creation is left out, as the queue is start
    minus creation; before that the start.
    """
    if build.attempt > 1 or build.started_at != build.created_at:
        return build
    if build.status is Status.COMPLETED:
        return replace(build, created_at=None)
    return replace(build, started_at=None)


def with_jobs(build: Build, tasks: Iterable[Task], *, now: float) -> Build:
    """`build` with its jobs, and its times by them: earliest start, latest end.

    Jobs that an attempt takes over from the one before are left to that one. A skipped
    job never ran. Where no job tells anything the run's own times stand. A run that has
    completed moments before `now` may have a job that is not yet told so: until then it
    is not complete, or that job would never be counted.
    """
    listed = [to_job(task, build) for task in tasks if _is_of(task, build)]
    jobs = tuple(job for job in listed if not carried_over(job, build))
    unfinished = any(job.status is not Status.COMPLETED for job in jobs)
    if unfinished and build.completed_at is not None and now - build.completed_at < _LAG:
        build = replace(build, status=Status.IN_PROGRESS, conclusion=None, completed_at=None)
    ran = [job for job in jobs if job.conclusion != "skipped"]
    if not ran:
        return replace(without_jobs(build), jobs=jobs)
    build = replace(
        build, jobs=jobs, started_at=min(_known(job.started_at for job in ran), default=None)
    )
    if build.status is not Status.COMPLETED:
        return build
    ends = _known(job.completed_at for job in ran)
    return replace(build, completed_at=max(ends, default=build.completed_at))


def _known(times: Iterable[float | None]) -> list[float]:
    return [at for at in times if at is not None]


def _is_of(task: Task, build: Build) -> bool:
    return (whole(task.run_attempt) or build.attempt) == build.attempt


def to_job(task: Task, build: Build) -> Job:
    """A job of `build`. One that is queued, or was cancelled there, starts at its creation."""
    created, started, ended = map(moment, (task.created_at, task.started_at, task.completed_at))
    status, conclusion, unmapped = standing(
        WORDS, word(task.status), word(task.conclusion), started=started, ended=ended
    )
    never_left = conclusion == "cancelled" and started == created
    if never_left or status in (Status.QUEUED, Status.WAITING):
        started = None
    return Job(
        id=str(task.id),
        name=text(task.name) or "",
        attempt=build.attempt,
        status=status,
        conclusion=conclusion,
        created_at=created,
        started_at=started,
        completed_at=ended if status is Status.COMPLETED else None,
        unmapped=unmapped,
    )
