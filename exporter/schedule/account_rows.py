"""The rows of one account's polling: which of them must be written, and what they say."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from time import monotonic

from exporter.ledger.polling import AccountPolling, PollingChanges
from exporter.providers import Provider
from exporter.recorder.budgets import salted
from exporter.schedule.budget_group import BudgetGroup
from exporter.schedule.discovery import Discovery
from exporter.schedule.health import AccountHealth
from exporter.schedule.repo import RepoState
from exporter.schedule.stored import Instant, repo_row
from exporter.sync.activity import Span

_OLD = 60.0
"""Seconds after which the row of a repo that was polled again is written again."""
_PATIENCE = 300.0
"""Seconds that rows wait for a transaction which is made anyway; a restart after a crash polls
the repos again whose rows have waited."""


class AccountRows:
    """What has changed of an account since its rows were written."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that they say
        self,
        provider: Provider,
        group: BudgetGroup,
        span: Span,
        health: AccountHealth,
        discovery: Discovery,
        repos: Mapping[str, RepoState],
    ) -> None:
        self._repos = repos
        self.span = span
        self._health = health
        self._discovery = discovery
        self.identity = repr((group.name, provider.ca_file, provider.proxy)).encode()
        """The API, the credential and the way there."""
        self._salted = salted(self.identity)
        self._is_dirty = True
        self._dirty: set[str] = set()
        self._waits_since: float | None = monotonic()
        self._is_urgent = False
        self._dropped: set[str] = set()

    def is_same(self, row: AccountPolling) -> bool:
        """Whether an account was reached with the same credential in the same way."""
        is_same = row.identity == salted(self.identity, row.identity)
        if is_same:
            self._salted = row.identity
        return is_same

    @property
    def is_late(self) -> bool:
        """Whether rows must be written though no transaction is made for another reason."""
        waits = self._waits_since is not None and monotonic() - self._waits_since >= _PATIENCE
        return waits or self._is_urgent

    def touch(self, entry: str | None = None) -> None:
        """A repo has changed, or the account itself."""
        if entry is None:
            self._is_dirty = True
        else:
            self._dirty.add(entry)
        if self._waits_since is None:
            self._waits_since = monotonic()

    def hurry(self) -> None:
        """What has changed must be written at once."""
        self._is_urgent = True

    def drop(self, entries: Iterable[str]) -> None:
        """Repos are no longer polled."""
        self._dropped.update(entries)

    def changes(self, *, whole: bool) -> PollingChanges:
        """The rows to write, each only once.

        Those of repos that are polled very often wait for a while unless the `whole` is wanted:
        what they say is over soon.
        """
        now, repos = Instant(time.time(), monotonic()), self._repos
        dirty = {
            entry: state
            for entry in self._dirty
            if (state := repos.get(entry)) is not None
            and (whole or state.backoff_until or _is_old(state, now.monotonic))
        }
        dropped, self._dropped = self._dropped - repos.keys(), set()
        account, self._is_dirty = self._row(now) if self._is_dirty else None, False
        self._dirty = (self._dirty & repos.keys()) - dirty.keys()
        self._waits_since, self._is_urgent = now.monotonic if self._dirty else None, False
        rows = {}
        for entry, state in dirty.items():
            rows[entry] = repo_row(state, self._discovery.found_by.get(entry), now)
            state.saved_at = now.monotonic
        return PollingChanges(account, rows, dropped)

    def unsaved(self, changes: PollingChanges) -> None:
        """Return these at a later call: they could not be written."""
        self._waits_since = monotonic()
        self._is_dirty = self._is_dirty or changes.account is not None
        self._dirty.update(changes.repos)
        self._dropped.update(changes.dropped)

    def _row(self, now: Instant) -> AccountPolling:
        health, discovery = self._health, self._discovery
        return AccountPolling(
            written_at=now.wall,
            identity=self._salted,
            span=(self.span.interval, self.span.longest),
            backoff_until=now.stored(health.backoff_until),
            asked_until=now.stored(health.asked_until),
            backoff=health.backoff,
            since=health.since,
            error=health.error,
            reason=health.reason,
            advice=health.advice,
            wildcards=discovery.wildcards,
            discovered_at=now.stored(discovery.ended_at or 0.0) if discovery.wildcards else 0.0,
            unresolved=discovery.unresolved,
            unmatched=discovery.unmatched,
        )


def _is_old(state: RepoState, now: float) -> bool:
    """Whether its row was written long enough ago, or never."""
    return state.saved_at is None or now - state.saved_at >= _OLD
