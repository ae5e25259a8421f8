"""Long work in short turns, so that it holds up neither polls nor scrapes."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

SLICE = 0.001
"""Seconds that one request may take at a time, before others have their turn."""


async def in_slices(steps: Generator[None, None, T]) -> T:
    """Go through all steps, and let others have their turn now and then; what they return."""
    begun = monotonic()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if monotonic() - begun > SLICE:
            await asyncio.sleep(0)
            begun = monotonic()


def gathered(parts: Iterable[T]) -> Generator[None, None, list[T]]:
    """The parts as a list, one at each step."""
    found: list[T] = []
    for part in parts:
        found.append(part)
        yield
    return found
