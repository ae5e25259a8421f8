"""Log lines as logfmt or JSON, with the same keys in both: ts level msg, then the facts.

Whatever a provider, a branch or an exception says, one record is one line.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Literal

LEVELS = ("debug", "info", "warn", "error")

_NO_FACTS = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # uvicorn's message once more, with colours
}
_NAMES = {"warning": "warn", "critical": "error"}


def configure(*, level: str, form: Literal["logfmt", "json"]) -> None:
    """Send every log line to stderr. `level` is one of `LEVELS`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Theirs would repeat ours, or name each request with its URL.
    for noisy in ("apscheduler", "httpx", "httpcore", "aiohttp", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


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
        line |= {k: v for k, v in vars(record).items() if k not in line.keys() | _NO_FACTS}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return self._join(line)


def _as_json(line: dict[str, object]) -> str:
    return _printable(json.dumps(line, default=str, ensure_ascii=False))


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
