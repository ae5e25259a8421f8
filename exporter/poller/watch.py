"""What no poll tells: an API that has fallen silent, and a repo that has got lost."""

from __future__ import annotations

import logging
import time

from exporter.errors import TryLater
from exporter.http import Api
from exporter.poller.plan import Share
from exporter.poller.repo import RepoState
from exporter.poller.trouble import Trouble
from exporter.poller.turns import Turns

log = logging.getLogger(__name__)

_SILENCE, _SILENT_TIMES = 15.0, 2.5
"""Seconds, and timeouts, without any answer after which an API has fallen silent."""
_EVERY = 30.0
"""Seconds between two looks at whether all repos are polled."""
_OVERDUE = 3.0
"""Intervals that a repo may wait for its next poll."""


class Watch:
    """Watches over the polls of one account."""

    def __init__(
        self, account: str, api: Api, trouble: Trouble, turns: Turns, share: Share
    ) -> None:
        self._account = account
        self._api = api
        self._trouble = trouble
        self._turns = turns
        self._share = share
        self._looked_at: float | None = None

    def look(self, now: float) -> None:
        """Take the account for down, or a repo for lost, if that is what is seen at `now`."""
        silence = self._api.silence.seconds
        if self._trouble.up and silence > max(_SILENCE, _SILENT_TIMES * self._api.timeout):
            text = f"no request has been answered for {silence:.0f} s"
            self._trouble.met(TryLater(text, reason="timeout"), now=time.time())
        if self._looked_at is None:
            self._looked_at = now
        if now - self._looked_at < _EVERY or now < self._trouble.rest_until:
            return
        self._looked_at = now
        for state in self._turns.late(now, self._latest):
            if state.ticket is None:
                log.error(
                    "a repo had dropped out of the schedule: this is a bug, please report it",
                    extra={"account": self._account, "repo": state.repo.entry},
                )
            self._turns.wait(state, now)

    def _latest(self, state: RepoState) -> float:
        """When its next poll must have begun, monotonic.

        It may wait longer than that since the budget was shorter than it is now.
        """
        return state.begun_at + _OVERDUE * self._share.plan.interval(state.wish)
