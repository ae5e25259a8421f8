"""Scalars as Go's YAML library reads them, where the configuration file is stricter."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_FLAGS = dict.fromkeys(("yes", "Yes", "YES", "on", "On", "ON", "y", "Y"), True) | dict.fromkeys(
    ("no", "No", "NO", "off", "Off", "OFF", "n", "N"), False
)
_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
    r"(?:(\d+(?:\.\d+)?)ms)?"
)
_UNITS = (3600.0, 60.0, 1.0, 0.001)


def _flag(value: Any) -> Any:
    return _FLAGS.get(value, value) if isinstance(value, str) else value


def _duration(value: Any) -> Any:
    if value == 0 and not isinstance(value, bool | str):
        return 0.0
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if value == "0":
        return 0.0
    if match is None or not any(match.groups()):
        raise ValueError("must be a duration with its unit (write 100ms, 1s or 1m30s)")
    return sum(float(n) * unit for n, unit in zip(match.groups(), _UNITS, strict=True) if n)


def _scalar(value: Any) -> Any:
    return str(value) if type(value) is int else value


Flag = Annotated[bool, BeforeValidator(_flag)]
"""true or false; YAML 1.1's `yes` and `off` too."""

GoDuration = Annotated[float, BeforeValidator(_duration)]
"""Seconds, written as Go writes durations."""

Scalar = Annotated[str, BeforeValidator(_scalar)]
"""Text; a bare number is its own spelling."""

Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)]
"""A list of texts."""
