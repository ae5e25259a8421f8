"""How often a budget allows each repo to be polled.

While the budget is ample each repo has the interval that it is worth. When it is short, all
intervals are multiplied by one factor, up to a longest interval that idle repos reach first; if
that is still too much, the longest interval grows as well. So busy repos are polled more often
than idle ones, and every repo is polled at last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from time import monotonic
from typing import NamedTuple

import msgspec

from exporter.http import RequestCount, RequestRate

_LONGEST_TIMES = 1.93
"""What the longest interval is multiplied by at first. Less than 2, since a poll also waits for
a free worker, and so the time between two polls stays below twice the longest interval."""
_MARGIN = 0.99
"""The share of the headroom that plans use."""
_LEAST = 0.2
"""The share of the headroom that is left for idle polls, whatever new builds cost."""
_WEIGHT = 0.02
"""The weight of the newest poll in the mean cost of an idle one."""
_MEMORY = 900.0
"""Seconds in which the cost of new builds fades to a third."""


class Demand(NamedTuple):
    """The intervals that one repo is worth, in seconds."""

    ample: float
    """While the budget is ample."""
    scarce: float
    """When it is short, before it is multiplied: at least `polling.interval`, and by how often
    the repo has new builds alone."""
    longest: float
    """Of an idle repo."""


class Plan(msgspec.Struct, frozen=True):
    """The intervals of all repos, by their demands."""

    is_short: bool = False
    factor: float = 1.0
    """What each interval is multiplied by when the budget is short."""
    longest_factor: float = 1.0
    """What the longest interval is multiplied by then."""

    def interval(self, demand: Demand) -> float:
        """Seconds between two polls of a repo."""
        if not self.is_short:
            return demand.ample
        longest = max(demand.longest * self.longest_factor, demand.scarce)
        return min(demand.scarce * self.factor, longest)


def planned(demands: Iterable[Demand], polls: float) -> Plan:
    """The plan with at most `polls` polls per second and the smallest factors."""
    all_demands = list(demands)
    if sum(1.0 / demand.ample for demand in all_demands) <= polls:
        return Plan()

    def needed(factor: float) -> float:
        plan = Plan(is_short=True, factor=factor, longest_factor=_LONGEST_TIMES)
        return sum(1.0 / plan.interval(demand) for demand in all_demands)

    least = needed(math.inf)
    if polls <= 0:  # the rest of the limit is reserved until it is reset
        return Plan(is_short=True, factor=math.inf, longest_factor=_LONGEST_TIMES)
    if least > polls:
        longest_factor = _LONGEST_TIMES * least / polls
        return Plan(is_short=True, factor=math.inf, longest_factor=longest_factor)
    low, high = 1.0, 1.0
    while needed(high) > polls:
        low, high = high, high * 2
    for _ in range(12):
        middle = (low + high) / 2
        if needed(middle) > polls:
            low = middle
        else:
            high = middle
    return Plan(is_short=True, factor=high, longest_factor=_LONGEST_TIMES)


class Costs:
    """How many requests polls cost, as learned from those that were made."""

    def __init__(self) -> None:
        self._idle = RequestRate(sent=1.0, counted=1.0)
        self._news = RequestRate(sent=0.0, counted=0.0)
        self._at = monotonic()

    def note(self, requests: RequestCount, *, news: bool) -> None:
        """Learn from a poll; with `news`, what it cost beyond an idle poll is their cost."""
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
        """Requests per second that so many polls per second cost."""
        self._fade()
        return polls * self._idle.sent + self._news.sent / _MEMORY


def _combined(operation: Callable[..., float], *values: RequestRate | RequestCount) -> RequestRate:
    return RequestRate(
        sent=operation(*(value.sent for value in values)),
        counted=operation(*(value.counted for value in values)),
    )
