"""A request, its answer, and the statistics of all requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import msgspec

from exporter.errors import Reason
from exporter.http.limits import RateLimit

T = TypeVar("T")


class ApiStats(msgspec.Struct):
    """Counts and limits of an `Api` since the start; read at scrape time."""

    requests: Counter[str] = msgspec.field(default_factory=Counter)
    """Requests sent, by HTTP status code, or `error` where no answer came."""
    errors: Counter[Reason] = msgspec.field(default_factory=Counter)
    """Failed requests, also those that succeeded when tried again."""
    rate_limits: dict[str, RateLimit] = msgspec.field(default_factory=dict)
    """By the provider's name of the limited resource, "" where it names none."""
    token_expiry: float | None = None
    """When the token ends, epoch seconds; None where nothing says it, or it never ends."""
    clock_skew: float | None = None
    """The provider's clock minus ours, seconds; 0 if under 2; None before the first answer."""
    clock: tuple[float, float] | None = None
    """The provider's time at the last answer, and when that was, monotonic: ours may jump."""


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """A decoded answer."""

    body: T
    headers: Mapping[str, str]
    """Names in lower case."""
    status: int
    """304 if the body is the stored one."""


class Call(msgspec.Struct, Generic[T], frozen=True):
    """A request and its credential."""

    method: str
    url: str
    into: type[T]
    credentials: Callable[[], dict[str, str]]
    conditional: bool = False
    tries: int | None = None
    form: Callable[[], dict[str, str]] | None = None
    """The form of a POST; errors show none of its values."""
