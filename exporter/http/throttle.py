"""How long an API wants to be left alone, and how that is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exporter.http import limits
from exporter.http.budget import Budget
from exporter.http.retries import RetryPolicy

_FROM, _TO = 1.0, 3600.0  # seconds that anybody may make us wait
_UNKNOWN = 60.0  # GitHub wants a minute where it names no time, and longer each time


class Throttle:
    """The limits that one account meets. `now` tells the provider's time."""

    def __init__(self, budget: Budget, retries: RetryPolicy, now: Callable[[], float]) -> None:
        self._budget = budget
        self._retries = retries
        self._now = now
        self._strikes = 0

    def passed(self) -> None:
        """A request was served."""
        self._strikes = 0

    def stop(self, headers: Mapping[str, str]) -> float:
        """Send nothing for as long as a limit asks; returns those seconds."""
        if not self._budget.is_blocked:  # else it is the same limit, met by a request beside
            self._strikes += 1
        delay = self.asked(headers)
        if delay is None:
            delay = min(_UNKNOWN * 2 ** min(max(self._strikes - 1, 0), 6), _TO)
        self._budget.stop(delay)
        return delay

    def asked(self, headers: Mapping[str, str]) -> float | None:
        """Seconds that an answer asks to wait, within reason."""
        delay = limits.wanted_delay(headers, self._now())
        if delay is None:
            return None
        jitter = 0.0 if "retry-after" in headers else 1.0 + 4.0 * self._retries.random()
        return min(max(delay, _FROM), _TO) + jitter
