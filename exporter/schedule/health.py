"""The health of an account: how long it backs off, and what is logged about it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from time import monotonic

from exporter.errors import ProviderError, TryLater
from exporter.ledger.polling import AccountPolling

log = logging.getLogger(__name__)

_FIRST_BACKOFF, _LAST_BACKOFF = 15.0, 300.0
"""Seconds of the first and the longest backoff of a failing account; each is twice the last."""
_REPEAT = 300.0
"""Seconds in which errors of one kind are logged once for an account."""

_MOST_KINDS = 1000
"""Kinds of errors whose last log line is remembered."""


class AccountHealth:
    """The health of one account as a whole."""

    def __init__(self, account: str, *, interval: float) -> None:
        self.up = False
        self.error: str | None = None
        self.reason: str | None = None
        self.advice: str | None = None
        """What to do about the error, where the reason alone does not say it."""
        self.since: float | None = None
        """When it began to fail; epoch seconds."""
        self.backoff_until = 0.0
        """No request before then; monotonic seconds."""
        self.asked_until = 0.0
        """No request before then, as the API asked; monotonic seconds."""
        self.changed: Callable[[], None] = lambda: None
        """Called when the account has failed or has recovered."""
        self._account = account
        self._first_backoff = min(_FIRST_BACKOFF, interval)
        self._backoff = self._first_backoff
        self._down_is_logged = False
        self._logged_at: dict[str, float] = {}
        self._not_logged: dict[str, int] = {}

    def inherit(self, old: AccountHealth, *, is_same: bool) -> None:
        """Go on as the same account with other keys, which is polled again by one repo at first.

        What was asked holds only if the API `is_same`, reached with the same credential.
        """
        self.up, self.error, self.reason, self.since = old.up, old.error, old.reason, old.since
        self.advice = old.advice
        self.asked_until = old.asked_until if is_same else 0.0
        self.retry_at_once()

    @property
    def backoff(self) -> float:
        """Seconds of the next backoff; 0 while the account is well."""
        return 0.0 if self.error is None else self._backoff

    def restore(
        self, row: AccountPolling, backoff_until: float, *, asked_until: float = 0.0
    ) -> None:
        """Go on where another process ended, which knew the account to fail.

        `backoff_until` and `asked_until`, how much of it the API asked for, are monotonic; 0 to
        try it at once, by one repo alone.
        """
        if row.error is None:
            return
        self.error, self.reason, self.advice = row.error, row.reason, row.advice
        self.since, self.backoff_until, self.asked_until = row.since, backoff_until, asked_until
        if backoff_until:
            self._backoff = max(row.backoff, self._first_backoff)
            seconds = round(backoff_until - monotonic())
            log.info(
                "the account still backs off", extra={"account": self._account, "seconds": seconds}
            )

    def mirror(self, row: AccountPolling, *, up: bool, until: float) -> None:
        """Look as another process has written, whose backoff lasts `until`, monotonic seconds."""
        self.up, self.since = up, row.since if row.error else None
        self.error, self.reason, self.advice = row.error, row.reason, row.advice
        self.backoff_until = until if row.error else 0.0

    def recovered(self) -> None:
        """Record a poll that went well."""
        had_failed = self.error is not None
        if self.error is not None and self._down_is_logged:
            log.info("the account is fine again", extra={"account": self._account})
        self._down_is_logged = False
        self.up, self.error, self.reason, self.since = True, None, None, None
        self.advice = None
        self._backoff = self._first_backoff
        self.backoff_until = self.asked_until = 0.0
        if had_failed:
            self.changed()

    def failed(self, error: ProviderError, *, now: float) -> None:
        """Record that the whole account fails, and back off. `now` is epoch seconds."""
        if self.up or self.since is None:
            self.since = now
        if self.error is None or self.reason != error.reason:
            # An account that flaps is logged once in a while.
            self._down_is_logged = self._log_once_in_a_while(
                logging.ERROR, "the account is down", error
            ) or (self._down_is_logged)
        self.up, self.error, self.reason = False, str(error), error.reason
        self.advice = error.advice
        delay = self._backoff
        if isinstance(error, TryLater) and error.delay:
            delay, self.asked_until = error.delay, monotonic() + error.delay
        self._backoff = min(self._backoff * 2, _LAST_BACKOFF)
        self.backoff_until = max(self.backoff_until, monotonic() + delay)
        self.changed()

    def change(self, *, interval: float) -> None:
        """Go by another interval; what failed is tried at once by one repo, unless asked not to."""
        self._first_backoff = min(_FIRST_BACKOFF, interval)
        self.retry_at_once()

    def retry_at_once(self) -> None:
        """End the backoff, as what the account failed for may be mended, but for what was asked."""
        self._backoff = self._first_backoff
        self.backoff_until = self.asked_until if self.asked_until > monotonic() else 0.0

    def log(self, text: str, error: ProviderError, **where: str) -> None:
        """Log an error, but errors of one kind only once in a while, and how many were left out."""
        self._log_once_in_a_while(logging.WARNING, text, error, **where)

    def log_bug(self, text: str, error: Exception, **where: str) -> None:
        """Log an unexpected exception with its traceback, once in a while."""
        self._log_once_in_a_while(logging.ERROR, text, error, **where)

    def _log_once_in_a_while(self, level: int, text: str, error: Exception, **where: str) -> bool:
        """Log an error unless one of its kind was logged lately; whether it is logged now."""
        now = monotonic()
        reason = getattr(error, "reason", None)
        kind = f"{text} {reason}"
        if now - self._logged_at.get(kind, -math.inf) < _REPEAT:
            self._not_logged[kind] = self._not_logged.get(kind, 0) + 1
            return False
        if len(self._logged_at) >= _MOST_KINDS:
            self._logged_at.clear()
        self._logged_at[kind] = now
        extra: dict[str, object] = {"account": self._account, **where}
        if reason is not None:
            extra["reason"] = reason
        more = self._not_logged.pop(kind, 0)
        if more:
            extra["not_logged"] = more
        is_bug = not isinstance(error, ProviderError)
        log.log(level, f"{text}: %s", error, extra=extra, exc_info=error if is_bug else None)  # noqa: G004 - a fixed text of ours
        return True
