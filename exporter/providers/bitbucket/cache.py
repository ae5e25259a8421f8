"""What discovery remembers to save requests."""

from __future__ import annotations

from typing import Any

from exporter.providers.bounded import Bounded

_AGAIN = 86400.0
"""Seconds after which a repo without pipelines is asked again without a sign of change."""
_MOST_REPOS = 100_000


class PipelineSwitches:
    """Which repos have pipelines, so that they are not asked at each discovery."""

    def __init__(self) -> None:
        self._on: Bounded[str, None] = Bounded(_MOST_REPOS)
        self._off: Bounded[str, tuple[Any, float]] = Bounded(_MOST_REPOS)
        """When the repo last changed, and the epoch seconds of the answer."""

    def known(self, entry: str, changed: Any, now: float) -> bool | None:
        """Whether a repo has pipelines; None if it must be asked.

        `changed` is when the repo last changed, as the list of repos says; `now` is in epoch
        seconds.
        """
        if entry in self._on:
            return True
        then, at = self._off.get(entry, (None, -_AGAIN))
        return False if then == changed and now - at < _AGAIN else None

    def note_on(self, entry: str) -> None:
        """Note that a repo has pipelines, which it is not asked again."""
        self._on[entry] = None

    def note_off(self, entry: str, changed: Any, now: float) -> None:
        """Note that a repo has none."""
        self._off[entry] = (changed, now)
