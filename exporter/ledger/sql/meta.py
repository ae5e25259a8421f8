"""What is kept under a name: some numbers, and the bounds of histograms.

SQLite keeps each as it is, a number or packed bytes. A database whose columns have one type keeps
them as text, bytes in hexadecimal digits behind a backslash and an x.
"""

from __future__ import annotations

from exporter.ledger.rows import Vector
from exporter.ledger.sql import Driver
from exporter.ledger.sql.codec import RottenError, pack, unpack

_BOUNDS = "bounds "
"""What the name begins with under which the bounds of a histogram family are kept."""
_DROPPED = "dropped "
"""What the name begins with under which the increments of a family are kept that were dropped."""
_PUT = (
    "INSERT INTO cicd_exporter_meta (key, value) VALUES (?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


def number(db: Driver, name: str) -> float | None:
    """A number; None if there is none of this name. Raises RottenError."""
    row = db.execute("SELECT m.value FROM cicd_exporter_meta AS m WHERE m.key = ?", (name,))
    found = row.fetchone()
    if found is None:
        return None
    try:
        if isinstance(found[0], int | float | str):
            return float(found[0])
    except ValueError:
        pass
    raise RottenError(f"{name} is no number")


def put_number(db: Driver, name: str, value: float) -> None:
    """Keep a number."""
    db.execute(_PUT, (name, value))


def put_bytes(db: Driver, name: str, value: bytes) -> None:
    """Keep bytes."""
    db.execute(_PUT, (name, value))


def bytes_of(db: Driver, name: str) -> bytes | None:
    """Bytes; None if there are none of this name. Raises RottenError."""
    sql = "SELECT m.value FROM cicd_exporter_meta AS m WHERE m.key = ?"
    found = db.execute(sql, (name,)).fetchone()
    return None if found is None else _bytes(found[0])


def dropped(db: Driver) -> dict[str, int]:
    """How many increments the series limit has folded or refused, by family. Raises RottenError."""
    sql = "SELECT m.key FROM cicd_exporter_meta AS m WHERE m.key >= ? AND m.key < ?"
    names = [name for (name,) in db.execute(sql, (_DROPPED, f"{_DROPPED}~")).fetchall()]
    return {name.removeprefix(_DROPPED): int(number(db, name) or 0) for name in names}


def add_dropped(db: Driver, family: str, times: int) -> int:
    """Count some more of a family; how many there are then. Raises RottenError."""
    total = int(number(db, _DROPPED + family) or 0) + times
    put_number(db, _DROPPED + family, total)
    return total


def bounds(db: Driver) -> dict[str, Vector]:
    """The bounds of each histogram family. Raises RottenError."""
    sql = "SELECT m.key, m.value FROM cicd_exporter_meta AS m WHERE m.key >= ? AND m.key < ?"
    rows = db.execute(sql, (_BOUNDS, f"{_BOUNDS}~"))
    return {name.removeprefix(_BOUNDS): _unpacked(value) for name, value in rows}


def bounds_of(db: Driver, family: str) -> Vector | None:
    """The bounds of one; None if it has none yet. Raises RottenError."""
    return bounds(db).get(family)


def put_bounds(db: Driver, family: str, wanted: Vector) -> None:
    """Keep the bounds of a family."""
    db.execute(_PUT, (_BOUNDS + family, pack(wanted)))


def _unpacked(value: object) -> Vector:
    return unpack(_bytes(value))


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        try:
            value = bytes.fromhex(value.removeprefix("\\x"))
        except ValueError as error:
            raise RottenError(f"bytes that are kept by name cannot be read: {error}") from None
    if not isinstance(value, bytes):
        raise RottenError("what is kept by name are no bytes")
    return value
