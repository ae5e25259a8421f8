"""What is worth remembering of pipelines so as to ask for fewer."""

from __future__ import annotations

from typing import NamedTuple

from exporter.errors import ProviderError
from exporter.providers import Incidental

_MOST_REMEMBERED = 10_000
_AT_ONCE = 3
"""Failures in a row after which a pipeline is asked for less often."""
_FIRST_PAUSE, _LAST_PAUSE = 60.0, 900.0
"""Seconds, doubling, between two requests then."""


class _Failing(NamedTuple):
    times: int
    at: float
    error: ProviderError


class Memo(Incidental):
    """Lasts as long as the configuration; losing it costs a few requests.

    Of pipelines that have ended only a re-run changes anything, and that is looked for.
    """

    def __init__(self) -> None:
        self._done: dict[str, None] = {}
        self._failing: dict[str, _Failing] = {}

    def __contains__(self, pipeline: str) -> bool:
        return pipeline in self._done

    def note(self, pipeline: str, *, done: bool) -> None:
        """Remember how a pipeline was met; the longest unmet is forgotten first."""
        self._failing.pop(pipeline, None)
        self._done.pop(pipeline, None)
        if done:
            self._done[pipeline] = None
            if len(self._done) > _MOST_REMEMBERED:
                del self._done[next(iter(self._done))]

    def fails(self, pipeline: str, error: ProviderError, now: float) -> None:
        """Note that a pipeline could not be read."""
        before = self._failing.pop(pipeline, None)
        times = 1 if before is None else before.times + 1
        self._failing[pipeline] = _Failing(times, now, error)
        if len(self._failing) > _MOST_REMEMBERED:
            del self._failing[next(iter(self._failing))]

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
