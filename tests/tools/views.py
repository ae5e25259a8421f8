"""Books without a ledger: what the metrics make of a findings, and nothing else."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import strategies as st

from exporter.ledger.rows import (
    AttemptKey,
    Changes,
    Completed,
    Corrected,
    Cursor,
    Findings,
    JobCompleted,
    Labels,
    RowChanges,
    SeriesKey,
    Target,
)
from exporter.metrics import cardinality
from exporter.metrics.changes import resolve
from exporter.metrics.effects import effects_of
from exporter.metrics.families import Family
from exporter.metrics.grouping import pipeline_of
from exporter.metrics.increments import Increment
from exporter.metrics.row_table import RowTable
from exporter.metrics.rules import MetricsRules
from exporter.model import ACTIVE, Build, BuildKey, Job, Status
from exporter.outputs.prometheus import AccountView, Exposition, Format, Health
from exporter.view.series_view import SeriesView
from tests.tools.scripted import BUCKETS, DAY, build

PIPELINE = ("scripted", "acme", "acme/shop", "CI", "main")
"""The labels of `build()`."""
SHOWN = Target(1, "acme", "acme/shop", Cursor(0.0, since=1.0))
"""A repo whose first walk has ended."""


WORDS = st.none() | st.sampled_from(["passed", "failed", "odd"])


@functools.cache
def _builds(names: str, times: st.SearchStrategy[float] | None) -> st.SearchStrategy[list[Build]]:
    """Made once: that takes longer than to draw from it."""
    called = st.sampled_from(names)
    at = st.none() | (st.floats(0, 1e6) if times is None else times)
    spans = {"created_at": at, "started_at": at, "completed_at": at, "conclusion": WORDS}
    jobs = st.builds(Job, id=called, name=called, status=st.sampled_from(Status), **spans)
    builds = st.builds(
        Build,
        key=st.uuids().map(str).map(BuildKey),
        number=st.none() | st.integers(0, 9),
        repo=called,
        workflow=called,
        branch=st.sampled_from(["main", "release/1", "release/2", "x"]),
        status=st.sampled_from(ACTIVE),
        attempt=st.integers(1, 3),
        trigger=st.sampled_from(["push", "cron"]),
        jobs=st.lists(jobs, max_size=3).map(tuple),
        partial=st.booleans(),
        only_jobs=st.booleans(),
        **spans,
    )
    return st.lists(builds, max_size=6)


@st.composite
def some_findings(
    draw: st.DrawFn, names: str = "abc", times: st.SearchStrategy[float] | None = None
) -> Findings:
    """What a ledger might find."""
    findings = Findings()
    for each in draw(_builds(names, times)):
        done = [job for job in each.jobs if job.status is Status.COMPLETED]
        findings.jobs += [JobCompleted(each, job) for job in done]
        if each.only_jobs or draw(st.booleans()):
            findings.active.append(each)
        else:
            ended = msgspec.structs.replace(each, status=Status.COMPLETED, partial=False)
            findings.completed.append(Completed(ended, draw(st.integers(0, 2))))
    findings.anomalies = draw(st.lists(st.just("reopened"), max_size=2))
    findings.corrected = [Corrected(news.build, None) for news in findings.completed[:1]]
    return findings


def a_view(
    limit: int = 100_000, zero_hold: float = 0.0, *, native: bool = False, **options: Any
) -> ViewWithRows:
    """An empty one."""
    rules = MetricsRules(
        branches=("main", "release/*"),
        buckets=BUCKETS,
        zero_hold=zero_hold,
        series_limit=limit,
        max_open_age=7 * DAY,
        native=native,
    )
    return ViewWithRows(rules, {"acme": "scripted"}, **options)


class ViewWithRows(SeriesView):
    """A view, and the rows that it shows."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self.table = RowTable()
        self.known: dict[int, Target] = {}
        self.unfinished: dict[tuple[int, AttemptKey], Build] = {}
        super().__init__(*values, **options)

    def drafted(
        self,
        target: Target,
        findings: Findings,
        *,
        now: float | None = None,
        events: Iterable[Increment] = (),
    ) -> RowChanges:
        """What becomes of the rows by a findings."""
        effects = effects_of(
            findings,
            target=target,
            provider=self.provider_of(target),
            rules=self.rules,
            events=events,
        )
        return resolve(
            effects,
            self.table.load,
            target=target,
            rules=self.rules,
            now=time.time() if now is None else now,
            seen=self.due(),
        )

    def learn(
        self,
        findings: Findings,
        target: Target = SHOWN,
        *,
        closed: Iterable[AttemptKey] = (),
        **more: Any,
    ) -> Changes:
        """What the recorder does with findings; `closed` builds are no longer unfinished."""
        drafted = self.drafted(target, findings, **more)
        changes = self.table.save(drafted)
        changes.targets = [target]
        changes.closed = [(target.id, key) for key in closed]
        changes.open_builds = [(target.id, build) for build in findings.active]
        self.apply(changes)
        self.dropped.update(drafted.dropped)
        self.known[target.id] = target
        for key in changes.closed:
            self.unfinished.pop(key, None)
        for number, each in changes.open_builds:
            self.unfinished[number, AttemptKey(each.key, each.attempt)] = each
        return changes

    def snapshot(self) -> Changes:
        """All rows there are."""
        return Changes(
            targets=[*self.known.values()],
            pipelines=[*self.table.pipelines.values()],
            series=[*self.table.series.values()],
            open_builds=[(number, each) for (number, _), each in self.unfinished.items()],
        )

    def release(self, keys: Iterable[SeriesKey]) -> None:
        """Open series, as the recorder does when their hold is over."""
        rows = tuple(self.table.series[key].released() for key in keys)
        self.apply(self.table.save(RowChanges(series=rows)))

    def forget(self, pipelines: Iterable[Labels]) -> None:
        """Drop pipelines."""
        gone = [labels for labels in pipelines if self.table.pipelines.pop(labels, None)]
        for key in [key for key in self.table.series if pipeline_of(key) in gone]:
            del self.table.series[key]
        self.apply(Changes(forgotten=gone))
        self.table.samples = self.samples


def learn(view: ViewWithRows, findings: Findings) -> None:
    """What the recorder does with a findings."""
    view.learn(findings)


def limit_for(*learned: Findings) -> int:
    """The least limit under which all that is learned of these has labels of its own."""
    view = a_view()
    for findings in learned:
        learn(view, findings)
    return next(n for n in itertools.count() if n - cardinality.reserve(n) >= view.samples)


def completed(missed: int = 0, **values: Any) -> Findings:
    """News of a build that waited for 3 seconds and passed after 20, unless `values` differ."""
    known: dict[str, Any] = {"created_at": 100.0, "started_at": 103.0, "completed_at": 123.0}
    known |= {"status": Status.COMPLETED, "conclusion": "passed", **values}
    return Findings(completed=[Completed(build("1", **known), missed)])


def job_done(of: Build | None = None, **values: Any) -> Findings:
    """News of such a job."""
    known: dict[str, Any] = {"id": "7", "name": "test", "status": Status.COMPLETED}
    known |= {"created_at": 100.0, "started_at": 103.0, "completed_at": 123.0}
    known |= {"conclusion": "passed", **values}
    return Findings(jobs=[JobCompleted(of or build("1"), Job(**known))])


def shown_gauges(view: SeriesView, family: Family) -> dict[Labels, float]:
    now = time.time()
    return {labels: value for name, labels, value in view.gauges(now) if name == family.name}


def scraped(view: SeriesView, *views: AccountView, form: Format = "text") -> str:
    """What an exposition that is made now shows."""
    return Exposition(view, lambda: views, Health()).text(form).decode()
