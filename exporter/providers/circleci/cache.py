"""What is worth remembering of pipelines so as to ask for fewer."""

from __future__ import annotations

from typing import NamedTuple

from exporter.errors import ProviderError
from exporter.providers.bounded import Bounded

_MOST_REMEMBERED = 10_000
_AT_ONCE = 3
"""Failures in a row after which a pipeline is asked for less often."""
_FIRST_PAUSE, _LAST_PAUSE = 60.0, 900.0
"""Seconds, doubling, between two requests then."""


class _Failing(NamedTuple):
    times: int
    at: float
    error: ProviderError


class PipelineReads:
    """Which pipelines were read to their end, and which could not be read.

    Of pipelines that have ended only a re-run changes anything, and that is looked for.
    """

    def __init__(self) -> None:
        self._done: Bounded[str, None] = Bounded(_MOST_REMEMBERED)
        self._failing: Bounded[str, _Failing] = Bounded(_MOST_REMEMBERED)

    def __contains__(self, pipeline: str) -> bool:
        return pipeline in self._done

    def note(self, pipeline: str, *, done: bool) -> None:
        """Note that a pipeline was read, and whether nothing more of it is to come."""
        self._failing.pop(pipeline, None)
        self._done.pop(pipeline, None)
        if done:
            self._done[pipeline] = None

    def fails(self, pipeline: str, error: ProviderError, now: float) -> None:
        """Note that a pipeline could not be read."""
        before = self._failing.get(pipeline)
        times = 1 if before is None else before.times + 1
        self._failing[pipeline] = _Failing(times, now, error)

    def failure(self, pipeline: str, now: float) -> ProviderError | None:
        """Why a pipeline is not asked for now; None if it is to be."""
        last = self._failing.get(pipeline)
        if last is None or last.times < _AT_ONCE:
            return None
        pause = min(_FIRST_PAUSE * 2.0 ** min(last.times - _AT_ONCE, 10), _LAST_PAUSE)
        return last.error if abs(now - last.at) < pause else None

    def asked_at(self, pipeline: str) -> float:
        """When a pipeline that fails was last asked for; 0 if it was not."""
        last = self._failing.get(pipeline)
        return 0.0 if last is None else last.at
