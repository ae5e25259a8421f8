"""What is remembered of a pipeline beside its counters, whatever order builds arrive in."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from exporter.ledger.rows import JobCompleted, Labels
from exporter.metrics import history, jobs, streaks
from exporter.metrics.jobs import JobTable
from exporter.metrics.streaks import Order, Streak
from exporter.model import FAILING, Build, Ref, Status

_STREAK_KEPT = 200
"""How many failures since the last pass are remembered one by one."""


class Facts(Streak, frozen=True, kw_only=True):
    """The latest of a pipeline's builds. Each value has its own build's order beside it."""

    touched: float
    """When a build of it was last seen to move. Seconds, our clock."""
    latest: Order | None = None
    conclusion: str | None = None
    completed_at: float | None = None
    timed: Order | None = None
    duration: float | None = None
    passed_at: float | None = None
    statuses: tuple[Status, ...] = ()
    """Statuses that its builds were seen in."""
    job_statuses: tuple[tuple[str, Status], ...] = ()
    """Job names and statuses seen."""
    jobs: JobTable | None = None
    """How its jobs ended; None if none has."""
    recent: bytes = b""
    """How the last builds ended, as `history` has it; an older state does not tell."""
    info: Labels | None = None
    """What `labels.build_info` says of the latest build, where that is wanted."""
    is_default: bool = False
    """Whether its latest build was of what was its repo's default branch then."""
    own: bool = True
    """False if it has been made for what is folded: nothing is shown of its latest build."""
    marks: int = 0
    """What it takes and lets in no more, as a `cardinality.Mark`."""
    marked_at: int = 0
    """The series limit that was reached then; at a higher one the marks are void."""


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Facts).decode
"""Facts as the bytes of a row, and back."""


def moved(facts: Facts, now: float) -> Facts:
    """`facts` after a build was seen to move, in a way that changes nothing else."""
    return msgspec.structs.replace(facts, touched=now)


def seen(facts: Facts, build: Build, *, now: float, jobs: tuple[tuple[str, Status], ...]) -> Facts:
    """`facts` after an unfinished build was seen in its status."""
    statuses = facts.statuses
    if not build.only_jobs and build.status not in statuses:
        statuses = (*statuses, build.status)
    new_jobs = tuple(sorted(set(jobs) - set(facts.job_statuses)))
    return msgspec.structs.replace(
        facts, touched=now, statuses=statuses, job_statuses=facts.job_statuses + new_jobs
    )


def jobs_ended(
    facts: Facts, ended: Iterable[JobCompleted], *, now: float, known_only: bool = False
) -> Facts:
    """`facts` after jobs have ended; with `known_only` those of new names are left out."""
    table = jobs.after(facts.jobs, ended, known_only=known_only)
    return msgspec.structs.replace(facts, touched=now, jobs=table)


def without_old_jobs(facts: Facts, *, before: float) -> Facts:
    """`facts` without the jobs that have not ended since `before` (epoch seconds)."""
    table = jobs.without_old(facts.jobs, before=before)
    return facts if table is facts.jobs else msgspec.structs.replace(facts, jobs=table)


def without_info(facts: Facts) -> Facts:
    """`facts` with nothing of the latest build that only a metric of its own shows."""
    return msgspec.structs.replace(facts, info=None)


def completed(
    facts: Facts, build: Build, *, conclusion: str, now: float, info: Labels | None = None
) -> Facts:
    """`facts` after a completed build became known, be it the latest or a late arrival."""
    facts = _latest(msgspec.structs.replace(facts, touched=now), build, conclusion, info)
    facts = _timed(facts, build)
    recent = history.with_build(facts.recent, build.order, conclusion)
    facts = msgspec.structs.replace(facts, recent=recent)
    if conclusion == "passed":
        return _passed(facts, build)
    if conclusion in FAILING:
        return streaks.with_failure(facts, build.order, kept=_STREAK_KEPT)
    return facts


def corrected(  # noqa: PLR0913 - all that a build may say
    facts: Facts,
    build: Build,
    *,
    conclusion: str,
    now: float,
    info: Labels | None = None,
    ended: float | None = None,
) -> Facts:
    """`facts` after a counted build ended again or otherwise; `ended` is the end known before.

    A pass that is taken back stays the last known one: what was before it is forgotten.
    """
    order = build.order
    before = order if ended is None else (ended, *order[1:])
    mistaken = next((known for known in facts.failures if _same(known, before)), None)
    failures = list(facts.failures)
    if mistaken is not None:
        failures.remove(mistaken)
    latest = None if facts.latest is not None and _same(facts.latest, before) else facts.latest
    recent = history.without(facts.recent, before)
    facts = msgspec.structs.replace(facts, latest=latest, failures=tuple(failures), recent=recent)
    return completed(facts, build, conclusion=conclusion, now=now, info=info)


def _same(known: Order, order: Order) -> bool:
    """Whether both are of one build: its end may have moved, its number and attempt do not."""
    return known == order or (order[1] >= 0 and known[1:] == order[1:])


def _latest(facts: Facts, build: Build, conclusion: str, info: Labels | None) -> Facts:
    order, completed_at = build.order, build.completed_at
    if facts.latest is not None and order < facts.latest:
        return facts
    is_default = build.ref is Ref.BRANCH and build.branch == build.default_branch is not None
    if order == facts.latest:  # never by arrival: the graver word, then the alphabet
        conclusion, info = max(
            (conclusion, info), (facts.conclusion or "", facts.info), key=_gravity
        )
        completed_at = facts.completed_at if completed_at is None else completed_at
        is_default = is_default or facts.is_default
    return msgspec.structs.replace(
        facts,
        latest=order,
        conclusion=conclusion,
        completed_at=completed_at,
        info=info,
        is_default=is_default,
    )


def _gravity(end: tuple[str, Labels | None]) -> tuple[bool, str, Labels]:
    conclusion, info = end
    return conclusion in FAILING, conclusion, info or ()


def _timed(facts: Facts, build: Build) -> Facts:
    order, duration = build.order, build.duration
    if duration is None or duration < 0 or (facts.timed is not None and order < facts.timed):
        return facts
    if order == facts.timed:
        duration = max(duration, facts.duration or 0.0)
    return msgspec.structs.replace(facts, timed=order, duration=duration)


def _passed(facts: Facts, build: Build) -> Facts:
    order, passed_at = build.order, build.completed_at
    if facts.passed is not None and order < facts.passed:
        return facts
    if order == facts.passed and passed_at is None:
        passed_at = facts.passed_at
    return streaks.with_pass(msgspec.structs.replace(facts, passed_at=passed_at), order)
