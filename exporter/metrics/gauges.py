"""What the gauges of pipelines show: pure functions of facts and unfinished builds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from exporter.metrics import families as f
from exporter.metrics.facts import Facts
from exporter.metrics.labels import clean
from exporter.model import ACTIVE, CONCLUSIONS, Build, Job, Status
from exporter.record import Labels

Sample = tuple[str, Labels, float]
"""Family name, label values, value."""

_OF_BUILDS = len(CONCLUSIONS) + 1 + 4 + 2 * len(ACTIVE)
"""The most samples of a pipeline with builds: conclusions, the four others, two by status."""


def room_for(facts: Facts) -> int:
    """The most gauge samples that a pipeline with such facts can ever show."""
    has_builds = facts.latest is not None or bool(facts.statuses)
    return (_OF_BUILDS if has_builds else 0) + len(facts.job_statuses)


def of_latest(labels: Labels, known: Facts) -> Iterator[Sample]:
    """The gauges about the latest completed build, none before the first."""
    if known.latest is None or known.conclusion is None:
        return
    for word in dict.fromkeys((*CONCLUSIONS, known.conclusion)):
        yield f.LAST_CONCLUSION.name, (*labels, word), float(word == known.conclusion)
    for family, value in (
        (f.LAST_DURATION, known.duration),
        (f.LAST_COMPLETED, known.completed_at),
        (f.LAST_PASSED, known.passed_at),
        (f.STREAK, float(known.streak)),
    ):
        if value is not None:
            yield family.name, labels, value


class Active(msgspec.Struct):
    """The gauges of unfinished builds and jobs, from those statuses that were ever seen."""

    builds: dict[Labels, float]
    jobs: dict[Labels, float]
    oldest: dict[Labels, float]

    def add(self, labels: Labels, build: Build) -> None:
        """Count one unfinished build."""
        key = (*labels, build.status)
        if key not in self.builds:
            return
        self.builds[key] += 1
        begun = _begun(build)
        if begun is not None:
            self.oldest[key] = min(begun, self.oldest.get(key, begun))

    def add_job(self, labels: Labels, job: Job) -> None:
        """Count one unfinished job."""
        key = (*labels, clean(job.name), job.status)
        if key in self.jobs:
            self.jobs[key] += 1

    def samples(self) -> Iterator[Sample]:
        """All of them."""
        for family, values in (
            (f.ACTIVE, self.builds),
            (f.OLDEST_ACTIVE, self.oldest),
            (f.JOBS_ACTIVE, self.jobs),
        ):
            for labels, value in values.items():
                yield family.name, labels, value


def of_active(
    known: Mapping[Labels, Facts], builds: Iterable[tuple[Labels, Build]], *, since: float
) -> Iterator[Sample]:
    """The gauges of the unfinished `builds` of pipelines that are `known`.

    What began before `since` (epoch seconds) has left them, its jobs with it, and so has a
    partial build, whose status is not known yet.
    """
    active = Active(
        builds={(*labels, s): 0.0 for labels, facts in known.items() for s in facts.statuses},
        jobs={(*labels, *js): 0.0 for labels, facts in known.items() for js in facts.job_statuses},
        oldest={},
    )
    for labels, build in builds:
        if build.partial or _is_over(build, since):
            continue
        if not build.only_jobs:
            active.add(labels, build)
        for job in build.jobs:
            if job.status is not Status.COMPLETED and not _is_over(job, since):
                active.add_job(labels, job)
    return active.samples()


def _begun(run: Build | Job) -> float | None:
    return run.started_at if run.created_at is None else run.created_at


def _is_over(run: Build | Job, since: float) -> bool:
    begun = _begun(run)
    return begun is not None and begun < since
