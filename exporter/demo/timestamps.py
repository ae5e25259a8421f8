"""How each CI system writes an instant."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(instant: float | None, digits: int = 0) -> str | None:
    """ISO 8601 in UTC with `digits` of fraction, cut off like the CI systems do it."""
    if instant is None:
        return None
    width = max(digits, 6)  # below a microsecond a float of today is noise
    whole, fraction = divmod(round(instant * 10**width), 10**width)
    text = f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}"
    return f"{text}.{fraction:0{width}d}"[: len(text) + 1 + digits] + "Z" if digits else f"{text}Z"


def iso_trimmed(instant: float | None) -> str | None:
    """Azure's form: up to 7 digits of fraction, without zeros at its end."""
    text = iso(instant, 7)
    return None if text is None else text[:-1].rstrip("0").rstrip(".") + "Z"


def milliseconds(instant: float) -> int:
    """Milliseconds since the epoch, Jenkins' form."""
    return round(instant * 1000)
