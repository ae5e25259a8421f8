"""What news does to the counters and histograms: pure functions from events to increments."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache

from exporter.ledger.rows import Completed, JobCompleted, Labels, SeriesKey, Vector
from exporter.metrics import families as f
from exporter.metrics.buckets import Buckets
from exporter.metrics.families import Family
from exporter.metrics.labels import clean
from exporter.model import CONCLUSIONS, OTHER, Build, Job, carried_over

Increment = tuple[SeriesKey, Vector]

_ONE: Vector = (1.0,)


def observation(seconds: float, bounds: tuple[float, ...]) -> Vector:
    """One observation as a histogram vector; a bound includes its own value."""
    counts = [0.0] * (len(bounds) + 1)
    counts[bisect_left(bounds, seconds)] = 1.0
    return (*counts, seconds)


def conclusion_label(run: Build | Job) -> str:
    """The `conclusion` label: `other` where the provider gave none."""
    return OTHER if run.conclusion is None else clean(run.conclusion)


def count(family: Family, *labels: str, amount: float = 1.0) -> Increment:
    """An increment of a counter. Its labels need not be clean."""
    return SeriesKey(family.name, tuple(map(clean, labels))), (amount,)


@lru_cache(maxsize=4096)
def build_zeros(pipeline: Labels, trigger: str) -> tuple[SeriesKey, ...]:
    """The counters that a pipeline starts with at 0 once a trigger is seen."""
    counted = (*pipeline, clean(trigger))
    builds = (SeriesKey(f.BUILDS.name, (*counted, conclusion)) for conclusion in CONCLUSIONS)
    return (SeriesKey(f.RETRIES.name, pipeline), *builds)


@lru_cache(maxsize=4096)
def job_zeros(pipeline: Labels, job_name: str) -> tuple[SeriesKey, ...]:
    """The counters that a job starts with at 0 once it is seen."""
    job = (*pipeline, clean(job_name))
    return tuple(SeriesKey(f.JOBS.name, (*job, conclusion)) for conclusion in CONCLUSIONS)


def of_build(news: Completed, pipeline: Labels, buckets: Buckets) -> Iterator[Increment]:
    """What a completed build attempt adds."""
    build, provider = news.build, pipeline[0]
    conclusion = conclusion_label(build)
    yield SeriesKey(f.BUILDS.name, (*pipeline, clean(build.trigger), conclusion)), _ONE
    if build.is_retry:
        yield SeriesKey(f.RETRIES.name, pipeline), _ONE
    if build.conclusion is None:
        yield count(f.MISSING, provider, "conclusion")
    if news.missed:
        yield count(f.MISSING, provider, "attempt", amount=float(news.missed))
    spans = [(f.BUILD_DURATION, (*pipeline, conclusion), build.duration, "duration")]
    if not build.is_retry:
        spans.append((f.BUILD_QUEUE, pipeline, build.queue, "queue"))
    for family, labels, seconds, field in spans:
        if seconds is not None:
            yield _span(family, labels, seconds, f"negative_{field}", buckets)
        elif build.conclusion != "skipped":  # what never ran has no span to be missed
            yield count(f.MISSING, provider, field)
    for unknown in build.unmapped:
        yield count(f.UNMAPPED, provider, unknown.field)
    for anomaly in build.anomalies:
        yield count(f.ANOMALIES, provider, anomaly)


def _span(
    family: Family, labels: Labels, seconds: float, anomaly: str, buckets: Buckets
) -> Increment:
    if seconds < 0:
        return count(f.ANOMALIES, labels[0], anomaly)
    return SeriesKey(family.name, labels), observation(seconds, buckets.of(family))


def of_job(news: JobCompleted, pipeline: Labels, buckets: Buckets) -> Iterator[Increment]:
    """What a completed job attempt adds; a job carried over from an earlier attempt, nothing."""
    job, provider = news.job, pipeline[0]
    if carried_over(job, news.build):
        return
    name, conclusion = clean(job.name), conclusion_label(job)
    # GitHub says that a skipped job started when it was skipped: it never waited to.
    queue = None if conclusion == "skipped" else job.queue
    yield SeriesKey(f.JOBS.name, (*pipeline, name, conclusion)), _ONE
    for family, labels, seconds in (
        (f.JOB_DURATION, (*pipeline, name, conclusion), job.duration),
        (f.JOB_QUEUE, (*pipeline, name), queue),
    ):
        if seconds is not None:
            yield _span(family, labels, seconds, f"negative_job_{family.buckets}", buckets)
    for unknown in job.unmapped:
        yield count(f.UNMAPPED, provider, f"job_{unknown.field}")
    for anomaly in job.anomalies:
        yield count(f.ANOMALIES, provider, anomaly)
