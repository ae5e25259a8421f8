"""How long nothing is sent after an API refused a request for its rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exporter.http import limits
from exporter.http.budget import Budget
from exporter.http.retries import RetryPolicy

_FROM, _TO = 1.0, 3600.0  # seconds; a delay that a server asks for is cut to these
_UNKNOWN = 60.0  # GitHub wants a minute where it names no time, and longer each time


class Throttle:
    """Blocks a budget when one account is rate limited. `now` is the provider's clock."""

    def __init__(self, budget: Budget, retries: RetryPolicy, now: Callable[[], float]) -> None:
        self._budget = budget
        self._retries = retries
        self._now = now
        self._refusals = 0

    def served(self) -> None:
        """A request was served."""
        self._refusals = 0

    def block(self, headers: Mapping[str, str]) -> float:
        """Send nothing for as long as the answer asks; returns the seconds."""
        if not self._budget.is_blocked:  # else a concurrent request hit the same limit
            self._refusals += 1
        delay = self.requested_delay(headers)
        if delay is None:
            delay = min(_UNKNOWN * 2 ** min(max(self._refusals - 1, 0), 6), _TO)
        self._budget.block(delay)
        return delay

    def requested_delay(self, headers: Mapping[str, str]) -> float | None:
        """Seconds that an answer asks to wait, from `_FROM` to `_TO`; None if it asks for none."""
        delay = limits.wanted_delay(headers, self._now())
        if delay is None:
            return None
        jitter = 0.0 if "retry-after" in headers else 1.0 + 4.0 * self._retries.random()
        return min(max(delay, _FROM), _TO) + jitter
