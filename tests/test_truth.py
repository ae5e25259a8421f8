"""Every number at /metrics is what really happened, for every integration.

A world of builds is written down here, the exporter reads it over HTTP, and an oracle
that knows the contract but not the code says what must come out of it, to the last series.
"""

from __future__ import annotations

import math
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

from exporter.demo import (
    EmulatorThread,
    JobRun,
    Run,
    World,
    told_conclusion,
    told_trigger,
)
from exporter.model import CONCLUSIONS, FAILING, TRIGGERS, Ref, Status
from tests.system import Exporter, Exposition, account, configure, eventually, once, series

DAY = 86400
DURATIONS, QUEUES = (10.0, 60.0, 300.0), (5.0, 30.0)
SHOWN = ("main", "release/1.2", "release/9")  # what the default globs of `branches` let through
ENDS = ("null", "empty", "absent")
FORKED = "acme/forked"
RERUN = 300
"""Seconds before the first poll when the build was created that is run again later."""

QUEUED, WAITING, RUNNING = Status.QUEUED, Status.WAITING, Status.IN_PROGRESS


class System(NamedTuple):
    """What a CI system knows, and what is left of it behind the unified API."""

    label: str
    entry: str
    conclusions: str = ""
    """Words that a build of it may end with, as they really happened."""
    triggers: str = "push cron"
    workflows: tuple[str, ...] = ("",)
    attempts: bool = False
    tags: bool = False
    created: bool = True
    """Whether the creation of a build is told."""
    jobs: bool = True
    jobs_created: bool = True
    from_jobs: bool = False
    """Whether only the jobs tell when a build started."""
    waits: Status = WAITING
    """How a build that waits for a person is told."""
    job_waits: Status = WAITING


SYSTEMS = {
    "github": System(
        "github",
        "acme/shop",
        "passed failed cancelled timeout skipped error neutral",
        "push cron web api workflow_run",
        ("CI", "Deploy"),
        attempts=True,
    ),
    "azuredevops": System(
        "azure_devops",
        "shop/backend",
        "passed failed cancelled timeout error partial",
        "push cron web api",
        ("backend-ci", "nightly"),
        tags=True,
        jobs_created=False,
        waits=RUNNING,
        job_waits=QUEUED,
    ),
    "bitbucket": System(
        "bitbucket",
        "acme/billing",
        "passed failed cancelled timeout error skipped",
        "push cron web api",
        ("default", "pull-requests", "custom-one"),
        attempts=True,
        tags=True,
        from_jobs=True,
        job_waits=QUEUED,
    ),
    "circleci": System(
        "circleci",
        "gh/acme/web",
        "passed failed cancelled timeout error skipped",
        "push cron web api",
        tags=True,
        from_jobs=True,
    ),
    "jenkins": System(
        "jenkins",
        "platform/nightly",
        "passed failed cancelled timeout error partial skipped",
        "push cron web api",
        created=False,
        jobs=False,
        waits=RUNNING,
    ),
    "travisci": System(
        "travis",
        "15022857",
        "passed failed cancelled timeout error",
        "push cron api web",
        attempts=True,
        tags=True,
        waits=QUEUED,
        job_waits=QUEUED,
    ),
    "buddy": System(
        "buddy",
        "acme/site/deploy",
        "passed failed cancelled timeout error skipped",
        jobs_created=False,
    ),
}


# -- what happens


class Author:
    """Writes the builds of one account, in whole seconds and down to their jobs."""

    def __init__(self, integration: str, *, serial: int = 100) -> None:
        self.integration = integration
        self.system = SYSTEMS[integration]
        self._serial = serial

    def build(self, created: float, *, queue: float = 5, span: float = 60, **fields: Any) -> Run:
        """A build with two jobs, the second of which decides."""
        self._serial += 1
        never = fields.pop("never_ran", False)
        run = Run(
            **{
                "id": str(self._serial),
                "number": self._serial,
                "workflow": self.system.workflows[0],
                "created_at": created,
                "started_at": None if never else created + queue,
                "completed_at": created + queue + span,
                **fields,
            }
        )
        return run if "jobs" in fields else self._with_jobs(run)

    def again(self, run: Run, *, after: float = 20, **fields: Any) -> Run:
        """The next attempt of `run`; GitHub does not run again what was green."""
        requested = (run.completed_at or run.created_at) + after
        span = run.duration or 30
        fresh = replace(
            run,
            attempt=run.attempt + 1,
            requested_at=requested,
            started_at=requested + 5,
            completed_at=requested + 5 + span,
            **fields,
        )
        fresh = self._with_jobs(fresh)
        if self.integration != "github" or run.started_at is None:
            return fresh
        carried = replace(run.jobs[0], id=fresh.jobs[0].id, carried_over=True)
        restarted = replace(fresh.jobs[1], started_at=fresh.started_at)
        return replace(fresh, jobs=(carried, restarted))

    def _with_jobs(self, run: Run) -> Run:
        self._serial += 1
        # At Travis a job that is run again keeps its id.
        stem = f"{run.id}00" if self.integration == "travisci" else str(self._serial)
        ended, conclusion = run.completed_at, run.conclusion
        first = JobRun(id=f"{stem}0", name="build", completed_at=ended, conclusion=conclusion)
        second = replace(first, id=f"{stem}1", name="test")
        if run.started_at is not None and ended is not None:
            middle = run.started_at + (ended - run.started_at) // 2
            until, since = run.held or (middle, middle)
            begun = run.started_at
            first = replace(first, started_at=begun, completed_at=until, conclusion="passed")
            second = replace(second, started_at=since, held=run.held)
        return replace(run, jobs=(first, second))

    def ordinary(self, now: float) -> Iterator[Run]:
        """30 builds of the last hours, some of them run again."""
        chance = random.Random(self.integration)
        words = self.system.conclusions.split()
        refs = [("main", Ref.BRANCH), ("release/1.2", Ref.BRANCH), ("feature/x", Ref.BRANCH)]
        refs += [("v1.0", Ref.TAG), ("fix/y", Ref.PULL_REQUEST)]
        for n in range(30):
            branch, ref = refs[chance.choice((0, 0, 0, 1, 2, 3, 4))]
            is_pull = ref is Ref.PULL_REQUEST
            conclusion = words[n % len(words)] if n < 15 else chance.choice(words[:3])
            skipped = conclusion == "skipped" and self.integration != "jenkins"
            trigger = chance.choice(self.system.triggers.split())
            run = self.build(
                now - 400 - 290 * n,
                queue=chance.choice((1, 5, 12, 30, 44)),
                span=chance.choice((8, 10, 47, 60, 133, 260)),
                conclusion=conclusion,
                branch=branch,
                ref=ref,
                trigger="merge_request" if is_pull else trigger,
                workflow=chance.choice(self.system.workflows),
                never_ran=skipped,
            )
            yield run
            if self.system.attempts and n % 4 == 3 and not skipped:
                run = self.again(run, conclusion="passed")
                yield run
                if n % 8 == 7:
                    yield self.again(run, conclusion="failed")

    def unusual(self, now: float) -> Iterator[Run]:
        """Whatever else there is."""
        held = (now - 20, now + 25)
        yield self.build(now - 10, queue=40, span=60)  # queued
        yield self.build(now - 70, queue=30, span=85)  # running
        yield self.build(now - 80, span=110, branch="feature/x", trigger="cron")
        yield self.build(now - 90, span=170, held=held)
        yield self.build(now - RERUN, conclusion="failed", branch="release/1.2")
        yield self.build(now - 3000, queue=2900, span=150)  # begun pages ago
        if self.integration != "buddy":  # which does not tell the age of what never began
            yield self.build(now - 8 * DAY, span=30 * DAY)
        if self.integration != "circleci":  # where only a request for each would tell
            yield self.build(now - 1.25 * DAY, span=1.25 * DAY + 50)  # begun before our time
        yield self.build(now - 2 * DAY, conclusion="failed")  # before our time
        if self.integration != "jenkins":
            yield self.build(now - 9100, conclusion="cancelled", never_ran=True)
        if self.integration in {"github", "azuredevops", "travisci"}:
            yield self.build(now - 9200, queue=-7, span=50, jobs=())
            if self.integration != "github":  # whose end is the last change of all
                yield self.build(now - 9300, queue=7, span=-3, jobs=())
            for gap in ("started_at", "completed_at", "conclusion"):
                age = 9400 + len(gap)
                yield self.build(now - age, conclusion="failed", overrides={gap: None})
        if self.integration not in {"circleci", "buddy"}:
            yield self.build(now - 9500, conclusion="exploded", trigger="pigeon", jobs=())
        yield from getattr(self, self.integration, lambda _: ())(now)

    def github(self, now: float) -> Iterator[Run]:
        yield self.build(now - 9600, queue=0)
        held = (now - 20, now + 25)
        yield self.build(now - 95, span=190, held=held, raw_status="action_required")
        yield self.build(now - 60, span=80, raw_status="hibernating")
        nothing = {"conclusion": None, "remote_data": msgspec.UNSET}
        yield self.build(now - 9700, overrides=nothing, jobs=())

    def circleci(self, now: float) -> Iterator[Run]:
        yield self.build(now - 9600, jobs=())  # a configuration error: no jobs at all
        mixed = self.build(now - 9700, conclusion="timeout")
        more = [
            replace(mixed.jobs[0], id=f"97{n}", name=f"extra {n}", conclusion=word)
            for n, word in enumerate(("cancelled", "retried", "error"))
        ]
        yield replace(mixed, jobs=(*mixed.jobs, *more))

    def later(self, now: float, before: list[Run]) -> Iterator[Run]:
        """What happens in the four minutes after the first poll."""
        for n, word in enumerate(("failed", "passed", "failed", "cancelled")):
            new = self.build(now + 3 + n, span=8 + n, conclusion=word, branch="release/9")
            yield replace(new, trigger="cron")
        yield self.build(now + 70, queue=20, span=100)
        if not self.system.attempts:
            return
        (first,) = (run for run in before if run.created_at == now - RERUN)
        second = self.again(first, after=20 + RERUN - 65, conclusion="passed")
        third = self.again(second, after=45, conclusion="failed")
        fourth = self.again(third, after=5)
        yield from (second, third, fourth)


def numbered(integration: str, runs: list[Run], *, after: int = 0) -> list[Run]:
    """`runs` numbered by age from `after` on, and with ids of the system's kind."""
    first = {run.id: run.created_at for run in runs if run.attempt == 1}
    numbers = {
        run_id: after + n for n, run_id in enumerate(sorted(first, key=first.__getitem__), 1)
    }
    return [
        replace(run, id=_native_id(integration, numbers[run.id]), number=numbers[run.id])
        if run.id in numbers
        else run
        for run in runs
    ]


def _native_id(integration: str, number: int) -> str:
    if integration in {"bitbucket", "circleci"}:
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{integration} {number}")
        return f"{{{name}}}" if integration == "bitbucket" else str(name)
    return str(number if integration == "jenkins" else 7_000_000 + number)


# -- what must come out of it


class Oracle:
    """What the contract makes of an account that is looked at now and then."""

    def __init__(self, world: World, integration: str, *, jobs: bool, ends: bool = True) -> None:
        """`ends`: whether Buddy tells when a job ended."""
        self.world, self.name, self.system = world, integration, SYSTEMS[integration]
        self.floor = world.clock() - DAY
        self._shows_jobs = jobs or integration == "buddy"
        self._ends = ends or integration != "buddy"
        self._builds: dict[tuple[str, int], Run] = {}
        self._jobs: dict[tuple[str, int, str], tuple[Run, JobRun]] = {}
        self._active: list[Run] = []
        self._seen: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
        self._lost_attempts = 0

    def look(self) -> None:
        """A poll happens."""
        now = self.world.clock()
        listed = self.world.listed(self.world.accounts[self.name], self.system.entry)
        self._active = []
        for run in listed:
            if self.name != "buddy":
                self._see(run, now)
            if self._shows_jobs and self.system.jobs:
                self._see_jobs(run, now)

    def _see(self, run: Run, now: float) -> None:
        if self._status(run, now) is not Status.COMPLETED:
            self._active.append(run)
            self._seen["status"].add((self._pipeline(run), self._status(run, now)))
            if run.raw_status == "hibernating":
                self._seen["unknown status"].add((run.id,))
        elif self._is_history(run):
            return
        elif (run.id, run.attempt) not in self._builds:
            self._builds[run.id, run.attempt] = run
            earlier = [(run.id, n) for n in range(1, run.attempt)]
            self._lost_attempts += sum(key not in self._builds for key in earlier)
        self._seen["trigger"].add((self._pipeline(run), self._trigger(run)))

    def _see_jobs(self, run: Run, now: float) -> None:
        for job in run.jobs:
            status = self._job_status(job, now)
            if status is not Status.COMPLETED:
                self._seen["job status"].add((self._pipeline(run), job.name, status))
            elif self._is_history(job):
                continue
            elif not job.carried_over:
                self._jobs[run.id, run.attempt, job.id] = (run, job)
            self._seen["job"].add((self._pipeline(run), job.name))

    def _is_history(self, run: Run | JobRun) -> bool:
        newest = run.completed_at if self._ends else run.started_at
        return newest is not None and newest < self.floor

    def _status(self, run: Run, now: float) -> Status:
        if self.name == "circleci" and not run.jobs:
            return QUEUED  # complete when it has a job and all are
        status = run.status(now)
        if run.raw_status == "hibernating" and status is not Status.COMPLETED:
            return RUNNING
        return self.system.waits if status is WAITING else status

    def _job_status(self, job: JobRun, now: float) -> Status:
        status = job.status(now)
        return self.system.job_waits if status is WAITING else status

    def _pipeline(self, run: Run) -> tuple[str, str, str]:
        """Repo, workflow and branch as labels."""
        entry, told = self.system.entry, run.workflow
        if self.name == "buddy":
            return entry, entry.rpartition("/")[2], ""
        workflow = {"jenkins": entry, "circleci": "", "travisci": ""}.get(self.name, told)
        if run.ref is Ref.PULL_REQUEST:
            return entry, workflow, "pull_request"
        if run.ref is Ref.TAG and self.system.tags:
            return entry, workflow, "tag"
        return entry, workflow, run.branch if run.branch in SHOWN else "other"

    def _trigger(self, run: Run) -> str:
        word = told_trigger(self.name, run)
        return word if word in {*TRIGGERS, *self.system.triggers.split()} else "other"

    def _conclusion(self, run: Run | JobRun) -> str:
        word = told_conclusion(self.name, run)
        known = word in {*CONCLUSIONS, *self.system.conclusions.split()}
        return word if known and not _says_nothing(run) else "other"

    def _started(self, run: Run) -> float | None:
        starts = [job.started_at for job in run.jobs if job.started_at is not None]
        return min(starts, default=None) if self.system.from_jobs else run.started_at

    def _duration(self, run: Run) -> float | None:
        started = self._started(run)
        if started is None or run.completed_at is None or run.conclusion == "skipped":
            return None
        return run.completed_at - started

    def _queue(self, run: Run) -> float | None:
        started = self._started(run)
        if started is None or not self.system.created:
            return None
        queue = started - run.created_at
        return None if self.name == "github" and queue == 0 else queue

    def expected(self) -> dict[str, float]:
        """Every series of the build and job families, and what could not be told."""
        page = _Page(self.system.label, self.name)
        page.tell("unmapped", "status", len(self._seen["unknown status"]))
        page.tell("missing", "attempt", self._lost_attempts)
        for where, trigger in self._seen["trigger"]:
            page.add("cicd_build_retries_total", where, 0)
            for word in CONCLUSIONS:
                page.add("cicd_builds_total", where, 0, trigger=trigger, conclusion=word)
        pipelines = defaultdict(list)
        for run in self._builds.values():
            self._count(page, run)
            pipelines[self._pipeline(run)].append(run)
        for where, runs in pipelines.items():
            self._latest(page, where, runs)
        self._unfinished(page)
        if self._shows_jobs:
            self._count_jobs(page)
        return dict(page.values)

    def _count(self, page: _Page, run: Run) -> None:
        where, conclusion = self._pipeline(run), self._conclusion(run)
        trigger = self._trigger(run)
        page.add("cicd_builds_total", where, trigger=trigger, conclusion=conclusion)
        page.add("cicd_build_retries_total", where, float(run.attempt > 1))
        page.tell("missing", "conclusion", _says_nothing(run))
        unknown = conclusion == "other" and not _says_nothing(run)
        page.tell("unmapped", "conclusion", unknown)
        if self.name == "travisci":  # whose one word is the status as well
            page.tell("unmapped", "status", unknown)
        page.tell("unmapped", "trigger", trigger == "other")
        page.span("duration", self._duration(run), where, run, conclusion=conclusion)
        if run.attempt == 1:
            page.span("queue", self._queue(run), where, run)

    def _latest(self, page: _Page, where: tuple[str, ...], runs: list[Run]) -> None:
        runs = sorted(runs, key=lambda run: (run.completed_at, run.number, run.attempt))
        ends = [self._conclusion(run) for run in runs]
        for word in {*CONCLUSIONS, ends[-1]}:
            page.add("cicd_build_last_conclusion", where, float(word == ends[-1]), conclusion=word)
        page.add(
            "cicd_build_last_completed_timestamp_seconds", where, runs[-1].completed_at or math.nan
        )
        timed = [d for run in runs if (d := self._duration(run)) is not None and d >= 0]
        if timed:
            page.add("cicd_build_last_duration_seconds", where, timed[-1])
        streak = 0
        for run, end in zip(runs, ends, strict=True):
            streak = 0 if end == "passed" else streak + (end in FAILING)
            if end == "passed":
                name = "cicd_build_last_passed_timestamp_seconds"
                page.put(name, where, run.completed_at or math.nan)
        page.add("cicd_build_consecutive_failures", where, streak)

    def _unfinished(self, page: _Page) -> None:
        now = self.world.clock()
        for where, status in self._seen["status"]:
            page.add("cicd_builds_active", where, 0, status=status)
        oldest: dict[tuple[Any, ...], float] = {}
        for run in self._active:
            begun = run.created_at if self.system.created else (run.started_at or math.nan)
            if now - begun > 7 * DAY:
                continue
            where, status = self._pipeline(run), self._status(run, now)
            page.add("cicd_builds_active", where, status=status)
            oldest[where, status] = min(begun, oldest.get((where, status), begun))
        for (where, status), begun in oldest.items():
            name = "cicd_builds_oldest_active_timestamp_seconds"
            page.add(name, where, begun, status=status)

    def _count_jobs(self, page: _Page) -> None:
        now = self.world.clock()
        listed = self.world.listed(self.world.accounts[self.name], self.system.entry)
        for where, name in self._seen["job"]:
            for word in CONCLUSIONS:
                page.add("cicd_jobs_total", where, 0, job_name=name, conclusion=word)
        for where, name, status in self._seen["job status"]:
            page.add("cicd_jobs_active", where, 0, job_name=name, status=status)
        for run in listed if self.system.jobs else ():
            for job in run.jobs if now - run.created_at < 7 * DAY else ():
                if (status := self._job_status(job, now)) is not Status.COMPLETED:
                    where = self._pipeline(run)
                    page.add("cicd_jobs_active", where, job_name=job.name, status=status)
        for run, job in self._jobs.values():
            self._count_job(page, run, job)

    def _count_job(self, page: _Page, run: Run, job: JobRun) -> None:
        where, conclusion = self._pipeline(run), self._conclusion(job)
        labels = {"job_name": job.name, "conclusion": conclusion}
        page.add("cicd_jobs_total", where, 1, **labels)
        if job.started_at is None:
            return
        if job.completed_at is not None and self._ends and job.conclusion != "skipped":
            span = job.completed_at - job.started_at
            page.observe("cicd_job_duration_seconds", where, span, DURATIONS, **labels)
        if self.system.jobs_created:
            queue = job.started_at - (job.created_at or run.born)
            page.observe("cicd_job_queue_seconds", where, queue, QUEUES, job_name=job.name)


class _Page:
    """Series under construction."""

    def __init__(self, provider: str, account: str) -> None:
        self.values: dict[str, float] = defaultdict(float)
        self._provider, self._account = provider, account

    def _key(self, name: str, where: tuple[str, ...], labels: dict[str, str]) -> str:
        place = dict(zip(("repo", "workflow", "branch"), where, strict=True))
        own = {"provider": self._provider, "account": self._account}
        return series(name, {**own, **place, **labels})

    def add(self, name: str, where: tuple[str, ...], by: float = 1, /, **labels: str) -> None:
        self.values[self._key(name, where, labels)] += by

    def put(self, name: str, where: tuple[str, ...], value: float) -> None:
        self.values[self._key(name, where, {})] = value

    def observe(
        self, name: str, where: tuple[str, ...], span: float, bounds: Iterable[float], **labels: str
    ) -> None:
        for bound in (*bounds, math.inf):
            le = "+Inf" if math.isinf(bound) else str(bound)
            self.add(f"{name}_bucket", where, float(span <= bound), le=le, **labels)
        self.add(f"{name}_count", where, **labels)
        self.add(f"{name}_sum", where, span, **labels)

    def span(
        self, kind: str, span: float | None, where: tuple[str, ...], run: Run, **labels: str
    ) -> None:
        """A duration or queue time: observed, impossible, or not to be known."""
        bounds = DURATIONS if kind == "duration" else QUEUES
        if span is None:
            self.tell("missing", kind, run.conclusion != "skipped")
        elif span < 0:
            key = {"provider": self._provider, "kind": f"negative_{kind}"}
            self.values[series("cicd_exporter_anomalies_total", key)] += 1
        else:
            self.observe(f"cicd_build_{kind}_seconds", where, span, bounds, **labels)

    def tell(self, family: str, field: str, by: float = 1) -> None:
        key = {"provider": self._provider, "field": field}
        if by:
            self.values[series(f"cicd_exporter_{family}_values_total", key)] += by


def _says_nothing(run: Run | JobRun) -> bool:
    """Whether no place at all tells the conclusion."""
    return run.overrides.get("remote_data") is msgspec.UNSET


def told(scrape: Exposition, integration: str) -> dict[str, float]:
    """What the exporter says of an account, and of its provider's data."""
    data = "cicd_exporter_(missing_values|unmapped_values|anomalies)_total"
    return scrape.select("cicd_(build|job).*", account=integration) | {
        key: value
        for key, value in scrape.select(data, provider=SYSTEMS[integration].label).items()
        if value  # which of them exist at 0 is not the contract's
    }


def assert_true(scrape: Exposition, oracle: Oracle) -> None:
    expected, got = oracle.expected(), told(scrape, oracle.name)
    wrong = {
        key: f"is {got.get(key)}, should be {expected.get(key)}"
        for key in sorted(expected.keys() | got.keys())
        if expected.get(key) != got.get(key)
    }
    assert not wrong, "\n".join(f"{key} {what}" for key, what in wrong.items())


# -- the play


class Clock:
    """The world's time, which only a test moves."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


def stage(*, turn: int, finish_date: bool = True) -> World:
    """A world with an account of each integration, each with its own ways of paging."""
    world = World(Clock(), page_size=7)
    now = world.clock()
    for n, (integration, system) in enumerate(SYSTEMS.items()):
        opened = world.open(integration, integration, system.entry)
        opened.behaviour.end = ENDS[(n + turn) % 3]  # type: ignore[assignment]
        opened.behaviour.paging = ("offset", "keyset")[(n + turn) % 2]
        opened.behaviour.empty_pages = frozenset({1 + turn % 2})
        opened.behaviour.finish_date = finish_date
        author = Author(integration)
        runs = [*author.ordinary(now), *author.unusual(now)]
        world.add(integration, system.entry, *numbered(integration, runs))
    world.open("forks", "github", FORKED)
    fork = Author("github").build(now - 100, trigger="workflow_run", head_repo="fork/shop")
    world.add("forks", FORKED, fork)
    return world


def config(folder: Path, url: str, *, jobs: bool, **polling: Any) -> Path:
    accounts = [
        account(name, name, url, [system.entry], jobs=jobs or name == "buddy")
        for name, system in SYSTEMS.items()
    ]
    accounts.append(account("forks", "github", url, [FORKED]))
    buckets = {"duration_buckets": DURATIONS, "queue_buckets": QUEUES, "zero_hold": 0}
    return configure(folder, accounts, metrics=buckets, polling=polling)


class Play(NamedTuple):
    """A world, and what the exporter made of it."""

    world: World
    scrape: Exposition
    jobs: bool


@pytest.fixture(scope="module", params=[False, True], ids=["builds", "jobs"])
def first_poll(request, tmp_path_factory) -> Play:
    """One process polls all seven accounts once."""
    jobs: bool = request.param
    world = stage(turn=int(jobs), finish_date=jobs)
    with EmulatorThread(world) as emulator:
        done = once(config(tmp_path_factory.mktemp("once"), emulator.url, jobs=jobs))
    assert done.code == 0, done.log
    return Play(world, done.scrape, jobs)


@pytest.mark.parametrize("integration", SYSTEMS)
def test_the_first_poll_tells_the_truth(first_poll, integration):
    world = first_poll.world
    oracle = Oracle(world, integration, jobs=first_poll.jobs, ends=first_poll.jobs)
    oracle.look()

    assert_true(first_poll.scrape, oracle)


def test_a_run_from_a_fork_is_a_pull_requests_whatever_its_branch(first_poll):
    counted = first_poll.scrape.select("cicd_builds_total", account="forks", conclusion="passed")

    assert [key for key in counted if 'branch="pull_request"' in key] == list(counted)


BARE = ("azuredevops", "bitbucket", "circleci", "jenkins", "travisci")


def test_where_the_raw_objects_are_not_sent_the_single_build_and_the_jobs_tell(tmp_path):
    world = World(Clock())
    spans = {"passed": 60.0, "failed": 47.0, "cancelled": 8.0}
    for name in BARE:
        world.open(name, name, SYSTEMS[name].entry).behaviour.remote_data = False
        author = Author(name)
        builds = [
            author.build(world.clock() - 900, span=span, conclusion=word)
            for word, span in spans.items()
        ]
        world.add(name, SYSTEMS[name].entry, *numbered(name, builds))

    with EmulatorThread(world) as emulator:
        accounts = [account(name, name, emulator.url, [SYSTEMS[name].entry]) for name in BARE]
        scrape = once(configure(tmp_path, accounts)).scrape

    for name in BARE:
        label, duration = SYSTEMS[name].label, "cicd_build_duration_seconds_sum"
        assert spans == {
            word: scrape.total(duration, account=name, conclusion=word) for word in spans
        }
        queueless = 0 if name in {"bitbucket", "circleci", "travisci"} else 3
        missing = "cicd_exporter_missing_values_total"
        assert scrape.total(missing, provider=label, field="queue") == queueless
        assert scrape.total(missing, provider=label) == queueless


def test_what_happens_later_is_told_as_it_happens(tmp_path):
    """Builds go on, begin and are run again while the exporter polls."""
    world = stage(turn=2)
    now = world.clock()
    clock: Any = world.clock
    oracles = [Oracle(world, integration, jobs=True) for integration in SYSTEMS]

    def watch() -> None:
        for oracle in oracles:
            oracle.look()
        eventually(lambda: _assert_all(exporter.scrape(), oracles))

    def rest() -> None:
        """Nothing changes while nothing happens, whatever poll is under way."""
        begun, polled = time.time(), 0.0
        while polled < begun + 1:
            scrape = exporter.scrape()
            _assert_all(scrape, oracles)
            polled = min(scrape.select("cicd_exporter_poll_last_success_.*").values())

    polling = {"interval": 0.3, "max_interval": 2, "rerun_window": "10m"}
    with EmulatorThread(world) as emulator:
        file = config(tmp_path, emulator.url, jobs=True, **polling)
        with Exporter(file) as exporter:
            eventually(exporter.polled)
            watch()
            rest()
            for integration, system in SYSTEMS.items():
                before = world.attempts(integration)
                later = [*Author(integration, serial=900).later(now, before)]
                high = max(run.number for run in before)
                world.add(integration, system.entry, *numbered(integration, later, after=high))
            for seconds in (60, 120, 240):
                clock.now = now + seconds
                watch()


def _assert_all(scrape: Exposition, oracles: Iterable[Oracle]) -> None:
    for oracle in oracles:
        assert_true(scrape, oracle)
