"""The vocabulary: our words for builds and jobs, and what native words mean in them.

Words follow the unified CI/CD API; two of its gaps are closed here. `waiting` is a status of
its own, because a build that is held for a person or for another build lacks no machine.
`error` is a conclusion of its own, because a broken CI system is not broken code.

Each CI system has one table a field. Words are compared in lower case. A documented word
without a named meaning maps to itself; a word of no table is reported as such, so that it can be
counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

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


class Actor(StrEnum):
    """Who began a build."""

    USER = "user"
    BOT = "bot"


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


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """The native words of one CI system in lower case, and what each means."""

    status: Mapping[str, Status]
    conclusion: Mapping[str, str]
    trigger: Mapping[str, str] = {}
    awaiting: frozenset[str] = frozenset()
    """Conclusions after which the same build goes on, once a person has acted."""
    blocked: frozenset[str] = frozenset()
    """Words for queued jobs that wait for other jobs, not for a machine."""


def by_word(table: Mapping[T, str]) -> dict[str, T]:
    """`{word: meaning}` of `{meaning: "word word"}`."""
    return {word.lower(): meaning for meaning, words in table.items() for word in words.split()}


def unchanged(words: str) -> dict[str, str]:
    """Documented words without a named meaning, each of which keeps its name."""
    return {word: word for word in words.lower().split()}


class State(NamedTuple):
    """Where a build or job stands. Times are epoch seconds."""

    status: Status
    conclusion: str | None
    started_at: float | None
    """None while it is queued, whatever the provider sends then."""
    completed_at: float | None
    """None until it is completed."""
    unmapped: tuple[Unmapped, ...] = ()

    def fields(self, *unmapped: Unmapped) -> dict[str, Any]:
        """The fields of a Build or Job, with more words that no table maps."""
        return {**self._asdict(), "unmapped": self.unmapped + unmapped}


def resolve_state(
    words: Words,
    status: str | None,
    conclusion: str | None = None,
    *,
    started: float | None,
    ended: float | None,
) -> State:
    """What a status, a conclusion and two times say together; each may be missing.

    A result in place of the status (Travis, Buddy) means completed. Without a status a
    conclusion or an end means completed too. An unknown status is judged by the times.
    """
    at = words.status.get(status) if status else None
    if at is None and status in words.conclusion:
        at, conclusion = Status.COMPLETED, conclusion or status
    if at is None and status is None and conclusion is not None:
        at = words.status.get(conclusion, Status.COMPLETED)
    unmapped: tuple[Unmapped, ...] = ()
    if at is None:
        unmapped = (Unmapped("status", status),) if status else ()
        at = Status.QUEUED if started is None else Status.IN_PROGRESS
        at = at if ended is None else Status.COMPLETED
    if at is Status.COMPLETED and conclusion in words.awaiting:
        at = Status.WAITING
    begun = None if at is Status.QUEUED else started
    if at is not Status.COMPLETED:
        return State(at, None, begun, None, unmapped)
    known = None if conclusion is None else words.conclusion.get(conclusion)
    if known is None and conclusion is not None:
        known, unmapped = OTHER, (*unmapped, Unmapped("conclusion", conclusion))
    return State(at, known, begun, ended, unmapped)


def trigger(words: Words, word: str | None) -> tuple[str, tuple[Unmapped, ...]]:
    """The label of a trigger word, and the word itself if no table has it."""
    if word is None:
        return OTHER, ()
    known = words.trigger.get(word)
    return (OTHER, (Unmapped("trigger", word),)) if known is None else (known, ())
