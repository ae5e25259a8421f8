"""What a run of GitHub was for, and who began it. No I/O."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from exporter.model import Actor, Ref
from exporter.payload import moment, subject, whole

ODD = str | int | float | bool | list[Any] | None
"""What may be in the place of an object."""

_ACTORS: dict[Any, Actor] = {
    "User": Actor.USER,
    "Organization": Actor.USER,
    "Bot": Actor.BOT,
}
_BOT = "[bot]"
"""What the logins of Apps end with."""
_QUEUED = re.compile(r"gh-readonly-queue/.+/pr-(\d+)-")
"""The branch that a merge queue makes for a pull request."""


class Person(msgspec.Struct, omit_defaults=True):
    """A user or a bot."""

    login: Any = None
    type: Any = None


class Commit(msgspec.Struct, omit_defaults=True):
    """The commit that a run is of."""

    message: Any = None
    timestamp: Any = None


_NO_COMMIT = Commit()


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

    def shorten(self) -> None:
        """Forget all of its message but the first line, as it is remembered with its list."""
        self.display_title = subject(self.display_title)
        if isinstance(self.head_commit, Commit):
            self.head_commit.message = subject(self.head_commit.message)


def origin(run: Origin, branch: str | None, ref: Ref) -> dict[str, Any]:
    """What was built, and who began it, as fields of a build."""
    commit = run.head_commit if isinstance(run.head_commit, Commit) else _NO_COMMIT
    by, kind = _author(run)
    return {
        "commit": subject(run.head_sha),
        "commit_at": moment(commit.timestamp),
        "title": subject(commit.message) or subject(run.display_title),
        "triggered_by": by,
        "triggered_by_type": kind,
        "pull_request": _pull_request(run.pull_requests, branch or "", ref),
    }


def _author(run: Origin) -> tuple[str | None, Actor | None]:
    for person in (run.triggering_actor, run.actor):
        if isinstance(person, Person) and (login := subject(person.login)) is not None:
            if login.endswith(_BOT):
                return login, Actor.BOT
            return login, _ACTORS.get(person.type) if isinstance(person.type, str) else None
    return None, None


def _pull_request(listed: Any, branch: str, ref: Ref) -> int | None:
    """The one that a run is of: its queue's, or the only one that is open."""
    if ref is Ref.MERGE_QUEUE:
        queued = _QUEUED.match(branch)
        return None if queued is None else whole(queued[1])
    if ref is not Ref.PULL_REQUEST or not isinstance(listed, list) or len(listed) != 1:
        return None  # a push lists the pull requests of its branch too
    return whole(listed[0].number) if isinstance(listed[0], Pull) else None
