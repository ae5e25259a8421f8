"""Instants and spans in every form that APIs and people write them."""

from __future__ import annotations

import contextlib
import math
import re
from datetime import UTC, datetime
from functools import lru_cache

from exporter.redaction import shown

_SANE_FROM = datetime(2005, 1, 1, tzinfo=UTC).timestamp()
_SANE_TO = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
_MILLISECONDS_FROM = 100_000_000_000  # in seconds this is the year 5138, in milliseconds 1973

_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:[.,](\d+))?"
    r"\s*(Z|z|UTC|GMT|[+-]\d\d:?\d\d|[+-]\d\d)?"
)
_USUAL = "--T::Z"
"""Every third character from the fifth on of the form that nearly all times have."""
_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_EPOCH = re.compile(r"(?![0-9]{8}$)[0-9]{1,12}(?:\.[0-9]{1,9})?")
"""Of eight digits is a date in the basic form of ISO 8601."""
SPAN = r"^\s*(?=\d)(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+(?:\.\d+)?s)?\s*$"
"""What `span` reads, for JSON Schema."""
_UNITS = (86400.0, 3600.0, 60.0, 1.0)


def instant(value: str | float | None) -> float | None:
    """Seconds since the epoch of an API's time, or None if it names no real instant.

    Read are ISO 8601 with 0 to 9 digits of fraction, `Z`, `+0000`, `+02:00`, a leap
    second, a space for the T and no zone (taken as UTC), and numbers: seconds or, from
    1e11 on, milliseconds since the epoch, also as digits in a string. Zero dates
    (`0001-01-01`, epoch 0) and anything outside 2005 to 2100 mean "not known".
    """
    if isinstance(value, str):
        return _known(value) if len(value) <= _SHORT else _from_text(value)
    if value is None or isinstance(value, bool):
        return None
    return _sane(_from_number(value))


def _from_text(value: str) -> float | None:
    text = value.strip()
    return _sane(_from_iso(text) if "-" in text[1:] else _from_number(text))


_SHORT = 32
_known = lru_cache(maxsize=8192)(_from_text)
"""Lists repeat the times of their builds at each poll. What is long is not remembered."""


def _sane(seconds: float | None) -> float | None:
    return seconds if seconds is not None and _SANE_FROM <= seconds <= _SANE_TO else None


def _from_iso(text: str) -> float | None:
    if text[4::3] == _USUAL:
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            pass  # a leap second perhaps
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    date, clock, second, fraction, zone = match.groups()
    leap = second == "60"
    if zone is None or zone in "ZzUTCGMT":
        zone = "+00:00"
    elif len(zone) == 3:
        zone += ":00"
    elif len(zone) == 5:
        zone = f"{zone[:3]}:{zone[3:]}"
    try:
        whole = datetime.fromisoformat(f"{date}T{clock}:{'59' if leap else second}{zone}")
        return whole.timestamp() + leap + (float(f"0.{fraction}") if fraction else 0.0)
    except (ValueError, OverflowError):
        return None


def _from_number(value: str | float) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number / 1000 if abs(number) >= _MILLISECONDS_FROM else number


def span(text: str) -> float:
    """Seconds of a duration as people configure it: `30s`, `5m`, `1h30m`, `1d`.

    Raises ValueError with a hint when it is anything else.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise ValueError(
            f"{shown(text)} is not a duration (write 30s, 5m, 1h30m, 1d or a number of seconds)"
        )
    return sum(float(n) * unit for n, unit in zip(match.groups(), _UNITS, strict=True) if n)


def point(text: str, *, now: float) -> float:
    """Seconds since the epoch of a time as people write it.

    Read are a date or a time in ISO 8601 (UTC if nothing is said), seconds since the epoch, and a
    span for so long before `now`: `48h`. Raises ValueError with a hint when it is anything else.
    """
    text = text.strip()
    if _EPOCH.fullmatch(text):
        return float(text)
    with contextlib.suppress(ValueError):
        return _finite(now - span(text))
    with contextlib.suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    raise ValueError(f"{shown(text)} is no date (write 2026-08-01, 2026-08-01T12:00:00Z or 48h)")


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise ValueError
    return seconds
