"""What is remembered of a pipeline beside its counters, whatever order builds arrive in."""

from __future__ import annotations

from bisect import insort

import msgspec

from exporter.model import FAILING, Build, Status

Order = tuple[float, int, int]

_STREAK_KEPT = 200
"""How many failures since the last pass are remembered one by one. Older ones are only
counted: a pass that arrives later but completed before them no longer splits them."""


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The latest of a pipeline's builds. Each value has its own build's order beside it."""

    touched: float
    """When a build of it was last seen to move. Seconds, our clock."""
    latest: Order | None = None
    conclusion: str | None = None
    completed_at: float | None = None
    timed: Order | None = None
    duration: float | None = None
    passed: Order | None = None
    passed_at: float | None = None
    failures: tuple[Order, ...] = ()
    """Failed builds after `passed`, oldest first."""
    older_failures: int = 0
    """Failed builds after `passed` that are no longer listed in `failures`."""
    statuses: tuple[Status, ...] = ()
    """Statuses that its builds were seen in."""
    job_statuses: tuple[tuple[str, Status], ...] = ()
    """Job names and statuses seen."""

    @property
    def streak(self) -> int:
        """Failures since the last pass."""
        return self.older_failures + len(self.failures)


def seen(facts: Facts, build: Build, *, now: float, jobs: tuple[tuple[str, Status], ...]) -> Facts:
    """`facts` after an unfinished build was seen in its status."""
    statuses = facts.statuses
    if not build.only_jobs and build.status not in statuses:
        statuses = (*statuses, build.status)
    new_jobs = tuple(sorted(set(jobs) - set(facts.job_statuses)))
    return msgspec.structs.replace(
        facts, touched=now, statuses=statuses, job_statuses=facts.job_statuses + new_jobs
    )


def completed(facts: Facts, build: Build, *, conclusion: str, now: float) -> Facts:
    """`facts` after a completed build became known, be it the latest or a late arrival."""
    facts = msgspec.structs.replace(facts, touched=now)
    order = build.order
    if facts.latest is None or order >= facts.latest:
        facts = msgspec.structs.replace(
            facts, latest=order, conclusion=conclusion, completed_at=build.completed_at
        )
    duration = build.duration
    if duration is not None and duration >= 0 and (facts.timed is None or order >= facts.timed):
        facts = msgspec.structs.replace(facts, timed=order, duration=duration)
    if conclusion == "passed":
        return _passed(facts, build)
    if conclusion in FAILING:
        return _failed(facts, order)
    return facts


def corrected(facts: Facts, build: Build, *, conclusion: str, now: float) -> Facts:
    """`facts` after a counted build turned out to have ended otherwise."""
    order = build.order
    if order in facts.failures:
        kept = tuple(o for o in facts.failures if o != order)
        facts = msgspec.structs.replace(facts, failures=kept)
    return completed(facts, build, conclusion=conclusion, now=now)


def _passed(facts: Facts, build: Build) -> Facts:
    order = build.order
    if facts.passed is not None and order < facts.passed:
        return facts
    after = tuple(o for o in facts.failures if o > order)
    older = facts.older_failures if len(after) == len(facts.failures) and after else 0
    return msgspec.structs.replace(
        facts, passed=order, passed_at=build.completed_at, failures=after, older_failures=older
    )


def _failed(facts: Facts, order: Order) -> Facts:
    if (facts.passed is not None and order < facts.passed) or order in facts.failures:
        return facts
    failures = list(facts.failures)
    insort(failures, order)
    spilled = max(len(failures) - _STREAK_KEPT, 0)
    return msgspec.structs.replace(
        facts,
        failures=tuple(failures[spilled:]),
        older_failures=facts.older_failures + spilled,
    )
