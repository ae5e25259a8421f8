"""What a verdict would do to the book: computed without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from exporter.metrics import effects, exemplars, facts, gauges, native
from exporter.metrics import families as f
from exporter.metrics.book import Book
from exporter.metrics.effects import Increment
from exporter.metrics.facts import Facts
from exporter.metrics.labels import clean
from exporter.metrics.series import sample_count
from exporter.metrics.store import is_pipeline_family, pipeline_of
from exporter.model import ACTIVE, OTHER, Build, Job, Status
from exporter.record import (
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

_encode = msgspec.msgpack.Encoder().encode

Zeros = Callable[[Labels, str], Iterable[SeriesKey]]
"""The counters of a pipeline that start with a trigger or a job."""

_FOLDS = (("job_name",), ("job_name", "branch"), ("job_name", "branch", "workflow"))
"""Labels that become `other`, one set after the other, when the series limit is reached."""
_CATCH_ALL = ("job_name", "branch", "workflow", "repo")
"""What becomes `other` when nothing else helps. Only counters do: their sums stay right."""


def digest(
    book: Book, target: Target, verdict: Verdict, *, now: float, events: Iterable[Increment] = ()
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
        draft.zeros(effects.build_zeros, labels, news.build.trigger)
        draft.add(effects.of_build(news, labels, book.rules.buckets), (news.build, news.build))
    for done in verdict.jobs:
        labels = book.labels(target, done.build)
        draft.touch(labels)
        draft.zeros(effects.job_zeros, labels, done.job.name)
        draft.add(effects.of_job(done, labels, book.rules.buckets), (done.job, done.build))
    for build in verdict.corrected:
        draft.completed(build, book.labels(target, build), facts.corrected)
    provider = book.provider_of(target)
    draft.add(effects.count(f.ANOMALIES, provider, kind) for kind in verdict.anomalies)
    draft.add(effects.count(f.UNMAPPED, provider, word.field) for word in verdict.unmapped)
    draft.add(events)
    return draft.change()


class _Draft:
    """Collects what changes; reads the book and what it has collected itself."""

    def __init__(self, book: Book, target: Target, now: float) -> None:
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

        def see(jobs: tuple[tuple[str, Status], ...]) -> bool:
            return self._revise(labels, lambda k: facts.seen(k, build, now=self._now, jobs=jobs))

        if not see(jobs):  # at the limit those jobs that are shown already must do
            see(())
        if not build.only_jobs:
            self.zeros(effects.build_zeros, labels, build.trigger)
        for job in build.jobs:
            self.zeros(effects.job_zeros, labels, job.name)

    def completed(self, build: Build, labels: Labels, how: Callable[..., Facts]) -> None:
        word = effects.conclusion_label(build)
        self._revise(labels, lambda known: how(known, build, conclusion=word, now=self._now))

    def touch(self, labels: Labels) -> None:
        self._revise(labels, lambda known: msgspec.structs.replace(known, touched=self._now))

    def _revise(self, labels: Labels, how: Callable[[Facts], Facts]) -> bool:
        """Change what is known of a pipeline; False, and nothing done, if there is no room.

        The counters of a pipeline that is refused fold into another one.
        """
        known = self._known_facts(labels)
        after = how(Facts(touched=self._now) if known is None else known)
        samples = gauges.room_for(after) - (0 if known is None else gauges.room_for(known))
        if (samples > 0 or known is None) and not self._take(labels, samples):
            return False
        self._facts[labels] = after
        return True

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
        for key in of(pipeline, word):
            if not self._known(key) and self._fits(key, 1):
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
        """The series that takes an increment: itself, or a folded one at the limit."""
        samples = sample_count(vector)
        if self._known(key) or self._fits(key, samples):
            return key
        for folded in _FOLDS:
            other = _fold(key, folded)
            if other != key and (self._known(other) or self._fits(other, samples)):
                return other
        return self._catch_all(_fold(key, _CATCH_ALL)) if samples == 1 else None

    def _fits(self, key: SeriesKey, samples: int) -> bool:
        if not is_pipeline_family(key.family):
            return True
        labels = pipeline_of(key)
        return self._known_facts(labels) is not None and self._take(labels, samples)

    def _take(self, labels: Labels, samples: int) -> bool:
        """Use up room for so many samples of a pipeline, if there is."""
        if labels in self._book.hidden or not self._book.room(self._samples + max(samples, 1)):
            return False
        self._samples += samples
        return True

    def _catch_all(self, key: SeriesKey) -> SeriesKey | None:
        """The account's counter for what fits nowhere, in the room reserved for it."""
        labels = pipeline_of(key)
        if not self._known(key):
            if labels in self._book.hidden or not self._book.spare(self._samples + 1):
                return None
            self._samples += 1
        known = self._known_facts(labels) or Facts(touched=0.0)
        self._facts[labels] = msgspec.structs.replace(known, touched=self._now)
        return key


def _fold(key: SeriesKey, folded: tuple[str, ...]) -> SeriesKey:
    names = f.BY_NAME[key.family].labels
    return SeriesKey(
        key.family,
        tuple(
            OTHER if name in folded else value
            for name, value in zip(names, key.labels, strict=True)
        ),
    )
