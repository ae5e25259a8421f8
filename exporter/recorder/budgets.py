"""The limits that APIs named, kept over restarts."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from hashlib import blake2b

from exporter.http import Budget
from exporter.http.stored import StoredLimits

log = logging.getLogger(__name__)

_SALT = 16


class Budgets:
    """The budgets of a process by name, and the limits of them that are to be stored.

    A name is a digest of the API and the credential. The state holds a salted digest of the
    name, which leads to no token. `closed` is called when a budget has reached a limit.
    """

    def __init__(self, stored: Iterable[StoredLimits], closed: Callable[[], None]) -> None:
        self._stored = list(stored)
        self._closed = closed
        self._known: dict[bytes, tuple[Budget, bytes]] = {}
        """The budget by name, and the salted digest of the name in the state."""
        self._changed: set[bytes] = set()

    def adopt(self, name: bytes, budget: Budget) -> None:
        """Restore the stored limits of a budget, and store those that it reaches from now on."""
        if name in self._known and self._known[name][0] is budget:
            return
        found = [row for row in self._stored if row.credential == salted(name, row.credential)]
        for row in found:
            budget.restore(row.limits)
        if budget.is_closed:
            log.info(
                "the API's rate limit is not over yet", extra={"seconds": round(budget.delay())}
            )
        fresh = salted(name)
        self._known[name] = budget, found[0].credential if found else fresh

        def closed() -> None:
            self._changed.add(name)
            self._closed()

        budget.closed = closed

    def learn(self, rows: Iterable[StoredLimits]) -> None:
        """Know what others have stored."""
        newer = {row.credential: row for row in rows}
        self._stored = [row for row in self._stored if row.credential not in newer]
        self._stored += newer.values()

    def restore(self, name: bytes) -> None:
        """Restore the limits of a budget that others have used meanwhile."""
        budget, _ = self._known[name]
        for row in self._stored:
            if row.credential == salted(name, row.credential):
                budget.restore(row.limits)

    def changes(self) -> list[StoredLimits]:
        """The limits that were reached since the last call."""
        changed, self._changed = self._changed, set()
        known = (self._known[name] for name in changed)
        return [StoredLimits(credential, budget.limits()) for budget, credential in known]

    def unsaved(self) -> None:
        """Return all limits in force at the next call, as they could not be written."""
        self._changed.update(name for name, (budget, _) in self._known.items() if budget.is_closed)


def salted(name: bytes, salt: bytes | None = None) -> bytes:
    """A digest of a name that leads to no credential; `salt` may be such a digest itself."""
    salt = secrets.token_bytes(_SALT) if salt is None else salt[:_SALT]
    return salt + blake2b(name, key=salt, digest_size=16).digest()
