"""The vocabulary: what builds and jobs are said to be, and what native words say of it.

Words follow the unified CI/CD API; two of its gaps are closed here. `waiting` is a status of
its own, because a build held for a person is not late. `error` is a conclusion of its own,
because a broken CI system is not broken code.

Each CI system has one table a field. Words are compared in lower case. A documented word
without a named meaning maps to itself; a word of no table is reported as such, so that it can be
counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, TypeVar

import msgspec

T = TypeVar("T")

OTHER = "other"
"""The label of a native word that nobody documented, and of a missing one."""


class Status(StrEnum):
    """Where a build or job stands. Only `COMPLETED` has a conclusion."""

    QUEUED = "queued"
    WAITING = "waiting"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


ACTIVE = (Status.QUEUED, Status.WAITING, Status.IN_PROGRESS)

CONCLUSIONS = (
    "passed",
    "failed",
    "cancelled",
    "timeout",
    "skipped",
    "retried",
    "partial",
    "error",
)
"""The named conclusions. A documented native word without such a meaning keeps its name."""

FAILING = frozenset({"failed", "timeout", "error"})

TRIGGERS = ("push", "merge_request", "api", "cron", "web")


class Ref(StrEnum):
    """What the branch name of a build is the name of."""

    BRANCH = "branch"
    TAG = "tag"
    PULL_REQUEST = "pull_request"
    MERGE_QUEUE = "merge_queue"
    """A merge train at GitLab: what waits there is built on top of what is before it."""


MERGE_QUEUES = "gh-readonly-queue/"
"""How the branches begin that a merge queue of GitHub makes, whichever CI system builds them."""


class Unmapped(msgspec.Struct, frozen=True, array_like=True):
    """A native word that no table maps: counted, so that somebody adds it."""

    field: str
    word: str


_QUEUED, _RUNNING, _COMPLETED = Status.QUEUED, Status.IN_PROGRESS, Status.COMPLETED
_WAITING = Status.WAITING


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """The vocabulary of one CI system, by lower-case word."""

    status: Mapping[str, Status]
    conclusion: Mapping[str, str]
    trigger: Mapping[str, str] = {}
    holds: frozenset[str] = frozenset()
    """Conclusions after which the same build goes on, once a person has acted."""
    blocked: frozenset[str] = frozenset()
    """Words for queued jobs that wait for other jobs, not for a machine."""


def rows(table: Mapping[T, str]) -> dict[str, T]:
    """Turns `{meaning: "word word"}` into `{word: meaning}`."""
    return {word.lower(): meaning for meaning, words in table.items() for word in words.split()}


def own(words: str) -> dict[str, str]:
    """Documented words without a named meaning: each keeps its own name."""
    return {word: word for word in words.lower().split()}


class Standing(NamedTuple):
    """Where a build or job stands."""

    status: Status
    conclusion: str | None
    unmapped: tuple[Unmapped, ...]


def standing(
    words: Words,
    status: str | None,
    conclusion: str | None,
    *,
    started: float | None,
    ended: float | None,
) -> Standing:
    """What a status and a conclusion word say together; either may be missing.

    A result in place of the status (Travis, Buddy) means completed. Without a status a
    conclusion or an end means completed too. An unknown status is judged by the times.
    """
    at = words.status.get(status) if status else None
    if at is None and status in words.conclusion:
        at, conclusion = _COMPLETED, conclusion or status
    if at is None and status is None and conclusion is not None:
        at = words.status.get(conclusion, _COMPLETED)
    unmapped: tuple[Unmapped, ...] = ()
    if at is None:
        unmapped = (Unmapped("status", status),) if status else ()
        at = _COMPLETED if ended is not None else _RUNNING if started is not None else _QUEUED
    if at is _COMPLETED and conclusion in words.holds:
        at = _WAITING
    if at is not _COMPLETED or conclusion is None:
        return Standing(at, None, unmapped)
    known = words.conclusion.get(conclusion)
    if known is None:
        return Standing(at, OTHER, (*unmapped, Unmapped("conclusion", conclusion)))
    return Standing(at, known, unmapped)


def trigger(words: Words, word: str | None) -> tuple[str, tuple[Unmapped, ...]]:
    """The label of a trigger word, and the word itself if no table has it."""
    if word is None:
        return OTHER, ()
    known = words.trigger.get(word)
    return (OTHER, (Unmapped("trigger", word),)) if known is None else (known, ())
