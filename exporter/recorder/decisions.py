"""Decisions made inside a transaction, from nothing but the rows that it has read."""

from __future__ import annotations

import functools
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

from exporter.errors import StateDamaged
from exporter.ledger import Transaction
from exporter.ledger.build_log import LoggedBuild, logged
from exporter.ledger.rows import (
    AttemptKey,
    Findings,
    Labels,
    PipelineRow,
    RowChanges,
    SeriesKey,
    SeriesRow,
    Snapshot,
    Target,
)
from exporter.metrics import eviction, facts, gauges, grouping, soundness
from exporter.metrics import families as f
from exporter.metrics.cardinality import Mark
from exporter.metrics.changes import resolve
from exporter.metrics.effects import Effect, effects_of
from exporter.metrics.increments import Increment, conclusion_label
from exporter.metrics.labels import clean
from exporter.metrics.rules import MetricsRules

log = logging.getLogger(__name__)

_FAMILIES = [
    family.name for family in (*grouping.OF_PIPELINE, *grouping.OF_JOB) if family.kind != "gauge"
]
"""The families whose series belong to pipelines and are stored in the ledger."""


class Decide(Protocol):
    """`decide` with everything but the news bound to one repo."""

    def __call__(
        self, tx: Transaction, findings: Findings, *, now: float, events: Iterable[Increment] = ()
    ) -> RowChanges:
        """Update the rows that the findings affect, and return the changes."""


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
    """Update the rows that findings about a repo affect, and return the changes.

    `provider` is the label of the repo's account. `accounts` share the series limit. `seen` are
    the series that have been shown at 0 for long enough. `now` is in epoch seconds.
    """
    effects = effects_of(findings, target=target, provider=provider, rules=rules, events=events)
    if not effects:
        return RowChanges()
    tx.log(target, [*_logged(effects)], now=now)
    load = functools.partial(tx.load, accounts=accounts)
    changes = resolve(effects, load, target=target, rules=rules, now=now, seen=seen)
    tx.save(target.account, changes)
    return changes


def _logged(effects: Iterable[Effect]) -> Iterator[tuple[AttemptKey, LoggedBuild]]:
    """The rows of the build log: what has ended, and what ended again."""
    for effect in effects:
        if (build := effect.ended) is not None and effect.labels is not None:
            row = logged(build, effect.labels, conclusion=conclusion_label(build))
            yield AttemptKey(build.key, build.attempt), row


def load_sound(tx: Transaction, *, fault: str = "{}") -> Snapshot:
    """Load all rows. Raises StateDamaged, its message made with `fault`, if a row is unsound."""
    snapshot = tx.snapshot()
    for damage in soundness.damage(snapshot):
        raise StateDamaged(fault.format(damage))
    return snapshot


def _changed_buckets(tx: Transaction, rules: MetricsRules) -> Iterator[str]:
    """Drop the histograms whose buckets have changed, and return their families."""
    for family in f.FAMILIES:
        if family.persistent and family.buckets:
            bounds = rules.buckets.of(family)
            if not tx.check_buckets(family.name, bounds):
                log.warning(
                    "buckets have changed: the histogram starts anew at 0",
                    extra={"metric": family.name},
                )
                yield family.name


def fit(
    tx: Transaction, snapshot: Snapshot, accounts: Collection[str], rules: MetricsRules
) -> None:
    """Let a state, and the snapshot of it, go by these rules: its buckets and the series limit."""
    anew = set(_changed_buckets(tx, rules))
    snapshot.series = [row for row in snapshot.series if row.series.family not in anew]
    apply_series_limit(tx, snapshot, accounts, rules.series_limit)


def apply_series_limit(
    tx: Transaction, snapshot: Snapshot, accounts: Collection[str], limit: int
) -> set[Labels]:
    """Evict the pipelines of `accounts` that exceed the series limit, and count the samples.

    Marks them in the ledger and in the snapshot. Returns the pipelines whose marks have changed.
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


def not_shown(snapshot: Snapshot, known: Collection[Labels], added: Collection[str]) -> Snapshot:
    """Reduce a snapshot to what is not shown yet: all but the `known` pipelines.

    Rows that belong to no pipeline are kept for the `added` accounts only.
    """
    names = set(map(clean, added))
    targets = [target for target in snapshot.targets if target.account in added]
    ids = {target.id for target in targets}

    def is_unknown(row: SeriesRow) -> bool:
        if grouping.is_pipeline_family(row.series.family):
            return grouping.pipeline_of(row.series) not in known
        return grouping.account_of(row.series) in names

    snapshot.targets = targets
    snapshot.pipelines = [row for row in snapshot.pipelines if row.labels not in known]
    snapshot.series = [row for row in snapshot.series if is_unknown(row)]
    snapshot.open_builds = [row for row in snapshot.open_builds if row[0] in ids]
    return snapshot


def forget_idle(
    tx: Transaction, *, before: float, accounts: Mapping[int, str], busy: Collection[Labels]
) -> None:
    """Drop the pipelines that have had no build since `before` (epoch seconds).

    `accounts` maps the targets whose pipelines may be dropped to their accounts. `busy` pipelines
    are kept. The others forget the jobs that have not ended since then.
    """
    idle: list[PipelineRow] = []
    revised: dict[str, list[PipelineRow]] = defaultdict(list)
    freed = Counter[str]()
    for row in tx.pipelines():
        if row.target not in accounts:
            continue
        account, known = accounts[row.target], facts.decode(row.facts)
        if known.touched < before and row.labels not in busy:
            idle.append(row)
        elif (after := facts.without_old_jobs(known, before=before)) is not known:
            revised[account].append(row._replace(facts=facts.encode(after)))
            if not known.marks & Mark.EVICTED:
                freed[account] += gauges.room_for(known) - gauges.room_for(after)
    labels = [row.labels for row in idle]
    for one in eviction.candidates(idle, tx.series_of(labels, _FAMILIES)) if idle else ():
        if not one.was_evicted:
            freed[accounts[one.target]] += one.samples
    if idle:
        tx.forget(labels, _FAMILIES)
    for account in {*freed, *revised}:
        rows = tuple(revised[account])
        tx.save(account, RowChanges(pipelines=rows, samples=-freed[account]))
