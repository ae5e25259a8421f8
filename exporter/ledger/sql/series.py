"""The rows of pipelines and series: read and written as sets."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator

import msgspec

from exporter.ledger.rows import Labels, PipelineRow, SeriesKey, SeriesRow, SparseBuckets
from exporter.ledger.sql import Driver, bulk
from exporter.ledger.sql.codec import SEPARATOR, decoder, pack, split, unpack

_encode = msgspec.msgpack.Encoder().encode
_spread = decoder(SparseBuckets)

_SERIES = "s.vector, s.held, s.opened, s.created_at"
_WANTED = """
FROM json_each(?) AS wanted CROSS JOIN series AS s
  ON s.family = json_extract(wanted.value, '$[0]') AND s.labels = json_extract(wanted.value, '$[1]')
"""
_NATIVE = " LEFT JOIN native AS n ON n.family = s.family AND n.labels = s.labels"


def read(db: Driver, keys: Iterable[SeriesKey], *, native: bool) -> dict[SeriesKey, SeriesRow]:
    """Those of these series that there are; `native` tells whether with their native buckets."""
    names = {_name(key): key for key in keys}
    if not names:
        return {}
    columns, joined = (", n.spread", _NATIVE) if native else (", NULL", "")
    sql = f"SELECT s.family, s.labels, {_SERIES}{columns} {_WANTED}{joined}"
    found = db.execute(sql, (json.dumps([*names]),))
    return {(key := names[row[0], row[1]]): _row(key, *row[2:]) for row in found}


def read_all(db: Driver, *, native: bool) -> Iterator[SeriesRow]:
    """All series there are."""
    columns, joined = (", n.spread", _NATIVE) if native else (", NULL", "")
    sql = f"SELECT s.family, s.labels, {_SERIES}{columns} FROM series AS s{joined}"  # noqa: S608 - texts of ours
    for family, labels, *values in db.execute(sql):
        yield _row(SeriesKey(family, split(labels)), *values)


def _row(  # noqa: PLR0913, PLR0917 - a column each
    key: SeriesKey,
    vector: bytes,
    held: bytes | None,
    is_live: int,
    created_at: float | None,
    spread: bytes | None,
) -> SeriesRow:
    return SeriesRow(
        key,
        unpack(vector),
        None if held is None else unpack(held),
        bool(is_live),
        None if spread is None else _spread(spread),
        created_at,
    )


def write(db: Driver, rows: Collection[SeriesRow]) -> None:
    """Write series as they are from now on."""
    bulk.write(
        db,
        "INSERT INTO series (family, labels, vector, held, opened, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (family, labels) DO UPDATE"
        " SET vector = excluded.vector, held = excluded.held, opened = excluded.opened",
        [
            (
                *_name(row.series),
                pack(row.vector),
                None if row.held is None else pack(row.held),
                row.is_live,
                row.created_at,
            )
            for row in rows
        ],
    )
    bulk.write(
        db,
        "INSERT INTO native (family, labels, spread) VALUES (?, ?, ?)"
        " ON CONFLICT (family, labels) DO UPDATE SET spread = excluded.spread",
        [(*_name(row.series), _encode(row.spread)) for row in rows if row.spread is not None],
    )


def read_of(
    db: Driver, pipelines: Collection[Labels], families: Collection[str]
) -> Iterator[SeriesRow]:
    """The series of pipelines, those whose labels begin with theirs, in some families."""
    for family in families:
        for begin, end in map(_range, pipelines):
            for labels, *values in db.execute(_SELECT_RANGE, (family, begin, end)):
                yield _row(SeriesKey(family, split(labels)), *values)


def forget(db: Driver, pipelines: Collection[Labels], families: Collection[str]) -> None:
    """Drop pipelines and their series in these families."""
    names = [(SEPARATOR.join(labels),) for labels in pipelines]
    bulk.write(db, "DELETE FROM pipeline WHERE labels = ?", names)
    ranges = [(family, *_range(labels)) for family in families for labels in pipelines]
    for table in ("series", "native"):
        bulk.write(db, f"DELETE FROM {table} AS s WHERE {_IN_RANGE}", ranges)  # noqa: S608 - of ours


_IN_RANGE = "s.family = ? AND s.labels >= ? AND s.labels < ?"
_SELECT_RANGE = f"SELECT s.labels, {_SERIES}, NULL FROM series AS s WHERE {_IN_RANGE}"  # noqa: S608 - of ours


def _range(pipeline: Labels) -> tuple[str, str]:
    """Where the labels of a pipeline's series are; no label has what is less than a space."""
    name = SEPARATOR.join(pipeline)
    return name, f"{name} "


def read_pipelines(db: Driver, wanted: Iterable[Labels]) -> dict[Labels, PipelineRow]:
    """Those of these pipelines that there are."""
    names = {SEPARATOR.join(labels): labels for labels in wanted}
    if not names:
        return {}
    sql = (
        "SELECT p.labels, p.target, p.facts FROM json_each(?) AS wanted CROSS JOIN pipeline AS p"
        " ON p.labels = wanted.value"
    )
    return {
        (labels := names[name]): PipelineRow(target, labels, facts)
        for name, target, facts in db.execute(sql, (json.dumps([*names]),))
    }


def all_pipelines(db: Driver) -> Iterator[PipelineRow]:
    """All pipelines there are."""
    for target, labels, facts in db.execute("SELECT target, labels, facts FROM pipeline"):
        yield PipelineRow(target, split(labels), facts)


def write_pipelines(db: Driver, rows: Iterable[PipelineRow]) -> None:
    """Write pipelines as they are from now on; one that is there keeps its target."""
    bulk.write(
        db,
        "INSERT INTO pipeline (labels, target, facts) VALUES (?, ?, ?)"
        " ON CONFLICT (labels) DO UPDATE SET facts = excluded.facts",
        [(SEPARATOR.join(row.labels), row.target, row.facts) for row in rows],
    )


def _name(key: SeriesKey) -> tuple[str, str]:
    return key.family, SEPARATOR.join(key.labels)
