"""What a verdict would do to the book: computed without changing anything."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import msgspec

from exporter.ledger.rows import (
    Change,
    Delta,
    Exemplar,
    Labels,
    SeriesKey,
    Target,
    Vector,
    Verdict,
    plus,
)
from exporter.metrics import cardinality, exemplars, facts, gauges, increments, native
from exporter.metrics import families as f
from exporter.metrics.cardinality import Mark
from exporter.metrics.facts import Facts
from exporter.metrics.increments import Increment
from exporter.metrics.labels import clean
from exporter.model import ACTIVE, OTHER, Build, Job, Status
from exporter.view.series import sample_count
from exporter.view.series_view import SeriesView
from exporter.view.store import is_pipeline_family, pipeline_of

_encode = msgspec.msgpack.Encoder().encode

JobStatuses = tuple[tuple[str, Status], ...]
Zeros = Callable[[Labels, str], Iterable[SeriesKey]]
"""The counters of a pipeline that start with a trigger or a job."""

_FOLDED_JOBS = 5 / 8
"""The share of the reserve that gauges of jobs named `other` leave free: there is no coarser
place for them, but the last one is for builds."""


def digest(
    book: SeriesView,
    target: Target,
    verdict: Verdict,
    *,
    now: float,
    events: Iterable[Increment] = (),
) -> Change:
    """The increments and facts that `verdict` brings. `now` is epoch seconds.

    `events` are increments that come from no build, such as a gap.
    """
    draft = _Draft(book, target, now)
    for build in verdict.active:
        if not build.partial:  # else it only waits for what will tell how it stands
            draft.active(build, book.labels(target, build))
    for news in verdict.completed:
        labels = book.labels(target, news.build)
        draft.completed(news.build, labels, facts.completed)
        draft.zeros(increments.build_zeros, labels, news.build.trigger)
        draft.add(increments.of_build(news, labels, book.rules.buckets), (news.build, news.build))
    for done in verdict.jobs:
        labels = book.labels(target, done.build)
        draft.touch(labels)
        draft.zeros(increments.job_zeros, labels, done.job.name)
        draft.add(increments.of_job(done, labels, book.rules.buckets), (done.job, done.build))
    for again in verdict.corrected:
        how = functools.partial(facts.corrected, ended=again.ended)
        draft.completed(again.build, book.labels(target, again.build), how)
    provider = book.provider_of(target)
    draft.add(increments.count(f.ANOMALIES, provider, kind) for kind in verdict.anomalies)
    draft.add(increments.count(f.UNMAPPED, provider, word.field) for word in verdict.unmapped)
    draft.add(events)
    return draft.change()


class _Draft:
    """Collects what changes; reads the book and what it has collected itself."""

    def __init__(self, book: SeriesView, target: Target, now: float) -> None:
        self._book = book
        self._target = target
        self._now = now
        self._facts: dict[Labels, Facts] = {}
        self._deltas: dict[SeriesKey, Delta] = {}
        self._begun: set[tuple[Zeros, Labels, str]] = set()
        self._dropped: list[str] = []
        self._samples = 0

    def change(self) -> Change:
        return Change(
            deltas=tuple(self._deltas.values()),
            pipelines=tuple((labels, _encode(known)) for labels, known in self._facts.items()),
            dropped=tuple(self._dropped),
        )

    # -- facts

    def active(self, build: Build, labels: Labels) -> None:
        jobs = tuple((clean(j.name), j.status) for j in build.jobs if j.status in ACTIVE)
        if not self._see(labels, build, jobs):
            self._see_folded(labels, build, jobs)
        if not build.only_jobs:
            self.zeros(increments.build_zeros, labels, build.trigger)
        for job in build.jobs:
            self.zeros(increments.job_zeros, labels, job.name)

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
            self._mark(home, Mark.NONE if is_own else Mark.CLOSED)
            return

    def completed(self, build: Build, labels: Labels, how: Callable[..., Facts]) -> None:
        word = increments.conclusion_label(build)

        def learn(known: Facts) -> Facts:
            after = how(known, build, conclusion=word, now=self._now)
            return after if after.own else msgspec.structs.replace(after, own=True)

        if not self._revise(labels, learn) and self._known_facts(labels) is not None:
            self.touch(labels)

    def touch(self, labels: Labels) -> None:
        self._revise(labels, lambda known: msgspec.structs.replace(known, touched=self._now))

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
            has_room = self._opens(labels) and self._take(samples, kept=kept)
        else:
            has_room = samples <= 0 or self._grows(known, after, samples, kept)
        if not has_room:
            return False
        self._facts[labels] = after
        return True

    def _grows(self, known: Facts, after: Facts, samples: int, kept: float) -> bool:
        """Use up room for more gauges of a pipeline, if there is."""
        jobs = after.job_statuses[len(known.job_statuses) :]
        of_jobs = any(name != OTHER for name, _ in jobs)
        of_builds = after.own and samples > len(jobs)
        if (of_jobs or of_builds) and self._marks(known) & Mark.FULL:
            return False
        return self._take(samples, kept=cardinality.OWN if of_jobs or of_builds else kept)

    def _known_facts(self, labels: Labels) -> Facts | None:
        if labels in self._facts:
            return self._facts[labels]
        known = self._book.pipelines.get(labels)
        return None if known is None else known.facts

    # -- series

    def zeros(self, of: Zeros, pipeline: Labels, word: str) -> None:
        """Start the counters of a trigger or a job at 0 unless they are there already."""
        if (of, pipeline, word) in self._begun:
            return
        self._begun.add((of, pipeline, word))
        known = self._known_facts(pipeline)
        if known is None:
            return  # what it counts goes to another one
        if self._marks(known) & Mark.FULL:
            return
        for key in of(pipeline, word):
            if not self._known(key) and self._take(1):
                self._deltas[key] = Delta(key, (0.0,), held=False, opened=False)

    def add(
        self, increments: Iterable[Increment], source: tuple[Build | Job, Build] | None = None
    ) -> None:
        """Add increments; `source` is the build or job that they are of, and the build."""
        if self._target.quiet and not self._target.exposed:
            return  # the state was lost: Prometheus may have counted this history already
        for key, vector in increments:
            place = self._place(key, vector)
            if place != key:
                self._dropped.append(key.family)
            if place is not None:
                told = () if source is None else exemplars.of(*source, key, vector)
                self._increase(place, vector, told)

    def _increase(self, key: SeriesKey, vector: Vector, told: tuple[Exemplar, ...]) -> None:
        opened = self._opened(key)
        cells = native.cells(vector) if self._book.rules.native else ()
        before = self._deltas.get(key)
        if before is not None:
            vector, told = plus(before.vector, vector), before.exemplars + told
            cells = before.cells + cells
        self._deltas[key] = Delta(key, vector, not opened, opened, told, cells)

    def _opened(self, key: SeriesKey) -> bool:
        """Whether an increment may show at once."""
        book = self._book
        if book.immediate or not is_pipeline_family(key.family) or not self._target.exposed:
            return True
        series = book.find(key)
        if series is None or series.held is not None:
            return False
        return series.opened or book.seen_at_zero(key)

    def _known(self, key: SeriesKey) -> bool:
        return key in self._deltas or self._book.find(key) is not None

    def _place(self, key: SeriesKey, vector: Vector) -> SeriesKey | None:
        """The series that takes an increment: itself, or one that it folds into."""
        if self._known(key) or not is_pipeline_family(key.family):
            return key
        own, samples = pipeline_of(key), sample_count(vector)
        full: list[Labels] = []
        is_shut = False
        for place in cardinality.places(key):
            labels = pipeline_of(place.series)
            known = self._known_facts(labels)
            if known is None:
                fits = labels != own and self._opens(labels)
            else:
                fits = place.is_last or not self._marks(known) & Mark.FULL
            if self._known(place.series) or (fits and self._take(samples, kept=place.kept)):
                self._folded(labels, full, Mark.CLOSED if is_shut else Mark.NONE)
                return place.series
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
        self._facts[home] = msgspec.structs.replace(known, touched=self._now)
        self._mark(home, mark)

    # -- the limit

    def _take(self, samples: int, *, kept: float = cardinality.OWN) -> bool:
        """Use up room for so many samples, if there is and enough of the reserve is left."""
        if not self._book.room(self._samples + max(samples, 1), kept):
            return False
        self._samples += samples
        return True

    def _opens(self, labels: Labels) -> bool:
        """Whether a new pipeline may be let in, if there is room."""
        return labels not in self._book.hidden and not any(
            self._marks(self._known_facts(coarser)) & Mark.CLOSED
            for coarser in cardinality.pipelines(labels)
            if coarser != labels
        )

    @property
    def _limit(self) -> int:
        return self._book.rules.series_limit

    def _marks(self, facts: Facts | None) -> Mark:
        return cardinality.marks(facts, self._limit)

    def _mark(self, labels: Labels, mark: Mark) -> None:
        known = self._known_facts(labels)
        if known is not None and mark & ~self._marks(known):
            self._facts[labels] = cardinality.marked(known, mark, self._limit)
