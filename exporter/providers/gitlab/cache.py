"""What is remembered between polls to save requests."""

from __future__ import annotations

from exporter.model import BuildKey
from exporter.providers.bounded import Bounded

_RECHECK = 900.0
"""Seconds after which an unfinished pipeline is read again though no list has shown it."""
_MOST = 50_000


class SingleReads:
    """When pipelines were last read by themselves."""

    def __init__(self) -> None:
        self._read_at: Bounded[BuildKey, float] = Bounded(_MOST)

    def note(self, key: BuildKey, now: float) -> None:
        """Note that a pipeline was read by itself at `now`, epoch seconds."""
        self._read_at[key] = now

    def is_due(self, key: BuildKey, now: float) -> bool:
        """Whether a pipeline has not been read by itself for long."""
        return now - self._read_at.get(key, 0.0) >= _RECHECK
