"""What happened when: the increments of each series with the time of their build or job.

The news comes from a ledger in memory that judges as the exporter's own does, so each attempt
is in here once; the series have the names, also at `series_limit`, that the exporter gives.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterator, Mapping

import msgspec

from exporter.backfill.grid import Grid
from exporter.ledger.rows import Findings, Labels, RowChanges, SeriesKey, Target, Vector
from exporter.metrics import grouping
from exporter.metrics.changes import resolve
from exporter.metrics.effects import effects_of
from exporter.metrics.row_table import RowTable
from exporter.metrics.rules import MetricsRules


class SeriesHistory(msgspec.Struct):
    """The increments of one series, in the order they were met: 24 bytes each."""

    width: int
    """How many numbers the series has."""
    times: array[float] = msgspec.field(default_factory=lambda: array("d"))
    """Epoch seconds."""
    places: array[int] = msgspec.field(default_factory=lambda: array("H"))
    """Which of the numbers grew; of a histogram the bucket."""
    amounts: array[float] = msgspec.field(default_factory=lambda: array("d"))
    """By how much; of a histogram the observed seconds."""

    def add(self, at: float, vector: Vector) -> None:
        """Note an increment that is one event's."""
        place = next((n for n, x in enumerate(vector) if x), 0)
        self.times.append(at)
        self.places.append(place)
        self.amounts.append(vector[-1])

    def steps(self) -> Iterator[tuple[float, Vector]]:
        """What the series has come to at each time, the times rising."""
        numbers = [0.0] * self.width
        for n in sorted(range(len(self.times)), key=self.times.__getitem__):
            numbers[-1] += self.amounts[n]
            if self.width > 1:
                numbers[self.places[n]] += 1.0
            yield self.times[n], tuple(numbers)


class HistoryRecorder:
    """Records increments by series, of builds and jobs within the `grid`."""

    def __init__(self, rules: MetricsRules, providers: Mapping[str, str], grid: Grid) -> None:
        self.builds = 0
        """Builds recorded."""
        self.timeless = 0
        """Builds and jobs that are left out because no time of them is known."""
        self._rules = msgspec.structs.replace(rules, zero_hold=0.0)
        self._providers = providers
        """The `provider` labels of the accounts."""
        self._grid = grid
        self._table = RowTable()
        """Which series there are; their numbers are in the histories."""
        self._histories: dict[SeriesKey, SeriesHistory] = {}
        self._began: dict[Labels, float] = {}

    def note(self, target: Target, findings: Findings) -> None:
        """Take in the news of a findings."""
        for news in findings.completed:
            self.builds += self._note(target, Findings(completed=[news]), news.build.time)
        for done in findings.jobs:
            self._note(target, Findings(jobs=[done]), done.job.time or done.build.time)

    def _note(self, target: Target, news: Findings, at: float | None) -> bool:
        """Take in one event; whether it is on the grid."""
        if at is None:
            self.timeless += 1
            return False
        if not self._grid.covers(at):
            return False
        provider = self._providers[target.account]
        effects = effects_of(news, target=target, provider=provider, rules=self._rules)
        changes = resolve(effects, self._table.load, target=target, rules=self._rules, now=at)
        self._table.save(_emptied(changes))
        for row in changes.series:
            history = self._histories.setdefault(row.series, SeriesHistory(len(row.vector)))
            if any(row.vector):
                history.add(at, row.vector)
            if grouping.is_pipeline_family(row.series.family):
                labels = grouping.pipeline_of(row.series)
                self._began[labels] = min(at, self._began.get(labels, at))
        return True

    def series(self, family: str, without: Container[int] = ()) -> list[SeriesKey]:
        """The series of a family, sorted, but for those of some targets."""
        return sorted(
            key
            for key in self._histories
            if key.family == family and self._target_of(key) not in without
        )

    def _target_of(self, key: SeriesKey) -> int | None:
        if not grouping.is_pipeline_family(key.family):
            return None
        return self._table.pipelines[grouping.pipeline_of(key)].target

    def history(self, key: SeriesKey) -> SeriesHistory:
        """The increments of a series."""
        return self._histories[key]

    def began(self, key: SeriesKey) -> float:
        """When its pipeline's first event was, epoch seconds; of others, the beginning."""
        if not grouping.is_pipeline_family(key.family):
            return self._grid.since
        return self._began[grouping.pipeline_of(key)]


def _emptied(changes: RowChanges) -> RowChanges:
    """The same series at 0, so that what the next event makes of them is what it adds."""
    rows = tuple(row._replace(vector=(0.0,) * len(row.vector)) for row in changes.series)
    return msgspec.structs.replace(changes, series=rows)
