"""Times, spans, numbers and states in words for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from exporter.status.report import iso

STATES = {
    "starting": "starting",
    "up": "up",
    "limited": "limited",
    "backing_off": "backing off",
    "unauthorized": "unauthorised",
    "pending": "not polled yet",
    "catching_up": "catching up",
    "failing": "failing",
    "partial": "read in part",
    "stale": "stale",
    "ok": "up to date",
    "broken": "broken",
    "failed": "failed",
    "passing": "passing",
    "unsettled": "no verdict",
    "none": "no builds",
    "in_progress": "running",
}
"""States as people read them."""

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def elapsed(seconds: float) -> str:
    """`45 s`, `3 min`, `2 h 5 min`, `4 d 3 h`."""
    left = max(round(seconds), 0)
    place = next((i for i, (_, size) in enumerate(_UNITS) if left >= size), len(_UNITS) - 1)
    parts: list[str] = []
    for unit, size in _UNITS[place : place + (1 if place >= 2 else 2)]:
        count, left = divmod(left, size)
        parts += [f"{count} {unit}"] if count or not parts else []
    return " ".join(parts)


def stamp(at: str | float) -> str:
    """A time, which may be epoch seconds, as ISO 8601."""
    return at if isinstance(at, str) else iso(at)


def seconds_between(start: str | float, end: str | float) -> float:
    """Seconds from one time to another; each is ISO 8601 or epoch seconds."""
    first, last = (datetime.fromisoformat(stamp(at)) for at in (start, end))
    return (last - first).total_seconds()


def clock(at: str | float) -> str:
    """`2026-02-03 04:05:06 UTC`, of a time that is ISO 8601 or epoch seconds."""
    return stamp(at).replace("T", " ").replace("Z", " UTC")


def number(value: float) -> str:
    """`1,234`."""
    return f"{value:,.0f}"


class Ended(Protocol):
    """A build that has ended."""

    @property
    def conclusion(self) -> str:
        """The label."""


def history_summary(history: Sequence[Ended]) -> str:
    """One line on the last builds: `Last 4 builds, the newest failed: 3 passed, 1 failed`."""
    counts = Counter(build.conclusion for build in history).most_common()
    ended = ", ".join(f"{n} {word}" for word, n in counts)
    return f"Last {len(history)} builds, the newest {history[-1].conclusion}: {ended}"
