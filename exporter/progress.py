"""How far long work has come, and how long the rest of it will take."""

from __future__ import annotations

import math
from collections import deque

import msgspec

_WHILE, _STEPS = 60.0, 20
"""Seconds, and steps, that a pace is measured over: whichever of both reaches further back."""
_PATIENCE = 3.0
"""Mean times of a step that may pass without one until the pace is taken to have fallen."""


class Progress(msgspec.Struct, frozen=True):
    """How many of some things are done."""

    done: int
    whole: int
    seconds_left: float | None = None
    """An estimate; None while there is nothing to go by."""

    def text(self, things: str) -> str:
        """`51 of 150 repos, about 4 minutes`; `things` is their plural."""
        left = "" if self.seconds_left is None else f", {about(self.seconds_left)}"
        return f"{self.done} of {self.whole} {things}{left}"


class Pace:
    """How fast some work goes, from what was done in the last while.

    Instants are monotonic seconds; work is in any unit, of which fractions may be done.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()
        """When how much was done."""

    def note(self, done: float, now: float, *, is_steady: bool = True) -> None:
        """Note how much is done. Where that is less than before it is other work, begun anew.

        Work that is not steady, but stands still now and then, is measured from its beginning.
        """
        if self._marks and done < self._marks[-1][1]:
            self._marks.clear()
        if not self._marks or done > self._marks[-1][1]:
            self._marks.append((now, done))
        while is_steady and len(self._marks) > _STEPS and self._marks[1][0] < now - _WHILE:
            self._marks.popleft()

    def seconds(self, rest: float, now: float) -> float | None:
        """How long the rest takes at this pace; None if nothing has been done yet."""
        if rest <= 0:
            return 0.0
        if len(self._marks) < 2:
            return None
        (began_at, before), (at, done) = self._marks[0], self._marks[-1]
        elapsed, idle = at - began_at, now - at
        if idle > _PATIENCE * elapsed / (len(self._marks) - 1):
            elapsed += idle
        return rest * elapsed / (done - before)


def about(seconds: float) -> str:
    """A span as people say it: `about 4 minutes`."""
    if seconds < 90:
        return f"about {max(math.ceil(seconds / 10), 1) * 10} seconds"
    for unit, size, most in (("minutes", 60, 90), ("hours", 3600, 36)):
        if seconds < most * size:
            return f"about {round(seconds / size)} {unit}"
    return f"about {round(seconds / 86400)} days"
