"""The series in memory: what a scrape shows.

A change is computed (`draft`), committed to the ledger, and only then applied here, so
that memory never shows what a crash could take back.

A series that was never shown before is held at 0 for a while (`zero_hold`), because
`increase()` cannot see an increment of a series whose first sample already has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from time import monotonic

import msgspec

from exporter.metrics import families as f
from exporter.metrics.facts import Facts
from exporter.metrics.families import Buckets
from exporter.metrics.labels import clean, pipeline
from exporter.model import CONCLUSIONS, Build, Status
from exporter.record import (
    AttemptKey,
    Change,
    Delta,
    Labels,
    Loaded,
    SeriesKey,
    Target,
    Vector,
    Verdict,
)

_decode = msgspec.msgpack.Decoder(Facts).decode

Sample = tuple[str, Labels, float]
"""Family name, label values, value."""

RESERVED_PER_PIPELINE = len(CONCLUSIONS) + 1 + 4 + 2 * 3
"""Gauge samples that a pipeline may have: conclusions, the four others, two by status."""


class Rules(msgspec.Struct, frozen=True):
    """What the configuration says about metrics. Spans in seconds."""

    branches: tuple[str, ...]
    buckets: Buckets
    zero_hold: float
    series_limit: int
    max_open_age: float


class Series(msgspec.Struct):
    """One counter or histogram series."""

    vector: Vector
    born: float
    """When it came into memory; monotonic seconds."""
    held: Vector | None = None
    opened: bool = False
    """Whether increments go in at once."""


class Pipeline(msgspec.Struct):
    """One set of pipeline labels, its facts and its series."""

    facts: Facts
    target: int
    shown_since: float | None
    """Monotonic seconds; None while its repo's first walk goes on."""
    series: set[SeriesKey] = msgspec.field(default_factory=set)


class Book:
    """All series and facts of one process.

    `hold=False` (the `once` command) lets every increment in at once.
    """

    def __init__(
        self,
        rules: Rules,
        labels_of: dict[str, str],
        *,
        clock: Callable[[], float] = monotonic,
        hold: bool = True,
    ) -> None:
        self.rules = rules
        self.series: dict[SeriesKey, Series] = {}
        self.pipelines: dict[Labels, Pipeline] = {}
        self.targets: dict[int, Target] = {}
        self.active: dict[int, dict[AttemptKey, Build]] = {}
        self.dropped: dict[str, int] = {}
        self._providers = labels_of
        self._clock = clock
        self._zero_hold = rules.zero_hold if hold else 0.0
        self._scraped = -math.inf
        self._samples = 0

    # -- start ---------------------------------------------------------------------

    def load(self, loaded: Loaded) -> None:
        """Take over what the ledger remembers."""
        now = self._clock()
        self.targets = {target.id: target for target in loaded.targets}
        for target, labels, blob in loaded.pipelines:
            self._remember(labels, blob, self.targets[target], now)
        for row in loaded.series:
            self._insert(row.series, Series(row.vector, now, row.held, row.opened))
        for target, build in loaded.active:
            self.active.setdefault(target, {})[AttemptKey(build.key, build.attempt)] = build

    def provider_of(self, target: Target) -> str:
        """The `provider` label of a target's account."""
        return self._providers[target.account]

    def labels(self, target: Target, build: Build) -> Labels:
        """The pipeline labels of a build."""
        return pipeline(
            build,
            provider=self.provider_of(target),
            account=target.account,
            shown=self.rules.branches,
        )

    # -- after the commit ------------------------------------------------------------

    def apply(self, target: Target, verdict: Verdict, change: Change) -> None:
        """Make a committed change visible."""
        now = self._clock()
        self.targets[target.id] = target
        for labels, blob in change.pipelines:
            self._remember(labels, blob, target, now)
        for delta in change.deltas:
            self._add(delta, now)
        active = self.active.setdefault(target.id, {})
        for key in verdict.settled:
            active.pop(key, None)
        for build in verdict.active:
            active[AttemptKey(build.key, build.attempt)] = build

    def expose(self, target: Target) -> None:
        """The first walk of a repo has ended: its series are shown from now on."""
        now = self._clock()
        self.targets[target.id] = target
        for known in self.pipelines.values():
            if known.target == target.id and known.shown_since is None:
                known.shown_since = now

    def _remember(self, labels: Labels, blob: bytes, target: Target, now: float) -> None:
        known = self.pipelines.get(labels)
        if known is None:
            shown_since = now if target.exposed else None
            self.pipelines[labels] = Pipeline(_decode(blob), target.id, shown_since)
            self._samples += RESERVED_PER_PIPELINE
        else:
            known.facts = _decode(blob)

    def _add(self, delta: Delta, now: float) -> None:
        series = self.series.get(delta.series)
        if series is None:
            series = Series((0.0,) * len(delta.vector), now)
            self._insert(delta.series, series)
        if delta.held:
            series.held = plus(series.held or (0.0,) * len(delta.vector), delta.vector)
        else:
            series.vector = plus(series.vector, delta.vector)
        series.opened = series.opened or delta.opened

    def _insert(self, key: SeriesKey, series: Series) -> None:
        self.series[key] = series
        known = self.pipelines.get(key.labels[: len(f.PIPELINE)])
        if known is not None and is_pipeline_series(key):
            known.series.add(key)
            self._samples += sample_count(series.vector)

    # -- zero hold -------------------------------------------------------------------

    def scraped(self) -> None:
        """Somebody has read the telemetry path."""
        self._scraped = self._clock()

    def seen_at_zero(self, key: SeriesKey, series: Series) -> bool:
        """Whether `series` was exposed long enough, and to somebody."""
        known = self.pipelines.get(key.labels[: len(f.PIPELINE)])
        if known is None or known.shown_since is None:
            return False
        since = max(series.born, known.shown_since)
        return self._clock() - since >= self._zero_hold and self._scraped >= since

    def due(self) -> list[SeriesKey]:
        """Series whose hold is over, to be opened."""
        if self._zero_hold <= 0:
            return [key for key, s in self.series.items() if s.held is not None]
        return [k for k, s in self.series.items() if not s.opened and self.seen_at_zero(k, s)]

    def release(self, keys: Iterable[SeriesKey]) -> None:
        """Open series after the ledger has: what was held enters."""
        for key in keys:
            series = self.series[key]
            if series.held is not None:
                series.vector, series.held = plus(series.vector, series.held), None
            series.opened = True

    # -- forgetting ------------------------------------------------------------------

    def idle(self, before: float) -> list[Labels]:
        """Pipelines that saw no build since `before` (epoch) and have none unfinished."""
        busy = {labels for labels, _ in self._active_builds()}
        return [
            labels
            for labels, known in self.pipelines.items()
            if known.facts.touched < before and labels not in busy
        ]

    def forget(self, pipelines: Iterable[Labels]) -> None:
        """Drop pipelines and their series."""
        for labels in pipelines:
            self._samples -= RESERVED_PER_PIPELINE
            for key in self.pipelines.pop(labels).series:
                self._samples -= sample_count(self.series.pop(key).vector)

    # -- reading ---------------------------------------------------------------------

    def room(self, samples: int) -> bool:
        """Whether so many more samples stay within `series_limit`."""
        return self._samples + samples <= self.rules.series_limit

    @property
    def immediate(self) -> bool:
        """Whether nothing is held back."""
        return self._zero_hold <= 0

    def counted(self) -> dict[int, int]:
        """How many builds were counted of each target."""
        counts: dict[int, int] = {}
        for known in self.pipelines.values():
            for key in known.series:
                if key.family == f.BUILDS.name:
                    number = int(self.series[key].vector[0])
                    counts[known.target] = counts.get(known.target, 0) + number
        return counts

    def stored(self) -> Iterator[tuple[SeriesKey, Vector]]:
        """Counters and histograms to expose."""
        for key, series in self.series.items():
            if is_pipeline_series(key):
                known = self.pipelines.get(key.labels[: len(f.PIPELINE)])
                if known is None or known.shown_since is None:
                    continue
            yield key, series.vector

    def gauges(self, now: float) -> Iterator[Sample]:
        """The gauges of all shown pipelines. `now` is epoch."""
        for labels, known in self.pipelines.items():
            if known.shown_since is not None:
                yield from _pipeline_gauges(labels, known.facts)
        yield from self._active_gauges(now)

    def _active_gauges(self, now: float) -> Iterator[Sample]:
        builds: dict[Labels, float] = {}
        jobs: dict[Labels, float] = {}
        oldest: dict[Labels, float] = {}
        for labels, known in self.pipelines.items():
            if known.shown_since is not None:
                builds.update({(*labels, status): 0.0 for status in known.facts.statuses})
                jobs.update({(*labels, *seen): 0.0 for seen in known.facts.job_statuses})
        for labels, build in self._active_builds():
            known_pipeline = self.pipelines.get(labels)
            if known_pipeline is None or known_pipeline.shown_since is None:
                continue
            for job in build.jobs:
                if job.status is not Status.COMPLETED:
                    key = (*labels, clean(job.name), job.status)
                    jobs[key] = jobs.get(key, 0.0) + 1
            begun = build.started_at if build.created_at is None else build.created_at
            too_old = begun is not None and now - begun > self.rules.max_open_age
            if build.only_jobs or build.partial or too_old:
                continue
            key = (*labels, build.status)
            builds[key] = builds.get(key, 0.0) + 1
            if begun is not None:
                oldest[key] = min(begun, oldest.get(key, begun))
        for family, values in ((f.ACTIVE, builds), (f.OLDEST_ACTIVE, oldest), (f.JOBS_ACTIVE, jobs)):
            for labels, value in values.items():
                yield family.name, labels, value

    def _active_builds(self) -> Iterator[tuple[Labels, Build]]:
        for target, builds in self.active.items():
            for build in builds.values():
                yield self.labels(self.targets[target], build), build


def plus(one: Vector, other: Vector) -> Vector:
    """The sum of two vectors of one series."""
    return tuple(a + b for a, b in zip(one, other, strict=True))


def sample_count(vector: Vector) -> int:
    """How many samples a series exposes: buckets, count and sum, or one."""
    return 1 if len(vector) == 1 else len(vector) + 1


def is_pipeline_series(key: SeriesKey) -> bool:
    """Whether the series is one of a build or job family."""
    return f.BY_NAME[key.family].labels[: len(f.PIPELINE)] == f.PIPELINE


def _pipeline_gauges(labels: Labels, known: Facts) -> Iterator[Sample]:
    if known.latest is None:
        return
    conclusion = known.conclusion or ""
    for word in dict.fromkeys((*CONCLUSIONS, conclusion)):
        yield f.LAST_CONCLUSION.name, (*labels, word), float(word == conclusion)
    for family, value in (
        (f.LAST_DURATION, known.duration),
        (f.LAST_COMPLETED, known.completed_at),
        (f.LAST_PASSED, known.passed_at),
        (f.STREAK, float(known.streak)),
    ):
        if value is not None:
            yield family.name, labels, value
