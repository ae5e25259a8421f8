"""The rules of `rules/` for a clock that runs faster: what takes minutes in them takes less."""

from __future__ import annotations

import re
from typing import Any

SECONDS = 60
"""From here on a plain number of an expression is a span in seconds: what else is compared
with there, such as counts, factors and shares, is smaller."""

_MS = {"ms": 1, "s": 10**3, "m": 60 * 10**3, "h": 3600 * 10**3, "d": 86400 * 10**3}
_MS |= {"w": 7 * _MS["d"], "y": 365 * _MS["d"]}
_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
_TOKEN = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*")'
    r"|(?P<name>[A-Za-z_][\w:]*)"
    rf"|(?P<duration>{_DURATION})(?!\w)"
    r"|(?P<number>\d+(?:\.\d+)?)(?!\w)"
)


def faster(content: Any, factor: int) -> Any:
    """The content of a file of rules, or of Prometheus, with spans `factor` times as short.

    That is: intervals, `for`, and in `expr` ranges, subqueries, offsets and plain numbers
    that are seconds. Raises ValueError for a span that is then no whole number of
    milliseconds.
    """
    if isinstance(content, list):
        return [faster(part, factor) for part in content]
    if not isinstance(content, dict):
        return content
    return {key: _KEYS.get(key, faster)(part, factor) for key, part in content.items()}


def duration(text: str, factor: int) -> str:
    """A duration as Prometheus writes it, in milliseconds."""
    if not re.fullmatch(_DURATION, text):
        raise ValueError(f"{text!r} is no duration")
    whole = sum(int(n) * _MS[unit] for n, unit in re.findall(r"(\d+)(ms|[smhdwy])", text))
    if whole % factor:
        raise ValueError(f"a {factor}th of {text} is no whole number of milliseconds")
    return f"{whole // factor}ms"


def expression(text: str, factor: int) -> str:
    """A PromQL expression."""

    def shorter(token: re.Match[str]) -> str:
        match token.lastgroup:
            case "duration":
                return duration(token[0], factor)
            case "number" if float(token[0]) >= SECONDS:
                return f"{float(token[0]) / factor:g}"
        return token[0]

    return _TOKEN.sub(shorter, text)


def numbers(text: str) -> set[float]:
    """The plain numbers of a PromQL expression."""
    return {float(token[0]) for token in _TOKEN.finditer(text) if token.lastgroup == "number"}


_SPANS = ("interval", "scrape_interval", "evaluation_interval", "for", "keep_firing_for")
_KEYS = dict.fromkeys(_SPANS, duration) | {"expr": expression}
