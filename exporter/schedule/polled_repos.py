"""The repos of one account: which ones are polled, and when each of them is due."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from time import monotonic

from exporter.ledger.polling import StoredPolling
from exporter.providers import Provider, Repo
from exporter.schedule.account_rows import AccountRows
from exporter.schedule.budget_group import BudgetGroup
from exporter.schedule.discovery import Discovery
from exporter.schedule.due_queue import DueQueue
from exporter.schedule.health import AccountHealth
from exporter.schedule.plan import Demand
from exporter.schedule.repo import RepoState
from exporter.schedule.stored import Instant, repo_state
from exporter.sync.activity import Span

_SPREAD = 0.1
"""Seconds between the first polls of an account's repos."""


class PolledRepos:
    """The schedule of one account's repos."""

    def __init__(
        self,
        account: Provider,
        group: BudgetGroup,
        span: Span,
        *,
        health: AccountHealth,
        discovery: Discovery,
    ) -> None:
        self.by_entry: dict[str, RepoState] = {}
        self.queue = DueQueue(self.by_entry)
        self.rows = AccountRows(account, group, span, health, discovery, self.by_entry)
        self._span = span
        self._discovery = discovery
        self._known: dict[str, RepoState] = {}
        """Repos that are polled as before if they are found again."""
        self._made_at = monotonic()
        self.adopt(discovery.named())

    def inherit(self, old: PolledRepos, *, is_same: bool) -> None:
        """Go on with the repos of the same account under other keys.

        What was asked holds only if the API `is_same`, reached with the same credential.
        """
        self._known = old.by_entry
        for state in old.by_entry.values():
            if not is_same:
                state.asked_until = 0.0
            state.retry(self._span, monotonic(), is_other=old._span != self._span)
        before = [state.repo for state in old.by_entry.values()]
        self.by_entry.clear()
        self.adopt(self._discovery.inherit(old._discovery, before))

    def change(self, span: Span) -> None:
        """Go by other intervals; what backs off is due now, unless its API asked to wait."""
        is_other = span != self._span
        self._span = self.rows.span = span
        for state in self.by_entry.values():
            state.retry(span, monotonic(), is_other=is_other)
        self._line_up(entry for entry, state in self.by_entry.items() if not state.is_polled)

    def restore(self, stored: StoredPolling, now: Instant, *, is_same: bool) -> None:
        """Go on as the state says that another process has ended.

        Repos keep their due times, but one of them is due at once, to see how the account is.
        With other credentials, as `is_same` says, what backs off is due too.
        """
        self._made_at = monotonic()
        is_other = stored.account.span != (self._span.interval, self._span.longest)
        for entry, row in stored.repos.items():
            self._known[entry] = state = repo_state(row, entry, now)
            if not is_same:
                state.asked_until = 0.0
            if not is_same or is_other:
                state.retry(self._span, now.monotonic, is_other=is_other)
        found = self._discovery.recall(stored, now)
        self.by_entry.clear()
        self.adopt(found)
        self.rows.drop(stored.repos.keys() - found.keys())
        states = self.by_entry.values()
        waiting = (s for s in states if not s.backoff_until)
        probe = min(waiting, key=lambda state: state.due, default=None)
        if probe is not None:
            self.wait(probe, min(probe.due, now.monotonic))

    def mirror(self, stored: StoredPolling, now: Instant, targets: Mapping[str, int]) -> None:
        """Look as another process has written that polls them; `targets` are by entry."""
        self.by_entry.clear()
        for entry, row in stored.repos.items():
            state = self.by_entry[entry] = repo_state(row, entry, now)
            state.target = targets.get(entry)

    def begin(self) -> None:
        """Count due times from now on: the rounds have begun."""
        late = monotonic() - self._made_at
        for state in self.by_entry.values():
            self.wait(state, state.due + late)

    def adopt(self, found: Mapping[str, Repo]) -> None:
        """Poll these repos from now on, and no others."""
        now = monotonic()
        for entry in self.by_entry.keys() - found.keys():
            del self.by_entry[entry]
            self.rows.drop([entry])
        fresh, interval = [e for e in found if e not in self.by_entry], self._span.interval
        demand = Demand(interval, interval, self._span.longest)
        for entry in fresh:
            new = RepoState(found[entry], now, demand, interval, now, begun_at=now)
            self.by_entry[entry] = self._known.pop(entry, new)
        self._line_up(fresh)
        for entry, state in self.by_entry.items():
            state.repo = found[entry]

    def _line_up(self, entries: Iterable[str]) -> None:
        """Let repos wait for their next polls; of what is overdue not all begin at once."""
        now, turn = monotonic(), 0
        # Spread by hash, so that a restart or a second exporter does not poll in the same order.
        for entry in sorted(entries, key=lambda entry: zlib.crc32(entry.encode())):
            state = self.by_entry[entry]
            self.rows.touch(entry)
            if state.due <= now or state.is_catching_up:
                state.due, turn = now + min(turn * _SPREAD, self._span.interval), turn + 1
            self.wait(state, state.due)

    def hasten(self, state: RepoState) -> None:
        """Let a repo be due now, or once more after the poll that is under way."""
        if state.is_hastened:
            return
        state.is_hastened = True
        if not state.is_polled:
            self.wait(state, min(state.due, monotonic()))

    def wait(self, state: RepoState, due: float) -> None:
        """Let a repo be due at `due` (monotonic seconds), or when its backoff is over."""
        self.queue.wait(state, max(due, state.backoff_until))
