"""What no poll notices: an API that no longer answers, and a repo that is never due."""

from __future__ import annotations

import logging
import math
import time
from time import monotonic

from exporter.errors import TryLater
from exporter.http import Api
from exporter.schedule.budget_group import BudgetGroup
from exporter.schedule.due_queue import DueQueue
from exporter.schedule.health import AccountHealth
from exporter.schedule.repo import RepoState

log = logging.getLogger(__name__)

_SILENCE, _SILENT_TIMES = 15.0, 2.5
"""Seconds, and multiples of the timeout, without any response until the account is down."""
_EVERY = 30.0
"""Seconds between two checks that all repos are polled."""
_CREDENTIAL = 5.0
"""Seconds between two looks for a new credential while the present one is refused."""
_REFUSED = frozenset({"unauthorized", "forbidden", "not_found"})
"""Reasons that a new credential may mend: some APIs answer 404 to who may not read."""
_OVERDUE = 3.0
"""Intervals within which a repo must be polled again."""


class Watch:
    """Checks the polls of one account."""

    def __init__(
        self, account: str, api: Api, health: AccountHealth, queue: DueQueue, group: BudgetGroup
    ) -> None:
        self._account = account
        self._api = api
        self._health = health
        self._queue = queue
        self._group = group
        self._looked_at: float | None = None
        self._credential_at = -math.inf

    def look(self) -> None:
        """Mark the account as down if its API no longer answers, and let lost repos be due."""
        now = monotonic()
        silence = self._api.silence.seconds
        if self._health.up and silence > max(_SILENCE, _SILENT_TIMES * self._api.timeout):
            text = f"no request has been answered for {silence:.0f} s"
            self._health.failed(TryLater(text, reason="timeout"), now=time.time())
        if self._looked_at is None:
            self._looked_at = now
        if now - self._looked_at < _EVERY or now < self._health.backoff_until:
            return
        self._looked_at = now
        for state in self._queue.late(now, self._latest):
            if state.ticket is None:
                log.error(
                    "a repo had dropped out of the schedule: this is a bug, please report it",
                    extra={"account": self._account, "repo": state.repo.entry},
                )
            self._queue.wait(state, now)

    def may_be_mended(self) -> bool:
        """Whether a new credential may help, and it is time to look for one."""
        now, repos = monotonic(), self._queue.repos.values()
        if now - self._credential_at < _CREDENTIAL:
            return False
        refused = self._health.reason in _REFUSED or any(r.reason in _REFUSED for r in repos)
        if refused:
            self._credential_at = now
        return refused

    async def take_new_credential(self) -> None:
        """If there is a new credential, let all be due that the old one was refused."""
        if not await self._api.has_new_credential():
            return
        is_down = self._health.reason in _REFUSED
        if is_down:
            self._health.retry_at_once()
        now = monotonic()
        for state in list(self._queue.repos.values()):
            if state.ticket is not None and (is_down or state.reason in _REFUSED):
                state.backoff_until = 0.0
                self._queue.wait(state, min(state.due, now))

    def _latest(self, state: RepoState) -> float:
        """When its next poll must have begun, in monotonic seconds.

        It may be due later, as the budget was shorter when it was last polled.
        """
        latest = state.begun_at + _OVERDUE * self._group.plan.interval(state.demand)
        return max(latest, state.backoff_until)
