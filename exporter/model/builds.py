"""What a build and a job are, whichever CI system ran them.

What a provider did not say is None, never 0 and never a guess. All instants are seconds since
the epoch, UTC.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import force_setattr

from exporter.model.keys import BuildKey
from exporter.model.vocabulary import OTHER, Actor, Ref, Status, Unmapped


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt of one job. Absent times are None."""

    id: str
    name: str
    status: Status
    attempt: int = 1
    run: int | None = None
    """Where a job that runs again in the same attempt keeps its id (Buddy's actions): when this
    run began, seconds since the epoch; else None."""
    conclusion: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    url: str | None = None
    """Its page at the provider."""
    labels: tuple[str, ...] = ()
    """Of the runner that it asks for, where the list has them."""
    unmapped: tuple[Unmapped, ...] = ()
    anomalies: tuple[str, ...] = ()
    """What is wrong with it and was left out."""

    @property
    def duration(self) -> float | None:
        """Seconds from start to end; None if either is missing or the job was skipped."""
        return _duration(self)

    @property
    def queue(self) -> float | None:
        """Seconds from creation to start; None if either is missing."""
        return _span(self.created_at, self.started_at)

    @property
    def time(self) -> float | None:
        """When it completed, else the newest time known of it."""
        return _newest(self)


class Unfilled(msgspec.Struct, frozen=True):
    """What is remembered of a build whose details cannot be read for now."""

    since: float
    """When they failed first, epoch seconds."""
    polls: int = 1


class Build(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt of one build, as far as it is known.

    `key` is unique in the account and the same in every attempt, but for builds with
    `key_per_attempt`. `repo`, `workflow` and `branch` are raw: `metrics` makes labels of them. A
    `partial` build came from a list that lacks something its provider's `detail` can fill; its
    `status` is then provisional. `only_jobs` marks a pipeline whose jobs are listed without a
    build (Buddy behind the unified API): it never completes and is no build itself. Names, titles
    and addresses are text that strangers wrote: `ledger.build_log` cleans what is shown.
    """

    key: BuildKey
    repo: str
    status: Status
    attempt: int = 1
    native_id: str = ""
    """What the provider's single-build endpoint wants."""
    workflow: str = ""
    branch: str | None = None
    ref: Ref = Ref.BRANCH
    default_branch: str | None = None
    number: int | None = None
    trigger: str = OTHER
    conclusion: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    changed_at: float | None = None
    """When the provider last changed it, where a build may go on after its end under the
    same attempt (GitLab's retried jobs, Azure's stages, Buddy's executions); else None."""
    started_before: float | None = None
    """Where none of its own times is known: when a later one of its list began."""
    goes_on_as_next: bool = False
    """Whether it waits for a person and will go on as the next attempt, so that it never runs."""
    never_ran: tuple[int, ...] = ()
    """Earlier attempts that were held for a person and went on under the next number."""
    commit: str | None = None
    """The full hash of what was built."""
    commit_at: float | None = None
    """When that was committed, where the list has it."""
    title: str | None = None
    """The subject of the commit, else the title that the provider gives the run."""
    triggered_by: str | None = None
    """Who began this attempt: the name that the provider shows, never an e-mail address where
    there is another."""
    triggered_by_type: Actor | None = None
    pull_request: int | None = None
    url: str | None = None
    """Its page at the provider."""
    environment: str | None = None
    """What it deploys to, where the provider says so."""
    jobs: tuple[Job, ...] = ()
    unmapped: tuple[Unmapped, ...] = ()
    anomalies: tuple[str, ...] = ()
    """What is wrong with it and was left out."""
    partial: bool = False
    only_jobs: bool = False
    key_per_attempt: bool = False
    """Whether each attempt has a key of its own, so that its number hides no lost ones."""
    unfilled: Unfilled | None = None
    """Where its details fail for now: since when, and how often they did."""

    def __post_init__(self) -> None:
        # Many providers call it a push if somebody pushes to a pull request's branch.
        if self.ref is Ref.PULL_REQUEST and self.trigger == "push":
            force_setattr(self, "trigger", "merge_request")

    @property
    def duration(self) -> float | None:
        """Seconds from start to end; None if either is missing or the build was skipped."""
        return _duration(self)

    @property
    def queue(self) -> float | None:
        """Seconds from creation to start of a first attempt; None if that is not known.

        A later attempt keeps the creation time of the first one at most providers,
        so the span would be the time until somebody pressed the button.
        """
        return None if self.is_retry else _span(self.created_at, self.started_at)

    @property
    def is_retry(self) -> bool:
        """Whether an earlier attempt of it has run."""
        return self.attempt - len(self.never_ran) > 1

    @property
    def time(self) -> float | None:
        """When it completed, else the newest time known of it."""
        return _newest(self)

    @property
    def is_withheld(self) -> bool:
        """Whether it has ended, and is not counted yet only because its details fail for now."""
        ended = self.conclusion is not None or self.completed_at is not None
        return ended and self.partial and self.unfilled is not None

    @property
    def order(self) -> tuple[float, int, int]:
        """Sorts builds of a pipeline by age: completion, else start, else creation."""
        at = next(
            (t for t in (self.completed_at, self.started_at, self.created_at) if t is not None), 0.0
        )
        return (at, -1 if self.number is None else self.number, self.attempt)


def carried_over(job: Job, build: Build) -> bool:
    """Whether `job` ran in an earlier attempt and is only listed again in this one.

    GitHub lists them under new ids with the attempt that is new: what is left of the earlier
    one is that they began before it. A job that never began ended before it.
    """
    if build.attempt == 1 or job.attempt < build.attempt:
        return False  # told apart by its own attempt number
    began = job.completed_at if job.started_at is None else job.started_at
    if build.started_at is not None and began is not None:
        return began < build.started_at
    return (
        job.created_at is not None
        and job.started_at is not None
        and job.started_at < job.created_at
    )


def _span(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else end - begin


def _duration(run: Build | Job) -> float | None:
    return None if run.conclusion == "skipped" else _span(run.started_at, run.completed_at)


def _newest(run: Build | Job) -> float | None:
    if run.completed_at is not None:
        return run.completed_at
    return max((t for t in (run.started_at, run.created_at) if t is not None), default=None)
