"""Books of any size, and the same series in prometheus-client's own objects."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from exporter.ledger.rows import (
    Changes,
    Cursor,
    Labels,
    PipelineRow,
    SeriesKey,
    SeriesRow,
    Target,
    Vector,
    plus,
)
from exporter.metrics import families as f
from exporter.metrics import gauges
from exporter.metrics.buckets import Buckets
from exporter.metrics.facts import Facts
from exporter.metrics.families import Family
from exporter.metrics.increments import observation
from exporter.metrics.rules import MetricsRules
from exporter.model import CONCLUSIONS, Status
from exporter.view.series_view import SeriesView

SAMPLES = 69
"""What one pipeline shows: 46 samples of 3 histograms, 9 of counters, 14 of gauges."""
DURATIONS = (10, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
QUEUES = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
BUCKETS = Buckets(tuple(map(float, DURATIONS)), tuple(map(float, QUEUES)))
"""Those of the default configuration."""
_A_REPO = 4
"""Pipelines of a repo."""
_encode = msgspec.msgpack.Encoder().encode

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would be more than ours


def labels_of(n: int) -> Labels:
    """Of a pipeline by its number."""
    return ("github", "acme", f"acme/service-{n // _A_REPO}", f"workflow {n % _A_REPO}", "main")


def target_of(n: int) -> Target:
    """The repo of a pipeline."""
    repo = n // _A_REPO
    return Target(repo + 1, "acme", f"acme/service-{repo}", Cursor(0.0, since=1.0))


def facts_of(n: int) -> Facts:
    """What is known of a pipeline."""
    at = 1.7e9 + n
    order = (at, n, 1)
    return Facts(
        touched=at,
        latest=order,
        conclusion="passed",
        completed_at=at + 0.5,
        timed=order,
        duration=100.0 + n / 7,
        passed=order,
        passed_at=at + 0.5,
        statuses=(Status.QUEUED, Status.IN_PROGRESS),
    )


def series_of(n: int) -> Iterator[tuple[SeriesKey, Vector]]:
    """The counters and histograms of a pipeline."""
    labels = labels_of(n)
    for k, conclusion in enumerate(CONCLUSIONS):
        yield SeriesKey(f.BUILDS.name, (*labels, "push", conclusion)), (float((n + k) % 500),)
    yield SeriesKey(f.RETRIES.name, labels), (float(n % 7),)
    for k, conclusion in enumerate(("passed", "failed")):
        spans = ((n * 31 + k + i * 977) % 4000 / 3 for i in range(20))
        key = SeriesKey(f.BUILD_DURATION.name, (*labels, conclusion))
        yield key, _observed(spans, BUCKETS.duration)
    spans = ((n * 13 + i * 97) % 400 / 3 for i in range(20))
    yield SeriesKey(f.BUILD_QUEUE.name, labels), _observed(spans, BUCKETS.queue)


def _observed(spans: Iterable[float], bounds: tuple[float, ...]) -> Vector:
    vector = (0.0,) * (len(bounds) + 2)
    for seconds in spans:
        vector = plus(vector, observation(seconds, bounds))
    return vector


def rows_of(pipelines: Iterable[int]) -> Changes:
    """What a state has of these pipelines."""
    known = Changes()
    for n in pipelines:
        target = target_of(n)
        if n % _A_REPO == 0:
            known.targets.append(target)
        known.pipelines.append(PipelineRow(target.id, labels_of(n), _encode(facts_of(n))))
        known.series += [SeriesRow(key, vector, is_live=True) for key, vector in series_of(n)]
    return known


def book_of(samples: int) -> SeriesView:
    """A view with about so many samples, loaded bit by bit, so that little is left over."""
    rules = MetricsRules(("main",), BUCKETS, zero_hold=120.0, series_limit=10**7, max_open_age=6e5)
    view = SeriesView(rules, {"acme": "github"})
    pipelines = samples // SAMPLES
    for start in range(0, pipelines, 10 * _A_REPO):
        view.apply(rows_of(range(start, min(start + 10 * _A_REPO, pipelines))))
    return view


class Changer:
    """Changes a share of a view's series, as polls would, picked at random."""

    def __init__(self, view: SeriesView) -> None:
        self._view = view
        self._numbers = dict(view.stored())
        self._keys = [*self._numbers]
        self._pipelines = list(view.pipelines.values())
        self._random = random.Random(1)  # noqa: S311 - the same ones every time
        self._serial = 0

    def change(self, share: float) -> None:
        """Increase so many of the counters and histograms, and change as many gauges."""
        self._serial += 1
        keys = self._random.sample(self._keys, round(share * len(self._keys)))
        series = []
        for key in keys:
            width = BUCKETS.width(f.BY_NAME[key.family])
            vector = (1.0,) if width == 1 else (1.0, *(0.0,) * (width - 2), 1.5)
            known = self._numbers[key] = plus(self._numbers[key], vector)
            series.append(SeriesRow(key, known, is_live=True))
        pipelines = [
            PipelineRow(one.target, one.labels, _encode(_moved(one.facts, self._serial)))
            for one in self._random.sample(self._pipelines, round(share * len(self._pipelines)))
        ]
        self._view.apply(Changes(pipelines=pipelines, series=series))


def _moved(facts: Facts, serial: int) -> Facts:
    """The facts after another build: all five gauges of the latest have changed."""
    odd = serial % 2 == 1
    return msgspec.structs.replace(
        facts,
        conclusion="failed" if odd else "passed",
        completed_at=1.7e9 + serial,
        passed_at=1.7e9 + serial,
        duration=100.25 + serial,
        older_failures=serial,
        latest=(1.7e9 + serial, serial, 1),
    )


class Stock:
    """The same series in prometheus-client's objects."""

    def __init__(self, samples: int) -> None:
        self.registry = CollectorRegistry()
        self._families = {
            family.name: self._family(family)
            for family in f.FAMILIES
            if family.labels[: len(f.PIPELINE)] == f.PIPELINE
        }
        for n in range(samples // SAMPLES):
            for key, vector in series_of(n):
                self._put(key, vector)
            for known in (
                gauges.of_latest(facts_of(n)),
                gauges.of_unfinished(facts_of(n), (), since=0.0)[0],
            ):
                for family, items in known.items():
                    for own, (value,), _ in items:
                        self._families[family].labels(*labels_of(n), *own).set(value)

    def _family(self, family: Family) -> Any:
        name, told = family.name.removesuffix("_total"), (family.help, family.labels)
        if family.kind == "histogram":
            return Histogram(name, *told, buckets=BUCKETS.of(family), registry=self.registry)
        kind = Counter if family.kind == "counter" else Gauge
        return kind(name, *told, registry=self.registry)

    def _put(self, key: SeriesKey, vector: Vector) -> None:
        child = self._families[key.family].labels(*key.labels)
        if len(vector) == 1:
            child.inc(vector[0])
            return
        for bucket, count in zip(child._buckets, vector, strict=False):  # noqa: SLF001 - 20 times as quick
            bucket.inc(count)
        child._sum.inc(vector[-1])  # noqa: SLF001
