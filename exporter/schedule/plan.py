"""What a budget lets all repos have that live on it.

While there is enough, each repo has the interval it is worth. When it is short, all are
stretched alike, up to a bound that the idle ones reach first; and if even that is too much,
all of them. So repos are served by how much news they usually bring, and every one at last.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from hashlib import blake2b
from time import monotonic
from typing import NamedTuple

import msgspec

from exporter.http import Allowance, Bucket, Budget, Means, Tally
from exporter.providers import Provider
from exporter.sync.repo_sync import Bounds

log = logging.getLogger(__name__)

_EVERY = 10.0
"""Seconds between two plans."""
_LONGEST_TIMES = 1.93
"""An idle repo's interval is stretched by this at most, as long as that is enough: twice the
longest interval is never passed, as a poll also waits for its turn."""
_DEEP_TIMES = 8.0
"""How much less often, when the budget is short, old builds are read again."""
_AT_ONCE = 2
"""Builds of one repo that are filled side by side when the budget is short."""
_MARGIN = 0.99
"""The share of the means that is planned with."""
_LEAST = 0.2
"""The share of the means that idle polls get, whatever news costs."""
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
        self._idle = Means(sent=1.0, counted=1.0)
        self._news = Means(sent=0.0, counted=0.0)
        self._at = monotonic()

    def note(self, tally: Tally, *, news: bool) -> None:
        """A poll has ended; what it cost beyond an idle one is the price of its news."""
        if not news:
            self._idle = _combined(
                lambda mean, cost: mean + _WEIGHT * (cost - mean), self._idle, tally
            )
            return
        self._fade()
        self._news = _combined(
            lambda level, cost, idle: level + max(cost - idle, 0.0), self._news, tally, self._idle
        )

    def _fade(self) -> None:
        now = monotonic()
        kept = math.exp((self._at - now) / _MEMORY)
        self._at = now
        self._news = _combined(lambda level: level * kept, self._news)

    def polls(self, means: Means) -> float:
        """How many polls per second there are means for."""
        self._fade()
        rates = _combined(
            lambda have, news, idle: (
                max(_MARGIN * have - news / _MEMORY, _LEAST * have) / max(idle, 1e-9)
            ),
            means,
            self._news,
            self._idle,
        )
        return min(rates.sent, rates.counted)

    def requests(self, polls: float) -> float:
        """How many requests per second so many polls per second make."""
        self._fade()
        return polls * self._idle.sent + self._news.sent / _MEMORY


def _combined(operation: Callable[..., float], *values: Means | Tally) -> Means:
    return Means(
        sent=operation(*(value.sent for value in values)),
        counted=operation(*(value.counted for value in values)),
    )


class BudgetGroup:
    """What accounts with the same credential have in common: a budget and a plan for it.

    `name` is a digest of what tells it from others.
    """

    def __init__(self, budget: Budget, name: bytes = b"") -> None:
        self.budget = budget
        self.name = name
        self.costs = Costs()
        self.members: dict[str, Callable[[], Iterable[Demand]]] = {}
        """What each account's repos wish, by its name."""
        self._plan = Plan()
        self._planned_at = -math.inf
        self._is_broken = False
        self._planned_for = math.inf
        """Requests per second that the plan was made for, by what had been told of limits."""

    def leave(self, name: str, member: Callable[[], Iterable[Demand]]) -> None:
        """An account ends; another of its name may be here already."""
        if self.members.get(name) == member:
            del self.members[name]

    @property
    def is_short(self) -> bool:
        """Whether the plan in force stretches intervals."""
        return self._plan.is_short

    @property
    def is_exhausted(self) -> bool:
        """Whether polls wait for the budget."""
        return self.is_short or self.budget.is_closed

    def bounds(self, until: float, longest: float) -> Bounds:
        """How far a poll may go that must end at `until`; less far when the budget is short."""
        if not self.is_short:
            return Bounds(until, longest)
        return Bounds(until, longest * _DEEP_TIMES, at_once=_AT_ONCE)

    def limit(self) -> int | None:
        """Requests per hour that there are means for; None if no limit is known."""
        means = self.budget.means()
        least = min(means.sent, means.counted)
        return None if math.isinf(least) else round(3600 * least)

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        now = monotonic()
        means = self.budget.means()
        has_shrunk = means.counted < self._planned_for / 2
        if now - self._planned_at >= _EVERY or has_shrunk:
            self._planned_at, self._planned_for = now, means.counted
            self._plan = self._planned(means)
        return self._plan

    def _planned(self, means: Means) -> Plan:
        """A plan with these means; the one in force where none can be made."""
        try:
            wishes = (wish for member in self.members.values() for wish in member())
            return planned(wishes, self.costs.polls(means))
        except Exception:  # it must cost no repo its turn
            if not self._is_broken:
                log.exception("the polls cannot be planned: this is a bug, please report it")
            self._is_broken = True
            return self._plan


class BudgetGroups:
    """The shares of one process: accounts with one credential at one API have one in common."""

    def __init__(self, reserve: float) -> None:
        self._reserve = reserve
        self._shares: dict[object, BudgetGroup] = {}
        self._by_token: dict[object, Bucket] = {}

    def keep(self, reserve: float) -> None:
        """Leave another share of every limit to people from now on."""
        self._reserve = reserve
        for share in self._shares.values():
            share.budget.keep(reserve)

    def of(self, provider: Provider, credential: bytes) -> BudgetGroup:
        """The share of an account whose requests carry what `credential` stands for."""
        key = (provider.root, provider.quota, credential)
        if key not in self._shares:
            buckets = [self._bucket(provider, credential, one) for one in provider.published]
            budget = Budget(
                buckets, reserve=self._reserve, unchanged_is_free=provider.unchanged_is_free
            )
            name = blake2b(repr(key).encode(), digest_size=16).digest()
            self._shares[key] = BudgetGroup(budget, name)
        return self._shares[key]

    def _bucket(self, provider: Provider, credential: bytes, allowance: Allowance) -> Bucket:
        if not allowance.by_token:
            return Bucket(allowance, reserve=self._reserve)
        key = (provider.root, credential, allowance)
        if key not in self._by_token:
            self._by_token[key] = Bucket(allowance, reserve=self._reserve)
        return self._by_token[key]
