"""Whose turn it is: the repos of one account in the order they are to be polled."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count

from exporter.schedule.repo import RepoState

_Entry = tuple[float, int, RepoState]
"""When, monotonic, or how soon; the ticket that makes it valid; whose."""


class DueQueue:
    """The repos that wait, those that are due, and those with more to read than one poll could.

    Of those that are due the one with the earliest deadline comes first. What a repo has left
    of its history comes last, so that it keeps nothing new waiting.
    """

    def __init__(self, repos: Mapping[str, RepoState]) -> None:
        self.repos = repos
        self._waiting: list[_Entry] = []
        self._due: list[_Entry] = []
        self._unfinished: deque[_Entry] = deque()
        self._order = count()

    def wait(self, state: RepoState, due: float) -> None:
        """A repo waits until `due`; monotonic. Where it has stood before counts no longer."""
        state.due = due
        heapq.heappush(self._waiting, self._entry(due, state))

    def wait_for_room(self, state: RepoState) -> None:
        """A repo waits for room to read more of its history."""
        self._unfinished.append(self._entry(0.0, state))

    def take(self, now: float, *, with_history: bool) -> RepoState | None:
        """The repo whose turn it is; None if it is nobody's."""
        while self._waiting and self._waiting[0][0] <= now:
            _, ticket, state = heapq.heappop(self._waiting)
            if state.ticket == ticket:
                self._make_due(state)
        while self._due:
            _, ticket, state = heapq.heappop(self._due)
            if self._stands(state, ticket):
                return state
        while with_history and self._unfinished:
            _, ticket, state = self._unfinished.popleft()
            if self._stands(state, ticket):
                return state
        return None

    def put_back(self, state: RepoState) -> None:
        """Who was taken could not begin."""
        if state.is_unfinished:
            self._unfinished.appendleft(self._entry(0.0, state))
        else:
            self._make_due(state)

    def late(self, now: float, latest: Callable[[RepoState], float]) -> list[RepoState]:
        """Repos that stand in no line, or wait longer than until `latest`; monotonic."""
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

    def _stands(self, state: RepoState, ticket: int) -> bool:
        """Take a repo out of the line, unless it stands elsewhere or was dropped meanwhile."""
        if state.ticket != ticket:
            return False
        state.ticket = None
        return self.repos.get(state.repo.entry) is state
