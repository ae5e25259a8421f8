"""An account in trouble: how long it is left alone, and what is said of it."""

from __future__ import annotations

import logging
import math
from time import monotonic

from exporter.errors import ProviderError, TryLater

log = logging.getLogger(__name__)

_FIRST_REST, _LAST_REST = 15.0, 300.0
"""Seconds that an account in trouble is left alone, doubling."""
_REPEAT = 300.0
"""Seconds in which one kind of trouble of an account is logged once."""


class Trouble:
    """The health of one account as a whole."""

    def __init__(self, account: str, *, interval: float) -> None:
        self.up = False
        self.error: str | None = None
        self.reason: str | None = None
        self.advice: str | None = None
        """What a person can do, where that is not what the reason alone suggests."""
        self.since: float | None = None
        """Epoch seconds."""
        self.rest_until = 0.0
        """Until then the account is left alone; monotonic."""
        self._account = account
        self._first_rest = min(_FIRST_REST, interval)
        self._rest = self._first_rest
        self._told: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def inherit(self, old: Trouble) -> None:
        """Go on as the same account with other keys: it is tried again, but by one repo alone."""
        self.up, self.error, self.reason, self.since = old.up, old.error, old.reason, old.since
        self.advice = old.advice

    def over(self) -> None:
        """A poll went well."""
        if self.error is not None:
            log.info("the account is fine again", extra={"account": self._account})
            self._told.clear()
        self.up, self.error, self.reason, self.since = True, None, None, None
        self.advice = None
        self._rest = self._first_rest
        if self.rest_until < math.inf:
            self.rest_until = 0.0

    def met(self, error: ProviderError, *, now: float) -> None:
        """The account as a whole fails: leave it alone for a while. `now` is epoch seconds."""
        if self.up or self.since is None:
            self.since = now
        if self.error is None or self.reason != error.reason:
            log.error(
                "the account is down: %s",
                error,
                extra={"account": self._account, "reason": error.reason},
            )
        self.up, self.error, self.reason = False, str(error), error.reason
        self.advice = error.advice
        delay = error.delay if isinstance(error, TryLater) and error.delay else self._rest
        self._rest = min(self._rest * 2, _LAST_REST)
        self.rest_until = max(self.rest_until, monotonic() + delay)

    def tell(self, text: str, error: ProviderError, **where: str) -> None:
        """Log a failure, but each kind of it once in a while, with how many were left out."""
        now = monotonic()
        kind = f"{text} {error.reason}"
        if now - self._told.get(kind, -math.inf) < _REPEAT:
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return
        self._told[kind] = now
        extra: dict[str, object] = {"account": self._account, **where, "reason": error.reason}
        more = self._untold.pop(kind, 0)
        if more:
            extra["not_logged"] = more
        log.warning(f"{text}: %s", error, extra=extra)  # noqa: G004 - a fixed text of ours
