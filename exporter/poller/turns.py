"""Whose turn it is: the repos of one account in the order they are to be polled."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from itertools import count

from exporter.poller.repo import RepoState


class Turns:
    """The repos that wait, those that are due, and those with more to read than one poll could.

    Of those that are due the one with the earliest deadline comes first. What a repo has left
    of its history comes last, so that it keeps nothing new waiting.
    """

    def __init__(self, repos: Mapping[str, RepoState]) -> None:
        self._repos = repos
        self._waiting: list[tuple[float, int, RepoState]] = []
        self._due: list[tuple[float, int, RepoState]] = []
        self._unfinished: deque[RepoState] = deque()
        self._order = count()

    def wait(self, state: RepoState, due: float) -> None:
        """A repo waits until `due`; monotonic."""
        state.due = due
        heapq.heappush(self._waiting, (due, next(self._order), state))

    def go_on(self, state: RepoState) -> None:
        """A repo waits for room to read more of its history."""
        self._unfinished.append(state)

    def take(self, now: float, *, with_history: bool) -> RepoState | None:
        """The repo whose turn it is; None if it is nobody's."""
        while self._waiting and self._waiting[0][0] <= now:
            self._make_due(heapq.heappop(self._waiting)[2])
        while self._due:
            state = heapq.heappop(self._due)[2]
            if self._is_there(state):
                return state
        while with_history and self._unfinished:
            state = self._unfinished.popleft()
            if self._is_there(state):
                return state
        return None

    def put_back(self, state: RepoState) -> None:
        """Who was taken could not begin."""
        if state.is_unfinished:
            self._unfinished.appendleft(state)
        else:
            self._make_due(state)

    def _make_due(self, state: RepoState) -> None:
        heapq.heappush(self._due, (state.deadline, next(self._order), state))

    def _is_there(self, state: RepoState) -> bool:
        """Whether the account has not dropped it meanwhile."""
        return self._repos.get(state.repo.entry) is state
