"""Where increments go that find no room within `metrics.series_limit`.

What finds no room is counted under the branch `other` of its workflow, and where that has none
either, in the catch-all of its account, whose labels are all `other`. A part of the limit is
reserved for those two, so that every sum over an account stays right.

What was folded once stays folded until the limit is raised. The pipelines remember it as marks
in their facts: one that had no room for a series is full, and one that counts for a pipeline
which was not let in is marked as overflow: no other that it may count for is let in. So there
is no more to remember than there are pipelines, however many label sets are folded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntFlag
from functools import cache, lru_cache
from typing import NamedTuple

import msgspec

from exporter.ledger.rows import Labels, SeriesKey
from exporter.metrics import families as f
from exporter.metrics.facts import Facts
from exporter.model import OTHER

_PLACES: tuple[tuple[frozenset[str], float], ...] = tuple(
    (frozenset(folded.split()), kept)
    for folded, kept in (
        ("", 1.0),
        ("job_name branch", 5 / 8),
        ("job_name branch workflow repo trigger", 1 / 16),
        ("job_name branch workflow repo trigger conclusion", 0.0),
    )
)
"""The labels that become `other`, and the share of the reserve that a new series leaves free.

The last place is in the catch-all as well: it is for counters only, when there is no room for
another conclusion.
"""

OWN = 1.0
"""The share of the reserve that series with their own labels leave free: all of it."""

_FOR_COUNTERS = 1 / 8
"""The share that histograms and gauges leave free, as they would take all of it."""


class Mark(IntFlag):
    """What a pipeline takes and lets in no more. These numbers are in the state."""

    NONE = 0
    FULL = 1
    """It had no room for a series, and takes no new ones."""
    OVERFLOW = 1 << 10
    """It counts for pipelines that were not let in, and keeps out all that it may count for."""
    EVICTED = 1 << 11
    """A lowered limit has no room for it: it is not shown."""


_OLD_FULL = Mark.OVERFLOW - 1
"""Each of these bits says of some series in a state of format 4 that there is no room for it."""

_SMALL = 1000
_IN_SMALL = 4
_IN_LARGE = 10
"""A tenth of the limit is reserved, of a small one up to a quarter but not more than 1000."""


def reserve(limit: int) -> int:
    """How many samples are kept free for what is folded."""
    return max(limit // _IN_LARGE, min(-(-limit // _IN_SMALL), _SMALL))


def most_apart_from_folded(limit: int) -> float:
    """The most samples that pipelines get which count for no others.

    A branch that is called `other` anyway is one of them, and may use a part of the reserve.
    """
    _, kept = _PLACES[1]
    return limit - kept * reserve(limit)


class Place(NamedTuple):
    """A series that may take an increment."""

    series: SeriesKey
    kept: float
    """The share of the reserve that it leaves free if it is new."""
    is_last: bool = False
    """Nothing else is left: it is taken even if its pipeline is full, as long as there is room."""


def places(key: SeriesKey) -> Iterator[Place]:
    """The series that may take an increment of `key`, the finest first.

    How much of the limit a place may use depends on its own labels only, not on `key`: what is
    counted in a branch that is called `other` anyway has the same place as what folds into it.
    """
    place: Place | None = None
    for folded, kept in _steps(key.family):
        series = SeriesKey(key.family, _fold(key.labels, folded))
        if place is not None and series != place.series:
            yield place
        place = Place(series, kept)
    if place is not None:
        yield place._replace(is_last=True)


@lru_cache(maxsize=4096)
def pipelines(labels: Labels) -> Mapping[Labels, float]:
    """A pipeline and those that may count for it, the finest first.

    Each with the share of the reserve that its gauges leave free.
    """
    found: dict[Labels, float] = {}
    for folded, kept in _steps(f.RETRIES.name):
        found.setdefault(_fold(labels, folded), max(kept, _FOR_COUNTERS))
    return found


def marks(facts: Facts | None, limit: int) -> Mark:
    """The marks of a pipeline that hold at this limit."""
    if facts is None or facts.marked_at < limit:
        return Mark.NONE
    full = Mark.FULL if facts.marks & _OLD_FULL else Mark.NONE
    return full | Mark(facts.marks & (Mark.OVERFLOW | Mark.EVICTED))


def marked(facts: Facts, more: Mark, limit: int) -> Facts:
    """`facts` with more marks."""
    known = marks(facts, limit) | more
    return msgspec.structs.replace(facts, marks=int(known), marked_at=limit)


def is_catch_all(labels: Labels) -> bool:
    """Whether these are the labels of an account's catch-all."""
    return set(labels[2:]) == {OTHER}


def catch_all(provider: str, account: str) -> Labels:
    """The labels of an account's catch-all."""
    return (provider, account, OTHER, OTHER, OTHER)


@cache
def _steps(family: str) -> tuple[tuple[tuple[bool, ...], float], ...]:
    """Which of a family's labels become `other`, and the share of the reserve left free.

    The last step may use all that is left, but for what histograms leave to counters.
    """
    names = f.BY_NAME[family].labels
    is_histogram = f.BY_NAME[family].kind == "histogram"
    least = _FOR_COUNTERS if is_histogram else 0.0
    steps: dict[tuple[bool, ...], float] = {}
    for folded, kept in _PLACES[:-1] if is_histogram else _PLACES:
        steps.setdefault(tuple(name in folded for name in names), max(least, kept))
    steps[[*steps][-1]] = least
    return tuple(steps.items())


def _fold(labels: Labels, folded: tuple[bool, ...]) -> Labels:
    return tuple(OTHER if gone else value for value, gone in zip(labels, folded, strict=True))
