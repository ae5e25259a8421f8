"""The earlier attempts of runs, which never change again and are asked for once."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from exporter.providers import Incidental
from exporter.providers.github.payload import Run

T = TypeVar("T")

_MOST = 5000
_TRIES = 3

Key = tuple[int, int]
"""A run's id and an attempt of it."""


class Memo(Incidental):
    """Lasts as long as the provider's configuration; losing it costs a few requests."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, Run | None] = OrderedDict()
        self._failures: OrderedDict[Key, int] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def recall(self, key: Key) -> Run | None:
        """The attempt; None if it is not to be had."""
        return self._known.get(key)

    def keep(self, key: Key, run: Run | None) -> None:
        """Remember an attempt, or that it is not to be had."""
        _put(self._known, key, run)
        self._failures.pop(key, None)

    def gives_up(self, key: Key) -> bool:
        """Note that an attempt could not be had for now; whether that was once too often."""
        _put(self._failures, key, self._failures.get(key, 0) + 1)
        return self._failures[key] >= _TRIES


def _put(table: OrderedDict[Key, T], key: Key, value: T) -> None:
    table.pop(key, None)
    table[key] = value
    if len(table) > _MOST:
        table.popitem(last=False)
