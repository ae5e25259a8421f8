"""How effects change the rows of pipelines and series: a pure function.

It decides which increments are shown, held back, or folded at the series limit, from nothing but
the rows that it is given. Counting is exact because one transaction reads those rows, calls it
and writes the changed rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Container, Iterable, Iterator

from exporter.ledger.rows import (
    Exemplar,
    JobCompleted,
    Labels,
    PipelineRow,
    RowChanges,
    Rows,
    SeriesKey,
    SeriesRow,
    SparseBuckets,
    Target,
    Touched,
    Vector,
    plus,
)
from exporter.metrics import cardinality, exemplars, facts, gauges, grouping, native
from exporter.metrics.cardinality import Mark
from exporter.metrics.effects import Effect, Observed, touched
from exporter.metrics.facts import Facts
from exporter.metrics.increments import Increment
from exporter.metrics.labels import clean
from exporter.metrics.rules import MetricsRules
from exporter.model import ACTIVE, OTHER, Build, Status

JobStatuses = tuple[tuple[str, Status], ...]
_FOLDED_JOBS = 5 / 8
"""The share of the reserve that gauges of jobs named `other` leave free: they are shown in the
pipeline of the build, wherever that is."""


class FoldsError(Exception):
    """An increment must be folded, and the series that it may fold into are not loaded."""


def resolve(  # noqa: PLR0913 - what a decision rests on
    effects: Collection[Effect],
    load: Callable[[Touched], Rows],
    *,
    target: Target,
    rules: MetricsRules,
    now: float,
    seen: Container[SeriesKey] = (),
) -> RowChanges:
    """Call `changes_for` with the rows that it needs, which are few unless increments fold."""
    decide = functools.partial(changes_for, effects, target=target, rules=rules, now=now, seen=seen)
    try:
        return decide(load(touched(effects)))
    except FoldsError:
        return decide(load(touched(effects, folded=True)), folds=True)


def changes_for(  # noqa: PLR0913 - what a decision rests on
    effects: Iterable[Effect],
    rows: Rows,
    *,
    target: Target,
    rules: MetricsRules,
    now: float,
    seen: Container[SeriesKey] = (),
    folds: bool = False,
) -> RowChanges:
    """The changed rows of pipelines and series, given the rows that the effects touch.

    `now` is in epoch seconds. `seen` are series that are not live but have been shown at 0 for
    long enough. `folds` says that the rows include the series that increments may fold into;
    without it, FoldsError is raised when they are needed.
    """
    decision = _Decision(rows, target=target, rules=rules, now=now, seen=seen, folds=folds)
    for effect in effects:
        decision.take(effect)
    return decision.changes()


class _Decision:
    """Collects changed rows; later effects of the batch see the changes of earlier ones."""

    def __init__(  # noqa: PLR0913 - what a decision rests on
        self,
        rows: Rows,
        *,
        target: Target,
        rules: MetricsRules,
        now: float,
        seen: Container[SeriesKey],
        folds: bool,
    ) -> None:
        self._rows = rows
        self._target = target
        self._rules = rules
        self._now = now
        self._seen = seen
        self._folds = folds
        self._limit = rules.series_limit
        self._reserve = cardinality.reserve(self._limit)
        self._facts: dict[Labels, Facts | None] = {}
        self._learned: dict[Labels, None] = {}
        self._series: dict[SeriesKey, SeriesRow] = {}
        self._exemplars: list[tuple[SeriesKey, Exemplar]] = []
        self._begun: set[tuple[SeriesKey, ...]] = set()
        self._dropped: list[str] = []
        self._samples = 0

    def take(self, effect: Effect) -> None:
        """Apply one effect."""
        labels = effect.labels
        if labels is not None:
            if effect.unfinished is not None:
                self._unfinished(effect.unfinished, labels)
            if effect.learn is not None:
                self._learn(labels, effect.learn)
            if effect.jobs:
                self._end(labels, effect.jobs)
            self._begin(labels, effect.zeros)
        self._add(effect.increments, effect.observed)

    def changes(self) -> RowChanges:
        """All changes so far."""
        return RowChanges(
            pipelines=tuple(self._pipelines()),
            series=tuple(self._series.values()),
            samples=self._samples,
            exemplars=tuple(self._exemplars),
            dropped=tuple(self._dropped),
        )

    def _pipelines(self) -> Iterator[PipelineRow]:
        for labels in self._learned:
            row = self._rows.pipelines.get(labels)
            target = self._target.id if row is None else row.target
            yield PipelineRow(target, labels, facts.encode(self._facts[labels]))

    # -- facts

    def _unfinished(self, build: Build, labels: Labels) -> None:
        jobs = tuple((clean(j.name), j.status) for j in build.jobs if j.status in ACTIVE)
        if not self._see(labels, build, jobs):
            self._see_folded(labels, build, jobs)

    def _see(
        self, home: Labels, build: Build, jobs: JobStatuses, *, kept: float = cardinality.OWN
    ) -> bool:
        """Show an unfinished build in a pipeline; False if there is no room."""
        return self._revise(
            home, lambda k: facts.seen(k, build, now=self._now, jobs=jobs), kept=kept
        )

    def _see_folded(self, labels: Labels, build: Build, jobs: JobStatuses) -> None:
        """Show an unfinished build where there is room, so that sums stay right."""
        for home, kept in cardinality.pipelines(labels).items():
            if not self._see(home, build, (), kept=kept):
                continue
            is_own = home == labels
            for name, status in jobs:
                if not is_own or not self._see(home, build, ((name, status),)):
                    self._see(home, build, ((OTHER, status),), kept=_FOLDED_JOBS)
                    self._mark(home, Mark.FULL if is_own else Mark.NONE)
            self._mark(home, Mark.NONE if is_own else Mark.OVERFLOW)
            return

    def _learn(self, labels: Labels, how: Callable[[Facts, float], Facts]) -> None:
        def without_info(known: Facts) -> Facts:
            return facts.without_info(how(known, self._now))

        if self._revise(labels, lambda known: how(known, self._now)):
            return
        if not (self._rules.build_info and self._revise(labels, without_info)):
            self._revise_known(labels, lambda known: facts.moved(known, self._now))

    def _end(self, labels: Labels, ended: tuple[JobCompleted, ...]) -> None:
        """Jobs of a pipeline have ended: where there is no room, those of new names fold."""
        now = self._now
        if not self._revise(labels, lambda known: facts.jobs_ended(known, ended, now=now)):
            self._revise_known(
                labels, lambda known: facts.jobs_ended(known, ended, now=now, known_only=True)
            )
            self._mark(labels, Mark.FULL)

    def _revise_known(self, labels: Labels, how: Callable[[Facts], Facts]) -> None:
        if self._known_facts(labels) is not None:
            self._revise(labels, how)

    def _revise(
        self, labels: Labels, how: Callable[[Facts], Facts], *, kept: float = cardinality.OWN
    ) -> bool:
        """Change what is known of a pipeline; False, and nothing done, if there is no room.

        What a pipeline that is refused would have had folds into another one. Gauges of what
        is folded must leave the share `kept` of the reserve.
        """
        known = self._known_facts(labels)
        before = known or Facts(touched=self._now, own=kept == cardinality.OWN)
        after = how(before)
        samples = gauges.room_for(after) - gauges.room_for(before)
        if known is None:
            has_room = self._opens(labels) and self._use(samples, kept=kept)
        else:
            has_room = samples <= 0 or self._grows(known, after, samples, kept)
        if has_room:
            self._set_facts(labels, after)
        return has_room

    def _grows(self, known: Facts, after: Facts, samples: int, kept: float) -> bool:
        """Use up room for more gauges of a pipeline, if there is."""
        jobs = after.job_statuses[len(known.job_statuses) :]
        of_jobs = after.jobs != known.jobs or any(name != OTHER for name, _ in jobs)
        of_builds = after.own and samples > len(jobs)
        if (of_jobs or of_builds) and self._marks(known) & Mark.FULL:
            return False
        return self._use(samples, kept=cardinality.OWN if of_jobs or of_builds else kept)

    def _known_facts(self, labels: Labels) -> Facts | None:
        """What is known of a pipeline; nothing if it is not shown."""
        if labels not in self._facts:
            known = self._stored_facts(labels)
            self._facts[labels] = None if self._marks(known) & Mark.EVICTED else known
        return self._facts[labels]

    def _stored_facts(self, labels: Labels) -> Facts | None:
        row = self._rows.pipelines.get(labels)
        return None if row is None else facts.decode(row.facts)

    def _set_facts(self, labels: Labels, after: Facts) -> None:
        self._facts[labels] = after
        self._learned[labels] = None

    # -- series

    def _begin(self, labels: Labels, zeros: tuple[SeriesKey, ...]) -> None:
        """Start counters of a pipeline at 0."""
        if zeros in self._begun:
            return
        self._begun.add(zeros)
        known = self._known_facts(labels)
        if known is None or self._marks(known) & Mark.FULL:
            return  # what it counts goes to another one
        for key in zeros:
            is_there = key in self._series or key in self._rows.series
            if not is_there and self._use(1):
                self._series[key] = self._new(key, (0.0,))

    def _add(self, counted: Iterable[Increment], observed: Observed | None) -> None:
        if self._target.gauges_only and not self._target.exposed:
            return  # the state was lost: Prometheus may have counted this history already
        for key, vector in counted:
            row = self._place(key, vector)
            if row is None or row.series != key:
                self._dropped.append(key.family)
            if row is not None:
                self._increase(row, vector)
                if observed is not None:
                    noted = exemplars.of(*observed, key, vector)
                    self._exemplars.extend((row.series, each) for each in noted)

    def _increase(self, row: SeriesRow, vector: Vector) -> None:
        held: Vector | None
        is_held = not self._takes_at_once(row)
        spread = row.spread
        if self._rules.native and (cells := native.cells(vector)):
            spread = (spread or SparseBuckets()).with_cells(cells, held=is_held)
        if is_held:
            shown, is_live = row.vector, row.is_live
            held = vector if row.held is None else plus(row.held, vector)
        else:
            shown, is_live = plus(row.vector, vector), True
            held = row.held
        after = SeriesRow(row.series, shown, held, is_live, spread, row.created_at)
        self._series[row.series] = after

    def _takes_at_once(self, row: SeriesRow) -> bool:
        """Whether an increment may show at once."""
        if self._rules.zero_hold <= 0 or not self._target.exposed:
            return True
        if row.series.family not in grouping.OF_PIPELINES:
            return True
        return row.held is None and (row.is_live or row.series in self._seen)

    def _new(self, key: SeriesKey, vector: Vector) -> SeriesRow:
        return SeriesRow(key, vector, created_at=self._now if self._target.exposed else None)

    def _known(self, key: SeriesKey) -> SeriesRow | None:
        """A series that is there; the pipeline that it belongs to must be shown."""
        row = self._series.get(key) or self._rows.series.get(key)
        if row is None or key.family not in grouping.OF_PIPELINES:
            return row
        return None if self._known_facts(grouping.pipeline_of(key)) is None else row

    def _place(self, key: SeriesKey, vector: Vector) -> SeriesRow | None:
        """The series that takes an increment: itself, or one that it folds into."""
        row = self._known(key)
        if row is not None:
            return row
        if key.family not in grouping.OF_PIPELINES:
            return self._new(key, (0.0,) * len(vector))
        own, samples = grouping.pipeline_of(key), grouping.sample_count(vector)
        full: list[Labels] = []
        is_shut = False
        for place in cardinality.places(key):
            labels = grouping.pipeline_of(place.series)
            known = self._known_facts(labels)
            if known is None:
                fits = labels != own and self._opens(labels)
            else:
                fits = place.is_last or not self._marks(known) & Mark.FULL
            row = self._known(place.series)
            if row is not None or (fits and self._use(samples, kept=place.kept)):
                self._folded(labels, full, Mark.OVERFLOW if is_shut else Mark.NONE)
                return row or self._new(place.series, (0.0,) * len(vector))
            if not self._folds:
                raise FoldsError
            if known is None:
                is_shut = True
            else:
                full.append(labels)
        return None

    def _folded(self, home: Labels, full: list[Labels], mark: Mark) -> None:
        """Remember which pipelines had no room for what this one takes."""
        for labels in full:
            self._mark(labels, Mark.FULL)
        known = self._known_facts(home) or Facts(touched=self._now, own=False)
        self._set_facts(home, facts.moved(known, self._now))
        self._mark(home, mark)

    # -- the limit

    def _use(self, samples: int, *, kept: float = cardinality.OWN) -> bool:
        """Use up room for so many samples, if there is and enough of the reserve is left."""
        used = self._rows.samples + self._samples + max(samples, 1)
        if used + kept * self._reserve > self._limit:
            return False
        self._samples += samples
        return True

    def _opens(self, labels: Labels) -> bool:
        """Whether a new pipeline may be let in, if there is room."""
        return labels not in self._rows.pipelines and not any(
            self._marks(self._known_facts(coarser)) & Mark.OVERFLOW
            for coarser in cardinality.pipelines(labels)
            if coarser != labels
        )

    def _marks(self, known: Facts | None) -> Mark:
        return cardinality.marks(known, self._limit)

    def _mark(self, labels: Labels, mark: Mark) -> None:
        known = self._known_facts(labels)
        if known is not None and mark & ~self._marks(known):
            self._set_facts(labels, cardinality.marked(known, mark, self._limit))
