"""A whole state from one database into another, and whether both hold the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from exporter.errors import StateDamaged, StateRefused
from exporter.ledger.sql import Driver, bulk
from exporter.ledger.sql.codec import compact

_COLUMNS = {
    "account": "id name pruned_to samples",
    "target": "id account repo cursor quiet",
    "attempt": "account key started attempt conclusion listed flags ended changed",
    "job": "account key started attempt job run listed",
    "active": "account key started attempt target build",
    "series": "family labels vector held opened created_at",
    "pipeline": "labels target facts",
    "native": "family labels spread",
    "answer": "account url shape used reader etag packed",
    "budget": "credential until limits",
    "account_polling": "account polling",
    "repo_polling": "account repo polling",
    "log_pipeline": "id provider account repo workflow branch unpruned",
    "build": "id account key started attempt pipeline at number conclusion hash ref details",
    "cicd_exporter_meta": "key value",
}
TABLES: Mapping[str, list[str]] = {table: names.split() for table, names in _COLUMNS.items()}
"""The columns of each table; a table comes after those that it points to."""

_IDS = {"attempt", "job", "active", "build"}
"""Tables whose `key` is the id of a build."""
_FLAGS = {"quiet", "opened"}
_OWN = {"format", "oldest", "rules"}
"""What `cicd_exporter_meta` says of the tables themselves."""
_BATCH = 1000


class Digest(msgspec.Struct, frozen=True):
    """The rows of a table: equal if they are, whatever their order."""

    rows: int = 0
    sum: int = 0

    def plus(self, table: str, rows: Iterable[tuple[Any, ...]]) -> Digest:
        """The digest with these rows as well."""
        count, total = self.rows, self.sum
        for row in rows:
            plain = [as_text(table, *pair) for pair in zip(TABLES[table], row, strict=True)]
            count += 1
            total += int.from_bytes(hashlib.blake2b(repr(plain).encode(), digest_size=8).digest())
        return Digest(count, total % 2**64)


def as_text(table: str, name: str, value: Any) -> Any:
    """A value as a database has it whose columns have one type each."""
    if value is None:
        return None
    if (name == "key" and table in _IDS) or name == "job":
        return str(value)
    if name in _FLAGS:
        return bool(value)
    if table == "cicd_exporter_meta" and name == "value":
        return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
    return value


def as_sqlite(table: str, name: str, value: Any) -> Any:
    """A value as SQLite has it: decimal ids as numbers, and so what is a number under a name."""
    if value is None:
        return None
    if (name == "key" and table in _IDS) or name == "job":
        return compact(str(value))
    if name in _FLAGS:
        return int(value)
    if table == "cicd_exporter_meta" and name == "value" and isinstance(value, str):
        return bytes.fromhex(value[2:]) if value.startswith("\\x") else _number(value)
    return value


def _number(text: str) -> float:
    return int(text) if text.isascii() and text.isdigit() else float(text)


def rows_of(db: Driver, table: str) -> Iterator[tuple[Any, ...]]:
    """All rows of a table, in the order of `TABLES`."""
    rows = db.execute(f"SELECT {', '.join(TABLES[table])} FROM {table}")  # noqa: S608 - names of ours
    return (row for row in rows if table != "cicd_exporter_meta" or row[0] not in _OWN)


def copy(
    source: Driver, target: Driver, convert: Callable[[str, str, Any], Any]
) -> dict[str, Digest]:
    """Write all rows of `source`, each value converted, into the empty tables of `target`.

    Returns what was copied, by table. Raises StateRefused if they are not empty, and StateDamaged
    if they hold anything else afterwards; the caller must roll back then.
    """
    if target.execute("SELECT count(*) FROM account").fetchone()[0]:
        raise StateRefused("the state to copy to is not empty: name another one")
    copied: dict[str, Digest] = {}
    for table, columns in TABLES.items():
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - names of ours
        copied[table] = Digest()
        for batch in _batches(rows_of(source, table)):
            copied[table] = copied[table].plus(table, batch)
            values = [
                tuple(convert(table, name, value) for name, value in zip(columns, row, strict=True))
                for row in batch
            ]
            bulk.write(target, sql, values)
        if Digest().plus(table, rows_of(target, table)) != copied[table]:
            raise StateDamaged(f"the rows of {table} are not the same in both states")
    return copied


def _batches(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
