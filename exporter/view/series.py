"""Counters and histograms in a compact form, as there may be half a million of them.

Series whose first labels are the same are one group, and all numbers of a group are in
one array. Where in it each series has its own tells the group's shape, which all groups
with the same series share.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from sys import intern
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from exporter.ledger.rows import (
    Delta,
    Exemplar,
    Labels,
    SeriesKey,
    Spread,
    StoredSeries,
    Vector,
    plus,
)
from exporter.metrics import families as f
from exporter.metrics.facts import Facts
from exporter.metrics.gauges import Exemplars, Items
from exporter.view.slots import SlotTable

Own = tuple[str, Labels]
"""A series within its group: its family's name and the labels that its group has not."""

OF_JOB = tuple(x for x in f.FAMILIES if x.labels[:6] == f.JOB and x.kind != "gauge")
OF_PIPELINE = tuple(x for x in f.FAMILIES if x.labels[:5] == f.PIPELINE and x not in OF_JOB)
"""The families of the two kinds of groups."""

_DEPTH = {x.name: len(f.PIPELINE) for x in OF_PIPELINE} | {x.name: len(f.JOB) for x in OF_JOB}


class Shape:
    """Which series there are in a group, and which of its numbers each has."""

    __slots__ = ("__weakref__", "counters", "histograms", "places", "samples")

    def __init__(self, widths: tuple[tuple[Own, int], ...]) -> None:
        self.places: dict[Own, slice] = {}
        self.counters: dict[str, list[tuple[Labels, int]]] = {}
        self.histograms: dict[str, list[tuple[Labels, slice]]] = {}
        """The same by family."""
        self.samples = sum(samples_of(width) for _, width in widths)
        """How many samples they expose."""
        end = 0
        for own, width in widths:
            family, labels = own
            place = self.places[own] = slice(end, end + width)
            if width == 1:
                self.counters.setdefault(family, []).append((labels, end))
            else:
                self.histograms.setdefault(family, []).append((labels, place))
            end += width


_shapes: WeakValueDictionary[tuple[tuple[Own, int], ...], Shape] = WeakValueDictionary()


def _shape(widths: Mapping[Own, int]) -> Shape:
    """The one shape of series with so many numbers each."""
    key = tuple(sorted(widths.items()))
    shape = _shapes.get(key)
    if shape is None:
        shape = _shapes[key] = Shape(key)
    return shape


def samples_of(width: int) -> int:
    """How many samples a series with so many numbers exposes: buckets, count and sum, or one."""
    return 1 if width == 1 else width + 1


class Group(msgspec.Struct, eq=False):
    """Series whose first labels are the same: their numbers and bytes are kept together."""

    labels: Labels = ()
    roster: SlotTable[Any] | None = None
    place: int = 0
    """Where it is in the roster, if it is in one."""
    shape: Shape = msgspec.field(default_factory=lambda: _shape({}))
    numbers: array[float] = msgspec.field(default_factory=lambda: array("d"))
    closed: frozenset[Own] = frozenset()
    """Series that do not take increments at once yet."""
    held: dict[Own, Vector] | None = None
    """What is kept back."""
    exemplars: dict[Own, Exemplars] | None = None
    spreads: dict[Own, Spread] | None = None
    """Of histograms, where native buckets are counted."""

    @property
    def is_shown(self) -> bool:
        """Whether a scrape has it."""
        return True

    def enter(self, roster: SlotTable[Any]) -> None:
        """Take a place."""
        self.roster, self.place = roster, roster.add(self)

    def leave(self) -> None:
        """Give it up."""
        if self.roster is not None:
            self.roster.remove(self.place)

    def mark(self, *families: str) -> None:
        """Samples of these families, by default of all, have changed."""
        if self.roster is not None:
            self.roster.mark(self.place, *families)

    def series(self) -> Iterator[Series]:
        """All of them."""
        return (Series(self, own) for own in self.shape.places)

    def find(self, own: Own) -> Series | None:
        """The series of this name."""
        return Series(self, own) if own in self.shape.places else None

    def insert(self, rows: Iterable[StoredSeries]) -> None:
        """Take up new series."""
        vectors: dict[Own, Sequence[float]] = dict(self._vectors())
        closed, held = set(self.closed), dict(self.held or {})
        for row in rows:
            own = own_key(row.series)
            vectors[own] = row.vector
            if not row.opened:
                closed.add(own)
            if row.held is not None:
                held[own] = row.held
            if row.spread is not None:
                self.spreads = self.spreads or {}
                self.spreads[own] = row.spread
        self._arrange(vectors)
        self.closed, self.held = frozenset(closed), held or None

    def remove(self, gone: Container[Own]) -> None:
        """Drop series of which nothing is held back."""
        self._arrange({own: vector for own, vector in self._vectors() if own not in gone})

    def _vectors(self) -> Iterator[tuple[Own, Sequence[float]]]:
        return ((own, self.numbers[at]) for own, at in self.shape.places.items())

    def _arrange(self, vectors: Mapping[Own, Sequence[float]]) -> None:
        self.shape = _shape({own: len(vector) for own, vector in vectors.items()})
        self.numbers = array("d", (x for own in self.shape.places for x in vectors[own]))

    def items(self, families: Iterable[str]) -> Items:
        """What there is to show of some families."""
        numbers, told = self.numbers.tolist(), self.exemplars or {}
        counters, histograms = self.shape.counters, self.shape.histograms
        found: Items = {}
        for family in families:
            if family in counters:
                found[family] = [(own, (numbers[at],), None) for own, at in counters[family]]
            elif family in histograms:
                found[family] = [
                    (own, numbers[at], told.get((family, own))) for own, at in histograms[family]
                ]
            else:
                found[family] = []
        return found


class Pipeline(Group, eq=False, kw_only=True):
    """One set of pipeline labels, its facts and its series."""

    facts: Facts
    target: int
    is_shown: bool
    """False while its repo's first walk goes on."""
    jobs: list[Jobs] = []

    @property
    def groups(self) -> tuple[Group, ...]:
        """Itself and its jobs."""
        return (self, *self.jobs)


class Jobs(Group, eq=False, kw_only=True):
    """The jobs of one name in a pipeline."""

    pipeline: Pipeline

    @property
    def is_shown(self) -> bool:
        """Whether its pipeline is."""
        return self.pipeline.is_shown


class Series(msgspec.Struct, frozen=True):
    """One counter or histogram series of a group."""

    group: Group
    own: Own

    @property
    def key(self) -> SeriesKey:
        """Its full name."""
        return SeriesKey(self.own[0], self.group.labels + self.own[1])

    @property
    def vector(self) -> Vector:
        """What it shows."""
        return tuple(self.group.numbers[self._place])

    @property
    def _place(self) -> slice:
        return self.group.shape.places[self.own]

    @property
    def held(self) -> Vector | None:
        """What is kept back."""
        return None if self.group.held is None else self.group.held.get(self.own)

    @property
    def opened(self) -> bool:
        """Whether increments go in at once."""
        return self.own not in self.group.closed

    def add(self, vector: Vector) -> None:
        """Let an increment in."""
        self.group.numbers[self._place] = array("d", plus(self.vector, vector))

    def hold(self, vector: Vector) -> None:
        """Keep an increment back."""
        self.group.held = self.group.held or {}
        self.group.held[self.own] = vector if self.held is None else plus(self.held, vector)

    def open(self) -> None:
        """Take increments at once from now on."""
        self.group.closed -= {self.own}

    def release(self) -> None:
        """Let in what was kept back, and open."""
        if self.held is not None and self.group.held is not None:
            self.add(self.held)
            del self.group.held[self.own]
            self.group.held = self.group.held or None
        spread = (self.group.spreads or {}).get(self.own)
        if spread is not None:
            spread.release()
        self.open()

    def note(self, exemplar: Exemplar) -> None:
        """Keep it if it is the latest of its bucket."""
        self.group.exemplars = self.group.exemplars or {}
        known = self.group.exemplars.setdefault(self.own, {})
        if exemplar.bucket not in known or known[exemplar.bucket].at <= exemplar.at:
            known[exemplar.bucket] = exemplar

    def spread(self, delta: Delta) -> None:
        """Count the cells of a change."""
        self.group.spreads = self.group.spreads or {}
        self.group.spreads.setdefault(self.own, Spread()).add(delta)


def depth(family: str) -> int:
    """How many labels a group of this family has: a pipeline's, a job's, else none."""
    return _DEPTH.get(family, 0)


def own_key(key: SeriesKey) -> Own:
    """A series within its group."""
    return (key.family, key.labels[depth(key.family) :])


def interned(labels: Labels) -> Labels:
    """These labels, in texts that are kept only once."""
    return tuple(map(intern, labels))


def sample_count(vector: Vector) -> int:
    """How many samples a series exposes."""
    return samples_of(len(vector))
