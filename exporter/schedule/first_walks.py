"""The first walks of an account's repos: how far they have come, and when they will have ended.

The newest pages of all repos are read first, then the past of each. How much past there is nobody
knows before it is read, so the time that is left is an estimate: of the newest pages by their own
pace, of the past by its own, and of a past of which nothing was read yet by the newest pages.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from exporter.progress import Pace, Progress
from exporter.schedule.budget_group import BudgetGroup
from exporter.schedule.repo import RepoState

log = logging.getLogger(__name__)

_EVERY = 30.0
"""Seconds between two log lines."""
_LEAST_PAGES, _MOST_PAGES = 0.5, 1.0
"""What a past of unknown length is taken for at least and at most, in newest pages."""
_SLOWER = 2.0
"""By how much less of it is read in the same time, as repos that are done have their turn."""


class FirstWalks:
    """Watches the repos of one account until all have caught up."""

    def __init__(self, account: str, repos: Mapping[str, RepoState], group: BudgetGroup) -> None:
        self.progress: Progress | None = None
        """As of the last look; None while no repo catches up."""
        self._account = account
        self._repos = repos
        self._group = group
        self._begin(0.0)

    def _begin(self, now: float) -> None:
        self._began_at = self._logged_at = now
        self._newest, self._past = Pace(), Pace()
        self._is_steady = True
        self._page: float | None = None
        """Seconds that each newest page took, as more of them were read at once."""

    def look(self, now: float, *, logs: bool = True) -> None:
        """See how far it is at `now`, monotonic, and log that every 30 s and at the end."""
        states = list(self._repos.values())
        behind = [state for state in states if state.is_catching_up]
        if not behind:
            if self.progress is not None and logs:
                self._log("caught up", states, now)
            self.progress = None
            self._group.catching_up.discard(self._account)
            return
        if self.progress is None:
            self._begin(now)
        self._group.catching_up.add(self._account)
        done = sum(not s.is_catching_up and s.last_success > 0 for s in states)
        self.progress = Progress(done, len(states), self._seconds_left(states, behind, now))
        if logs and now - self._logged_at >= _EVERY:
            self._logged_at = now
            self._log(f"catching up: {self.progress.text('repos')}", states, now)

    def _log(self, text: str, states: list[RepoState], now: float) -> None:
        failing = sum(state.failures > 0 for state in states)
        facts = {"account": self._account, "repos": len(states), "failing": failing}
        log.info("%s", text, extra={**facts, "seconds": round(now - self._began_at)})

    def _seconds_left(
        self, states: list[RepoState], behind: list[RepoState], now: float
    ) -> float | None:
        unread = sum(state.awaits_newest for state in behind)
        unfinished = [state for state in behind if state.is_unfinished]
        self._is_steady = self._is_steady and not self._group.is_exhausted
        read = len(states) - unread
        self._newest.note(read, now, is_steady=self._is_steady)
        if any(state.reads_past for state in behind):
            self._past.note(sum(s.past_share for s in states), now, is_steady=self._is_steady)
        if unread or self._page is None:
            self._page = self._newest.seconds(1.0, now)
        if self._page is None:
            return None
        with_past = sum(state.is_unfinished or state.past_share > 0 for state in states)
        unknown = (len(behind) - len(unfinished)) * with_past / max(read, 1)
        rest = sum(1.0 - state.past_share for state in unfinished) + unknown
        past = self._past.seconds(rest, now)
        if past is None:
            past = rest * self._page * _pages(unfinished) * _SLOWER
        return unread * self._page + past


def _pages(unfinished: list[RepoState]) -> float:
    """How many pages their past has on the average, if builds were always as many as lately."""
    if not unfinished:
        return _MOST_PAGES
    shares = (max(state.newest_share, 1e-9) for state in unfinished)
    pages = (min(max(1.0 / share - 1.0, _LEAST_PAGES), _MOST_PAGES) for share in shares)
    return sum(pages) / len(unfinished)
