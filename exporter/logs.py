"""Log lines as logfmt or JSON, with the same keys in both: ts level msg, then the facts.

Whatever a provider, a branch or an exception says, one record is one line and no credential
is in it. What repeats itself is told once in a while, with how often it was met meanwhile.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
from collections.abc import Callable
from time import monotonic
from typing import Literal

LEVELS = ("debug", "info", "warn", "error")

_NO_FACTS = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # uvicorn's message once more, with colours
    "folded",
}
_NAMES = {"warning": "warn", "critical": "error"}


FOLDED = {"folded": True}
"""Facts of a line that says no more when it is said again."""
_INTERVAL = 300.0
"""Seconds in which such a line is told once."""
_MOST_FOLDED = 1000
"""How many of them are remembered."""

# The client keeps credentials out of its errors; what libraries and servers say nobody checks.
_SECRETS = (
    (re.compile(r"(?<=://)[^\s/?#@]+@"), "<hidden>@"),
    (
        re.compile(
            r"\b((?:proxy-)?authorization|private-token|travis-token|circle-token"
            r"|(?:access|refresh|private|api)[_-]?(?:token|key)|password|client_secret)"
            r"([\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic|token|jwt) +)?[^\s\"',;&<>]+",
            re.IGNORECASE,
        ),
        r"\1\2<hidden>",
    ),
)


def configure(*, level: str, form: Literal["logfmt", "json"]) -> None:
    """Send every log line to stderr. `level` is one of `LEVELS`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(form))
    handler.addFilter(_Folding())
    logging.getLogger().handlers[:] = [handler]
    obey(level)
    # Theirs would repeat ours, or name each request with its URL.
    for noisy in ("apscheduler", "httpx", "httpcore", "aiohttp", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def obey(level: str) -> None:
    """Tell what is of this level or above from now on. `level` is one of `LEVELS`."""
    logging.getLogger().setLevel(level.upper())


class _Folding(logging.Filter):
    """Lets what is `FOLDED`, and what a library warns of, pass once in a while.

    The next one then tells how often it was `repeated`. Two are the same if their texts and
    facts are. Our own warnings tell of a change each, or fold themselves.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[object, tuple[float, int]] = {}
        """When it was told, and how often it was met since; the longest ago first."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it."""
        is_ours = record.name.partition(".")[0] == __package__
        folds = "folded" in vars(record) if is_ours else record.levelno >= logging.WARNING
        if not folds:
            return True
        raised = record.exc_info and repr(record.exc_info[1])
        key = (record.name, record.levelno, record.getMessage(), repr(_facts(record)), raised)
        now = self._clock()
        at, met = self._told.get(key, (-math.inf, 0))
        if now - at < _INTERVAL:
            self._told[key] = (at, met + 1)
            return False
        if met:
            record.repeated = met
        self._told.pop(key, None)  # so that it moves to the end
        self._told[key] = (now, 0)
        if len(self._told) > _MOST_FOLDED:
            del self._told[next(iter(self._told))]
        return True


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _NO_FACTS}


class _Formatter(logging.Formatter):
    def __init__(self, form: Literal["logfmt", "json"]) -> None:
        super().__init__()
        self._join = _as_json if form == "json" else _as_logfmt

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "ts": f"{at}.{int(record.msecs):03d}Z",
            "level": _NAMES.get(level, level),
            "msg": record.getMessage(),
        }
        line |= {k: v for k, v in _facts(record).items() if k not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return self._join({key: _hushed(value) for key, value in line.items()})


def _hushed(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _as_json(line: dict[str, object]) -> str:
    return _printable(json.dumps(line, ensure_ascii=False))


def _as_logfmt(line: dict[str, object]) -> str:
    return " ".join(f"{key}={_quoted(str(value))}" for key, value in line.items())


def _quoted(text: str) -> str:
    if text and text.isprintable() and not any(c in ' "=\\' for c in text):
        return text
    return _printable(json.dumps(text, ensure_ascii=False))


def _printable(dumped: str) -> str:
    """JSON without the control, direction and surrogate characters that it may hold itself."""
    if dumped.isprintable():
        return dumped
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in dumped)
