"""Which pipelines of the state are not shown because the series limit was lowered."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from exporter.ledger.rows import Change, Labels, SeriesKey, StoredSeries
from exporter.metrics import cardinality, gauges
from exporter.metrics.cardinality import Mark
from exporter.metrics.facts import Facts
from exporter.view.series import Pipeline, sample_count

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode


class Remembered(NamedTuple):
    """A pipeline as the state has it."""

    target: int
    labels: Labels
    facts: Facts
    series: list[StoredSeries]

    @property
    def samples(self) -> int:
        """How many it may show."""
        own = sum(sample_count(row.vector) for row in self.series)
        return gauges.room_for(self.facts) + own


class Hidden(msgspec.Struct):
    """What is known of a pipeline that there is no room for."""

    target: int
    facts: Facts
    series: list[SeriesKey]


def rank(labels: Labels, facts: Facts) -> tuple[bool, float]:
    """What is shown first where there is no room for all: what others fold into, then news."""
    return cardinality.is_catch_all(labels) or facts.marks >= Mark.CLOSED, facts.touched


def split(
    known: Iterable[Remembered], used: int, limit: int, *, is_lower: bool
) -> tuple[list[Remembered], list[Remembered]]:
    """Those to show and those to hide, where `used` samples of `limit` are there already.

    What was hidden at this limit before is hidden again, and what was at a lower one is shown if
    all of the reserve stays free. Where the limit `is_lower` than it
    was, or what is left takes more than it, those idle for longest give way until all of the
    reserve is free.
    """
    shown: list[Remembered] = []
    out: list[Remembered] = []
    for one in sorted(known, key=lambda one: rank(one.labels, one.facts), reverse=True):
        is_out = cardinality.marks(one.facts, limit) & Mark.EVICTED
        (out if is_out else shown).append(one)
    free = limit - used - sum(one.samples for one in shown)
    shown.sort(key=lambda one: one.facts.marks & Mark.EVICTED)
    is_lower = is_lower or free < 0
    while shown and free < cardinality.reserve(limit):
        if not is_lower and not shown[-1].facts.marks & Mark.EVICTED:
            break
        out.append(shown.pop())
        free += out[-1].samples
    return shown, out


def choice(
    hidden: dict[Labels, Hidden], shown: Iterable[Pipeline], limit: int
) -> Iterator[tuple[int, Change]]:
    """Mark what is hidden, and what is no longer; yields what the state shall know, by target."""
    for labels, one in hidden.items():
        if not cardinality.marks(one.facts, limit) & Mark.EVICTED:
            one.facts = cardinality.marked(one.facts, Mark.EVICTED, limit)
            yield one.target, Change(pipelines=((labels, _encode(one.facts)),))
    for known in shown:
        if known.facts.marks & Mark.EVICTED:  # of a lower limit that is obeyed no more
            marks = known.facts.marks & ~Mark.EVICTED
            known.facts = msgspec.structs.replace(known.facts, marks=marks)
            yield known.target, Change(pipelines=((known.labels, _encode(known.facts)),))


def tell(hidden: dict[Labels, Hidden], limit: int) -> None:
    """Log how many are hidden, if there are any."""
    if hidden:
        log.warning(
            "metrics.series_limit is lower than what the state holds: the pipelines idle for"
            " longest are not shown",
            extra={"limit": limit, "hidden": len(hidden)},
        )
