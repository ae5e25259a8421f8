"""Which pipelines of the state are not shown because the series limit was lowered."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from exporter.metrics import folding, gauges
from exporter.metrics.facts import Facts
from exporter.metrics.series import sample_count
from exporter.record import Change, Labels, SeriesKey, StoredSeries

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


class Hidden(NamedTuple):
    """What is known of a pipeline that there is no room for."""

    target: int
    facts: Facts
    series: list[SeriesKey]


def rank(labels: Labels, facts: Facts) -> tuple[bool, float]:
    """What is shown first where there is no room for all: what others fold into, then news."""
    return folding.is_catch_all(labels) or facts.marks >= folding.CLOSED, facts.touched


def split(
    known: Iterable[Remembered], used: int, limit: int
) -> tuple[list[Remembered], list[Remembered]]:
    """Those to show and those to hide, where `used` samples of `limit` are there already.

    What was hidden at this limit before is hidden again. If what is left takes more than the
    limit, or uses what is reserved for folding though nothing has folded at this limit, it was
    lowered: then those idle for longest give way until the reserve is free.
    """
    first = sorted(known, key=lambda one: rank(one.labels, one.facts), reverse=True)
    shown: list[Remembered] = []
    out: list[Remembered] = []
    for one in first:
        is_out = folding.marks(one.facts, limit) & folding.HIDDEN
        (out if is_out else shown).append(one)
    marked = {one.facts.marked_at for one in first} - {0}
    is_lower = limit not in marked and (not marked or max(marked) > limit)
    wanted = used + sum(one.samples for one in shown)
    if not is_lower and wanted <= limit:
        return shown, out
    free = limit - folding.reserve(limit) - used
    for n, one in enumerate(shown):
        free -= one.samples
        if free < 0:
            return shown[:n], out + shown[n:]
    return shown, out


def kept(
    hidden: dict[Labels, Hidden], limit: int
) -> tuple[dict[Labels, Hidden], list[tuple[int, Change]]]:
    """The same as the state shall know it, and what it does not know yet, by target."""
    marked: dict[Labels, Hidden] = {}
    changes = []
    for labels, one in hidden.items():
        marked[labels] = one
        if not folding.marks(one.facts, limit) & folding.HIDDEN:
            facts = folding.marked(one.facts, folding.HIDDEN, limit)
            marked[labels] = one._replace(facts=facts)
            changes.append((one.target, Change(pipelines=((labels, _encode(facts)),))))
    return marked, changes


def tell(hidden: dict[Labels, Hidden], limit: int) -> None:
    """Log how many are hidden, if there are any."""
    if hidden:
        log.warning(
            "metrics.series_limit is lower than what the state holds: the pipelines idle for"
            " longest are not shown",
            extra={"limit": limit, "hidden": len(hidden)},
        )
