"""What must be shown of a life, by one that knows the contract and not the code."""

from __future__ import annotations

from collections import Counter

from exporter.metrics import families as f
from exporter.model import FAILING
from tests.contract.field.life import FADES, Build, Go, Job, Life, Pipeline
from tests.tools.scripted import Rig

# -- what must come out


Key = tuple[int, int]
"""A build and an attempt of it."""


class Oracle:
    """What the contract makes of a life that is looked at now and then."""

    def __init__(self, life: Life, floor: float, *, jobs: bool) -> None:
        self._life, self._system, self._floor, self._jobs = life, life.system, floor, jobs
        self._counted: dict[Key, tuple[Build, str, float | None]] = {}
        self._ends: dict[Key, tuple[float, str]] = {}
        self._active: dict[Key, tuple[Build, str]] = {}
        self._fading: dict[Key, int] = {}
        self._job_runs: dict[int, tuple[Build, Job]] = {}
        self._over: set[Key] = set()
        """What is history or was not told, and never counts."""
        self._missing = 0

    def look(self) -> None:
        """A poll ends well, but for the parts that fail."""
        for build in self._life.builds:
            if build.pipeline.part not in self._life.broken:
                self._see(build)

    def _see(self, build: Build) -> None:
        known = [key for key in self._active if key[0] == build.id]
        if build.deleted:
            for key in known:
                self._fading[key] = self._fading.get(key, 0) + 1
                if self._fading[key] >= FADES:
                    del self._active[key]
            return
        for key in known:
            del self._active[key]
        again = self._system.reruns == "again"
        for go in build.goes[-1:] if again else build.goes:
            key = (build.id, 1 if again else go.number)
            if go.ended_at is None:
                self._active[key] = (build, go.status)
                if again or self._system.lists_carried:  # with those that run
                    self._see_jobs(build, build.goes if again else [go])
            elif not self._system.tells_earlier and go is not build.last:
                # What nobody has seen is told as missing with the end of the next that is seen.
                is_lost = key not in self._counted and key not in self._over
                if is_lost and build.last.ended_at is not None:
                    self._over.add(key)
                    # An older build's may have ended before the time of the first poll.
                    self._missing += self._system.numbers and build.created_at >= self._floor
            else:
                self._see_end(key, build, go)

    def _see_end(self, key: Key, build: Build, go: Go) -> None:
        assert go.ended_at is not None
        assert go.conclusion is not None
        if key not in self._counted:
            if go.ended_at < self._floor:
                self._over.add(key)
            if key in self._over:
                return
            self._counted[key] = (build, go.conclusion, go.duration)
        self._ends[key] = (go.ended_at, go.conclusion)
        self._see_jobs(build, build.goes if self._system.reruns == "again" else [go])

    def _see_jobs(self, build: Build, goes: list[Go]) -> None:
        for job in [job for one in goes for job in one.jobs]:
            ended = job.ended_at is not None and job.ended_at >= self._floor
            shown = self._system.lists_carried or not job.carried
            if ended and shown and job.conclusion is not None:
                self._job_runs[job.id] = (build, job)

    def expected(self) -> dict[tuple[str, ...], float]:
        """Every value that is not 0, by what it is of."""
        values: Counter[tuple[str, ...]] = Counter()
        spans: Counter[tuple[str, ...]] = Counter()
        pipelines: dict[Pipeline, list[tuple[float, int, int, str]]] = {}
        for (number, attempt), (build, conclusion, duration) in self._counted.items():
            where = build.pipeline[:3]
            values["builds", *where, conclusion] += 1
            values["retries", *where] += attempt > 1 and self._system.retries
            if self._system.durations and duration is not None:
                values["durations", *where] += 1
                spans["seconds", *where] += int(duration)
            ended, last = self._ends[number, attempt]
            pipelines.setdefault(build.pipeline, []).append((ended, number, attempt, last))
        for pipeline, ends in pipelines.items():
            ends.sort()
            streak = 0
            for *_, word in ends:
                streak = 0 if word == "passed" else streak + (word in FAILING)
            values["last", *pipeline[:3], ends[-1][-1]] = 1
            values["streak", *pipeline[:3]] = streak
        for build, job in self._job_runs.values() if self._jobs else ():
            values["jobs", *build.pipeline[:3], job.name, job.conclusion or ""] += 1
        values["missing",] = self._missing
        return {key: value for key, value in (*values.items(), *spans.items()) if value}

    def active(self) -> tuple[Counter[tuple[str, ...]], Counter[tuple[str, ...]]]:
        """How many builds are active by pipeline and status: the least, and the most, as what
        is gone may be shown for a few polls."""
        sure: Counter[tuple[str, ...]] = Counter()
        most: Counter[tuple[str, ...]] = Counter()
        for build, status in self._active.values():
            label = (*build.pipeline[:3], status)
            most[label] += 1
            sure[label] += not build.deleted
        return sure, most


def shown(rig: Rig, *, durations: bool, jobs: bool) -> dict[tuple[str, ...], float]:
    """The same as `Oracle.expected`, as a scrape has it."""
    values: Counter[tuple[str, ...]] = Counter()
    for key, vector in rig.view.stored():
        where = key.labels[2:5]
        match key.family:
            case f.BUILDS.name:
                values["builds", *where, key.labels[-1]] += int(vector[0])
            case f.RETRIES.name:
                values["retries", *where] += int(vector[0])
            case f.BUILD_DURATION.name if durations:
                values["durations", *where] += int(sum(vector[:-1]))
                values["seconds", *where] += round(vector[-1])
            case f.JOBS.name if jobs:
                values["jobs", *where, *key.labels[5:]] += int(vector[0])
            case f.MISSING.name if key.labels[-1] == "attempt":
                values["missing",] += int(vector[0])
    for name, labels, value in rig.view.gauges(rig.clock()):
        if name == f.LAST_CONCLUSION.name:
            values["last", *labels[2:]] = int(value)
        elif name == f.STREAK.name:
            values["streak", *labels[2:]] = int(value)
    return {key: value for key, value in values.items() if value}


def active(rig: Rig) -> Counter[tuple[str, ...]]:
    """How many builds are shown as active by pipeline and status."""
    values: Counter[tuple[str, ...]] = Counter()
    for name, labels, value in rig.view.gauges(rig.clock()):
        if name == f.ACTIVE.name:
            values[labels[2:]] = int(value)
    return values
