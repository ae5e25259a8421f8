"""What was built and who began it, as the actions and the changes of a build tell. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from exporter.model import Actor
from exporter.payload import at, listed, moment, subject, text
from exporter.providers.jenkins import refs


def origin(actions: Any, change_sets: Iterable[Any], branch: str | None) -> dict[str, Any]:
    """What of `branch` was built, and who began it, as fields of a build.

    A commit has its title and its time from the changes since the build before: it has none
    where it was built already.
    """
    changes = [change for one in change_sets for change in listed(at(one, "items"))]
    only = changes[0] if len(changes) == 1 else None
    commit = _commit(actions, branch) or subject(at(only, "commitId"))
    own = (change for change in changes if commit and at(change, "commitId") == commit)
    change = next(own, None)
    by = _person(actions)
    return {
        "commit": commit,
        "commit_at": moment(at(change, "timestamp")),
        "title": subject(at(change, "msg")),
        "triggered_by": by,
        "triggered_by_type": Actor.USER if by else None,
        "pull_request": refs.change_number(branch),
    }


def checkouts(actions: Any) -> Iterator[str]:
    """The refs of all checkouts, the last first: earlier ones are of shared libraries."""
    return (name for revision in _revisions(actions) for name in _names(revision))


def _commit(actions: Any, branch: str | None) -> str | None:
    """The commit of the checkout of `branch`, else of the last one."""
    last = None
    for revision in _revisions(actions):
        commit = subject(at(revision, "SHA1"))
        if commit is not None and any(refs.name_of(name) == branch for name in _names(revision)):
            return commit
        last = last or commit
    return last


def _person(actions: Any) -> str | None:
    """Who began it, where a person did."""
    causes = (cause for action in listed(actions) for cause in listed(at(action, "causes")))
    names = (subject(at(c, "userName")) or subject(at(c, "userId")) for c in causes)
    return next(filter(None, names), None)


def _revisions(actions: Any) -> Iterator[Any]:
    return (at(action, "lastBuiltRevision") for action in reversed(listed(actions)))


def _names(revision: Any) -> Iterator[str]:
    names = (text(at(branch, "name")) for branch in listed(at(revision, "branch")))
    return (name for name in names if name is not None)
