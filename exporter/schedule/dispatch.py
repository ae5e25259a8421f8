"""Who runs the rounds of a budget, and for how long.

A round polls the accounts of one credential as long as its lease holds. Within one process
nobody else could hold it. A dispatcher over a shared store would grant leases that end, so a
round returns when its lease is over, may be cancelled at any time, and hands back either way:
it stops what is under way and writes what it has learned.
"""

from __future__ import annotations

import asyncio
import logging
import math
from time import monotonic
from typing import Protocol

import msgspec

log = logging.getLogger(__name__)

_AFTER_A_BUG = 1.0
"""Seconds before a round that broke down is begun again."""


class Lease(msgspec.Struct):
    """The right to poll with one credential."""

    until: float = math.inf
    """Monotonic seconds; who granted it may put it off."""

    @property
    def is_over(self) -> bool:
        """Whether the round must end."""
        return monotonic() >= self.until


class Work(Protocol):
    """The polls of all accounts with one credential."""

    @property
    def name(self) -> bytes:
        """Which credential, the same in every process."""

    @property
    def names(self) -> frozenset[str]:
        """The accounts."""

    def resume(self) -> None:
        """Know what was learned of the accounts by whoever has polled them meanwhile."""

    async def round(self, lease: Lease) -> None:
        """Poll as long as the lease holds; hand back at its end, or when cancelled."""


class Dispatcher(Protocol):
    """Grants leases and runs rounds under them."""

    async def run(self, work: Work) -> None:
        """Run the rounds of one credential until cancelled."""


class InProcess(Dispatcher):
    """One lease that never ends for each: all rounds are in this process."""

    async def run(self, work: Work) -> None:
        """Run one round without an end, and another one only if that breaks down."""
        while True:
            try:
                await work.round(Lease())
            except Exception:  # a bug in it must not be the last round of the credential
                log.exception("a round broke down: this is a bug, please report it")
            await asyncio.sleep(_AFTER_A_BUG)
