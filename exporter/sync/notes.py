"""What one poll of a repo leaves in notes for the next. Losing it costs requests only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from time import monotonic

import msgspec

from exporter.errors import ProviderError
from exporter.ledger.rows import AttemptKey
from exporter.model import Build
from exporter.sync.activity import Activity
from exporter.sync.paginator import PageSizes

_AGAIN = 6 * 3600.0
"""Seconds after which all listed builds go to the ledger again, which marks them as listed."""


class RepoNotes(msgspec.Struct):
    """Notes on one repo."""

    deep_at: float | None = None
    """When the whole `rerun_window` was last read; monotonic seconds."""
    misses: dict[AttemptKey, int] = {}
    """Requests in a row that did not find an unfinished build."""
    checked: dict[AttemptKey, float] = {}
    """When an unfinished build was last requested by itself; monotonic seconds."""
    failures: dict[AttemptKey, ProviderError] = {}
    """Why the details of a build could not be read when they were last requested."""
    may_have_skipped: bool = False
    """Whether the newest page was read while the past was still to be: of more builds than fit on
    it those behind it were skipped, and the next sync must not take them for read."""
    activity: Activity = msgspec.field(default_factory=Activity)
    page_sizes: PageSizes = msgspec.field(default_factory=PageSizes)
    _settled: frozenset[int] = frozenset()
    _settled_since: float = 0.0
    _floor: float = -math.inf

    def unchanged(self, builds: Iterable[Build], *, floor: float) -> set[Build]:
        """The builds that are listed as at the last sync and were settled then.

        The ledger can learn nothing from them, unless what completed since `floor` (epoch
        seconds) counts and the floor was later then, as a clock was wrong.
        """
        if monotonic() - self._settled_since > _AGAIN or floor < self._floor:
            self._settled = frozenset()
        settled = self._settled
        return {build for build in builds if hash(build) in settled} if settled else set()

    def settle(self, builds: Iterable[Build], *, floor: float) -> None:
        """Note the builds that a complete sync found counted, or too old to be.

        Only their hashes are kept, to save notes.
        """
        if not self._settled:
            self._settled_since = monotonic()
        self._settled = frozenset(map(hash, builds))
        self._floor = floor
