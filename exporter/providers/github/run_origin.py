"""What a run of GitHub was for, and who began it. No I/O."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from exporter.model import Actor, Ref
from exporter.payload import moment, subject, whole, word

ODD = str | int | float | bool | list[Any] | None
"""What may be in the place of an object."""

_ACTORS = {"user": Actor.USER, "organization": Actor.USER, "bot": Actor.BOT}
_BOT = "[bot]"
"""What the logins of Apps end with."""
_QUEUED = re.compile(r"gh-readonly-queue/.+/pr-(\d+)-")
"""The branch that a merge queue makes for a pull request."""


class Person(msgspec.Struct, omit_defaults=True):
    """A user or a bot."""

    login: Any = None
    type: Any = None


class Commit(msgspec.Struct, omit_defaults=True):
    """The commit that a run is of. Of its message only the first line is kept."""

    message: Any = None
    timestamp: Any = None

    def __post_init__(self) -> None:
        self.message = subject(self.message)


class Pull(msgspec.Struct, omit_defaults=True):
    """A pull request that is open."""

    number: Any = None


class Origin(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What runs tell of it."""

    head_sha: Any = None
    head_commit: Commit | ODD = None
    display_title: Any = None
    """Absent before GitHub Enterprise Server 3.6."""
    actor: Person | ODD = None
    """Who began the first attempt."""
    triggering_actor: Person | ODD = None
    """Who began this one."""
    pull_requests: list[Pull | ODD] | dict[str, Any] | str | int | float | bool | None = None
    """Open ones of the branch or commit, whether or not the run is of them; none of a fork."""

    def __post_init__(self) -> None:
        self.display_title = subject(self.display_title)


def origin(run: Origin, branch: str | None, ref: Ref) -> dict[str, Any]:
    """What was built, and who began it, as fields of a build."""
    commit = run.head_commit if isinstance(run.head_commit, Commit) else Commit()
    by = _person(run.triggering_actor) or _person(run.actor) or Person()
    return {
        "commit": subject(run.head_sha),
        "commit_at": moment(commit.timestamp),
        "title": commit.message or run.display_title,
        "triggered_by": subject(by.login),
        "triggered_by_type": _kind(by),
        "pull_request": _pull_request(run.pull_requests, branch or "", ref),
    }


def _person(actor: Person | ODD) -> Person | None:
    return actor if isinstance(actor, Person) and subject(actor.login) is not None else None


def _kind(by: Person) -> Actor | None:
    if (subject(by.login) or "").endswith(_BOT):
        return Actor.BOT
    return _ACTORS.get(word(by.type) or "")


def _pull_request(listed: Any, branch: str, ref: Ref) -> int | None:
    """The one that a run is of: its queue's, or the only one that is open."""
    if ref is Ref.MERGE_QUEUE:
        queued = _QUEUED.match(branch)
        return None if queued is None else whole(queued[1])
    if ref is not Ref.PULL_REQUEST or not isinstance(listed, list) or len(listed) != 1:
        return None  # a push lists the pull requests of its branch too
    return whole(listed[0].number) if isinstance(listed[0], Pull) else None
