"""What a budget lets all repos have that live on it.

While there is enough, each repo has the interval it is worth. When it is short, all are
stretched alike, up to a bound that the idle ones reach first; and if even that is too much,
all of them. So repos are served by how much news they usually bring, and every one at last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from time import monotonic
from typing import NamedTuple

import msgspec

from exporter.http import RequestCount, RequestRate

_LONGEST_TIMES = 1.93
"""An idle repo's interval is stretched by this at most, as long as that is enough: twice the
longest interval is never passed, as a poll also waits for its turn."""
_MARGIN = 0.99
"""The share of the headroom that is planned with."""
_LEAST = 0.2
"""The share of the headroom that idle polls get, whatever news costs."""
_WEIGHT = 0.02
"""Of the newest poll in what an idle one costs on average."""
_MEMORY = 900.0
"""Seconds after which what news has cost is mostly forgotten."""


class Demand(NamedTuple):
    """The intervals that one repo is worth, in seconds."""

    plenty: float
    """While the budget has enough."""
    short: float
    """When it is short: nothing is polled faster than `polling.interval`, nothing is polled
    to see whether it is idle, and all of them are stretched."""
    longest: float


class Plan(msgspec.Struct, frozen=True):
    """What is made of the wishes."""

    is_short: bool = False
    stretch: float = 1.0
    bound: float = 1.0
    """What the longest interval is multiplied with."""

    def interval(self, wish: Demand) -> float:
        """Seconds between two polls of a repo."""
        if not self.is_short:
            return wish.plenty
        longest = max(wish.longest * self.bound, wish.short)
        return min(wish.short * self.stretch, longest)


def planned(wishes: Iterable[Demand], polls: float) -> Plan:
    """The plan with at most so many polls per second, and no more stretched than it must be."""
    all_wishes = list(wishes)
    if sum(1.0 / wish.plenty for wish in all_wishes) <= polls:
        return Plan()

    def demand(plan: Plan) -> float:
        return sum(1.0 / plan.interval(wish) for wish in all_wishes)

    widest = Plan(is_short=True, stretch=math.inf, bound=_LONGEST_TIMES)
    least = demand(widest)
    if polls <= 0:  # all that is left is kept for people until the limit is full again
        return widest
    if least > polls:
        return Plan(is_short=True, stretch=math.inf, bound=_LONGEST_TIMES * least / polls)
    low, high = 1.0, 1.0
    while demand(Plan(is_short=True, stretch=high, bound=_LONGEST_TIMES)) > polls:
        low, high = high, high * 2
    for _ in range(12):
        middle = (low + high) / 2
        if demand(Plan(is_short=True, stretch=middle, bound=_LONGEST_TIMES)) > polls:
            low = middle
        else:
            high = middle
    return Plan(is_short=True, stretch=high, bound=_LONGEST_TIMES)


class Costs:
    """What polls cost, learned from those that were made. Requests, and per second."""

    def __init__(self) -> None:
        self._idle = RequestRate(sent=1.0, counted=1.0)
        self._news = RequestRate(sent=0.0, counted=0.0)
        self._at = monotonic()

    def note(self, requests: RequestCount, *, news: bool) -> None:
        """A poll has ended; what it cost beyond an idle one is the price of its news."""
        if not news:
            self._idle = _combined(
                lambda mean, cost: mean + _WEIGHT * (cost - mean), self._idle, requests
            )
            return
        self._fade()
        self._news = _combined(
            lambda level, cost, idle: level + max(cost - idle, 0.0),
            self._news,
            requests,
            self._idle,
        )

    def _fade(self) -> None:
        now = monotonic()
        kept = math.exp((self._at - now) / _MEMORY)
        self._at = now
        self._news = _combined(lambda level: level * kept, self._news)

    def polls(self, headroom: RequestRate) -> float:
        """Polls per second that the headroom is enough for."""
        self._fade()
        rates = _combined(
            lambda have, news, idle: (
                max(_MARGIN * have - news / _MEMORY, _LEAST * have) / max(idle, 1e-9)
            ),
            headroom,
            self._news,
            self._idle,
        )
        return min(rates.sent, rates.counted)

    def requests(self, polls: float) -> float:
        """How many requests per second so many polls per second make."""
        self._fade()
        return polls * self._idle.sent + self._news.sent / _MEMORY


def _combined(operation: Callable[..., float], *values: RequestRate | RequestCount) -> RequestRate:
    return RequestRate(
        sent=operation(*(value.sent for value in values)),
        counted=operation(*(value.counted for value in values)),
    )
