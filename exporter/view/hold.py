"""How long a new series shows 0 before its first increment, and which ones have done so.

`increase()` cannot see an increment of a series whose first sample already has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice, takewhile

from exporter.ledger.rows import SeriesKey, SeriesRow

_MOST_DUE = 1000
"""Series that are opened at once, so that nobody waits long for this step of the ledger."""


class Hold:
    """The series that are shown and do not take increments at once yet."""

    def __init__(self, clock: Callable[[], float], mark: Callable[[], float] | None = None) -> None:
        self.span = 0.0
        """Seconds that each must have been shown; 0 holds nothing back."""
        self.clock = clock
        """Monotonic seconds."""
        self._mark = clock if mark is None else mark
        """What a scrape has to be later than to have what is shown from now on."""
        self._scraped = -math.inf
        self._shown: dict[SeriesKey, tuple[float, float]] = {}
        """Since when, and the mark; the first ones first."""

    def watch(self, row: SeriesRow) -> None:
        """A series is shown as this row has it."""
        if row.held is not None or not (row.is_live or self.span <= 0):
            self._shown.setdefault(row.series, (self.clock(), self._mark()))
        elif self._shown:
            self._shown.pop(row.series, None)

    def forget(self, key: SeriesKey) -> None:
        """A series is no more."""
        self._shown.pop(key, None)

    def scraped(self, at: float) -> None:
        """Somebody was shown what there was at this mark."""
        self._scraped = max(self._scraped, at)

    def due(self, wanted: Callable[[SeriesKey], bool]) -> list[SeriesKey]:
        """Some of the wanted series whose hold is over; none if there are no more."""
        over = takewhile(lambda item: self._is_seen(*item[1]), self._shown.items())
        return [*islice((key for key, _ in over if wanted(key)), _MOST_DUE)]

    def _is_seen(self, since: float, mark: float) -> bool:
        return self.span <= 0 or (self.clock() - since >= self.span and self._scraped > mark)
