"""A world of builds, written down: what really happened at an account of each integration."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from exporter.demo import JobRun, Run, World
from exporter.model import Ref, Status
from tests.tools.system import account, configure

DAY = 86400
DURATIONS, QUEUES = (10.0, 60.0, 300.0), (5.0, 30.0)
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
            workflow = chance.choice(self.system.workflows)
            if workflow == "pull-requests" and not is_pull:
                workflow = "default"  # the section runs for nothing else
            run = self.build(
                now - 400 - 290 * n,
                queue=chance.choice((1, 5, 12, 30, 44)),
                span=chance.choice((8, 10, 47, 60, 133, 260)),
                conclusion=conclusion,
                branch=branch,
                ref=ref,
                trigger="merge_request" if is_pull else trigger,
                workflow=workflow,
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
        yield self.build(now - 9600, conclusion="error", jobs=())  # of the configuration
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
