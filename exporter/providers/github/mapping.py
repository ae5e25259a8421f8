"""Maps GitHub's workflow runs and jobs to builds and jobs. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from exporter.errors import ProviderError
from exporter.model import MERGE_QUEUES, Build, BuildKey, Job, Ref, Status, carried_over
from exporter.model.summary import latest, summary
from exporter.model.vocabulary import State, resolve_state, trigger
from exporter.payload import moment, names, text, whole, word
from exporter.providers import Repo, Site
from exporter.providers.github.listed import ListPage
from exporter.providers.github.run_origin import ODD, Origin, origin
from exporter.providers.github.vocabulary import WORDS
from exporter.providers.github.workflows import Names

_LONGEST = 36 * 86400.0
"""Seconds. GitHub ends a run after 35 days ("Limits"), waiting included."""
_LAG = 300.0
"""Seconds for which a completed run counts as unfinished while one of its jobs is."""
_VOUCHED = 1800.0
"""Seconds between start and `updated_at` up to which that is taken for the end of a run."""
_SETTLES = 300.0
"""Seconds between the end of the last job and that of its run."""


class Named(msgspec.Struct, omit_defaults=True):
    """A repository inside a run."""

    full_name: Any = None


class Run(Origin, kw_only=True, omit_defaults=True):
    """The latest attempt of a workflow run, or one that was asked for."""

    id: int
    workflow_id: Any = None
    path: Any = None
    """Of the workflow's file, with its branch behind an @. Absent before GHES 3.5."""
    head_branch: Any = None
    event: Any = None
    status: Any = None
    conclusion: Any = None
    run_number: Any = None
    run_attempt: Any = None
    """Absent before GitHub Enterprise Server 3.4."""
    created_at: Any = None
    run_started_at: Any = None
    """When this attempt was created, also while it is queued."""
    updated_at: Any = None
    repository: Named | ODD = None
    head_repository: Named | ODD = None
    """Null once the fork is deleted."""
    html_url: Any = None

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
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
    html_url: Any = None
    labels: Any = None
    """Of the runner that it asks for."""


class Repository(msgspec.Struct):
    """A repository."""

    full_name: str
    archived: Any = None
    disabled: Any = None
    default_branch: Any = None
    private: Any = None


class Organization(msgspec.Struct):
    """An organization, as its members see it."""

    total_private_repos: Any = None


class Runs(ListPage[Run]):
    """A page of runs."""

    workflow_runs: list[msgspec.Raw]

    def __post_init__(self) -> None:
        is_news = bool(self.workflow_runs)
        self.decode("workflow_runs", Run)
        if is_news:
            for run in self.items:
                run.shorten()


class Tasks(ListPage[Task]):
    """A page of jobs."""

    jobs: list[msgspec.Raw]

    def __post_init__(self) -> None:
        self.decode("jobs", Task)


class Installed(msgspec.Struct):
    """A page of the repositories that an App is installed on."""

    repositories: list[msgspec.Raw]


def to_build(
    run: Run, repo: Repo, site: Site, workflows: Names, never_ran: tuple[int, ...] = ()
) -> Build:
    """Map a run by its own fields. See `without_jobs` for what its times are worth.

    `never_ran` are attempts of it that were held for an approval. The first one that runs
    is created when it begins: what was before is nobody's queue.
    """
    created, started, updated = map(moment, (run.created_at, run.run_started_at, run.updated_at))
    state = _state(run)
    why, unknown = trigger(WORDS, word(run.event))
    head, own = _named(run.head_repository), _named(run.repository)
    branch = text(run.head_branch)
    ref = ref_of(why, branch, head, own)
    ended = updated if state.status is Status.COMPLETED else None
    if ended is not None and started is not None and ended - started > _LONGEST:
        ended = None  # touched long after its end, as when its logs are deleted
    attempt = run.attempt
    never_ran = tuple([number for number in never_ran if number < attempt])
    if attempt > 1 and attempt - len(never_ran) == 1:
        created = started
    return Build(
        key=BuildKey(str(run.id)),
        native_id=str(run.id),
        repo=repo.entry,
        default_branch=repo.default_branch,
        workflow=workflows.label(run.workflow_id, run.path),
        branch=branch,
        ref=ref,
        number=whole(run.run_number),
        attempt=attempt,
        trigger=why,
        created_at=created,
        never_ran=never_ran,
        goes_on_as_next=state.status is Status.WAITING and word(run.conclusion) in WORDS.awaiting,
        url=site.own(run.html_url) or site.page(repo.entry, "actions/runs", run.id),
        **origin(run, branch, ref),
        **state._replace(completed_at=ended).fields(*unknown),
    )


def _state(run: Run) -> State:
    conclusion = word(run.conclusion)
    return resolve_state(
        WORDS,
        word(run.status),
        conclusion,
        started=moment(run.run_started_at),
        ended=None if conclusion is None else moment(run.updated_at),
    )


def ref_of(why: str, branch: str | None, head: str | None, own: str | None) -> Ref:
    """The kind of ref of a run, by its trigger, its branch, and its head and own repos."""
    if why == "merge_group" or (branch or "").startswith(MERGE_QUEUES):
        return Ref.MERGE_QUEUE
    is_of_a_fork = head is not None and own is not None and head.lower() != own.lower()
    return Ref.PULL_REQUEST if why == "merge_request" or is_of_a_fork else Ref.BRANCH


def _named(place: Named | ODD) -> str | None:
    return text(place.full_name) if isinstance(place, Named) else None


def with_page_of_its_own(build: Build) -> Build:
    """`build`, an attempt that has a later one: the page of the run shows the latest."""
    return replace(build, url=build.url and f"{build.url}/attempts/{build.attempt}")


def without_jobs(build: Build) -> Build:
    """`build` with the times that are certain without its jobs.

    The start of a first attempt is its creation, also while it is queued: so it says
    nothing of the queue. Once completed the creation is left out, as the queue is start
    minus creation; before that the start.
    """
    if build.is_retry or build.started_at != build.created_at:
        return build
    if build.status is Status.COMPLETED:
        return replace(build, created_at=None)
    return replace(build, started_at=None)


class Earlier(NamedTuple):
    """The earlier attempts of a run, as far as they are known."""

    ran: tuple[Run, ...] = ()
    """Those that have ended, in their order."""
    never_ran: tuple[int, ...] = ()
    error: ProviderError | None = None
    """Why some could not be read for now."""


def earlier(attempts: Iterable[Run], error: ProviderError | None) -> Earlier:
    """Sort the earlier attempts of a run by whether they ran."""
    known = list(attempts)
    return Earlier(
        tuple(run for run in known if _state(run).status is Status.COMPLETED),
        tuple(run.attempt for run in known if _state(run).status is Status.WAITING),
        error,
    )


def is_doubtful(run: Run, build: Build, unfinished_at: float | None, later: Run | None) -> bool:
    """Whether only jobs can tell when a completed run ended.

    `updated_at` moves when a run is touched: its logs are deleted, its artifacts expire.
    `unfinished_at` is when it was last seen unfinished; `later` is the attempt after it.
    """
    updated = moment(run.updated_at)
    if build.status is not Status.COMPLETED or updated is None:
        return False
    next_began = None if later is None else moment(later.run_started_at)
    if next_began is not None and updated > next_began:
        return True
    began = latest((moment(run.run_started_at), unfinished_at))
    return not is_vouched(began, updated)


def is_vouched(began: float | None, updated: float | None) -> bool:
    """Whether `updated_at` is near enough to that time to be the end of the run."""
    return began is None or updated is None or updated - began <= _VOUCHED


def end_by_jobs(updated: float | None, tasks: Iterable[Task]) -> float | None:
    """The end of a run by all its jobs: `updated` if it agrees with them; None without any end."""
    ended = latest(moment(task.completed_at) for task in tasks)
    if ended is None or updated is None:
        return ended
    return updated if ended <= updated <= ended + _SETTLES else ended


def with_jobs(build: Build, tasks: Collection[Task], site: Site, *, now: float) -> Build:
    """Add its jobs to `build`, and its times by them: earliest start, latest end.

    Jobs that an attempt takes over from the one before are left to that one. A skipped
    job never ran. Where no job tells anything the run's own times stand. A run that has
    completed moments before `now` may have a job that is not shown as completed yet: until then it
    is not complete, or that job would never be counted.
    """
    listed = [to_job(task, build, site) for task in tasks if _is_of(task, build)]
    jobs = tuple(job for job in listed if not carried_over(job, build))
    unfinished = any(job.status is not Status.COMPLETED for job in jobs)
    if unfinished and build.completed_at is not None and now - build.completed_at < _LAG:
        build = replace(build, status=Status.IN_PROGRESS, conclusion=None, completed_at=None)
    ran = [job for job in jobs if job.conclusion != "skipped"]
    if not ran:
        return replace(without_jobs(build), jobs=jobs)
    by_jobs = summary(ran)
    build = replace(build, jobs=jobs, started_at=by_jobs.started)
    if build.status is not Status.COMPLETED or by_jobs.ended is None:
        return build
    return replace(build, completed_at=by_jobs.ended)


def _is_of(task: Task, build: Build) -> bool:
    return (whole(task.run_attempt) or build.attempt) == build.attempt


def to_job(task: Task, build: Build, site: Site) -> Job:
    """Map a job. One that is queued, or was cancelled there, has its creation for a start."""
    created, started, ended = map(moment, (task.created_at, task.started_at, task.completed_at))
    state = resolve_state(
        WORDS, word(task.status), word(task.conclusion), started=started, ended=ended
    )
    never_left = state.conclusion == "cancelled" and started == created
    if never_left or state.status is Status.WAITING:
        state = state._replace(started_at=None)
    return Job(
        id=str(task.id),
        name=text(task.name) or "",
        attempt=build.attempt,
        created_at=created,
        url=site.own(task.html_url)
        or site.page(build.repo, "actions/runs", build.native_id, "job", task.id),
        labels=names(task.labels),
        **state.fields(),
    )
