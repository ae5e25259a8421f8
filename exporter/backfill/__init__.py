"""The past as samples: builds that completed before anybody polled them.

What `backfill` does: `reading` walks through each repo's history as the poller would,
`recording` counts it with its times, and `text` writes what the counters and histograms
would have shown at each step of a `grid`. The state of a running exporter is not touched.

The imported series end where the import ends. Those of the exporter have labels of their
own (`instance`, `job`), so that Prometheus knows them for others, and the first value of a
live counter is no increase of an imported one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator

import msgspec

from exporter.backfill.grid import LONGEST_STEP, Grid, grid
from exporter.backfill.reading import HistoryReader, Progress, ReadFailure
from exporter.backfill.recording import HistoryRecorder
from exporter.backfill.text import FAMILIES, OpenMetricsText
from exporter.config import Config
from exporter.daemon.parts import (
    account_context,
    labels_of,
    metrics_rules,
    recorder_in_memory,
)
from exporter.schedule.budget_group import BudgetGroups
from exporter.sync.window import SyncRules

__all__ = ["FAMILIES", "LONGEST_STEP", "Grid", "History", "Progress", "Unread", "grid", "read"]

_EARLIER = 6 * 3600.0
"""Seconds before the grid that are read too: lists are by creation, and builds run so long."""
_TELL = 0.2
"""Seconds between two looks at the progress."""


class History(msgspec.Struct, frozen=True):
    """What was read."""

    unread: list[ReadFailure]
    builds: int
    """Completed build attempts on the grid."""
    timeless: int
    """Builds and jobs that are left out because no time of them is known."""
    openmetrics: OpenMetricsText
    samples: int
    """How many the text has."""

    def text(self) -> Iterator[tuple[bytes, int]]:
        """The OpenMetrics text in pieces, and how many samples are in each."""
        return self.openmetrics.pieces()


async def read(
    config: Config,
    wanted: Grid,
    *,
    accounts: Collection[str],
    labels: dict[str, str],
    tell: Callable[[Progress, int], None],
) -> History:
    """Read the history of some accounts as the grid `wanted` asks for.

    `labels` are added to each series. `tell` hears now and then of the progress, and of the
    builds found so far.
    """
    floor = wanted.since - _EARLIER
    reach = time.time() - floor + 86400.0
    recording = HistoryRecorder(metrics_rules(config), labels_of(config), wanted)
    recorder = recorder_in_memory(config, reach=reach, lookback=reach)
    recorder.news = recording.note
    groups, progress = BudgetGroups(config.polling.reserve), Progress()
    # The floor is ours, not a lookback that a provider's clock would have to confirm.
    rules = SyncRules(lookback=0.0, retention=reach, rerun_window=reach, max_interval=reach)
    readers = [
        msgspec.structs.replace(account_context(account, config, recorder, groups)[0], rules=rules)
        for account in config.accounts
        if account.name in accounts
    ]
    reading = asyncio.gather(*(HistoryReader(reader, floor, progress).read() for reader in readers))
    try:
        while not reading.done():
            await asyncio.wait([reading], timeout=_TELL)
            tell(progress, recording.builds)
        unread = [one for account in reading.result() for one in account]
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await asyncio.gather(*(reader.source.api.aclose() for reader in readers))
        await recorder.close()
    openmetrics = OpenMetricsText(
        recording,
        wanted,
        metrics_rules(config).buckets,
        more=labels,
        without={one.target for one in unread if one.target is not None},
    )
    return History(unread, recording.builds, recording.timeless, openmetrics, openmetrics.samples)
