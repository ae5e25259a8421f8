"""Opening the state file: ours or not, sound or not, alone or not."""

from __future__ import annotations

import codecs
import logging
import os
import sqlite3
from pathlib import Path
from typing import Literal

from exporter.errors import StateRefused
from exporter.state import mounts

log = logging.getLogger(__name__)

APPLICATION_ID = 0x63696364  # "cicd"
VERSION = 4
_MAGIC = b"SQLite format 3\0"
_MARK = b"cicd_exporter_meta"
"""The name of our first table: stands in the first page of every state file of ours."""

_FIRST = """
CREATE TABLE cicd_exporter_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE target (
    id INTEGER PRIMARY KEY, account INTEGER NOT NULL, repo TEXT NOT NULL,
    cursor BLOB NOT NULL, quiet INTEGER NOT NULL, UNIQUE (account, repo));
-- key has no type on purpose: decimal ids are kept as integers, which take a third of the room
CREATE TABLE attempt (
    account INTEGER NOT NULL, key NOT NULL, attempt INTEGER NOT NULL,
    conclusion TEXT, listed REAL NOT NULL, flags INTEGER NOT NULL,
    PRIMARY KEY (account, key, attempt)) WITHOUT ROWID;
CREATE TABLE job (
    account INTEGER NOT NULL, key NOT NULL, attempt INTEGER NOT NULL, job NOT NULL,
    listed REAL NOT NULL, PRIMARY KEY (account, key, attempt, job)) WITHOUT ROWID;
CREATE TABLE active (
    account INTEGER NOT NULL, key NOT NULL, attempt INTEGER NOT NULL,
    target INTEGER NOT NULL, build BLOB NOT NULL,
    PRIMARY KEY (account, key, attempt)) WITHOUT ROWID;
CREATE TABLE series (
    family TEXT NOT NULL, labels TEXT NOT NULL, vector BLOB NOT NULL,
    held BLOB, opened INTEGER NOT NULL, PRIMARY KEY (family, labels)) WITHOUT ROWID;
CREATE TABLE pipeline (
    labels TEXT PRIMARY KEY, target INTEGER NOT NULL, facts BLOB NOT NULL) WITHOUT ROWID;
"""

_ANSWERS = """
-- what is long stands last, so that `used` is read without it
CREATE TABLE answer (
    account INTEGER NOT NULL, url TEXT NOT NULL, shape TEXT NOT NULL, used REAL NOT NULL,
    reader BLOB NOT NULL, etag TEXT NOT NULL, packed BLOB NOT NULL,
    PRIMARY KEY (account, url, shape));
"""

_NATIVE = """
-- beside `series`, so that who wants no native histograms pays nothing for them
CREATE TABLE native (
    family TEXT NOT NULL, labels TEXT NOT NULL, spread BLOB NOT NULL,
    PRIMARY KEY (family, labels)) WITHOUT ROWID;
"""

_CLOCKS_AND_LIMITS = """
-- the end that was counted, and when the provider had last changed the build by then
ALTER TABLE attempt ADD COLUMN ended REAL;
ALTER TABLE attempt ADD COLUMN changed REAL;
-- what completed before has been forgotten: each account has a clock of its own
ALTER TABLE account ADD COLUMN pruned_to REAL;
UPDATE account
    SET pruned_to = (SELECT value FROM cicd_exporter_meta WHERE key = 'pruned_to');
DELETE FROM cicd_exporter_meta WHERE key = 'pruned_to';
-- what an API has forbidden to a credential, until when: by our clock
CREATE TABLE budget (
    credential BLOB PRIMARY KEY, blocked_until REAL NOT NULL, windows BLOB NOT NULL) WITHOUT ROWID;
"""

_STEPS = {0: _FIRST, 1: _ANSWERS, 2: _NATIVE, 3: _CLOCKS_AND_LIMITS}
"""What makes of a state file of one format one of the next; a new file takes all of them."""


def connect(
    path: Path | None, *, on_corrupt: Literal["fail", "quarantine"], now: float
) -> sqlite3.Connection:
    """A locked connection to the state at `path`, made if it is absent or empty.

    None keeps the state in memory. Raises StateRefused, with the file untouched, when
    another process has it, when it is not ours or is newer, when it is on a network file
    system, or when it is corrupt and `on_corrupt` says `fail`; `quarantine` renames it and
    starts empty instead.
    """
    if path is None:
        return _create(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None))
    try:
        _require_local(path)
        if not path.exists() or path.stat().st_size == 0:
            return _create(_open(path))
        require_ours(path)
        try:
            return _verified(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not _is_corruption(error):
                raise
            damage = str(error)
        if on_corrupt == "fail":
            raise StateRefused(
                f"state file {path} is corrupt ({damage}): restore it from a backup, move it"
                " away, or set state.on_corrupt to quarantine"
            )
        aside = _set_aside(path, now)
        log.error(
            "the state file was corrupt and is set aside; counters start at 0",
            extra={"file": str(path), "aside": str(aside), "damage": damage},
        )
        connection = _create(_open(path))
        connection.execute("INSERT INTO cicd_exporter_meta VALUES ('quarantined_at', ?)", (now,))
        return connection
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise StateRefused(
                f"state file {path} is in use by another process: stop it or give this one"
                " another state.url"
            ) from None
        raise StateRefused(f"state file {path} cannot be opened: {error}{_who(path)}") from None
    except OSError as error:
        raise StateRefused(f"state file {path} cannot be opened: {error.strerror}") from None


def _who(path: Path) -> str:
    """Whom the folder is closed to, if that is why: the usual trouble of a mounted folder."""
    folder = path.absolute().parent
    if not folder.is_dir() or os.access(folder, os.W_OK):
        return ""
    return f" (user {os.geteuid()} must be able to write into {folder})"


def _require_local(path: Path) -> None:
    kind = mounts.network(path)
    if kind is not None:
        raise StateRefused(
            f"state file {path} is on a network file system ({kind}), where SQLite can neither"
            " lock nor recover it: let state.url name a local disk or a block volume"
        )


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, check_same_thread=False, isolation_level=None, timeout=0.0, cached_statements=256
    )
    # One process owns the file as long as it lives; the kernel frees the lock on kill -9.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection


def _create(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("BEGIN EXCLUSIVE")
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        _upgrade(connection, 0)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("COMMIT")
    # Only now: with a write-ahead log from the start, a crash here would leave a file without mark.
    connection.execute("PRAGMA journal_mode = WAL")
    _tune(connection)
    return connection


def _tune(connection: sqlite3.Connection) -> None:
    # FULL: after a power cut the last commit is there, so no counter goes back.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")


def _verified(path: Path) -> sqlite3.Connection:
    """A connection to a file that carries our mark; raises DatabaseError if it is unsound."""
    connection = _open(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application == APPLICATION_ID and version > VERSION:
            raise newer(path, version)
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(str(found).splitlines()[0])
        if application != APPLICATION_ID:
            raise foreign(path)
        if version < 1:
            raise sqlite3.DatabaseError(f"there is no format {version}")
        _upgrade(connection, version)
        connection.execute("COMMIT")
        if version < VERSION:
            log.info("the state file is upgraded", extra={"file": str(path), "format": VERSION})
        _tune(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Make today's format of an older one; 0 is an empty file."""
    for step in range(version, VERSION):
        _execute(connection, _STEPS[step])
        connection.execute(f"PRAGMA user_version = {step + 1}")


def _execute(connection: sqlite3.Connection, script: str) -> None:
    """Execute statements inside the transaction that there is."""
    for statement in script.split(";"):
        connection.execute(statement)


def require_ours(path: Path) -> None:
    """Refuse a file that is evidently somebody else's.

    A sound SQLite database says by its application id whose it is. Damage can take that
    away, so a file that is no database passes if our mark is still in it, or if it is
    not even readable text.
    """
    with path.open("rb") as file:
        head = file.read(65536)
    if head.startswith(_MAGIC):
        ours = head[68:72] == APPLICATION_ID.to_bytes(4, "big") or _MARK in head
    else:
        ours = _MARK in head or not _is_text(head)
    if not ours:
        raise foreign(path)


def foreign(path: Path) -> StateRefused:
    """Why a file that is not ours is not used."""
    return StateRefused(
        f"state file {path} is not a state of cicd-exporter: left alone; set another state.url"
    )


def newer(path: Path, version: int) -> StateRefused:
    """Why a file of a later format is not used."""
    return StateRefused(
        f"state file {path} was written by a newer cicd-exporter (format {version},"
        f" this one knows {VERSION}): upgrade, or give it another state.url"
    )


def _is_text(head: bytes) -> bool:
    try:  # the last character may be cut in two
        return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False


def _is_corruption(error: sqlite3.Error) -> bool:
    return "malformed" in str(error) or "not a database" in str(error)


def _set_aside(path: Path, now: float) -> Path:
    aside = path.with_name(f"{path.name}.corrupt-{int(now)}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
