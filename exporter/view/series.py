"""Counters and histograms in a compact form, as there may be half a million of them.

Series whose first labels are the same are one group, and all numbers of a group are in
one array. Where in it each series has its own tells the group's shape, which all groups
with the same series share.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from sys import intern
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from exporter.ledger.rows import Exemplar, Labels, SeriesKey, SeriesRow, SparseBuckets, Vector
from exporter.metrics import grouping
from exporter.metrics.facts import Facts
from exporter.metrics.gauges import Exemplars, Items
from exporter.view.slots import SlotTable

Own = tuple[str, Labels]
"""A series within its group: its family's name and the labels that its group has not."""


class Shape:
    """Which series there are in a group, and which of its numbers each has."""

    __slots__ = ("__weakref__", "counters", "histograms", "places", "samples")

    def __init__(self, widths: tuple[tuple[Own, int], ...]) -> None:
        self.places: dict[Own, slice] = {}
        self.counters: dict[str, list[tuple[Labels, int]]] = {}
        self.histograms: dict[str, list[tuple[Labels, slice]]] = {}
        """The same by family."""
        self.samples = sum(grouping.samples_of(width) for _, width in widths)
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


class Group(msgspec.Struct, eq=False):
    """Series whose first labels are the same: their numbers and bytes are kept together."""

    labels: Labels = ()
    table: SlotTable[Any] | None = None
    slot: int = 0
    """Which one of the table it has, if it is in one."""
    shape: Shape = msgspec.field(default_factory=lambda: _shape({}))
    numbers: array[float] = msgspec.field(default_factory=lambda: array("d"))
    closed: frozenset[Own] = frozenset()
    """Series that do not take increments at once yet."""
    held: dict[Own, Vector] | None = None
    """What is kept back."""
    exemplars: dict[Own, Exemplars] | None = None
    spreads: dict[Own, SparseBuckets] | None = None
    """Of histograms, where native buckets are counted."""

    @property
    def is_shown(self) -> bool:
        """Whether a scrape has its counters and histograms."""
        return True

    def enter(self, table: SlotTable[Any]) -> None:
        """Take a slot."""
        self.table, self.slot = table, table.add(self)

    def leave(self) -> None:
        """Give it up."""
        if self.table is not None:
            self.table.remove(self.slot)

    def mark(self, *families: str) -> None:
        """Samples of these families, by default of all, have changed."""
        if self.table is not None:
            self.table.mark(self.slot, *families)

    def series(self) -> Iterator[Series]:
        """All of them."""
        return (Series(self, own) for own in self.shape.places)

    def find(self, own: Own) -> Series | None:
        """The series of this name."""
        return Series(self, own) if own in self.shape.places else None

    def put(self, rows: Collection[SeriesRow]) -> int:
        """Show series as these rows have them; how many samples more there are."""
        before = self.shape.samples
        by_own = {own_key(row.series): row for row in rows}
        if by_own.keys() <= self.shape.places.keys():
            for own, row in by_own.items():
                self.numbers[self.shape.places[own]] = array("d", row.vector)
        else:
            vectors: dict[Own, Sequence[float]] = dict(self._vectors())
            vectors.update((own, row.vector) for own, row in by_own.items())
            self._arrange(vectors)
        self._hold(by_own)
        for own, row in by_own.items():
            if row.spread is not None:
                self.spreads = self.spreads or {}
                self.spreads[own] = row.spread
        return self.shape.samples - before

    def _hold(self, rows: Mapping[Own, SeriesRow]) -> None:
        live = {own for own, row in rows.items() if row.is_live}
        if not (live.isdisjoint(self.closed) and self.closed >= rows.keys() - live):
            self.closed = frozenset((self.closed | rows.keys()) - live)
        held = {own: row.held for own, row in rows.items() if row.held is not None}
        if held or self.held:
            kept = {own: held for own, held in (self.held or {}).items() if own not in rows}
            self.held = kept | held or None

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
        numbers, exemplars = self.numbers.tolist(), self.exemplars or {}
        counters, histograms = self.shape.counters, self.shape.histograms
        found: Items = {}
        for family in families:
            if family in counters:
                found[family] = [
                    (own, (numbers[at],), exemplars.get((family, own)))
                    for own, at in counters[family]
                ]
            elif family in histograms:
                found[family] = [
                    (own, numbers[at], exemplars.get((family, own)))
                    for own, at in histograms[family]
                ]
            else:
                found[family] = []
        return found


class Pipeline(Group, eq=False, kw_only=True):
    """One set of pipeline labels, its facts and its series."""

    facts: Facts
    target: int
    is_shown: bool
    """Whether a scrape has its counters and histograms: not while its repo's first walk goes on."""
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
    def is_live(self) -> bool:
        """Whether increments show at once."""
        return self.own not in self.group.closed

    @property
    def row(self) -> SeriesRow:
        """Whether it is held, and what is; the rest of its row as it is shown."""
        return SeriesRow(self.key, self.vector, self.held, self.is_live)

    def note(self, exemplar: Exemplar) -> None:
        """Keep it if it is the latest of its bucket."""
        self.group.exemplars = self.group.exemplars or {}
        known = self.group.exemplars.setdefault(self.own, {})
        if exemplar.bucket not in known or known[exemplar.bucket].at <= exemplar.at:
            known[exemplar.bucket] = exemplar


def own_key(key: SeriesKey) -> Own:
    """A series within its group."""
    return (key.family, key.labels[grouping.depth(key.family) :])


def interned(labels: Labels) -> Labels:
    """These labels, in texts that are kept only once."""
    return tuple(map(intern, labels))
