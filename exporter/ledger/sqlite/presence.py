"""Whether the state file that is open is still the one that its path names, and whole.

An open file outlives its name: who removes, replaces or overwrites it is told nothing, nor
is SQLite. What is written from then on is lost with the process, and a log that belongs to
the old file would spoil a new one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Literal, NamedTuple

_LOG_MAGIC, _LOG_HEAD, _FRAME_HEAD = b"\x37\x7f\x06", 32, 24
"""The log: https://www.sqlite.org/fileformat2.html#the_write_ahead_log"""
_RESTART = "restart the exporter"


class Fault(NamedTuple):
    """What became of the file."""

    text: str
    """What is wrong and what to do."""
    cure: Literal["rewrite", "reopen"] | None = None
    """What puts it right and loses nothing, if anything does."""


class _Seen(NamedTuple):
    """Which file a name stood for."""

    device: int
    number: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Seen:
        return cls(found.st_dev, found.st_ino, found.st_size)

    def is_same(self, other: _Seen) -> bool:
        return self[:2] == other[:2]


class File:
    """The state file at `path`, made if it is absent.

    It is opened before SQLite opens it and closed afterwards: to close any descriptor of a
    file lets go of all the locks that a process has on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.log = self.path.with_name(f"{path.name}-wal")
        # Its counts are nobody else's business: SQLite gives its log the same mode.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        named, opened = _found(path), _Seen.of(os.fstat(self._descriptor))
        self._has_identity = named is not None and named.is_same(opened)
        self._seen: _Seen | None = None
        self._logged: _Seen | None = None
        self._mark: tuple[int, bytes] | None = None
        self._spoiled: Fault | None = None
        """What it will never recover from."""

    def close(self) -> None:
        """Let go of it; SQLite must have done so before. A second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def mark(self, connection: sqlite3.Connection) -> None:
        """Note what the file is like, with a mark in it that whoever overwrites it destroys.

        The mark is another one whenever something was written, so that a copy of the file from
        a while ago does not pass for it. Raises sqlite3.Error.
        """
        if self._mark is None or _size(self.log):
            self._mark = self._marked(connection)
        if self._has_identity:  # there are file systems where no number stays
            self._seen, self._logged = _Seen.of(os.fstat(self._descriptor)), _found(self.log)

    def _marked(self, connection: sqlite3.Connection) -> tuple[int, bytes] | None:
        """Where the mark stands and what is there: a page that nothing else is ever on."""
        token = os.urandom(16)
        connection.execute("INSERT OR REPLACE INTO opening (rowid, mark) VALUES (1, ?)", (token,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        size = int(connection.execute("PRAGMA page_size").fetchone()[0])
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'opening'"
        offset = size * (int(connection.execute(sql).fetchone()[0]) - 1)
        page = os.pread(self._descriptor, size, offset)
        return (offset, page) if token in page else None

    def fault(self) -> Fault | None:
        """What has become of it since it was marked; None if it is as it was. Raises OSError."""
        if self._seen is None or self._spoiled is not None:
            return self._spoiled
        found = _found(self.path)
        if found is None:
            return self._gone(self._seen)
        if not found.is_same(self._seen):
            return Fault(
                f"another file has taken the place of state file {self.path}: {_RESTART} to go on"
                " from that one, or remove it and the exporter writes what it knows there"
            )
        if found.size < self._seen.size or self._is_overwritten():
            self._spoiled = Fault(
                f"state file {self.path} was overwritten or cut off while it was in use: put a"
                f" backup in its place and {_RESTART}"
            )
            return self._spoiled
        return None if self._logged is None else self._fault_of_log(self._logged)

    def _gone(self, seen: _Seen) -> Fault:
        folder = _found(self.path.parent)
        if folder is None:
            return Fault(
                f"the folder of state file {self.path} is gone: put it back, or make it anew and"
                " the exporter writes what it knows there",
            )
        if folder.device != seen.device:
            return Fault(
                f"the disk of state file {self.path} is no longer where it was: mount it there"
                f" and {_RESTART}"
            )
        return Fault(
            f"state file {self.path} was removed or moved while it was in use: unless it comes"
            " back the exporter writes what it knows there soon",
            "rewrite",
        )

    def _is_overwritten(self) -> bool:
        if self._mark is None:
            return False
        offset, page = self._mark
        return os.pread(self._descriptor, len(page), offset) != page

    def _fault_of_log(self, logged: _Seen) -> Fault | None:
        found = _found(self.log)
        if found is None or not found.is_same(logged):
            text = f"{self.log}, which belongs to the state file, was removed or replaced"
            return Fault(f"{text}: the exporter soon makes it anew", "reopen")
        if _has_holes(self.log, found.size):
            text = f"{self.log}, which belongs to the state file, was cut off while it was in use"
            text = f"{text}: {_RESTART}; what was counted last may be counted again"
            self._spoiled = Fault(text)
            return self._spoiled
        return None

    def disown(self, connection: sqlite3.Connection) -> None:
        """See to it that the log of this file spoils no other that stands in its place now."""
        found = _found(self.path)
        if found is not None and self._seen is not None and not found.is_same(self._seen):
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        logged = _found(self.log)
        if logged is not None and self._logged is not None and logged.is_same(self._logged):
            os.truncate(self.log, 0)


def _has_holes(log: Path, size: int) -> bool:
    """Whether a part of the log is not what SQLite wrote: it goes on where it had been.

    SQLite would take the holes for pages of the file.
    """
    if not size:
        return False
    with log.open("rb") as file:
        head = file.read(_LOG_HEAD)
        if not head.startswith(_LOG_MAGIC):
            return True
        page = int.from_bytes(head[8:12], "big")
        for frame in range(_LOG_HEAD, size - _FRAME_HEAD, _FRAME_HEAD + page):
            file.seek(frame)
            if not any(file.read(_FRAME_HEAD)):
                return True
    return False


def _size(path: Path) -> int:
    found = _found(path)
    return 0 if found is None else found.size


def _found(path: Path) -> _Seen | None:
    """Which file `path` names; None if there is none. Raises OSError."""
    try:
        return _Seen.of(path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return None
