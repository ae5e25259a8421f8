"""What the schedule has learned, over restarts: saved in batches, and backoff at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from exporter.ledger.polling import PollingChanges, StoredPolling


class PolledAccount(Protocol):
    """An account whose polling is saved."""

    @property
    def is_late(self) -> bool:
        """Whether rows must be written though no transaction is made for another reason."""

    def changes(self, *, whole: bool) -> PollingChanges:
        """What is to be written since the last call; `whole` leaves nothing for later."""

    def unsaved(self, changes: PollingChanges) -> None:
        """Return these at a later call: they could not be written."""


class PollingRows:
    """The polled accounts of a process, and what the state held of them when it was loaded.

    `urgent` is called when something is to be written at once. Where it `is_shared` others may
    poll the accounts as well, and what they have written is known.
    """

    def __init__(self, urgent: Callable[[], None], *, is_shared: bool = False) -> None:
        self.urgent = urgent
        self.is_shared = is_shared
        self.revisions = Counter[str]()
        """How often what others may have written of an account has changed."""
        self._stored: dict[str, StoredPolling] = {}
        self._accounts: dict[str, PolledAccount] = {}

    def add(self, stored: Mapping[str, StoredPolling], accounts: Iterable[str]) -> None:
        """Take in what the state holds of more accounts."""
        self._stored |= {name: stored[name] for name in accounts if name in stored}

    def take(self, account: str) -> StoredPolling | None:
        """What the state held of an account; None the second time, unless others may write it."""
        if self.is_shared:
            return self._stored.get(account)
        return self._stored.pop(account, None)

    def learn(self, account: str, changes: PollingChanges) -> None:
        """Know what was committed of the schedule of an account, by whoever polls it."""
        known = self._stored.get(account)
        about = changes.account or (None if known is None else known.account)
        if about is None:
            return
        repos = {} if known is None else known.repos
        repos.update(changes.repos)
        for entry in changes.dropped:
            repos.pop(entry, None)
        self._stored[account] = StoredPolling(about, repos)
        self.revisions[account] += 1

    def relearn(self, stored: Mapping[str, StoredPolling]) -> None:
        """Know this instead of all that was known."""
        self._stored = dict(stored)
        self.revisions.update(stored.keys())

    def polled(self, account: str) -> set[str]:
        """The repos of an account that are polled and there, as was committed."""
        stored = self._stored.get(account)
        return set() if stored is None else {e for e, row in stored.repos.items() if row.is_there}

    def join(self, account: str, polled: PolledAccount) -> None:
        """Save the polling of an account from now on."""
        self._accounts[account] = polled

    def leave(self, account: str, polled: PolledAccount) -> None:
        """Save it no longer, unless another poller of that account has joined meanwhile."""
        if self._accounts.get(account) is polled:
            del self._accounts[account]

    def changes(self, *, whole: bool) -> dict[str, PollingChanges]:
        """What is to be written now, by account; all of it if the `whole` is wanted."""
        found = {
            name: polled.changes(whole=whole)
            for name, polled in self._accounts.items()
            if whole or polled.is_late
        }
        return {name: changes for name, changes in found.items() if changes}

    def changes_of(self, account: str, *, whole: bool = False) -> dict[str, PollingChanges]:
        """What may be written with a transaction about the account that is made anyway."""
        polled = self._accounts.get(account)
        changes = polled.changes(whole=whole) if polled is not None else None
        return {account: changes} if changes else {}

    def unsaved(self, changes: Mapping[str, PollingChanges]) -> None:
        """Return these at a later call: they could not be written."""
        for name, rows in changes.items():
            if name in self._accounts:
                self._accounts[name].unsaved(rows)
