"""How much may be sent to an API, by its documentation, its headers and its refusals.

All accounts with one credential share a budget. A share of each limit, the reserve, is
left to people. There are three kinds of limit:

    published   a number of requests in a number of seconds, from the documentation of the
                hosted service: requests are spaced so that no such span holds more
    reported    headers with the limit, what remains of it and when it resets: at the
                reserve nothing is sent until the reset
    refused     429 and the like: nothing is sent for as long as the answer asks
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar

import msgspec

from exporter.errors import Waiting
from exporter.http.limits import RateLimit
from exporter.http.stored import Limits, Window

_BURST_SHARE, _BURST_SECONDS, _BURST = 0.2, 30.0, 30.0
"""What of a published limit may go out at once: the least of a share of it, of what drips in
during some seconds, and of a number of requests. The greater, the slower the long run."""
_QUEUE = 4.0
"""Seconds behind which no work is begun."""
_PATIENCE = 75.0
"""Seconds that a request waits for its turn; a longer wait is for the schedule to plan."""
_LONGEST = 3600.0
"""Seconds: a window that an API reports is cut to this length."""
_MAX_RESOURCES = 32
_SAME_RESET = 2.0
"""Seconds between two resets that are one and the same, rounded differently."""
_MARGIN, _MARGIN_SHARE = 20.0, 0.02
"""Requests, and a share of the limit, short of the reserve: what is under way counts too."""


class PublishedLimit(msgspec.Struct, frozen=True):
    """A limit that a provider publishes: `requests` in any `seconds`."""

    requests: int
    seconds: float
    by_token: bool = False
    """Whether all who use the token share it, also where they have budgets of their own."""


class RequestCount(msgspec.Struct):
    """The requests of one poll."""

    sent: int = 0
    counted: int = 0
    """Without those that the provider's own limits leave out."""
    admitted_at: float | None = None
    """When the first request may be sent if `Budget.admit_first` took it; monotonic seconds."""


REQUEST_COUNT: ContextVar[RequestCount | None] = ContextVar("REQUEST_COUNT", default=None)
"""The count of the current task's requests, if there is one."""


class RequestRate(msgspec.Struct, frozen=True):
    """Requests per second of a budget, or per poll of a repo; infinite where no limit is known."""

    sent: float = math.inf
    """Every request: what published limits restrict."""
    counted: float = math.inf
    """Requests that the API counts: what its rate limit headers restrict."""


class TokenBucket:
    """Spaces requests so that no span of `limit.seconds` holds more than `limit.requests`.

    The burst and the tokens of one span add up to the limit less the reserve.
    """

    def __init__(self, limit: PublishedLimit, *, reserve: float) -> None:
        self.reserve = reserve
        """The share of it that is left to people; for the next `resize`."""
        self._limit = limit
        self.resize(limit.requests)
        self._level = self._burst
        self._at = time.monotonic()

    def resize(self, requests: float) -> None:
        """Allow so many requests from now on; Bitbucket tells what a plan has."""
        if self._limit.by_token or requests < 1:
            requests = self._limit.requests
        self.requests = requests
        allowed = max(requests * (1.0 - self.reserve), 1.0)
        steady = allowed / self._limit.seconds
        self._burst = max(1.0, min(_BURST_SHARE * allowed, _BURST_SECONDS * steady, _BURST))
        self.rate = max(allowed - self._burst, 0.5) / self._limit.seconds
        """Requests per second in the long run."""

    def wait(self, now: float) -> float:
        """Seconds until one more request may be sent."""
        self._level = min(self._burst, self._level + (now - self._at) * self.rate)
        self._at = now
        return max(0.0, (1.0 - self._level) / self.rate)

    def take(self) -> None:
        """One request is sent when its wait is over; the next one waits behind it."""
        self._level -= 1.0


class _Window(msgspec.Struct):
    """A rate limit as last reported. `reset` is in monotonic seconds."""

    limit: float
    remaining: float
    reset: float


class Budget:
    """What all who use one credential may still send. All times are `time.monotonic()`."""

    def __init__(
        self,
        buckets: Iterable[TokenBucket] = (),
        *,
        reserve: float = 0.0,
        unchanged_is_free: bool = False,
    ) -> None:
        self.blocked_until = 0.0
        """Nothing is sent until then."""
        self._buckets = tuple(buckets)
        self._reserve = reserve
        self._unchanged_is_free = unchanged_is_free
        self._windows: dict[str, _Window] = {}
        self._under_way = 0
        self.closed: Callable[[], None] = lambda: None
        """Called when the API has said that nothing is to be sent for a while."""

    def set_reserve(self, reserve: float) -> None:
        """Change the share of each limit that is left to people."""
        self._reserve = reserve
        for bucket in self._buckets:
            bucket.reserve = reserve
            bucket.resize(bucket.requests)

    # -- before a request

    def delay(self) -> float:
        """Seconds until a request may be sent; 0 if that is now."""
        now = time.monotonic()
        return max(self._spacing(now), self._closed(now)[0])

    def admit(self, place: str) -> float:
        """Take one request out; returns the seconds to wait before it is sent.

        Raises Waiting, which names `place`, if that would be long; nothing is taken then.
        """
        now = time.monotonic()
        delay, why = self._closed(now)
        count = REQUEST_COUNT.get()
        if count is not None and count.admitted_at is not None and not why:
            at, count.admitted_at = count.admitted_at, None
            return max(at - now, 0.0)
        if not why:
            delay = self._spacing(now)
            why = "the API's published limit is used up" if delay > _PATIENCE else ""
        if why:
            raise Waiting(
                f"{place}: {why}; nothing is sent for another {delay:.0f} s",
                reason="rate_limited",
                delay=delay,
            )
        self._take()
        return delay

    def admit_first(self) -> float | None:
        """Admit the first request of a poll ahead; returns when it may be sent, monotonic.

        None if nothing may be sent now or `_QUEUE` seconds of requests wait already.
        """
        now = time.monotonic()
        wait = self._spacing(now)
        if wait > _QUEUE or self._closed(now)[0] > 0:
            return None
        self._take()
        return now + wait

    def _take(self) -> None:
        for bucket in self._buckets:
            bucket.take()

    def _spacing(self, now: float) -> float:
        """Seconds until one more request may be sent by the published limits."""
        return max((bucket.wait(now) for bucket in self._buckets), default=0.0)

    @property
    def is_blocked(self) -> bool:
        """Whether the provider has refused requests for a while."""
        return self.blocked_until > time.monotonic()

    @property
    def is_closed(self) -> bool:
        """Whether a reported limit or a refusal forbids requests now."""
        return self._closed(time.monotonic())[0] > 0

    def _closed(self, now: float) -> tuple[float, str]:
        """Seconds for which a reported limit or a refusal forbids requests, and why."""
        if self.blocked_until > now:
            return self.blocked_until - now, "rate limited"
        reserved = self.reserved_until - now
        if reserved > 0:
            return reserved, "what is left of the rate limit is kept for people"
        return 0.0, ""

    @property
    def reserved_until(self) -> float:
        """When the last rate limit is full again whose rest is kept for people; else 0."""
        now = time.monotonic()
        until = 0.0
        for resource, window in list(self._windows.items()):
            if window.reset <= now:
                del self._windows[resource]  # it is full again
            elif window.remaining - self._under_way <= self._reserved(window):
                until = max(until, window.reset)
        return until

    def _reserved(self, window: _Window) -> float:
        """What must remain of a limit: the reserve, and what may be under way."""
        return self._reserve * window.limit + min(_MARGIN, _MARGIN_SHARE * window.limit)

    def sent(self) -> None:
        """Count a request that goes out: reported limits lag behind."""
        self._under_way += 1

    # -- after it

    def answered(self, *, unchanged: bool = False) -> None:
        """Count a request that was `sent`; `unchanged` if the answer was 304."""
        self._under_way -= 1
        count = REQUEST_COUNT.get()
        if count is not None:
            count.sent += 1
            count.counted += not (unchanged and self._unchanged_is_free)

    def observe(self, resource: str, limit: RateLimit, now: float) -> None:
        """Take a limit from the headers of an answer; `now` is the provider's time."""
        if limit.limit is None:
            return
        if limit.remaining is None or limit.reset_at is None:
            for bucket in self._buckets:
                bucket.resize(limit.limit)
            return
        ahead = min(max(limit.reset_at - now, 0.0), _LONGEST)
        window = _Window(limit.limit, limit.remaining, time.monotonic() + ahead)
        was_closed = self.is_closed
        known = self._windows.get(resource)
        if known is not None and abs(known.reset - window.reset) < _SAME_RESET:
            window.remaining = min(known.remaining, window.remaining)  # answers overtake each other
        if known is not None or len(self._windows) < _MAX_RESOURCES:
            self._windows[resource] = window
        if self.is_closed and not was_closed:
            self.closed()

    def block(self, delay: float) -> None:
        """Send nothing for `delay` seconds."""
        self.blocked_until = max(self.blocked_until, time.monotonic() + delay)
        self.closed()

    # -- over a restart

    def limits(self) -> Limits:
        """The reported limits and the refusal in force."""
        now, ours = time.monotonic(), time.time()
        windows = {
            resource: Window(window.limit, window.remaining, ours + window.reset - now)
            for resource, window in self._windows.items()
            if window.reset > now
        }
        if not windows and not self.is_blocked:
            return Limits()
        blocked_until = ours + self.blocked_until - now if self.is_blocked else None
        return Limits(blocked_until=blocked_until, windows=windows, reported_at=ours)

    def restore(self, limits: Limits) -> None:
        """Take the limits of an earlier process, for no longer than it had to wait.

        The clock may have been set back since then.
        """
        now = time.monotonic()
        ours = max(time.time(), limits.reported_at)
        if limits.blocked_until is not None:
            delay = min(limits.blocked_until - ours, _LONGEST)
            self.blocked_until = max(self.blocked_until, now + delay)
        for resource, window in [*limits.windows.items()][:_MAX_RESOURCES]:
            ahead = min(window.reset - ours, _LONGEST)
            if ahead > 0 and resource not in self._windows:
                self._windows[resource] = _Window(window.limit, window.remaining, now + ahead)

    def headroom(self) -> RequestRate:
        """What may be sent per second from now on; infinite without limits."""
        now = time.monotonic()
        sent = min((bucket.rate for bucket in self._buckets), default=math.inf)
        counted = math.inf
        for window in self._windows.values():
            if window.reset > now:
                left = max(window.remaining - self._reserved(window), 0.0)
                counted = min(counted, left / (window.reset - now))
        return RequestRate(sent, counted)
