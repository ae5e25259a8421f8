"""What is worth knowing from one poll of a repo to the next, but not worth storing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from time import monotonic

import msgspec

from exporter.model import Build
from exporter.poller.pages import Past
from exporter.poller.pulse import Pulse
from exporter.record import AttemptKey

_AGAIN = 6 * 3600.0
"""Seconds after which the ledger is told everything anew: it marks what is still listed."""


class Memory(msgspec.Struct):
    """What the polls of one repo remember."""

    deep_at: float | None = None
    """Monotonic seconds of the last walk through the whole `rerun_window`."""
    misses: dict[AttemptKey, int] = {}
    checked: dict[AttemptKey, float] = {}
    """Monotonic seconds when an unfinished build was last read by itself."""
    pulse: Pulse = msgspec.field(default_factory=Pulse)
    past: Past = msgspec.field(default_factory=Past)
    _settled: frozenset[int] = frozenset()
    _settled_at: float = 0.0
    _floor: float = -math.inf

    def told(self, builds: Iterable[Build], *, floor: float) -> set[Build]:
        """Those that were settled at the last poll and are listed as they were then.

        The ledger can learn nothing from them, unless what completed since `floor` (epoch
        seconds) is news and it was later then: a clock was wrong.
        """
        if monotonic() - self._settled_at > _AGAIN or floor < self._floor:
            self._settled = frozenset()
        known = self._settled
        return {build for build in builds if hash(build) in known} if known else set()

    def tell(self, builds: Iterable[Build], *, floor: float) -> None:
        """Remember which builds a whole clean walk found settled: their hashes, to be small."""
        if not self._settled:
            self._settled_at = monotonic()
        self._settled = frozenset(map(hash, builds))
        self._floor = floor
