"""What the workflows of a repo are called, by what identifies them.

A run's own `name` says nothing: it is the run's title where the workflow sets `run-name`, and
Dependabot fills it with what it updates.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from exporter.errors import ProviderError
from exporter.payload import moment, text, whole
from exporter.providers.github.listed import ListPage

_FILE = re.compile(r".+?\.ya?ml(?=@|$)")
"""The path of a workflow's file, up to the branch that a run's `path` may end with."""
_FOR_NOW, _TODAY = 300.0, 3600.0
"""Seconds before a list that failed is asked for again, and one that was read where there are
new runs: a workflow may have got another name."""


class Workflow(msgspec.Struct):
    """A workflow in the list of a repo."""

    id: int
    name: Any = None
    """Its path where it has none, or where GitHub cannot read the file."""
    path: Any = None
    state: Any = None
    created_at: Any = None


class Workflows(ListPage[Workflow]):
    """A page of workflows."""

    workflows: list[msgspec.Raw]

    def __post_init__(self) -> None:
        self.decode("workflows", Workflow)


class Names:
    """The `workflow` labels of a repo: pure in what its list says, so the same after a restart."""

    def __init__(self, listed: Iterable[Workflow] = ()) -> None:
        self._labels: dict[int, str] = {}
        taken: set[str] = set()
        for workflow in sorted(listed, key=_rank):
            label = _name(workflow)
            file = file_of(workflow.path)
            for more in (file, str(workflow.id)):
                if label in taken:
                    label = f"{label} ({more})"
            taken.add(label)
            self._labels[workflow.id] = label
        self._taken = frozenset(taken)

    def __contains__(self, number: int) -> bool:
        return number in self._labels

    def label(self, workflow_id: Any, path: Any) -> str:
        """The name of the workflow; where the list lacks it, its file's name.

        A file of that name in another repo (a required workflow) is told apart by its path.
        """
        known = self._labels.get(whole(workflow_id) or 0)
        if known is not None:
            return known
        file = file_of(path)
        return _path(path) if file in self._taken else file


class Shelf(msgspec.Struct):
    """What is known of the workflows of one repo. Times are monotonic."""

    names: Names = msgspec.field(default_factory=Names)
    error: ProviderError | None = None
    """Why the list could not be read the last time."""
    asked_at: float | None = None
    _lacking: frozenset[int] = frozenset()
    """Workflows of runs that the list did not have."""

    def is_due(self, ids: Collection[int], *, is_new: bool, now: float) -> bool:
        """Whether to ask for the list, given the workflows of a page of runs."""
        if self.asked_at is None or not ids:
            return bool(ids)
        if self.error is not None:
            return now - self.asked_at >= _FOR_NOW
        is_news = any(number not in self.names and number not in self._lacking for number in ids)
        return is_news or (is_new and now - self.asked_at >= _TODAY)

    def put(self, listed: Iterable[Workflow] | None, ids: Collection[int], *, now: float) -> None:
        """Take a list that was read for the workflows of a page of runs; None if there is none."""
        if listed is not None:
            self.names = Names(listed)
        self.error, self.asked_at = None, now
        self._lacking = frozenset(number for number in ids if number not in self.names)

    def fail(self, error: ProviderError, *, now: float) -> None:
        """Go on with what is known, as the list cannot be read for now."""
        self.error, self.asked_at = error, now


def file_of(path: Any) -> str:
    """The name of a workflow's file (`ci.yml`), or the last part of a path without one."""
    return _path(path).rpartition("/")[2]


def _path(path: Any) -> str:
    full = text(path) or ""
    file = _FILE.match(full)
    return full.partition("@")[0] if file is None else file[0]


def _name(workflow: Workflow) -> str:
    name = text(workflow.name) or ""
    return file_of(workflow.path) if not name or name == text(workflow.path) else name


def _rank(workflow: Workflow) -> tuple[bool, float, int]:
    """The oldest first; those whose file is gone last, for another may have taken its place."""
    gone = text(workflow.state) == "deleted"
    return gone, moment(workflow.created_at) or 0.0, workflow.id
