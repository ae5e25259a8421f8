"""Who has which place in the exposition, and whose samples have changed.

The bytes of a scrape are kept by place, so a group has one as long as it lives, and
another group may have it afterwards.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from exporter.ledger.rows import Labels
from exporter.metrics.families import Family

G = TypeVar("G")

Journal = dict[int, int]
"""Places whose samples have changed, with the bits of the families that did. Its reader
takes out what it has read."""


class SlotTable(Generic[G]):
    """The groups of some families; all samples of a group begin with the same labels."""

    def __init__(self, labels: Labels, *families: Family) -> None:
        self.labels = labels
        """The names of the labels that a group has."""
        self.families = families
        self.groups: list[G | None] = []
        """By place; None where nobody is."""
        self._bits = {family.name: 1 << n for n, family in enumerate(families)}
        self._all = (1 << len(families)) - 1
        self._chosen: dict[int, tuple[str, ...]] = {}
        self._free: list[int] = []
        self._journals: list[Journal] = []

    def add(self, group: G) -> int:
        """Give a group a place."""
        if self._free:
            place = self._free.pop()
            self.groups[place] = group
        else:
            place = len(self.groups)
            self.groups.append(group)
        self.mark(place)
        return place

    def remove(self, place: int) -> None:
        """Nobody is there any more."""
        self.groups[place] = None
        self._free.append(place)
        self.mark(place)

    def mark(self, place: int, *families: str) -> None:
        """Samples of these families, by default of all, have changed there."""
        changed = 0 if families else self._all
        for family in families:
            changed |= self._bits[family]
        for journal in self._journals:
            journal[place] = journal.get(place, 0) | changed

    def chosen(self, bits: int) -> tuple[str, ...]:
        """The families that bits in a journal stand for."""
        if bits not in self._chosen:
            self._chosen[bits] = tuple(name for name, bit in self._bits.items() if bits & bit)
        return self._chosen[bits]

    def watch(self) -> Journal:
        """A journal of what changes from now on; it begins with all that there is."""
        journal = dict.fromkeys(range(len(self.groups)), self._all)
        self._journals.append(journal)
        return journal

    def unwatch(self, journal: Journal) -> None:
        """Nobody reads this journal any more."""
        self._journals = [kept for kept in self._journals if kept is not journal]
