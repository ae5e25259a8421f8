"""How often a failed request is sent again, and after which pauses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts of one request and the pauses between them, in seconds."""

    attempts: int = 3
    """The most often that one request is sent."""
    base: float = 0.5
    """The longest pause before the second attempt; doubled before each further one."""
    cap: float = 8.0
    """The longest pause. A request that the server puts off for longer is not sent again."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random

    def pause(self, attempt: int) -> float:
        """Seconds before the attempt after `attempt`: full jitter on an exponential backoff."""
        return self.random() * min(self.cap, self.base * 2.0 ** (attempt - 1))
