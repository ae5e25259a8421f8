"""How the jobs of a pipeline ended, by name, whatever order they arrive in.

A pipeline may have hundreds of jobs, and most commits and scrapes need none of them: they are
packed, and cost the others as many bytes as there are.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from exporter.ledger.rows import JobCompleted
from exporter.metrics import streaks
from exporter.metrics.labels import clean
from exporter.metrics.streaks import Order, Streak
from exporter.model import FAILING, carried_over

_STREAK_KEPT = 50
"""How many failures of a job since its last pass are remembered one by one."""


class JobEnds(Streak, frozen=True, array_like=True):
    """The latest of the jobs of one name."""

    completed_at: float | None = None
    """When the latest of them completed, epoch seconds."""

    @property
    def last(self) -> float:
        """The time of the latest of them, epoch seconds; 0 if none is known."""
        orders = (self.passed, *self.failures[-1:])
        return max(self.completed_at or 0.0, *(order[0] for order in orders if order), 0.0)


_Ends = dict[str, JobEnds]
_encode = msgspec.msgpack.Encoder(order="sorted").encode
_decode = msgspec.msgpack.Decoder(_Ends).decode


class JobTable(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The jobs of a pipeline that have ended."""

    count: int
    """How many names there are."""
    packed: bytes

    @property
    def ends(self) -> dict[str, JobEnds]:
        """How they ended, by `job_name`. Raises msgspec.DecodeError for what none has packed."""
        return _decode(self.packed)


def after(
    table: JobTable | None, ended: Iterable[JobCompleted], *, known_only: bool = False
) -> JobTable | None:
    """`table` after jobs have ended; with `known_only` those of new names are left out.

    A job carried over from an earlier attempt is left out as well: it ended then.
    """
    before = {} if table is None else table.ends
    known = dict(before)
    for news in ended:
        name = clean(news.job.name)
        if carried_over(news.job, news.build) or (known_only and name not in known):
            continue
        known[name] = _after(known.get(name, JobEnds()), news)
    return table if known == before else _packed(known)


def without_old(table: JobTable | None, *, before: float) -> JobTable | None:
    """`table` without the jobs that have not ended since `before` (epoch seconds)."""
    known = {} if table is None else table.ends
    kept = {name: ends for name, ends in known.items() if not 0 < ends.last < before}
    return table if len(kept) == len(known) else _packed(kept)


def _packed(known: _Ends) -> JobTable | None:
    return JobTable(len(known), _encode(known)) if known else None


def _after(known: JobEnds, news: JobCompleted) -> JobEnds:
    job, order = news.job, _order(news)
    if job.completed_at is not None and job.completed_at > (known.completed_at or 0.0):
        known = replace(known, completed_at=job.completed_at)
    if job.conclusion == "passed":
        return streaks.with_pass(known, order)
    if job.conclusion in FAILING:
        return streaks.with_failure(known, order, kept=_STREAK_KEPT)
    return known


def _order(news: JobCompleted) -> Order:
    """By completion, else start, else creation; then by the build, and the attempt."""
    job, build = news.job, news.build
    times = (job.completed_at, job.started_at, job.created_at)
    at = next((at for at in times if at is not None), 0.0)
    number = -1 if build.number is None else build.number
    return (at, number, max(job.attempt, build.attempt))
