"""Secrets by reference: the configuration names a place, and what is there is read when needed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from exporter import files
from exporter.errors import Refused
from exporter.redaction import redacted
from exporter.threads import begun, ended

_STILL_NEW = 2.0
"""Seconds for which the last look at the files is good enough for a request."""
_COARSE = 2.0
"""Seconds after a change in which another one may bear the same times."""
_FOREVER = 86400.0

_Stamp = tuple[int, ...] | None


class _Seen(NamedTuple):
    """What was found at a look at the files."""

    at: float
    """Epoch seconds."""
    stamps: tuple[_Stamp, ...]
    token: str | None
    fault: str
    """Why there is no token where there should be one."""

    @property
    def is_sure(self) -> bool:
        """Whether any later change will show in the stamps."""
        return all(stamp is None or self.at - stamp[0] / 1e9 > _COARSE for stamp in self.stamps)


class Token:
    """A secret by reference: the name of an environment variable, or a file.

    `beside` are other files that a credential is made of, such as the key of an App.
    """

    def __init__(self, *, env: str | None, file: str | None, beside: Iterable[str] = ()) -> None:
        self._env = env
        self._file = file
        self._files = (*((file,) if file is not None and env is None else ()), *beside)
        self._seen: _Seen | None = None
        self._used: object = None
        self._look: Future[_Seen] | None = None
        self._begun_at = self._ended_at = float("-inf")
        """Of the last look; monotonic."""

    def read(self) -> str | None:
        """The secret as it is now, or None where neither place is named.

        Raises Refused(`unauthorized`), which names the place, if no token is there. Waits for
        a disk that does not answer, though not for long: that is nothing for the event loop.
        """
        return self._read(files.PATIENCE)

    def known(self) -> str | None:
        """The secret as the last look has found it; the same as `read` before the first one."""
        if self._env is not None or self._file is None or self._seen is None:
            return self.read()
        if self._seen.token is None:
            raise Refused(self._seen.fault, reason="unauthorized")
        return self._seen.token

    async def look(self, *, anew: bool = False) -> None:
        """Before a request: see to it that `known` is what is there now.

        A look takes a thread and a few system calls, and none is made within two seconds of
        the last one, unless `anew`. Files are read only when they have changed. While their
        disk does not answer, what was known stays known.
        """
        if anew or monotonic() - self._ended_at > _STILL_NEW:
            await self._refresh()
        self._used = self._meaning()

    async def changed(self) -> bool:
        """Whether another secret, or another trouble, is there than at the last request.

        A change is reported once.
        """
        await self._refresh()
        before, self._used = self._used, self._meaning()
        return self._used != before

    def _meaning(self) -> object:
        seen = self._seen
        if seen is None:
            return None
        beside = seen.stamps if self._file is None or self._env is not None else seen.stamps[1:]
        return seen.token, seen.fault, beside

    async def _refresh(self) -> None:
        if not self._files:
            return
        if self._look is None or self._look.done():
            self._look = begun(partial(self._looked, self._seen), name="token")
            self._begun_at = monotonic()
        look = self._look
        if await ended(look, within=max(self._begun_at + files.PATIENCE - monotonic(), 0.0)):
            self._seen, self._ended_at = look.result(), monotonic()
        elif self._seen is None:
            fault = f"token_file {self._file} cannot be read: its disk does not answer"
            self._seen = _Seen(time.time(), (), None, fault)

    def _looked(self, before: _Seen | None) -> _Seen:
        stamps = tuple(map(_stamp, self._files))
        if before is not None and stamps == before.stamps and before.is_sure:
            return before
        at = time.time()
        try:
            token = None if self._file is None else self._read(_FOREVER)
        except Refused as error:
            return _Seen(at, stamps, None, str(error))
        return _Seen(at, stamps, token, "")

    def _read(self, patience: float) -> str | None:
        if self._env is not None:
            place, text = f"environment variable {self._env}", os.environ.get(self._env, "")
        elif self._file is not None:
            place = f"token_file {redacted(self._file)}"
            text = content(self._file, key="token_file", patience=patience)
        else:
            return None
        text = text.strip()
        if not text:
            raise Refused(f"{place} is not set or empty", reason="unauthorized")
        if not is_header_value(text):
            raise Refused(f"{place} holds more than one line of ASCII", reason="unauthorized")
        return text


def _stamp(file: str) -> _Stamp:
    """What changes with a file, the time of its last change first; None if there is none."""
    try:
        found = Path(file).stat()
    except (OSError, ValueError):
        return None
    return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def content(file: str, *, key: str, patience: float = files.PATIENCE) -> str:
    """The text of a file that holds a secret; `key` is what the configuration calls it.

    Raises Refused(`unauthorized`), which names the file and quotes nothing of it.
    """
    try:
        return files.content(file, most=files.SMALL, patience=patience).decode("utf-8-sig")
    except OSError as error:
        text = files.why(error)
    except ValueError:  # not UTF-8; the error's own text would quote the secret
        text = "does not hold text"
    raise Refused(f"{key} {redacted(file)} {text}", reason="unauthorized")


def is_header_value(value: str) -> bool:
    """Whether a header can carry `value`."""
    return value.isascii() and value.isprintable()
