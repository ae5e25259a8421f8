"""What is worth knowing from one poll of a repo to the next, but not worth storing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from time import monotonic

import msgspec

from exporter.errors import ProviderError
from exporter.ledger.rows import AttemptKey
from exporter.model import Build
from exporter.sync.activity import Activity
from exporter.sync.paginator import Past

_AGAIN = 6 * 3600.0
"""Seconds after which the ledger is told everything anew: it marks what is still listed."""


class Memory(msgspec.Struct):
    """What the polls of one repo remember."""

    deep_at: float | None = None
    """Monotonic seconds of the last walk through the whole `rerun_window`."""
    misses: dict[AttemptKey, int] = {}
    checked: dict[AttemptKey, float] = {}
    """Monotonic seconds when an unfinished build was last read by itself."""
    failures: dict[AttemptKey, ProviderError] = {}
    """Why the details of a build could not be read when they were last asked for."""
    pulse: Activity = msgspec.field(default_factory=Activity)
    past: Past = msgspec.field(default_factory=Past)
    _known: frozenset[int] = frozenset()
    _known_since: float = 0.0
    _floor: float = -math.inf

    def told(self, builds: Iterable[Build], *, floor: float) -> set[Build]:
        """Those that `tell` was told of at the last poll and that are listed as they were then.

        The ledger can learn nothing from them, unless what completed since `floor` (epoch
        seconds) is news and it was later then: a clock was wrong.
        """
        if monotonic() - self._known_since > _AGAIN or floor < self._floor:
            self._known = frozenset()
        known = self._known
        return {build for build in builds if hash(build) in known} if known else set()

    def tell(self, builds: Iterable[Build], *, floor: float) -> None:
        """Remember which builds a whole clean walk found counted, or too old to be.

        Of each only its hash, to be small.
        """
        if not self._known:
            self._known_since = monotonic()
        self._known = frozenset(map(hash, builds))
        self._floor = floor
