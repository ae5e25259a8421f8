"""What of a state is shown: that of the configured accounts."""

from __future__ import annotations

from collections.abc import Collection

from exporter.ledger.rows import Loaded, SeriesKey
from exporter.metrics.labels import clean
from exporter.view.series_view import account_of
from exporter.view.store import is_pipeline_family, pipeline_of


def of_accounts(loaded: Loaded, accounts: Collection[str]) -> Loaded:
    """The part of it that belongs to these accounts, and what belongs to none."""
    targets = [target for target in loaded.targets if target.account in accounts]
    ids = {target.id for target in targets}
    pipelines = [row for row in loaded.pipelines if row[0] in ids]
    shown = {labels for _, labels, _ in pipelines}
    names = {None, *map(clean, accounts)}

    def belongs(series: SeriesKey) -> bool:
        if is_pipeline_family(series.family):
            return pipeline_of(series) in shown
        return account_of(series) in names

    return Loaded(
        targets=targets,
        active=[(target, build) for target, build in loaded.active if target in ids],
        series=[row for row in loaded.series if belongs(row.series)],
        pipelines=pipelines,
        series_limit=loaded.series_limit,
        polling={name: rows for name, rows in loaded.polling.items() if name in accounts},
    )
