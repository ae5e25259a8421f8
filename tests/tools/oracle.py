"""What must come out of a world, by one that knows the contract but not the code."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from exporter.demo import JobRun, Run, World
from exporter.model import CONCLUSIONS, FAILING, TRIGGERS, Ref, Status
from tests.tools.emulators.unified import recoverable_conclusion, recoverable_trigger
from tests.tools.stories import DAY, DURATIONS, QUEUES, RUNNING, SYSTEMS, WAITING
from tests.tools.system import Exposition, series

SHOWN = ("main", "release/1.2", "release/9")  # what the default globs of `branches` let through


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
        word = recoverable_trigger(self.name, run)
        return word if word in {*TRIGGERS, *self.system.triggers.split()} else "other"

    def _conclusion(self, run: Run | JobRun) -> str:
        word = recoverable_conclusion(self.name, run)
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
        names = defaultdict(list)
        for run, job in self._jobs.values():
            self._count_job(page, run, job)
            names[self._pipeline(run), job.name].append((run, job))
        for (where, name), jobs in names.items():
            self._latest_jobs(page, where, name, jobs)

    def _latest_jobs(
        self, page: _Page, where: tuple[str, ...], name: str, jobs: list[tuple[Run, JobRun]]
    ) -> None:
        """How many jobs of a name failed in a row, and when the last one ended."""
        times = [(self._ended(job), run.number, run.attempt, job) for run, job in jobs]
        streak = 0
        for *_, job in sorted(times, key=lambda known: known[:3]):
            end = self._conclusion(job)
            streak = 0 if end == "passed" else streak + (end in FAILING)
        page.add("cicd_job_consecutive_failures", where, streak, job_name=name)
        if self._ends and (known := [at for _, job in jobs if (at := job.completed_at)]):
            family = "cicd_job_last_completed_timestamp_seconds"
            page.add(family, where, max(known), job_name=name)

    def _ended(self, job: JobRun) -> float:
        """When a job ended, else when it began, as far as that is told."""
        ended = job.completed_at if self._ends else None
        return ended or job.started_at or job.created_at or 0.0

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
