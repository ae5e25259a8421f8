"""What a store offers to several processes that write it: a feed of commits, and leases.

The processes are called workers. A lease says which of them polls an account; it is taken for a
group, the accounts with one credential, and lasts as long as its worker beats. A lease that is
wrong costs requests and never a build: each transaction about an account begins with a look
whether the lease is still ours, and all of them follow each other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from exporter.ledger.rows import Changes

BEATS = 5
"""How often a worker says that it lives, in the time of a lease."""


class News(NamedTuple):
    """What was committed since a turn."""

    turn: int
    """The turn of the last commit."""
    commits: Sequence[Changes]
    """The oldest first; those that changed nothing to be shown are not among them."""


class Feed(Protocol):
    """Reads what was committed, by whomever. Its calls may come from one thread."""

    def read(self, since: int) -> News:
        """What was committed after the turn `since`.

        Raises StateBehind if that is not kept any more, or the server is another one: the
        state must be loaded anew then. Raises StateUnavailable.
        """

    def close(self) -> None:
        """End the connection."""


class WorkerFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker says of itself."""

    version: str = ""
    revision: str = ""
    python: str = ""
    accounts: dict[str, str] = {}
    """The `provider` label of each account in its file."""
    rules: bytes = b""
    """What it would have all go by."""
    reload_ok: bool = True
    reload_at: float = 0.0
    """When its file was last read well, epoch seconds."""


class Worker(NamedTuple):
    """A process that has said lately that it lives."""

    id: str
    name: str
    """Its host's name, for people."""
    started_at: float
    """Epoch seconds, the server's clock."""
    facts: WorkerFacts


class Held(NamedTuple):
    """Who polls an account."""

    worker: str
    epoch: int
    """How often the account has changed hands."""


class Beat(NamedTuple):
    """How things stand."""

    workers: Mapping[str, Worker]
    """Those that live, by id; we are among them."""
    held: Mapping[str, Held]
    """The leases of those that live, by account."""
    shown: int
    """Up to which turn somebody was shown all of the commits."""
    rules: bytes | None
    """What all go by; None before the first worker said so."""

    def accounts_of(self, worker: str) -> list[str]:
        """The accounts that a worker polls, by its id."""
        return sorted(account for account, one in self.held.items() if one.worker == worker)

    @property
    def agreed(self) -> bytes | None:
        """The rules that every living worker has in its file; None while they differ."""
        said = {worker.facts.rules for worker in self.workers.values()}
        return said.pop() if len(said) == 1 else None

    @property
    def is_agreed(self) -> bool:
        """Whether all living workers have the same rules and accounts in their files."""
        files = {
            (worker.facts.rules, *sorted(worker.facts.accounts)) for worker in self.workers.values()
        }
        return len(files) <= 1


class Leases(Protocol):
    """Who polls what. Its calls may come from one thread; each raises StateUnavailable."""

    worker: str
    """Our id."""
    length: float
    """Seconds after which a worker that is silent has lost its leases."""
    held: Mapping[str, int]
    """The epochs of the leases that are ours, as far as we know, by account."""

    def beat(self, facts: WorkerFacts, *, shown: int) -> Beat:
        """Say that we live, and up to which turn somebody was shown everything here."""

    def take(self, accounts: Collection[str]) -> Mapping[str, int]:
        """Take the leases of all these accounts, or of none if a worker that lives has one.

        Returns the epoch of each.
        """

    def give_back(self, accounts: Collection[str]) -> None:
        """Let others have these leases of ours."""

    def leave(self) -> None:
        """Give back everything: this process ends."""


class Shared(NamedTuple):
    """The doors of a store that several processes write."""

    feed: Feed
    leases: Leases
