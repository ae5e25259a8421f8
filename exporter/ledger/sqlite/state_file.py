"""Opening the state file: ours or not, sound or not, alone or not."""

from __future__ import annotations

import codecs
import contextlib
import functools
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from exporter.errors import StateDamaged, StateRefused, StateUnavailable
from exporter.ledger.sql.codec import RottenError
from exporter.ledger.sqlite import mounts, schema
from exporter.ledger.sqlite.presence import File
from exporter.ledger.sqlite.schema import APPLICATION_ID, VERSION

log = logging.getLogger(__name__)

_MAGIC = b"SQLite format 3\0"
_MARK = b"cicd_exporter_meta"
"""The name of our first table: stands in the first page of every state file of ours."""


class Opened(NamedTuple):
    """A state that is open, and the file that it is in; None for one in memory."""

    connection: sqlite3.Connection
    file: File | None

    def close(self) -> None:
        """Let go of it."""
        try:
            self.connection.close()
        finally:
            if self.file is not None:
                self.file.close()


def connect(
    path: Path | None,
    *,
    on_corrupt: Literal["fail", "quarantine"],
    now: float,
    damage: str | None = None,
    alone: bool = True,
) -> Opened:
    """The state at `path`, locked, and made if it is absent or empty.

    None keeps the state in memory. `damage` is what is known to be wrong with its content.
    Raises StateRefused, with the file untouched, when another process has it, when it is
    not ours or is newer, when it is on a network file system, or when it is corrupt and
    `on_corrupt` says `fail`; `quarantine` renames it and starts empty instead. Unless `alone`
    another connection of this process may use it meanwhile.
    """
    if path is None:
        db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        return Opened(_create(db), None)
    try:
        _require_local(path)
        if not path.exists() or path.stat().st_size == 0:
            return _opened(path, _create, alone=alone)
        require_ours(path)
        try:
            if damage is None:
                return _opened(path, functools.partial(_verified, path), alone=alone)
        except (sqlite3.DatabaseError, RottenError) as error:
            if not is_corruption(error):
                raise
            damage = str(error)
        if on_corrupt == "fail":
            raise corrupt(path, damage)
        aside = _set_aside(path, now)
        log.error(
            "the state file was corrupt and is set aside; counters start at 0",
            extra={"file": str(path), "aside": str(aside), "damage": damage},
        )
        opened = _opened(path, _create)
        sql = "INSERT INTO cicd_exporter_meta VALUES ('quarantined_at', ?)"
        opened.connection.execute(sql, (now,))
        return opened
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise StateRefused(
                f"state file {path} is in use by another process: stop it or give this one"
                " another state.url"
            ) from None
        raise StateRefused(f"state file {path} cannot be opened: {error}{_who(path)}") from None
    except OSError as error:
        raise StateRefused(
            f"state file {path} cannot be opened: {error.strerror}{_who(path)}"
        ) from None


def mended(opened: Opened, file: File, cure: Literal["rewrite", "reopen"]) -> Opened:
    """The same state on a file that its path names. Raises sqlite3.Error, OSError.

    The new one is there before the old one is let go of, and takes nobody's place.
    """
    # What stands in the write-ahead log would be put over the pages of the new file.
    opened.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if cure == "rewrite":
        fresh = file.path.with_name(f"{file.path.name}.new")
        fresh.unlink(missing_ok=True)
        try:
            descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                opened.connection.execute("VACUUM INTO ?", (str(fresh),))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.link(fresh, file.path)
            _settle(file.path.parent)
        finally:
            fresh.unlink(missing_ok=True)
    opened.close()
    return _opened(file.path, functools.partial(_verified, file.path))


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


def _settle(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _opened(
    path: Path,
    begin: Callable[[sqlite3.Connection], sqlite3.Connection],
    *,
    alone: bool = True,
) -> Opened:
    """The state at `path` once `begin` has made or verified it."""
    file = File(path)
    with contextlib.ExitStack() as unless_it_is_sound:
        unless_it_is_sound.callback(file.close)
        connection = sqlite3.connect(
            path, check_same_thread=False, isolation_level=None, timeout=0.0, cached_statements=256
        )
        unless_it_is_sound.callback(connection.close)
        # One process owns the file as long as it lives; the kernel frees the lock on kill -9.
        if alone:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        begin(connection)
        unless_it_is_sound.pop_all()
    return Opened(connection, file)


def _create(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("BEGIN EXCLUSIVE")
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        schema.upgrade(connection, 0)
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


def _verified(path: Path, connection: sqlite3.Connection) -> sqlite3.Connection:
    """A connection to a file that carries our mark; raises DatabaseError if it is unsound."""
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
    schema.upgrade(connection, version)
    for line in schema.misplaced(connection):
        raise RottenError(line)
    connection.execute("SELECT name FROM account").fetchall()  # they may be no text at all
    connection.execute("COMMIT")
    if version < VERSION:
        log.info("the state file is upgraded", extra={"file": str(path), "format": VERSION})
    _tune(connection)
    return connection


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


def corrupt(path: Path, damage: str) -> StateRefused:
    """Why a damaged file is not used."""
    return StateRefused(
        f"state file {path} is corrupt ({damage}): restore it from a backup, move it away,"
        " or set state.on_corrupt to quarantine"
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


def is_corruption(error: sqlite3.Error | RottenError) -> bool:
    """Whether what is in a file is to blame, rather than the disk or who else uses it."""
    if type(error) in {sqlite3.DatabaseError, RottenError}:
        return True
    text = str(error)
    return any(sign in text for sign in ("malformed", "not a database", "decode to UTF-8"))


@contextmanager
def reading() -> Iterator[None]:
    """Raise what goes wrong as StateDamaged or StateUnavailable."""
    try:
        yield
    except (sqlite3.Error, RottenError) as error:
        if is_corruption(error):
            raise StateDamaged(f"the state cannot be read: it is damaged ({error})") from error
        raise StateUnavailable(
            f"the state cannot be read ({error}): repair the disk; nothing is counted until then"
        ) from error


def _set_aside(path: Path, now: float) -> Path:
    aside = path.with_name(f"{path.name}.corrupt-{int(now)}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
