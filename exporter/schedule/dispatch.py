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
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Protocol

import msgspec

log = logging.getLogger(__name__)

_AFTER_A_BUG = 1.0
"""Seconds before a round that broke down is begun again."""


class Lease(msgspec.Struct, frozen=True):
    """The right to poll with one credential."""

    until: float = math.inf
    """Monotonic seconds."""

    @property
    def is_over(self) -> bool:
        """Whether the round must end."""
        return monotonic() >= self.until


Round = Callable[[Lease], Awaitable[None]]


class Dispatcher(Protocol):
    """Grants leases and runs rounds under them."""

    async def run(self, budget: bytes, round_: Round) -> None:
        """Run the rounds of one budget until cancelled. `budget` names it in every process."""


class InProcess(Dispatcher):
    """One lease a budget that never ends: all rounds are in this process."""

    async def run(self, budget: bytes, round_: Round) -> None:
        """Run one round without an end, and another one only if that breaks down."""
        while True:
            try:
                await round_(Lease())
            except Exception:  # a bug in it must not be the last round of the budget
                log.exception("a round broke down: this is a bug, please report it")
            await asyncio.sleep(_AFTER_A_BUG)
