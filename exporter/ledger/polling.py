"""Rows of the schedule: what it must know after a restart to go on where it stood.

Instants are epoch seconds by our clock, durations are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

GONE = 3
"""Polls in a row that must not have found a repo before it counts as gone."""


class RepoPolling(msgspec.Struct, frozen=True, array_like=True):
    """One polled repo."""

    written_at: float
    due_at: float
    """When its next poll is due."""
    polled_at: float
    """When its last poll began, or when the repo was added."""
    moved_at: float
    """When a poll last brought news, or when the repo was added."""
    interval: float
    """The polling interval in force."""
    demand: tuple[float, float, float]
    """The intervals that it is worth: with requests to spare, without, and the longest."""
    last_success: float = 0.0
    """When it was last polled to the end; 0 if never."""
    backoff_until: float = 0.0
    """No poll before then, as the last one failed; 0 if there is nothing to wait for."""
    failures: int = 0
    """Polls in a row that failed."""
    gone: int = 0
    """Polls in a row that did not find the repo."""
    unread: int = 0
    """Parts that the last poll could not read."""
    is_unfinished: bool = False
    """Whether the last poll had more to read than it could."""
    error: str | None = None
    reason: str | None = None
    advice: str | None = None
    begun: dict[str, float] = {}
    """Creation times of its latest builds, by build key."""
    wildcard: str | None = None
    """The wildcard of `repos` that found it; None for an entry of its own."""
    default_branch: str | None = None
    """As discovery reported it."""
    asked_until: float = 0.0
    """No poll before then, as the API asked; 0 if it did not."""

    @property
    def is_there(self) -> bool:
        """Whether it was found lately."""
        return self.gone < GONE


class AccountPolling(msgspec.Struct, frozen=True, array_like=True):
    """One account as a whole."""

    written_at: float
    identity: bytes
    """A salted digest of the API, the credential and the way there."""
    span: tuple[float, float]
    """Its configured intervals, the shortest and the longest."""
    backoff_until: float = 0.0
    """No request before then; 0 if the account does not back off."""
    backoff: float = 0.0
    """How long the next backoff will be; 0 if the account is well."""
    since: float | None = None
    """Since when it fails."""
    error: str | None = None
    reason: str | None = None
    advice: str | None = None
    wildcards: tuple[str, ...] = ()
    """Those that the last discovery was for."""
    discovered_at: float = 0.0
    """When the last discovery ended; 0 if there was none."""
    unresolved: dict[str, str] = {}
    """What was wrong with wildcards that it could not resolve, by wildcard."""
    unmatched: dict[str, str] = {}
    """What is to be said of wildcards that matched nothing, by wildcard."""
    asked_until: float = 0.0
    """No request before then, as the API asked; 0 if it did not."""


class StoredPolling(NamedTuple):
    """What the state holds of one account's polling."""

    account: AccountPolling
    repos: dict[str, RepoPolling]
    """By entry."""


class PollingChanges(NamedTuple):
    """Rows of one account's polling to write and to delete."""

    account: AccountPolling | None
    """None if it is as it was last written."""
    repos: dict[str, RepoPolling]
    dropped: Iterable[str] = ()
    """Entries that are no longer polled."""

    def __bool__(self) -> bool:
        return self.account is not None or bool(self.repos) or bool(self.dropped)
