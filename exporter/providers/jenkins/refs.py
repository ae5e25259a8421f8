"""Parses branches from the names of branch jobs and from the refs of checkouts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from exporter.model import Ref
from exporter.payload import whole

_CHANGE_JOB = re.compile(r"(?:PR|MR)-(\d+)(?:-(?:head|merge))?")
"""A branch job of a pull request: GitHub, Bitbucket and Gitea say PR, GitLab says MR; the suffix
is there where both the head and its merge with the target are built."""
_CHANGE = re.compile(
    r"(?:pull|pr|pull-requests|merge-requests)/(\d+)(?:/(?:head|merge|from|to))?"
    r"|changes/\d+/(\d+)/\d+"  # Gerrit
)
_REMOTE = re.compile(r"(?:refs/)?remotes/[^/]+/|(?:origin|upstream)/")
_LOCAL = "heads/"
_TAG = "tags/"
_NOWHERE = frozenset({"detached", "HEAD", "(no branch)"})
"""In place of a branch's name where a revision was checked out by its hash."""


def of_branch_job(name: str, checked_out: Iterable[str]) -> tuple[str, Ref]:
    """The branch of a branch job of a multibranch job, and its kind.

    The job of a tag is named like the tag alone; its checkout may say which it is.
    """
    if _CHANGE_JOB.fullmatch(name) or _CHANGE.fullmatch(name):
        return name, Ref.PULL_REQUEST
    is_tag = any(_ref(each) == (name, Ref.TAG) for each in checked_out)
    return name, Ref.TAG if is_tag else Ref.BRANCH


def of_checkout(names: Iterable[str]) -> tuple[str | None, Ref]:
    """The branch of a checkout: the first that is named, as in the variable `GIT_BRANCH`."""
    found = (_ref(name) for name in names)
    return next((ref for ref in found if ref[0] not in _NOWHERE), (None, Ref.BRANCH))


def name_of(checked_out: str) -> str:
    """The name of what a checkout calls so."""
    return _ref(checked_out)[0]


def change_number(name: str | None) -> int | None:
    """The number of the pull request that a branch job or a ref is named after."""
    change = _CHANGE_JOB.fullmatch(name or "") or _CHANGE.fullmatch(name or "")
    return None if change is None else whole(next(filter(None, change.groups())))


def _ref(name: str) -> tuple[str, Ref]:
    """A ref in any of its spellings, without its remote's name.

    The remote is what follows `remotes/`; where that is left out, only the two names that
    are conventional are taken for one, for `release/1.0` may be a branch.
    """
    remote = _REMOTE.match(name)
    short = name[remote.end() :] if remote else name.removeprefix("refs/")
    if short.startswith(_LOCAL) and not remote:
        return short.removeprefix(_LOCAL), Ref.BRANCH
    if short.startswith(_TAG):
        return short.removeprefix(_TAG), Ref.TAG
    is_change = _CHANGE.fullmatch(short) or _CHANGE_JOB.fullmatch(short)
    return short, Ref.PULL_REQUEST if is_change else Ref.BRANCH
