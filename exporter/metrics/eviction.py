"""Eviction: which pipelines of the state are not shown when the series limit is lowered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from exporter.ledger.rows import Labels, PipelineRow, SeriesRow
from exporter.metrics import cardinality, facts, gauges, grouping
from exporter.metrics.cardinality import Mark
from exporter.metrics.facts import Facts


class Candidate(NamedTuple):
    """A stored pipeline."""

    target: int
    labels: Labels
    facts: Facts
    samples: int
    """The most samples that it can show."""

    @property
    def was_evicted(self) -> bool:
        """Whether it was evicted at this limit or at a lower one."""
        return bool(self.facts.marks & Mark.EVICTED)

    def marked(self, limit: int, *, is_out: bool) -> PipelineRow | None:
        """Its row with the mark set or removed; None if the row does not change."""
        after = self.facts
        if is_out and not cardinality.marks(after, limit) & Mark.EVICTED:
            after = cardinality.marked(after, Mark.EVICTED, limit)
        elif not is_out and self.was_evicted:
            marks = after.marks & ~Mark.EVICTED
            after = msgspec.structs.replace(after, marks=int(marks))
        if after is self.facts:
            return None
        return PipelineRow(self.target, self.labels, facts.encode(after))


def candidates(
    pipelines: Iterable[PipelineRow], series: Iterable[SeriesRow]
) -> Iterator[Candidate]:
    """Pipelines with the number of samples that they and their series can show."""
    sizes = Counter[Labels]()
    for row in series:
        if grouping.is_pipeline_family(row.series.family):
            sizes[grouping.pipeline_of(row.series)] += grouping.sample_count(row.vector)
    for target, labels, blob in pipelines:
        known = facts.decode(blob)
        yield Candidate(target, labels, known, sizes[labels] + gauges.room_for(known))


def rank(one: Candidate) -> tuple[bool, float]:
    """Sort key, the highest shown first: pipelines that others fold into, then recent ones."""
    return _counts_for_others(one), one.facts.touched


def _counts_for_others(one: Candidate) -> bool:
    is_overflow = one.facts.marks & ~Mark.EVICTED >= Mark.OVERFLOW
    return cardinality.is_catch_all(one.labels) or is_overflow


def split(
    known: Iterable[Candidate], limit: int, *, is_lower: bool
) -> tuple[list[Candidate], list[Candidate]]:
    """The pipelines to show and those to evict.

    A pipeline evicted at this limit stays evicted. One evicted at a lower limit is shown if the
    whole reserve stays free. If the limit `is_lower` than before or is exceeded, or too little of
    the reserve is left, the pipelines idle for longest are evicted until the whole reserve is free.
    """
    shown: list[Candidate] = []
    out: list[Candidate] = []
    for one in sorted(known, key=rank, reverse=True):
        is_out = cardinality.marks(one.facts, limit) & Mark.EVICTED
        (out if is_out else shown).append(one)
    free = limit - sum(one.samples for one in shown)
    shown.sort(key=lambda one: one.was_evicted)
    # An account that was not configured for a while does not fit beside the others for sure.
    plain = sum(one.samples for one in shown if not _counts_for_others(one))
    has_to_free = is_lower or free < 0 or plain > cardinality.most_apart_from_folded(limit)
    while shown and free < cardinality.reserve(limit):
        if not has_to_free and not shown[-1].was_evicted:
            break
        out.append(shown.pop())
        free += out[-1].samples
    return shown, out
