"""How hard an API is pressed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How hard an API is pressed. Pauses are in seconds."""

    concurrency: int = 8
    """Requests under way at once."""
    attempts: int = 3
    """How often one request is sent at most."""
    base: float = 0.5
    """The longest pause before the second attempt; doubled before each further one."""
    cap: float = 8.0
    """The longest pause at all; a server that asks for a longer one is left alone."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random

    def pause(self, attempt: int) -> float:
        """Full jitter: a random share of a span that doubles with each attempt."""
        return self.random() * min(self.cap, self.base * 2.0 ** (attempt - 1))
