"""The due queue: the repos of one account in the order in which they are polled."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count

from exporter.schedule.repo import RepoState

_Entry = tuple[float, int, RepoState]
"""Due time or deadline in monotonic seconds; the ticket by which the entry is valid; its repo."""


class DueQueue:
    """Repos that are not due yet, those that are, and those whose past is left to read.

    Of the due ones that with the earliest deadline comes first, and those whose newest page was
    never read come after the others, which have their turn meanwhile. The past of a repo comes
    last, once the newest pages of all have been read, so that it delays no new build.
    """

    def __init__(self, repos: Mapping[str, RepoState]) -> None:
        self.repos = repos
        self._waiting: list[_Entry] = []
        self._due: list[_Entry] = []
        self._new: list[_Entry] = []
        """Due as well, but their newest page was never read."""
        self._unfinished: dict[str, RepoState] = {}
        """In the order in which their past is read, one repo to the end before the next."""
        self._order = count()

    def wait(self, state: RepoState, due: float) -> None:
        """Let a repo be due at `due` (monotonic seconds), in place of its earlier entry."""
        state.due = due
        heapq.heappush(self._waiting, self._entry(due, state))

    def wait_for_room(self, state: RepoState) -> None:
        """Let a repo read its past, beside being due, when no other repo is."""
        self._unfinished.setdefault(state.repo.entry, state)

    def take(self, now: float, *, with_past: bool, past_first: bool = False) -> RepoState | None:
        """The next repo to poll, removed from the queue; None if none is due.

        The past is read only `with_past`. With `past_first` it is preferred, and so are repos
        that were never polled, to those that are polled in their turn.

        It counts as polled from now on, until it waits again or is put back: a poll begins only
        in the loop's next step.
        """
        while self._waiting and self._waiting[0][0] <= now:
            _, ticket, state = heapq.heappop(self._waiting)
            if state.ticket == ticket:
                self._make_due(state)
        in_turn, new = partial(self._first, self._due, now), partial(self._first, self._new, now)
        past = partial(self._past, now, is_wanted=with_past)
        order = (new, past, in_turn) if past_first else (in_turn, new, past)
        return next((found for one in order if (found := one()) is not None), None)

    def _first(self, due: list[_Entry], now: float) -> RepoState | None:
        while due:
            _, ticket, state = heapq.heappop(due)
            if state.ticket == ticket and self._is_polled(state):
                return self._taken(state, now, past=False)
        return None

    @staticmethod
    def _taken(state: RepoState, now: float, *, past: bool) -> RepoState:
        state.ticket, state.is_polled, state.taken_at = None, True, now
        state.reads_past = past
        return state

    def _past(self, now: float, *, is_wanted: bool) -> RepoState | None:
        if not is_wanted or not self._unfinished:
            return None
        if any(state.holds_up_the_past(now) for state in self.repos.values()):
            return None
        for state in list(self._unfinished.values()):
            if not state.is_unfinished or not self._is_polled(state):
                del self._unfinished[state.repo.entry]
            elif state.ticket is not None and now >= max(
                state.past_rests_until, state.backoff_until
            ):
                return self._taken(state, now, past=True)
        return None

    def is_late(self, now: float) -> bool:
        """Whether a repo that is polled in its turn has waited for a whole interval more."""
        return bool(self._due) and now - self._due[0][0] > self._due[0][2].interval

    def put_back(self, state: RepoState) -> None:
        """Return a repo that was taken and could not be polled."""
        state.is_polled = False
        if state.reads_past:
            self.wait(state, state.due)
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
        due = self._new if state.awaits_newest else self._due
        heapq.heappush(due, self._entry(state.deadline, state))

    def _entry(self, at: float, state: RepoState) -> _Entry:
        state.ticket = next(self._order)
        return at, state.ticket, state

    def _is_polled(self, state: RepoState) -> bool:
        return self.repos.get(state.repo.entry) is state
