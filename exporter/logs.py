"""Log lines as logfmt or JSON, with the same keys in both: ts level msg, then the facts."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Literal

LEVELS = ("debug", "info", "warn", "error")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(*, level: str, form: Literal["logfmt", "json"]) -> None:
    """Send every log line to stderr. `level` is one of `LEVELS`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Theirs would repeat ours, or name each request with its URL.
    for noisy in ("apscheduler", "httpx", "httpcore", "aiohttp", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


class _Formatter(logging.Formatter):
    def __init__(self, form: Literal["logfmt", "json"]) -> None:
        super().__init__()
        self._join = _as_json if form == "json" else _as_logfmt

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "ts": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
        }
        line |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return self._join(line)


def _as_json(line: dict[str, object]) -> str:
    return json.dumps(line, default=str, ensure_ascii=False)


def _as_logfmt(line: dict[str, object]) -> str:
    return " ".join(f"{key}={_quoted(str(value))}" for key, value in line.items())


def _quoted(text: str) -> str:
    plain = text.isprintable() and not any(c in ' "=' for c in text) and text
    return text if plain else json.dumps(text, ensure_ascii=False)
