"""Slots: where the bytes of a group of series are kept, and which of them have changed.

A group has one slot as long as it lives; another group may have it afterwards.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from exporter.ledger.rows import Labels
from exporter.metrics.families import Family

G = TypeVar("G")

DirtySlots = dict[int, int]
"""Slots whose samples have changed, with the bits of the families that did. Its reader
takes out what it has read."""


class SlotTable(Generic[G]):
    """The groups of some families; all samples of a group begin with the same labels."""

    def __init__(self, labels: Labels, *families: Family) -> None:
        self.labels = labels
        """The names of the labels that a group has."""
        self.families = families
        self.groups: list[G | None] = []
        """By slot; None where one is free."""
        self._bits = {family.name: 1 << n for n, family in enumerate(families)}
        self._all = (1 << len(families)) - 1
        self._chosen: dict[int, tuple[str, ...]] = {}
        self._free: list[int] = []
        self._trackers: list[DirtySlots] = []

    def add(self, group: G) -> int:
        """Give a group a slot, and return it."""
        if self._free:
            slot = self._free.pop()
            self.groups[slot] = group
        else:
            slot = len(self.groups)
            self.groups.append(group)
        self.mark(slot)
        return slot

    def remove(self, slot: int) -> None:
        """Free a slot."""
        self.groups[slot] = None
        self._free.append(slot)
        self.mark(slot)

    def mark(self, slot: int, *families: str) -> None:
        """Samples of these families, by default of all, have changed there."""
        changed = 0 if families else self._all
        for family in families:
            changed |= self._bits[family]
        for dirty in self._trackers:
            dirty[slot] = dirty.get(slot, 0) | changed

    def chosen(self, bits: int) -> tuple[str, ...]:
        """The families that the bits of a dirty slot stand for."""
        if bits not in self._chosen:
            self._chosen[bits] = tuple(name for name, bit in self._bits.items() if bits & bit)
        return self._chosen[bits]

    def track(self) -> DirtySlots:
        """The slots that change from now on, beginning with all that there are."""
        dirty = dict.fromkeys(range(len(self.groups)), self._all)
        self._trackers.append(dirty)
        return dirty

    def untrack(self, dirty: DirtySlots) -> None:
        """Stop filling what `track` has returned."""
        self._trackers = [kept for kept in self._trackers if kept is not dirty]
