"""What the result of a poll means for its repo and for the account."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from time import monotonic

from exporter.errors import Malformed, ProviderError, TryLater
from exporter.model import Build
from exporter.schedule.health import AccountHealth
from exporter.schedule.repo import RepoState, demand_after_failure, demand_for
from exporter.sync.activity import Span
from exporter.sync.repo_sync import RepoSync

_MANY, _LONG = 10, 20.0
"""Repos that fail in a row, and seconds in which they do, until the whole account fails."""


class Outcome:
    """Records the results of the polls of one account."""

    def __init__(self, health: AccountHealth, span: Span, repos: Mapping[str, RepoState]) -> None:
        self._health = health
        self.span = span
        self._repos = repos
        self._failing: set[str] = set()
        self._in_a_row: set[str] = set()
        self._row_began = 0.0

    def succeeded(
        self, state: RepoState, poll: RepoSync, active: Iterable[Build], *, now: float
    ) -> None:
        """Record a poll that read the repo, or parts of it. `now` is the provider's clock."""
        at = monotonic()
        if not state.reads_past and (poll.moved or not state.last_success):
            state.moved_at = at
        state.succeeded(time.time())
        self._note_share(state, poll)
        state.is_unfinished = poll.is_unfinished
        self._show_unread(state, poll.unread)
        state.demand = demand_for(self.span, state, active, at=at, now=now)
        self._failing.discard(state.repo.entry)
        self._in_a_row.clear()
        self._health.recovered()

    @staticmethod
    def _note_share(state: RepoState, poll: RepoSync) -> None:
        """Note how much of the time that a first walk reads has been."""
        if not state.reads_past:
            state.newest_share = poll.share_read
        elif poll.is_unfinished:
            rest = 1.0 - state.newest_share
            read = (poll.share_read - state.newest_share) / rest if rest > 0 else 0.0
            state.past_share = max(state.past_share, read)
        else:
            state.past_share = 1.0

    def failed(self, state: RepoState, error: ProviderError) -> None:
        """Record a poll that failed, and that the account does if the error is of all of it."""
        if not error.account_wide:  # else it is logged once, for the account
            self._health.log("a poll failed", error, repo=state.repo.entry)
        state.failed(error, monotonic())
        state.demand = demand_after_failure(self.span, error, state.failures)
        self._failing.add(state.repo.entry)
        if (
            error.account_wide
            or self._failing >= self._repos.keys()
            or self._is_one_of_many(state, error)
        ):
            self._health.failed(error, now=time.time())

    def broke_down(self, state: RepoState, error: Exception) -> None:
        """Record a poll that a bug has ended: the repo is polled again like a failing one."""
        kind = type(error).__name__
        self._health.log_bug(f"a poll broke down with {kind}", error, repo=state.repo.entry)
        text = f"the poll broke down ({kind}): this is a bug, please report it with the log"
        self.failed(state, Malformed(text, reason="bad_shape"))

    def _is_one_of_many(self, state: RepoState, error: ProviderError) -> bool:
        """Whether many repos have failed in a row with errors that may pass."""
        if not isinstance(error, TryLater):
            return False
        if not self._in_a_row:
            self._row_began = monotonic()
        self._in_a_row.add(state.repo.entry)
        return len(self._in_a_row) >= _MANY and monotonic() - self._row_began >= _LONG

    def _show_unread(self, state: RepoState, unread: Mapping[str, ProviderError]) -> None:
        """Show which parts of a repo could not be read while the others could."""
        state.unread = len(unread)
        if not unread:
            return
        part, error = next(iter(unread.items()))
        more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
        state.error, state.reason = f"{part} cannot be read: {error}{more}", error.reason
        self._health.log(
            "a part of a repo cannot be read", error, repo=state.repo.entry, part=f"{part}{more}"
        )
