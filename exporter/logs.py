"""Log lines as logfmt or JSON, with the same keys in both: ts level msg, then the facts.

Whatever a provider, a branch or an exception says, one record is one line and no credential
is in it. What repeats itself is told once in a while, with how often it was met meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from time import monotonic
from typing import Literal, TextIO

from exporter.redaction import redacted

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
_ROOM = 1024 * 1024
"""Characters that wait for who reads the log."""
_FAREWELL = 5.0
"""Seconds that the end of the process waits for who reads the log."""

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
    """Send every log line to stderr, from a thread. `level` is one of `LEVELS`."""
    handler = _Background(sys.stderr)
    handler.setFormatter(_Formatter(form))
    handler.addFilter(_Folding())
    logging.getLogger().handlers[:] = [handler]
    obey(level)
    # Theirs would repeat ours, or name each request with its URL.
    for noisy in ("apscheduler", "httpx", "httpcore", "aiohttp", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def say(text: str) -> None:
    """A line for the person at the terminal, in turn with the log and as patient as that."""
    ours = [h for h in logging.getLogger().handlers if isinstance(h, _Background)]
    if ours:
        ours[0].put(text)
    else:
        sys.stderr.write(f"{text}\n")


def obey(level: str) -> None:
    """Tell what is of this level or above from now on. `level` is one of `LEVELS`."""
    logging.getLogger().setLevel(level.upper())


class _Background(logging.Handler):
    """Writes to a stream from a thread of its own: whoever logs never waits for who reads.

    What finds no room is dropped, and how much that was is told as soon as there is room again.
    """

    def __init__(self, stream: TextIO, room: int = _ROOM) -> None:
        super().__init__()
        self._stream = stream
        self._room = room
        """How many characters may wait."""
        self._change = threading.Condition()
        self._waiting: list[str] = []
        self._size = 0
        self._dropped = 0
        self._is_writing = False
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as all handlers: a line that cannot be made harms nobody
            self.handleError(record)
        else:
            self.put(line)

    def put(self, line: str) -> None:
        """Queue a line, if there is room."""
        with self._change:
            if self._size + len(line) > self._room:
                self._dropped += 1
                return
            self._waiting.append(line)
            self._size += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="log", daemon=True)
                self._thread.start()
            self._change.notify_all()

    def flush(self) -> None:
        """Wait until all is written, but not for ever: nobody may read it."""
        with self._change:
            self._change.wait_for(lambda: not self._waiting and not self._is_writing, _FAREWELL)

    def _write(self) -> None:
        while True:
            with self._change:
                self._is_writing = False
                self._change.notify_all()
                self._change.wait_for(lambda: self._waiting)
                lines, self._waiting, self._size = self._waiting, [], 0
                dropped, self._dropped = self._dropped, 0
                self._is_writing = True
            if dropped:
                lines.append(self.format(_about_the_dropped(dropped)))
            with contextlib.suppress(OSError, ValueError):  # closed: there is nobody to tell
                _put_out(self._stream, "".join(f"{line}\n" for line in lines))


def _about_the_dropped(lines: int) -> logging.LogRecord:
    text = "nobody has read the log for a while: some lines were dropped"
    record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, (), None)
    record.dropped = lines
    return record


def _put_out(stream: TextIO, text: str) -> None:
    """Write past the stream's own buffer and its lock, which the end of the process would want."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # no file, as in tests
        stream.write(text)
        stream.flush()
        return
    left = memoryview(text.encode("utf-8", "backslashreplace"))
    while left:
        left = left[os.write(descriptor, left) :]


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
    return redacted(text)


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
