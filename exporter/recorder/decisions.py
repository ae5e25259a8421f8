"""What is decided inside a transaction, by the rows that it has read and nothing else."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

from exporter.errors import StateDamaged
from exporter.ledger import Transaction
from exporter.ledger.rows import (
    Findings,
    Labels,
    PipelineRow,
    RowChanges,
    SeriesKey,
    SeriesRow,
    Snapshot,
    Target,
)
from exporter.metrics import eviction, facts, soundness
from exporter.metrics import families as f
from exporter.metrics.changes import resolve
from exporter.metrics.effects import effects_of
from exporter.metrics.increments import Increment
from exporter.metrics.labels import clean
from exporter.metrics.rules import MetricsRules

log = logging.getLogger(__name__)

_FAMILIES = [family.name for family in (*f.OF_PIPELINE, *f.OF_JOB) if family.kind != "gauge"]
"""Those of which pipelines have series in the ledger."""


class Decide(Protocol):
    """`decide` for a repo, by the rules that hold."""

    def __call__(
        self, tx: Transaction, findings: Findings, *, now: float, events: Iterable[Increment] = ()
    ) -> RowChanges:
        """Write what becomes of the rows that news touch, and return it."""


def decide(  # noqa: PLR0913 - all that it depends on
    tx: Transaction,
    findings: Findings,
    *,
    target: Target,
    provider: str,
    rules: MetricsRules,
    accounts: Collection[str],
    seen: Collection[SeriesKey],
    now: float,
    events: Iterable[Increment] = (),
) -> RowChanges:
    """Write what becomes of the rows that news of a repo touches, and return it.

    `provider` is the label of its account, `accounts` share the series limit, `seen` are series
    that were shown at 0 for long enough. `now` is epoch seconds.
    """
    effects = effects_of(findings, target=target, provider=provider, rules=rules, events=events)
    if not effects:
        return RowChanges()
    load = functools.partial(tx.load, accounts=accounts)
    changes = resolve(effects, load, target=target, rules=rules, now=now, seen=seen)
    tx.save(target.account, changes)
    return changes


def sound(tx: Transaction, *, fault: str = "{}") -> Snapshot:
    """All rows. Raises StateDamaged with `fault` and what is wrong if they are not ours."""
    snapshot = tx.snapshot()
    for damage in soundness.damage(snapshot):
        raise StateDamaged(fault.format(damage))
    return snapshot


def changed_buckets(tx: Transaction, rules: MetricsRules) -> Iterator[str]:
    """The histograms that start anew, as their buckets have changed."""
    for family in f.FAMILIES:
        if family.persistent and family.buckets:
            bounds = rules.buckets.of(family)
            if not tx.check_buckets(family.name, bounds):
                log.warning(
                    "buckets have changed: the histogram starts anew at 0",
                    extra={"metric": family.name},
                )
                yield family.name


def limited(
    tx: Transaction, snapshot: Snapshot, accounts: Collection[str], limit: int
) -> set[Labels]:
    """Mark which pipelines of some accounts the series limit leaves out, and count the others.

    The rows of the snapshot are marked as well. Returns those whose marks have changed.
    """
    names = {target.id: target.account for target in snapshot.targets}
    known = [*eviction.candidates(snapshot.pipelines, snapshot.series)]
    ours = [one for one in known if names[one.target] in accounts]
    others = [one for one in known if names[one.target] not in accounts and not one.was_evicted]
    shown, out = eviction.split(ours, limit, is_lower=snapshot.series_limit > limit)
    samples = Counter(dict.fromkeys({*accounts, *names.values()}, 0))
    for one in (*shown, *others):
        samples[names[one.target]] += one.samples
    marked: dict[Labels, PipelineRow] = {}
    for some, is_out in ((shown, False), (out, True)):
        for one in some:
            if (row := one.marked(limit, is_out=is_out)) is not None:
                marked[row.labels] = row
    for account in accounts:
        rows = tuple(row for row in marked.values() if names[row.target] == account)
        if rows:
            tx.save(account, RowChanges(pipelines=rows))
    tx.count_samples(samples)
    tx.set_series_limit(limit)
    if out:
        log.warning(
            "metrics.series_limit is lower than what the state holds: the pipelines idle for"
            " longest are not shown",
            extra={"limit": limit, "hidden": len(out)},
        )
    snapshot.pipelines = [marked.get(row.labels, row) for row in snapshot.pipelines]
    return {*marked}


def unknown(snapshot: Snapshot, known: Collection[Labels], added: Collection[str]) -> Snapshot:
    """The part of it that is not shown yet: beside the `known` pipelines, and `added` accounts."""
    names = set(map(clean, added))
    targets = [target for target in snapshot.targets if target.account in added]
    ids = {target.id for target in targets}

    def is_unknown(row: SeriesRow) -> bool:
        if f.is_pipeline_family(row.series.family):
            return f.pipeline_of(row.series) not in known
        return f.account_of(row.series) in names

    snapshot.targets = targets
    snapshot.pipelines = [row for row in snapshot.pipelines if row.labels not in known]
    snapshot.series = [row for row in snapshot.series if is_unknown(row)]
    snapshot.open_builds = [row for row in snapshot.open_builds if row[0] in ids]
    return snapshot


def forget(
    tx: Transaction, *, before: float, accounts: Mapping[int, str], busy: Collection[Labels]
) -> None:
    """Drop pipelines that saw no build since `before` (epoch seconds).

    `accounts` are those of the targets whose pipelines may go, and `busy` ones stay.
    """
    idle = [
        row
        for row in tx.pipelines()
        if row.target in accounts
        and row.labels not in busy
        and facts.decode(row.facts).touched < before
    ]
    if not idle:
        return
    labels = [row.labels for row in idle]
    freed = Counter[str]()
    for one in eviction.candidates(idle, tx.series_of(labels, _FAMILIES)):
        if not one.was_evicted:
            freed[accounts[one.target]] += one.samples
    tx.forget(labels, _FAMILIES)
    for account, samples in freed.items():
        tx.save(account, RowChanges(samples=-samples))
