"""Rows of pipelines and series in memory, for uses that need no ledger."""

from __future__ import annotations

from exporter.ledger.rows import (
    Changes,
    Labels,
    PipelineRow,
    RowChanges,
    Rows,
    SeriesKey,
    SeriesRow,
    Touched,
)


class RowTable:
    """Rows by name, loaded and saved as in a ledger."""

    def __init__(self) -> None:
        self.pipelines: dict[Labels, PipelineRow] = {}
        self.series: dict[SeriesKey, SeriesRow] = {}
        self.samples = 0

    def load(self, touched: Touched) -> Rows:
        """The touched rows that exist."""
        pipelines = {name: self.pipelines.get(name) for name in touched.pipelines}
        series = {key: self.series.get(key) for key in touched.series}
        return Rows(
            {name: row for name, row in pipelines.items() if row is not None},
            {key: row for key, row in series.items() if row is not None},
            self.samples,
        )

    def save(self, changes: RowChanges) -> Changes:
        """Store changed rows, and return them as `SeriesView.apply` takes them."""
        self.pipelines.update((row.labels, row) for row in changes.pipelines)
        self.series.update((row.series, row) for row in changes.series)
        self.samples += changes.samples
        return Changes(
            pipelines=list(changes.pipelines),
            series=list(changes.series),
            exemplars=list(changes.exemplars),
        )
