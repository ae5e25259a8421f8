"""Failures in a row, whatever order they arrive in: of a pipeline's builds, or of jobs of one name.

A run that neither passed nor failed changes nothing here.
"""

from __future__ import annotations

from bisect import insort
from typing import TypeVar

import msgspec
from msgspec.structs import replace

Order = tuple[float, int, int]
"""What sorts runs by age: completion (else start, else creation), number, attempt."""


class Streak(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Failures since the last pass."""

    passed: Order | None = None
    """The last pass."""
    failures: tuple[Order, ...] = ()
    """Failures not before `passed`, oldest first; two may have the same order."""
    older_failures: int = 0
    """How many more there are that are no longer listed in `failures`."""

    @property
    def streak(self) -> int:
        """How many there are."""
        return self.older_failures + len(self.failures)


S = TypeVar("S", bound=Streak)


def with_pass(known: S, order: Order) -> S:
    """`known` after a run that passed."""
    if known.passed is not None and order < known.passed:
        return known
    after = tuple(o for o in known.failures if o >= order)
    older = known.older_failures if len(after) == len(known.failures) and after else 0
    return replace(known, passed=order, failures=after, older_failures=older)


def with_failure(known: S, order: Order, *, kept: int) -> S:
    """`known` after a run that failed, with the last `kept` failures one by one.

    Older ones are only counted: a pass that arrives later but ended before them no longer
    splits them.
    """
    if known.passed is not None and order < known.passed:
        return known
    failures = list(known.failures)
    insort(failures, order)
    spilled = max(len(failures) - kept, 0)
    return replace(
        known,
        failures=tuple(failures[spilled:]),
        older_failures=known.older_failures + spilled,
    )
