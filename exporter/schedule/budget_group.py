"""Accounts with one credential: the budget they share and the plan for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable
from hashlib import blake2b
from time import monotonic

from exporter.http import Budget, PublishedLimit, RequestRate, TokenBucket
from exporter.providers import Provider
from exporter.schedule.plan import Costs, Demand, Plan, planned
from exporter.sync.limits import PollLimits

log = logging.getLogger(__name__)

_EVERY = 10.0
"""Seconds between two plans."""
_DEEP_TIMES = 8.0
"""By how much less often old builds are read again when the budget is short."""
_WHILE_CATCHING_UP = 0.5
"""The share of a budget for polls in turn while the past of repos is read."""
_AT_ONCE = 2
"""Builds of one repo whose details are read concurrently when the budget is short."""


class BudgetGroup:
    """The budget of one credential, and the plan for all repos that are polled with it.

    `name` is a digest of the API and the credential.
    """

    def __init__(self, budget: Budget, name: bytes = b"") -> None:
        self.budget = budget
        self.name = name
        self.costs = Costs()
        self._members: dict[str, Callable[[], Iterable[Demand]]] = {}
        """The demands of each account's repos, by its name."""
        self.catching_up: set[str] = set()
        """The accounts that have repos whose past is still to be read."""
        self._plan = Plan()
        self._planned_at = -math.inf
        self._is_broken = False
        self._planned_for = math.inf
        """Requests per second that rate limits allowed when the plan was made."""

    def join(self, name: str, demands: Callable[[], Iterable[Demand]]) -> None:
        """Plan for an account too."""
        self._members[name] = demands

    def leave(self, name: str, demands: Callable[[], Iterable[Demand]]) -> None:
        """Plan for an account no longer, unless another of its name has joined meanwhile."""
        if self._members.get(name) == demands:
            del self._members[name]

    @property
    def is_short(self) -> bool:
        """Whether the plan in force makes intervals longer."""
        return self._plan.is_short

    @property
    def is_exhausted(self) -> bool:
        """Whether polls wait for the budget."""
        return self.is_short or self.budget.is_closed

    def poll_limits(self, until: float, longest: float) -> PollLimits:
        """The limits of a poll that must end at `until`; closer ones when the budget is short."""
        if not self.is_short:
            return PollLimits(until, longest)
        return PollLimits(until, longest * _DEEP_TIMES, at_once=_AT_ONCE)

    def limit(self) -> int | None:
        """Requests per hour that the budget allows; None if no limit is known."""
        headroom = self.budget.headroom()
        least = min(headroom.sent, headroom.counted)
        return None if math.isinf(least) else round(3600 * least)

    def forecast(self, demands: Collection[Demand]) -> dict[str, object]:
        """Requests per hour for repos with these demands: planned, if all idle, and the limit."""
        planned = sum(1.0 / self.plan.interval(demand) for demand in demands)
        at_least = sum(1.0 / demand.longest for demand in demands)
        return {
            "requests_per_hour_planned": round(3600 * self.costs.requests(planned)),
            "requests_per_hour_if_idle": round(3600 * self.costs.requests(at_least)),
            "requests_per_hour_limit": self.limit() or "unknown",
        }

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        now = monotonic()
        headroom = self.budget.headroom()
        has_shrunk = headroom.counted < self._planned_for / 2
        if now - self._planned_at >= _EVERY or has_shrunk:
            self._planned_at, self._planned_for = now, headroom.counted
            self._plan = self._planned(headroom)
        return self._plan

    def _planned(self, headroom: RequestRate) -> Plan:
        """A plan for this headroom; the one in force where none can be made."""
        try:
            demands = (demand for member in self._members.values() for demand in member())
            share = _WHILE_CATCHING_UP if self.catching_up & self._members.keys() else 1.0
            return planned(demands, share * self.costs.polls(headroom))
        except Exception:  # repos must be polled all the same
            if not self._is_broken:
                log.exception("the polls cannot be planned: this is a bug, please report it")
            self._is_broken = True
            return self._plan


class BudgetGroups:
    """All budget groups of one process: one for each credential at one API."""

    def __init__(self, reserve: float) -> None:
        self._reserve = reserve
        self._groups: dict[object, BudgetGroup] = {}
        self._by_token: dict[object, TokenBucket] = {}

    def keep(self, reserve: float) -> None:
        """Leave another share of every limit to people from now on."""
        self._reserve = reserve
        for group in self._groups.values():
            group.budget.set_reserve(reserve)

    def of(self, provider: Provider, credential: bytes) -> BudgetGroup:
        """The group of an account whose requests carry what `credential` is a digest of."""
        key = (provider.root, provider.quota, credential)
        if key not in self._groups:
            buckets = [self._bucket(provider, credential, one) for one in provider.published]
            budget = Budget(
                buckets, reserve=self._reserve, unchanged_is_free=provider.unchanged_is_free
            )
            name = blake2b(repr(key).encode(), digest_size=16).digest()
            self._groups[key] = BudgetGroup(budget, name)
        return self._groups[key]

    def _bucket(self, provider: Provider, credential: bytes, limit: PublishedLimit) -> TokenBucket:
        if not limit.by_token:
            return TokenBucket(limit, reserve=self._reserve)
        key = (provider.root, credential, limit)
        if key not in self._by_token:
            self._by_token[key] = TokenBucket(limit, reserve=self._reserve)
        return self._by_token[key]
