"""The due queue: the repos of one account in the order in which they are polled."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count

from exporter.schedule.repo import RepoState

_Entry = tuple[float, int, RepoState]
"""Due time or deadline in monotonic seconds; the ticket by which the entry is valid; its repo."""


class DueQueue:
    """Repos that are not due yet, those that are, and those that have history left to read.

    Of the due ones that with the earliest deadline comes first. History comes last, so that it
    delays no new build.
    """

    def __init__(self, repos: Mapping[str, RepoState]) -> None:
        self.repos = repos
        self._waiting: list[_Entry] = []
        self._due: list[_Entry] = []
        self._unfinished: deque[_Entry] = deque()
        self._order = count()

    def wait(self, state: RepoState, due: float) -> None:
        """Let a repo be due at `due` (monotonic seconds), in place of its earlier entry."""
        state.due = due
        heapq.heappush(self._waiting, self._entry(due, state))

    def wait_for_room(self, state: RepoState) -> None:
        """Let a repo read more of its history when no other repo is due."""
        self._unfinished.append(self._entry(0.0, state))

    def take(self, now: float, *, with_history: bool) -> RepoState | None:
        """The next repo to poll, removed from the queue; None if none is due.

        It counts as polled from now on, until it waits again or is put back: a poll begins only
        in the loop's next step.
        """
        while self._waiting and self._waiting[0][0] <= now:
            _, ticket, state = heapq.heappop(self._waiting)
            if state.ticket == ticket:
                self._make_due(state)
        while self._due:
            _, ticket, state = heapq.heappop(self._due)
            if self._claim(state, ticket):
                return state
        while with_history and self._unfinished:
            _, ticket, state = self._unfinished.popleft()
            if self._claim(state, ticket):
                return state
        return None

    def put_back(self, state: RepoState) -> None:
        """Return a repo that was taken and could not be polled."""
        state.is_polled = False
        if state.is_unfinished:
            self._unfinished.appendleft(self._entry(0.0, state))
        else:
            self._make_due(state)

    def late(self, now: float, latest: Callable[[RepoState], float]) -> list[RepoState]:
        """Repos that have no entry, or are due later than at `latest` (monotonic seconds)."""
        return [
            state
            for state in self.repos.values()
            if not state.is_polled and (state.ticket is None or state.due > max(now, latest(state)))
        ]

    def _make_due(self, state: RepoState) -> None:
        heapq.heappush(self._due, self._entry(state.deadline, state))

    def _entry(self, at: float, state: RepoState) -> _Entry:
        state.ticket = next(self._order)
        return at, state.ticket, state

    def _claim(self, state: RepoState, ticket: int) -> bool:
        """Remove the entry of a repo; False if it is not valid or the repo is no longer polled."""
        if state.ticket != ticket:
            return False
        state.ticket = None
        state.is_polled = self.repos.get(state.repo.entry) is state
        return state.is_polled
