"""How long an API has answered nothing at all, whatever it was asked for."""

from __future__ import annotations

from time import monotonic

_LULL = 30.0
"""Seconds after a failure in which the silence goes on although nothing is asked."""


class Silence:
    """The requests of one client that are under way."""

    def __init__(self) -> None:
        self._under_way = 0
        self._since = self._failed_at = 0.0

    @property
    def seconds(self) -> float:
        """For how long requests have been under way and none was answered."""
        return monotonic() - self._since if self._under_way else 0.0

    def asked(self) -> None:
        """A request goes out."""
        self._under_way += 1
        now = monotonic()
        if self._under_way == 1 and now - self._failed_at > _LULL:
            self._since = now

    def broken(self) -> None:
        """The head of an answer has come."""
        self._since = monotonic()

    def ended(self, *, answered: bool) -> None:
        """A request is over."""
        self._under_way -= 1
        if not answered:
            self._failed_at = monotonic()
