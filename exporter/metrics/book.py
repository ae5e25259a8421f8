"""The series in memory: what a scrape shows.

A change is computed (`draft`), committed to the ledger, and only then applied here, so
that memory never shows what a crash could take back.

A series that was never shown before is held at 0 for a while (`zero_hold`), because
`increase()` cannot see an increment of a series whose first sample already has it.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from time import monotonic

import msgspec

from exporter.metrics import families as f
from exporter.metrics import gauges
from exporter.metrics.facts import Facts
from exporter.metrics.families import Buckets
from exporter.metrics.gauges import Sample
from exporter.metrics.labels import clean, pipeline
from exporter.model import OTHER, Build
from exporter.record import (
    AttemptKey,
    Change,
    Delta,
    Labels,
    Loaded,
    SeriesKey,
    StoredSeries,
    Target,
    Vector,
    Verdict,
    plus,
)

log = logging.getLogger(__name__)

_decode = msgspec.msgpack.Decoder(Facts).decode

_MOST_RESERVED = 1000
"""Samples at most that are kept free for the accounts' `other` counters."""


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
    series: dict[SeriesKey, Series] = {}


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
        self.series: dict[SeriesKey, Series] = {}
        self.pipelines: dict[Labels, Pipeline] = {}
        self.targets: dict[int, Target] = {}
        self.active: dict[int, dict[AttemptKey, Build]] = {}
        self.unpolled: set[int] = set()
        """Targets that nobody polls any more: their unfinished builds are not shown."""
        self.hidden: set[Labels] = set()
        """Pipelines that the state knows and a lowered `series_limit` has no room for."""
        self.dropped: Counter[str] = Counter()
        """Increments folded or refused because of the limit, by family."""
        self._clock = clock
        self._hold = hold
        self._scraped = -math.inf
        self._samples = 0
        self._others: dict[SeriesKey, Series] = {}
        """Series that are not of a pipeline."""
        self._unshown: dict[int, list[Pipeline]] = {}
        self.obey(rules, labels_of)

    # -- start and reload ------------------------------------------------------------

    def obey(self, rules: Rules, labels_of: dict[str, str]) -> None:
        """Go by these rules from now on, and by these `provider` labels of the accounts.

        The buckets must be the ones that the histograms were begun with.
        """
        self.rules = rules
        self._providers = labels_of
        self._zero_hold = rules.zero_hold if self._hold else 0.0
        self._reserve = min(rules.series_limit // 10, _MOST_RESERVED)

    def leave_out(self, accounts: Collection[str]) -> None:
        """Show these accounts no longer; `load` brings them back as the ledger has them."""
        left = {target.id for target in self.targets.values() if target.account in accounts}
        self.forget([labels for labels, known in self.pipelines.items() if known.target in left])
        names = set(map(clean, accounts))
        for key in [key for key in self._others if account_of(key) in names]:
            del self._others[key], self.series[key]
        self.hidden = {labels for labels in self.hidden if labels[1] not in names}
        self.unpolled -= left
        for target in left:
            del self.targets[target]
            self.active.pop(target, None)
            self._unshown.pop(target, None)

    def load(self, loaded: Loaded) -> None:
        """Take over what the ledger remembers and is not here yet."""
        now = self._clock()
        here = set(self.targets)
        self.targets.update((target.id, target) for target in loaded.targets)
        rows: dict[Labels, list[StoredSeries]] = {}
        for row in loaded.series:
            if is_pipeline_family(row.series.family):
                rows.setdefault(pipeline_of(row.series), []).append(row)
            elif row.series not in self.series:
                self._insert(row.series, Series(row.vector, now, row.held, row.opened))
        self.hidden -= {labels for _, labels, _ in loaded.pipelines}
        new = (row for row in loaded.pipelines if row[1] not in self.pipelines)
        known = [(target, labels, _decode(blob)) for target, labels, blob in new]
        known.sort(key=lambda row: (is_catch_all(row[1]), row[2].touched), reverse=True)
        for target, labels, facts in known:
            own = rows.get(labels, [])
            samples = gauges.room_for(facts) + sum(sample_count(row.vector) for row in own)
            if self._samples + samples > self.rules.series_limit:
                self.hidden.add(labels)
                continue
            self._remember(labels, facts, self.targets[target], now)
            for row in own:
                self._insert(row.series, Series(row.vector, now, row.held, row.opened))
        if self.hidden:
            log.warning(
                "metrics.series_limit is lower than what the state holds: the pipelines idle for"
                " longest are not shown",
                extra={"limit": self.rules.series_limit, "hidden": len(self.hidden)},
            )
        for target, build in loaded.active:
            if target not in here:
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
            self._remember(labels, _decode(blob), target, now)
        for delta in change.deltas:
            self._add(delta, now)
        self.dropped.update(change.dropped)
        active = self.active.setdefault(target.id, {})
        for key in verdict.settled:
            active.pop(key, None)
        for build in verdict.active:
            active[AttemptKey(build.key, build.attempt)] = build

    def expose(self, target: Target) -> None:
        """The first walk of a repo has ended: its series are shown from now on."""
        now = self._clock()
        self.targets[target.id] = target
        for known in self._unshown.pop(target.id, []):
            known.shown_since = now

    def _remember(self, labels: Labels, facts: Facts, target: Target, now: float) -> None:
        known = self.pipelines.get(labels)
        if known is None:
            known = Pipeline(facts, target.id, now if target.exposed else None)
            self.pipelines[labels] = known
            if not target.exposed:
                self._unshown.setdefault(target.id, []).append(known)
            self._samples += gauges.room_for(facts)
        else:
            self._samples += gauges.room_for(facts) - gauges.room_for(known.facts)
            known.facts = facts

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
        if is_pipeline_family(key.family):
            self.pipelines[pipeline_of(key)].series[key] = series
            self._samples += sample_count(series.vector)
        else:
            self._others[key] = series

    # -- zero hold -------------------------------------------------------------------

    def scraped(self) -> None:
        """Somebody has read the telemetry path."""
        self._scraped = self._clock()

    def seen_at_zero(self, key: SeriesKey) -> bool:
        """Whether the series was exposed long enough, and to somebody."""
        known = self.pipelines.get(pipeline_of(key))
        return known is not None and self._seen(known, self.series[key])

    def _seen(self, known: Pipeline, series: Series) -> bool:
        if known.shown_since is None:
            return False
        since = max(series.born, known.shown_since)
        return self._clock() - since >= self._zero_hold and self._scraped > since

    def due(self) -> list[SeriesKey]:
        """Series whose hold is over, to be opened."""
        if self.immediate:
            return [key for key, series in self.series.items() if series.held is not None]
        return [
            key
            for known in self.pipelines.values()
            for key, series in known.series.items()
            if not series.opened and self._seen(known, series)
        ]

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
            known = self.pipelines.pop(labels)
            self._samples -= gauges.room_for(known.facts)
            for key, series in known.series.items():
                self._samples -= sample_count(series.vector)
                del self.series[key]

    # -- reading ---------------------------------------------------------------------

    def room(self, samples: int) -> bool:
        """Whether so many more samples stay below `series_limit` and what is reserved of it."""
        return self.spare(samples + self._reserve)

    def spare(self, samples: int) -> bool:
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
        for known in self.pipelines.values():
            if known.shown_since is not None:
                for key, series in known.series.items():
                    yield key, series.vector
        for key, series in self._others.items():
            yield key, series.vector

    def gauges(self, now: float) -> Iterator[Sample]:
        """The gauges of all shown pipelines. `now` is epoch."""
        shown = {
            labels: known.facts
            for labels, known in self.pipelines.items()
            if known.shown_since is not None
        }
        for labels, facts in shown.items():
            yield from gauges.of_latest(labels, facts)
        yield from gauges.of_active(
            shown, self._active_builds(), since=now - self.rules.max_open_age
        )

    def _active_builds(self) -> Iterator[tuple[Labels, Build]]:
        for target, builds in self.active.items():
            if target not in self.unpolled:
                for build in builds.values():
                    yield self.labels(self.targets[target], build), build


def sample_count(vector: Vector) -> int:
    """How many samples a series exposes: buckets, count and sum, or one."""
    return 1 if len(vector) == 1 else len(vector) + 1


_OF_PIPELINES = frozenset(
    family.name for family in f.FAMILIES if family.labels[: len(f.PIPELINE)] == f.PIPELINE
)


def is_pipeline_family(name: str) -> bool:
    """Whether this is one of the build and job families."""
    return name in _OF_PIPELINES


def pipeline_of(key: SeriesKey) -> Labels:
    """The labels of the pipeline that a series of a build or job family belongs to."""
    return key.labels[: len(f.PIPELINE)]


def account_of(key: SeriesKey) -> str | None:
    """The `account` label of a series; None where its family has none."""
    names = f.BY_NAME[key.family].labels
    return key.labels[names.index("account")] if "account" in names else None


def is_catch_all(pipeline_labels: Labels) -> bool:
    """Whether these are the labels that an account's increments fold into at the limit."""
    return set(pipeline_labels[2:]) == {OTHER}
