"""The schedule's knowledge of repos as rows, and back: monotonic instants and wall time.

A wall clock may have been put back or forward between the two. So no instant is restored
further off than it was when it was written, and what is overdue by a forward jump is due.
"""

from __future__ import annotations

import msgspec

from exporter.ledger.polling import RepoPolling
from exporter.providers import Repo
from exporter.schedule.plan import Demand
from exporter.schedule.repo import RepoState
from exporter.sync.activity import Activity
from exporter.sync.notes import RepoNotes


class Instant(msgspec.Struct, frozen=True):
    """The same instant by two clocks."""

    wall: float
    """Epoch seconds."""
    monotonic: float

    def stored(self, at: float) -> float:
        """A monotonic instant in wall time; 0 stays 0."""
        return self.wall + at - self.monotonic if at else 0.0

    def ahead(self, at: float, *, written_at: float = 0.0) -> float:
        """A stored instant that may be yet to come, in monotonic time; now if it has passed."""
        left = min(at - self.wall, at - written_at)
        return self.monotonic + max(left, 0.0)

    def wait(self, until: float, *, written_at: float) -> float:
        """The stored end of a wait, in monotonic time; 0 if it has passed."""
        at = self.ahead(until, written_at=written_at)
        return at if at > self.monotonic else 0.0

    def past(self, at: float, *, written_at: float) -> float:
        """A stored instant that has passed, in monotonic time."""
        return self.monotonic - max(self.wall - at, written_at - at, 0.0)


def repo_row(state: RepoState, wildcard: str | None, now: Instant) -> RepoPolling:
    """What is worth storing of a repo that `wildcard` found."""
    return RepoPolling(
        written_at=now.wall,
        due_at=now.stored(state.due),
        polled_at=now.stored(state.begun_at),
        moved_at=now.stored(state.moved_at),
        interval=state.interval,
        demand=(state.demand.ample, state.demand.scarce, state.demand.longest),
        last_success=state.last_success,
        backoff_until=now.stored(state.backoff_until),
        asked_until=now.stored(state.asked_until),
        failures=state.failures,
        gone=state.gone,
        unread=state.unread,
        is_unfinished=state.is_unfinished,
        error=state.error,
        reason=state.reason,
        advice=state.advice,
        begun=state.notes.activity.begun,
        wildcard=wildcard,
        default_branch=state.repo.default_branch,
    )


def repo_state(row: RepoPolling, entry: str, now: Instant) -> RepoState:
    """A repo as it was when its row was written."""
    due = now.ahead(row.due_at, written_at=row.written_at)
    is_overdue = due <= now.monotonic
    backoff_until = now.wait(row.backoff_until, written_at=row.written_at)
    return RepoState(
        repo=Repo(entry, row.default_branch),
        due=due,
        demand=Demand(*row.demand),
        interval=row.interval,
        moved_at=now.past(row.moved_at, written_at=row.written_at),
        notes=RepoNotes(activity=Activity(begun=dict(row.begun))),
        last_success=row.last_success,
        error=row.error,
        reason=row.reason,
        advice=row.advice,
        failures=row.failures,
        unread=row.unread,
        gone=row.gone,
        is_unfinished=row.is_unfinished,
        # One that is overdue must not look lost.
        begun_at=(
            now.monotonic if is_overdue else now.past(row.polled_at, written_at=row.written_at)
        ),
        backs_off=backoff_until > 0.0,
        backoff_until=backoff_until,
        asked_until=now.wait(row.asked_until, written_at=row.written_at),
    )
