"""What the gauges of a pipeline show: pure functions of its facts and unfinished builds."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import lru_cache

from exporter.ledger.rows import Exemplar, Labels
from exporter.metrics import families as f
from exporter.metrics.facts import Facts
from exporter.metrics.labels import clean
from exporter.model import ACTIVE, CONCLUSIONS, OTHER, Build, Job, Status

Exemplars = dict[int, Exemplar]
"""The latest exemplar of each bucket that has one."""
Item = tuple[Labels, Sequence[float], Exemplars | None]
"""What a series shows: the labels that its group does not have, and its numbers."""
Items = dict[str, list[Item]]
"""Items by family."""

LATEST = (
    f.LAST_CONCLUSION.name,
    f.LAST_DURATION.name,
    f.LAST_COMPLETED.name,
    f.LAST_PASSED.name,
    f.STREAK.name,
    f.LAST_INFO.name,
)
UNFINISHED = (f.ACTIVE.name, f.OLDEST_ACTIVE.name, f.JOBS_ACTIVE.name)
ENDED_JOBS = (f.JOB_STREAK.name, f.JOB_LAST_COMPLETED.name)
"""The families that `of_latest`, `of_unfinished` and `of_ended_jobs` tell of."""

_OF_BUILDS = len(CONCLUSIONS) + 1 + 4 + 2 * len(ACTIVE)
"""The most samples of a pipeline with builds: conclusions, the four others, two by status."""
_OF_FOLDED = 3 * len(ACTIVE)
"""The most of one that is made for what is folded: of its builds and of jobs named `other`."""


def room_for(facts: Facts) -> int:
    """The most gauge samples that a pipeline with such facts can ever show."""
    jobs = len(facts.job_statuses)
    ended = 0 if facts.jobs is None else len(ENDED_JOBS) * facts.jobs.count
    if facts.own:
        has_builds = facts.latest is not None or bool(facts.statuses)
        has_info = facts.info is not None
        return (_OF_BUILDS if has_builds else 0) + has_info + jobs + ended
    named = sum(name != OTHER for name, _ in facts.job_statuses)
    return (_OF_FOLDED if facts.statuses or jobs else 0) + named + ended


def of_latest(known: Facts) -> Items:
    """The gauges about the latest completed build, none before the first."""
    if known.latest is None or known.conclusion is None:
        return {}
    duration, completed, passed, streak, info = LATEST[1:]
    return {
        f.LAST_CONCLUSION.name: _conclusions(known.conclusion),
        duration: _one(known.duration),
        completed: _one(known.completed_at),
        passed: _one(known.passed_at),
        streak: _one(known.streak),
        info: [] if known.info is None else [(known.info, (1.0,), None)],
    }


@lru_cache(maxsize=1024)
def _conclusions(latest: str) -> list[Item]:
    words = dict.fromkeys((*CONCLUSIONS, latest))
    return [((word,), (float(word == latest),), None) for word in words]


def _one(value: float | None) -> list[Item]:
    return [] if value is None else [((), (float(value),), None)]


def of_ended_jobs(known: Facts) -> Items:
    """The gauges about the jobs that have ended."""
    ends = {} if known.jobs is None else known.jobs.ends
    streak, completed = ENDED_JOBS
    return {
        streak: [((name,), (float(job.streak),), None) for name, job in ends.items()],
        completed: [
            ((name,), (job.completed_at,), None)
            for name, job in ends.items()
            if job.completed_at is not None
        ],
    }


def of_unfinished(known: Facts, builds: Collection[Build], *, since: float) -> tuple[Items, float]:
    """The gauges of the unfinished `builds` of a pipeline, by those statuses ever seen.

    What began before `since` (epoch seconds) has left them, its jobs with it, and so has a
    partial build, whose status is not known yet. Jobs that had no room are among those named
    `other`. The second value is when the first of
    those that count began: once `since` is later, the gauges change.
    """
    if not builds:
        return _of_none(known.statuses, known.job_statuses), math.inf
    active = dict.fromkeys(known.statuses, 0.0)
    jobs = dict.fromkeys(known.job_statuses, 0.0)
    oldest: dict[Status, float] = {}
    first = math.inf
    for build in builds:
        begun = _begun(build)
        if build.partial or begun < since:
            continue
        first = min(first, begun)
        if not build.only_jobs and build.status in active:
            active[build.status] += 1
            if begun < math.inf:
                oldest[build.status] = min(begun, oldest.get(build.status, begun))
        for job in build.jobs:
            key, begun = (clean(job.name), job.status), _begun(job)
            if key not in jobs:
                key = (OTHER, job.status)
            if key in jobs and begun >= since:
                first = min(first, begun)
                jobs[key] += 1
    items: Items = {
        f.ACTIVE.name: [((status,), (n,), None) for status, n in active.items()],
        f.OLDEST_ACTIVE.name: [((status,), (at,), None) for status, at in oldest.items()],
        f.JOBS_ACTIVE.name: [(key, (n,), None) for key, n in jobs.items()],
    }
    return items, first


@lru_cache(maxsize=1024)
def _of_none(statuses: tuple[Status, ...], jobs: tuple[tuple[str, Status], ...]) -> Items:
    """The gauges of a pipeline that has no unfinished builds."""
    return {
        f.ACTIVE.name: [((status,), (0.0,), None) for status in statuses],
        f.JOBS_ACTIVE.name: [(key, (0.0,), None) for key in jobs],
    }


def is_shown(known: Facts, build: Build) -> bool:
    """Whether the gauges of its own pipeline have an unfinished build and its jobs."""
    jobs = {(clean(job.name), job.status) for job in build.jobs if job.status in ACTIVE}
    is_there = build.only_jobs or build.status in known.statuses
    return is_there and jobs <= {*known.job_statuses}


def _begun(run: Build | Job) -> float:
    """When it was created, else started; if that is not known, it is never too old."""
    begun = run.started_at if run.created_at is None else run.created_at
    return math.inf if begun is None else begun
