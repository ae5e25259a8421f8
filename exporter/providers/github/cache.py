"""What is remembered of earlier calls: attempts and ends that do not change, workflows' names."""

from __future__ import annotations

from exporter.errors import ProviderError
from exporter.providers.bounded import Bounded
from exporter.providers.github.mapping import Run
from exporter.providers.github.workflows import Shelf

_MOST = 5000

Key = tuple[int, int]
"""A run's id and an attempt of it."""


class AttemptCache:
    """Attempts that can no longer change, and what the workflows of each repo are called."""

    def __init__(self) -> None:
        self.attempts: Bounded[Key, Run | None] = Bounded(_MOST)
        """Earlier attempts; None for one that is not to be had."""
        self.unfinished: Bounded[Key, float] = Bounded(_MOST)
        """When an attempt was last seen unfinished, epoch seconds."""
        self.ends: Bounded[tuple[Key, float | None], float | None] = Bounded(_MOST)
        """When attempts ended by their jobs, by what their runs said; None if none tells."""
        self.failures: Bounded[Key, ProviderError] = Bounded(_MOST)
        """Why attempts before this one cannot be read for now."""
        self._shelves: dict[str, Shelf] = {}

    def shelf(self, entry: str) -> Shelf:
        """What is known of the workflows of a repo."""
        return self._shelves.setdefault(entry, Shelf())
