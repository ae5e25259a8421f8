"""Looking at a state file without being noticed: nothing is written, no lock is taken.

The exporter that runs holds the file for itself alone, so what is read here is a copy of it
as it was at one instant. Nor can looking at a file keep an exporter from starting on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from exporter.errors import StateDamaged, StateRefused
from exporter.ledger.build_log import BuildLog
from exporter.ledger.rows import Snapshot
from exporter.ledger.sql import loading
from exporter.ledger.sql.build_log import SqlBuildLog
from exporter.ledger.sql.codec import RottenError
from exporter.ledger.sql.contents import Contents, counted
from exporter.ledger.sqlite import schema, state_file

_PENDING_BYTE, _LOCK_BYTES = 0x40000000, 512
"""Where SQLite locks a file: https://www.sqlite.org/fileformat2.html#the_lock_byte_page"""
_FLOCK = "qqihh" if sys.platform == "darwin" else "hhqqi"
"""`struct flock`, its members in the order of the platform."""
_WAL_HEADER = 32
"""Bytes; they differ as soon as the log begins anew."""
_TRIES, _PAUSE = 20, 0.1
_MOST_DAMAGE = 20
"""Lines of it that are told."""


class Inspection(Contents, frozen=True, kw_only=True):
    """What a state file holds; `bytes` are those of the file and what is logged beside it."""

    file: str
    holder: int | None
    """Process that has it, 0 where the system does not say which; None if nobody has."""


def holder(path: Path) -> int | None:
    """The process that has the state at `path` open, as `Inspection.holder`.

    Asked of the kernel, which is no lock. Raises OSError.
    """
    values = {"start": _PENDING_BYTE, "length": _LOCK_BYTES, "pid": 0, "type": fcntl.F_WRLCK}
    mac = (values["start"], values["length"], 0, values["type"], os.SEEK_SET)
    other = (values["type"], os.SEEK_SET, values["start"], values["length"], 0)
    with path.open("rb") as file:
        asked = struct.pack(_FLOCK, *(mac if sys.platform == "darwin" else other))
        lock = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    kind, pid = (lock[3], lock[2]) if sys.platform == "darwin" else (lock[0], lock[4])
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


def inspect(path: Path) -> Inspection:
    """What is in the state file at `path`. Raises StateRefused if that cannot be told."""
    with _reading(path) as (connection, size, version):
        facts = {"file": str(path), "bytes": size, "format": version, "holder": holder(path)}
        return msgspec.convert(facts | counted(connection), Inspection)


@contextlib.contextmanager
def build_log(path: Path) -> Iterator[BuildLog]:
    """The build log of the state at `path`, as it is now. Raises StateRefused."""
    with _reading(path) as (connection, _, _):
        yield SqlBuildLog(connection, state_file.reading)


def damage(path: Path, rotten: Callable[[Snapshot], Iterable[str]]) -> list[str]:
    """What is wrong with the state file at `path`, a line each; nothing if it is sound.

    Every page and index is read, and every value; `rotten` says which of those that a process
    loads are none of ours. Raises StateRefused for what is no state file of ours.
    """
    try:
        with _reading(path) as (connection, _, _):
            rows = connection.execute(f"PRAGMA integrity_check({_MOST_DAMAGE})").fetchall()
            lines = [line for (text,) in rows for line in str(text).splitlines() if line != "ok"]
            lines = lines or [*_missing(connection), *schema.misplaced(connection)]
            return lines or list(islice(_rotten(connection, rotten), _MOST_DAMAGE))
    except _DamagedError as error:
        return [str(error)]


def _rotten(
    connection: sqlite3.Connection, rotten: Callable[[Snapshot], Iterable[str]]
) -> Iterator[str]:
    try:
        with state_file.reading(), contextlib.closing(connection.cursor()) as rows:
            snapshot = loading.load(rows, native=True)
        yield from rotten(snapshot)
    except StateDamaged as error:
        yield str(error)


class _DamagedError(StateRefused):
    """SQLite cannot read the file."""


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[tuple[sqlite3.Connection, int, int]]:
    """A connection to a copy of the state in today's format, its bytes and its own format."""
    try:
        with tempfile.TemporaryDirectory(prefix="cicd-exporter-state-") as folder:
            size = _copy(path, Path(folder, "state.db"))
            with contextlib.closing(sqlite3.connect(Path(folder, "state.db"))) as connection:
                application = _number(connection, "PRAGMA application_id")
                version = _number(connection, "PRAGMA user_version")
                if application != schema.APPLICATION_ID:
                    raise state_file.foreign(path)
                if version > schema.VERSION:
                    raise state_file.newer(path, version)
                if version < 1:
                    raise sqlite3.DatabaseError(f"there is no format {version}")
                schema.upgrade(connection, version)
                yield connection, size, version
    except (sqlite3.Error, RottenError) as error:
        raise _DamagedError(str(state_file.corrupt(path, str(error)))) from None
    except FileNotFoundError:
        raise StateRefused(
            f"state file {path} not found: `run` makes it; check state.url, a relative path"
            " starts where the exporter does"
        ) from None
    except OSError as error:
        raise StateRefused(
            f"state file {path} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None


def _copy(path: Path, to: Path) -> int:
    """Copy a state as it was at one instant, its log included; the bytes of both.

    What a checkpoint writes to the file is in the log until the log begins anew, so the
    log makes up for what happened while the file was copied.
    """
    log, copied_log = (p.with_name(f"{p.name}-wal") for p in (path, to))
    for _ in range(_TRIES):
        before = _head(log), _version(path)
        if not path.stat().st_size:
            raise StateRefused(f"state file {path} is empty: nothing has been kept yet")
        state_file.require_ours(path)
        shutil.copyfile(path, to)
        copied_log.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(log, copied_log)
        after = _head(log), _version(path)
        if before[0] == after[0] and (before[0] or before == after):
            logged = copied_log.stat().st_size if copied_log.exists() else 0
            return to.stat().st_size + logged
        time.sleep(_PAUSE)
    raise StateRefused(f"state file {path} changes faster than it can be read: try again")


def _head(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            return file.read(_WAL_HEADER)
    except FileNotFoundError:
        return b""


def _version(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _missing(connection: sqlite3.Connection) -> list[str]:
    """Rows that point to rows which are not there."""
    found = []
    for table, column, other in (
        ("target", "account", "account"),
        ("attempt", "account", "account"),
        ("job", "account", "account"),
        ("active", "target", "target"),
        ("pipeline", "target", "target"),
        ("build", "account", "account"),
        ("build", "pipeline", "log_pipeline"),
    ):
        sql = f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM {other})"  # noqa: S608 - names of ours
        if lost := _number(connection, sql):
            found.append(f"{lost} row(s) of {table} have no {other}")
    return found


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])
