"""The truth: what really happened to builds, whatever an API can tell of it.

Every time is given once, also when it still lies ahead: a run whose `started_at` is in
the future is queued now. So what the API says is a pure function of a run and the
clock, and a test plays a story by moving the clock alone.

What no client of the API can know, by integration:

- github: that a branch is a tag. Words: all, `error` as `startup_failure`.
- azuredevops: attempts (a re-run stage reopens the same build), and waiting. Words:
  `timeout` is `cancelled`, `error` is `failed`, `api` is `web`.
- bitbucket: nothing but one word: `api` is `web`. The attempt is only in
  `remote_data.run_number`, the end only in `remote_data`, the start only in the jobs.
- circleci: workflow and attempts. A build has no state of its own: it is what its jobs
  are, so one without jobs never completes.
- jenkins: queue, repo, attempts, waiting; the branch is only in `remote_data`. A queued
  build is not listed, and one cancelled in the queue never is. Words: `timeout` is
  `cancelled` and `error` is `failed`.
- travisci: workflow and waiting. Words: `timeout` is `error`, `web` is `api`; the start is
  only in `remote_data` and in the jobs.
- buddy: there are no builds, only jobs, without branch, trigger, queue and attempts; their
  end only in `remote_data`. Words: `timeout` and `error` are `failed`.

Where start and end come from the jobs (bitbucket, circleci) the one who writes the story
keeps both in step: a run starts with its first job and ends with its last. GitHub and
Travis tell whole seconds, so a story in whole seconds comes back exactly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from exporter.model import Ref, Status


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """What runs and jobs share: an id, times (epoch seconds), an end and its words."""

    id: str
    started_at: float | None = None
    completed_at: float | None = None
    held: tuple[float, float] | None = None
    """From when to when it waited for a person."""
    conclusion: str = "passed"
    """A word of `model.CONCLUSIONS`, or a documented native one."""
    raw_status: str | None = None
    """The native word said instead of the usual one while it is held, else until its end."""
    raw_conclusion: str | None = None
    """The native word said instead of the usual one, also in the unified field."""
    overrides: Mapping[str, Any] = {}
    """Laid over the rendered item at the very end; `msgspec.UNSET` leaves a field out."""

    def status(self, now: float) -> Status:
        """What it is at `now`."""
        if reached(self.completed_at, now) is not None:
            return Status.COMPLETED
        if self.held is not None and self.held[0] <= now < self.held[1]:
            return Status.WAITING
        return Status.QUEUED if reached(self.started_at, now) is None else Status.IN_PROGRESS

    @property
    def duration(self) -> float | None:
        """Seconds from start to end; None if either never was, and of what was skipped."""
        if self.started_at is None or self.completed_at is None or self.conclusion == "skipped":
            return None
        return self.completed_at - self.started_at


class JobRun(Timed, frozen=True, kw_only=True):
    """What happened to one job of one attempt."""

    name: str
    created_at: float | None = None
    """None: as soon as its run. A job created in the future is not listed yet."""
    carried_over: bool = False
    """Listed again, unchanged, from an earlier attempt: no news."""


class Run(Timed, frozen=True, kw_only=True):
    """What happened to one attempt of one build, in the words of `exporter.model`."""

    number: int
    created_at: float
    """Of the first attempt, in every attempt of the build."""
    attempt: int = 1
    requested_at: float | None = None
    """When a later attempt was asked for; None: it is listed from the start."""
    repo: str = ""
    """The scope entry; `World.add` fills it in."""
    workflow: str = ""
    branch: str | None = "main"
    ref: Ref = Ref.BRANCH
    head_repo: str | None = None
    """`owner/name` where the commit comes from, if it is a fork."""
    trigger: str = "push"
    raw_trigger: str | None = None
    actor: str | None = "dev-1"
    actor_is_bot: bool = False
    commit: str = "5f1c9a7e0d5b4c3a2f1e0d9c8b7a69584736251f"
    committed_at: float | None = None
    """When it was committed; None: as the build was created."""
    title: str = "Change things"
    """The commit's subject."""
    touched_at: float | None = None
    """A later edit: moves `updated_at`, and with it what GitHub calls the end."""
    jobs: tuple[JobRun, ...] = ()

    @property
    def born(self) -> float:
        """When this attempt came into being."""
        return self.created_at if self.requested_at is None else self.requested_at

    @property
    def pull_request(self) -> int | None:
        """The number of the pull request that it is for, which is its own."""
        return self.number if self.ref is Ref.PULL_REQUEST else None

    @property
    def queue(self) -> float | None:
        """Seconds from creation to start of a first attempt; None if it never started."""
        if self.started_at is None or self.attempt > 1:
            return None
        return self.started_at - self.created_at


class Quota(msgspec.Struct, kw_only=True):
    """The limit of the CI system behind an account, reported in `ratelimit-*` headers."""

    limit: int
    remaining: int
    reset_at: float
    """Epoch seconds when `remaining` becomes `limit` again."""
    period: float = 3600.0
    """Seconds from one reset to the next."""


class Behaviour(msgspec.Struct, kw_only=True):
    """How an account's answers look where the real API leaves room. Change it at any time."""

    end: Literal["null", "empty", "absent"] = "null"
    """How `next_cursor` says that there is no next page."""
    paging: Literal["offset", "keyset"] = "offset"
    """`offset`: new builds push old ones to later pages; `keyset`: they do not."""
    empty_pages: frozenset[int] = frozenset()
    """Pages (0 is the first) that come empty, but with a cursor."""
    loop_page: int | None = None
    """The page from which on each cursor leads back to its own page."""
    full_lists: bool = False
    """Jenkins lists whole builds instead of partial ones."""
    remote_data: bool = True
    """False: the environment's mapping sends none."""
    finish_date: bool = True
    """Buddy's `remote_data` has a `finish_date`."""
    start_is_creation: bool = False
    """GitHub says `run_started_at` as it really is: the attempt's creation."""
    build_param: str = "build_id"
    """The name that a jobs list wants for the build's id; not in any public source."""
    quota: Quota | None = None


class Repo(msgspec.Struct, kw_only=True):
    """One scope entry of an account and every attempt of every build in it."""

    entry: str
    default_branch: str | None = "main"
    status: Literal["active", "inactive"] = "active"
    runs: dict[str, dict[int, Run]] = {}
    """By build id, then attempt."""
    removed: set[str] = set()
    """Ids of builds that the API has forgotten."""


class Account(msgspec.Struct, kw_only=True):
    """One integrated account: a customer's credentials at one CI system."""

    id: str
    integration: str
    status: Literal[
        "connecting", "active", "needs_reauth", "validation_error", "post_install_error"
    ] = "active"
    is_blocked: bool = False
    last_error: str | None = None
    repos: dict[str, Repo] = {}
    """By scope entry."""
    behaviour: Behaviour = msgspec.field(default_factory=Behaviour)


class World:
    """All accounts of one environment, and the clock they live by.

    Any thread may read and change it. `page_size` is the most items on one page.
    """

    def __init__(self, clock: Callable[[], float] = time.time, *, page_size: int = 50) -> None:
        self.clock = clock
        self.page_size = page_size
        self.accounts: dict[str, Account] = {}
        self._lock = threading.RLock()

    def open(self, account_id: str, integration: str, *entries: str, **fields: Any) -> Account:
        """Add an account with empty repos; `fields` are those of `Account`."""
        account = Account(id=account_id, integration=integration, **fields)
        account.repos |= {entry: Repo(entry=entry) for entry in entries}
        with self._lock:
            self.accounts[account_id] = account
        return account

    def add(self, account_id: str, entry: str, *runs: Run) -> None:
        """Make `runs` true; one with an id and attempt that exist already replaces it."""
        with self._lock:
            repo = self.accounts[account_id].repos.setdefault(entry, Repo(entry=entry))
            for run in runs:
                known = msgspec.structs.replace(run, repo=entry)
                repo.runs.setdefault(run.id, {})[run.attempt] = known

    def remove(self, account_id: str, entry: str, run_id: str) -> None:
        """The API answers 404 for this build from now on; it stays in the truth."""
        with self._lock:
            self.accounts[account_id].repos[entry].removed.add(run_id)

    def forget(self, account_id: str, entry: str, *, keep: int) -> None:
        """Drop all but the `keep` newest builds, also from the truth."""
        with self._lock:
            repo = self.accounts[account_id].repos[entry]
            if len(repo.runs) <= keep:
                return
            for attempts in sorted(repo.runs.values(), key=_first_age, reverse=True)[keep:]:
                run_id = next(iter(attempts.values())).id
                del repo.runs[run_id]
                repo.removed.discard(run_id)

    def shown(self, account: Account, entry: str) -> list[Run]:
        """Every attempt that the API knows of now, newest build and attempt first."""
        now = self.clock()
        with self._lock:
            repo = account.repos[entry]
            runs = [
                run
                for run_id, attempts in repo.runs.items()
                if run_id not in repo.removed
                for run in attempts.values()
                if _shown_from(account, run) <= now
            ]
        return sorted(runs, key=age, reverse=True)

    def listed(self, account: Account, entry: str) -> list[Run]:
        """The newest attempt of each build that the API lists now, newest build first."""
        latest: dict[str, Run] = {}
        for run in self.shown(account, entry):
            latest.setdefault(run.id, run)
        return list(latest.values())

    def attempts(self, account_id: str) -> list[Run]:
        """Every attempt of every build, past and future, oldest build first."""
        with self._lock:
            return sorted(self._attempts(account_id), key=age)

    def finished(self, account_id: str, now: float | None = None) -> list[Run]:
        """Every attempt that has completed, also replaced and removed ones."""
        now = self.clock() if now is None else now
        return [run for run in self.attempts(account_id) if run.status(now) is Status.COMPLETED]

    def active(self, account_id: str, now: float | None = None) -> list[Run]:
        """The newest attempt of each build that has not completed, Jenkins' queue included."""
        now = self.clock() if now is None else now
        repos = self.accounts[account_id].repos
        newest = {(run.repo, run.id): run for run in self.attempts(account_id) if run.born <= now}
        return [
            run
            for run in newest.values()
            if run.status(now) is not Status.COMPLETED and run.id not in repos[run.repo].removed
        ]

    def finished_jobs(self, account_id: str, now: float | None = None) -> list[tuple[Run, JobRun]]:
        """Every job that has completed, in its own attempt only."""
        now = self.clock() if now is None else now
        return [
            (run, job)
            for run in self.attempts(account_id)
            for job in run.jobs
            if job.status(now) is Status.COMPLETED and not job.carried_over
        ]

    def _attempts(self, account_id: str) -> Iterator[Run]:
        for repo in self.accounts[account_id].repos.values():
            for attempts in repo.runs.values():
                yield from attempts.values()


def reached(instant: float | None, now: float) -> float | None:
    """`instant` if it is not still to come."""
    return instant if instant is not None and instant <= now else None


def age(run: Run) -> tuple[float, int, str, int]:
    """Sorts runs by age; every attempt keeps the place of the first."""
    return (run.created_at, run.number, run.id, run.attempt)


def _first_age(attempts: dict[int, Run]) -> tuple[float, int, str, int]:
    return age(attempts[min(attempts)])


def _shown_from(account: Account, run: Run) -> float:
    """Jenkins has no build before it left the queue; then it is the queue item's."""
    if account.integration == "jenkins":
        return float("inf") if run.started_at is None else run.started_at
    return run.born
