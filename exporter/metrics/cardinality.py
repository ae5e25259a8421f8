"""What becomes `other` when there are as many series as `metrics.series_limit` lets in.

First the job's name, then the branch, then the workflow, and where even that has no room the
repo and what is counted. The coarser a place is, the more of the limit it may use, so that
there is one left for everything that comes later.

What was folded once stays folded. The pipelines remember it (`Facts`): one that had no room
for a series of its own takes no new ones, and one that took what a pipeline that was not let
in would have had keeps all others out that it stands for. So there is no more to remember
than there are pipelines, however many label sets are folded, and it is all in the state. A
mark has the limit it was made at, and ends when the limit is raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import msgspec

from exporter.ledger.rows import Labels, SeriesKey
from exporter.metrics import families as f
from exporter.metrics.facts import Facts
from exporter.model import OTHER

_LADDER: tuple[tuple[frozenset[str], float], ...] = tuple(
    (frozenset(folded.split()), kept)
    for folded, kept in (
        ("", 1.0),
        ("job_name", 7 / 8),
        ("job_name branch", 6 / 8),
        ("job_name branch workflow", 5 / 8),
        ("job_name branch workflow repo", 1 / 8),
        ("job_name branch workflow repo trigger", 1 / 16),
        ("job_name branch workflow repo trigger conclusion", 0.0),
    )
)
"""What is folded, and the share of the reserve that must be left for what is coarser."""

OWN = 1.0
"""The share of the reserve that series with their own labels leave free: all of it."""

_FOR_COUNTERS = 1 / 8
"""The share that histograms and gauges leave free, as they would take all of it."""

BUILDS, JOBS, _OTHER_JOBS, _FOLDED = 1, 2, 4, 8
"""Marks of a pipeline that takes no new series of its builds, of its jobs, of jobs named
`other`, nor of what others fold into it."""
CLOSED = 1 << 10
"""The mark of one that keeps out the pipelines that it stands for."""
HIDDEN = 1 << 11
"""The mark of one that a lowered limit had no room for."""

_SMALL = 1000
_IN_SMALL = 4
_IN_LARGE = 10
"""A tenth of the limit is reserved, of a small one up to a quarter but not more than 1000."""


def reserve(limit: int) -> int:
    """How many samples are kept free for what is folded."""
    return max(limit // _IN_LARGE, min(-(-limit // _IN_SMALL), _SMALL))


class Place(NamedTuple):
    """A series that may take an increment."""

    series: SeriesKey
    kept: float
    """The share of the reserve that it must leave free if it is new."""
    marks: int
    """What its pipeline is marked with if there is no room for it, as then there is none for
    what must leave more free. If the first of them is there already, it takes no new one."""

    @property
    def mark(self) -> int:
        """The one of the marks that is for series like this."""
        return 1 << (self.marks.bit_length() - 1) if self.marks else 0


def places(key: SeriesKey) -> Iterator[Place]:
    """The series that may take an increment of `key`, the finest first.

    What a place may use of the limit depends on its own labels only, not on `key`: a branch
    that is shown as `other` stands for those that fold into it, so that all agree on it.
    """
    place: Place | None = None
    for folded, kept, crowded in _steps(key.family):
        series = SeriesKey(key.family, _fold(key.labels, folded))
        if place is not None and series != place.series:
            yield place
        place = Place(series, kept, crowded)
    if place is not None:
        yield place


def pipelines(labels: Labels) -> dict[Labels, float]:
    """A pipeline and those that may stand for it, the finest first.

    Each with the share of the reserve that its gauges must leave free.
    """
    found: dict[Labels, float] = {}
    for folded, kept, _ in _steps(f.RETRIES.name):
        found.setdefault(_fold(labels, folded), max(kept, _FOR_COUNTERS))
    return found


def marks(facts: Facts | None, limit: int) -> int:
    """The marks of a pipeline that hold at this limit."""
    return facts.marks if facts is not None and facts.marked_at >= limit else 0


def marked(facts: Facts, more: int, limit: int) -> Facts:
    """`facts` with more marks."""
    return msgspec.structs.replace(facts, marks=marks(facts, limit) | more, marked_at=limit)


def is_catch_all(labels: Labels) -> bool:
    """Whether these are the labels of the pipeline that stands for all of an account."""
    return set(labels[2:]) == {OTHER}


def catch_all(provider: str, account: str) -> Labels:
    """The labels of that pipeline."""
    return (provider, account, OTHER, OTHER, OTHER)


@cache
def _steps(family: str) -> tuple[tuple[tuple[bool, ...], float, int], ...]:
    """Which of a family's labels become `other`; the last step may use all that is left."""
    names = f.BY_NAME[family].labels
    steps: dict[tuple[bool, ...], tuple[float, int]] = {}
    for n, (folded, kept) in enumerate(_LADDER):
        steps.setdefault(tuple(name in folded for name in names), (kept, _marks(family, n)))
    last = tuple(steps)[-1]
    least = _FOR_COUNTERS if f.BY_NAME[family].kind == "histogram" else 0.0
    return tuple(
        (step, least, 0) if step == last else (step, max(least, kept), crowded)
        for step, (kept, crowded) in steps.items()
    )


def _marks(family: str, step: int) -> int:
    if step == 0:
        return JOBS if "job_name" in f.BY_NAME[family].labels else BUILDS
    if step == 1:
        return JOBS | _OTHER_JOBS
    return (_FOLDED << (step - 1)) - 1


def _fold(labels: Labels, folded: tuple[bool, ...]) -> Labels:
    return tuple(OTHER if gone else value for value, gone in zip(labels, folded, strict=True))
