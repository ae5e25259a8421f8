"""What the headers of an answer say of rate limits, waiting and the time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from exporter import times

_EPOCH_FROM = 1e9  # a smaller "reset" is a number of seconds from now
_LIMIT_HEADERS = ("x-ratelimit", "ratelimit", "x-rate-limit")
_LIMIT_NUMBER = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*(?:[;,].*)?", re.ASCII)
_SECONDS = re.compile(r"\s*-?\d+(?:\.\d*)?\s*", re.ASCII)


class RateLimit(msgspec.Struct, frozen=True):
    """What the provider last said of one of its limits; None where it did not say."""

    limit: float | None
    remaining: float | None
    reset_at: float | None
    """Seconds since the epoch, the provider's clock."""


def rate_limit(headers: Mapping[str, str], now: float) -> RateLimit | None:
    """The limit that an answer's headers tell, or None; `now` is the provider's time.

    The number may have a window behind it (`110;w=10`). The reset is a time or, as in
    the unified API, a number of seconds from now.
    """
    for prefix in _LIMIT_HEADERS:
        limit, remaining, reset = (
            _number(headers.get(f"{prefix}-{part}", "")) for part in ("limit", "remaining", "reset")
        )
        if reset is not None:
            reset = now + reset if reset < _EPOCH_FROM else times.instant(reset)
        if (limit, remaining, reset) != (None, None, None):
            return RateLimit(limit=limit, remaining=remaining, reset_at=reset)
    return None


def _number(text: str) -> float | None:
    match = _LIMIT_NUMBER.fullmatch(text)
    return float(match[1]) if match else None


def wanted_delay(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer asks to wait, perhaps absurd ones, or None.

    They come from `Retry-After`, in either of its forms, or else from the reset of a
    limit with nothing left. `now` is the provider's time.
    """
    text = headers.get("retry-after")
    if text is None:
        limit = rate_limit(headers, now)
        at = None if limit is None or limit.remaining else limit.reset_at
    elif _SECONDS.fullmatch(text):
        return float(text)
    else:
        at = http_date(text)
    return None if at is None else at - now


def http_date(text: str) -> float | None:
    """Seconds since the epoch of a `Date` header, or None."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return times.instant((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
