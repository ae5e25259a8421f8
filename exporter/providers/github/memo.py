"""What is remembered of earlier calls: attempts and ends that do not change, workflows' names."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from exporter.errors import ProviderError
from exporter.providers import Incidental
from exporter.providers.github.mapping import Run
from exporter.providers.github.workflows import Shelf

K = TypeVar("K")
V = TypeVar("V")

_MOST = 5000

Key = tuple[int, int]
"""A run's id and an attempt of it."""


class Table(OrderedDict[K, V], Generic[K, V]):
    """The last few thousand of what was put in."""

    def put(self, key: K, value: V) -> None:
        """Remember a value, and forget the oldest one where there are too many."""
        self.pop(key, None)
        self[key] = value
        if len(self) > _MOST:
            self.popitem(last=False)


class Memo(Incidental):
    """Lasts as long as the provider's configuration; losing it costs a few requests."""

    def __init__(self) -> None:
        self.attempts: Table[Key, Run | None] = Table()
        """Earlier attempts; None for one that is not to be had."""
        self.unfinished: Table[Key, float] = Table()
        """When an attempt was last seen unfinished, epoch seconds."""
        self.ends: Table[tuple[Key, float | None], float | None] = Table()
        """When attempts ended by their jobs, by what their runs said; None if none tells."""
        self.failures: Table[Key, ProviderError] = Table()
        """Why attempts before this one cannot be read for now."""
        self._shelves: dict[str, Shelf] = {}

    def shelf(self, entry: str) -> Shelf:
        """What is known of the workflows of a repo."""
        return self._shelves.setdefault(entry, Shelf())
