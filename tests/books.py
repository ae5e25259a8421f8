"""Books without a ledger: what the metrics make of a verdict, and nothing else."""

from __future__ import annotations

import time
from typing import Any

from exporter.metrics.book import Book, Rules
from exporter.metrics.draft import digest
from exporter.metrics.families import Family
from exporter.model import Build, Job, Status
from exporter.record import Completed, Cursor, JobCompleted, Labels, Target, Verdict
from tests.scripted import BUCKETS, DAY, build

PIPELINE = ("scripted", "acme", "acme/shop", "CI", "main")
"""The labels of `build()`."""
SHOWN = Target(1, "acme", "acme/shop", Cursor(0.0, since=1.0))
"""A repo whose first walk has ended."""


def a_book(limit: int = 100_000, zero_hold: float = 0.0, **options: Any) -> Book:
    """An empty one."""
    rules = Rules(
        branches=("main", "release/*"),
        buckets=BUCKETS,
        zero_hold=zero_hold,
        series_limit=limit,
        max_open_age=7 * DAY,
    )
    return Book(rules, {"acme": "scripted"}, **options)


def learn(book: Book, verdict: Verdict) -> None:
    """What the recorder does with a verdict."""
    change = digest(book, SHOWN, verdict, now=time.time())
    book.apply(SHOWN, verdict, change)


def completed(missed: int = 0, **values: Any) -> Verdict:
    """News of a build that waited for 3 seconds and passed after 20, unless `values` differ."""
    known: dict[str, Any] = {"created_at": 100.0, "started_at": 103.0, "completed_at": 123.0}
    known |= {"status": Status.COMPLETED, "conclusion": "passed", **values}
    return Verdict(completed=[Completed(build("1", **known), missed)])


def job_done(of: Build | None = None, **values: Any) -> Verdict:
    """News of such a job."""
    known: dict[str, Any] = {"id": "7", "name": "test", "status": Status.COMPLETED}
    known |= {"created_at": 100.0, "started_at": 103.0, "completed_at": 123.0}
    known |= {"conclusion": "passed", **values}
    return Verdict(jobs=[JobCompleted(of or build("1"), Job(**known))])


def shown_gauges(book: Book, family: Family) -> dict[Labels, float]:
    now = time.time()
    return {labels: value for name, labels, value in book.gauges(now) if name == family.name}
