"""The rows of series in SQLite: read and written as sets, however many a batch changes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from exporter.ledger.rows import Delta, SeriesKey, Spread, Vector, plus
from exporter.ledger.sqlite import bulk
from exporter.ledger.sqlite.codec import SEPARATOR, decoder, pack, unpack

_Row = tuple[Vector, Vector | None, bool]
"""A series: its numbers, those that are held back, and whether it takes increments at once."""

_encode = msgspec.msgpack.Encoder().encode
_spread = decoder(Spread)


def add(db: sqlite3.Connection, deltas: Sequence[Delta]) -> None:
    """Add increments to their series."""
    known = _read(db, (delta.series for delta in deltas))
    spreads = _read_spreads(db, (delta.series for delta in deltas if delta.cells))
    for delta in deltas:
        nothing = (0.0,) * len(delta.vector)
        vector, held, opened = known.get(delta.series) or (nothing, None, False)
        if delta.held:
            held = plus(held or nothing, delta.vector)
        else:
            vector = plus(vector, delta.vector)
        known[delta.series] = vector, held, opened or delta.opened
        if delta.cells:
            spreads.setdefault(delta.series, Spread()).add(delta)
    _write(db, known)
    _write_spreads(db, spreads)


def release(db: sqlite3.Connection, keys: Sequence[SeriesKey]) -> None:
    """Let what was held into its series and open them."""
    known = _read(db, keys)
    opened = {
        key: (plus(vector, held) if held else vector, None, True)
        for key, (vector, held, _) in known.items()
    }
    spreads = {key: spread for key, spread in _read_spreads(db, keys).items() if spread.held}
    for spread in spreads.values():
        spread.release()
    _write(db, opened)
    _write_spreads(db, spreads)


def _names(keys: Iterable[SeriesKey]) -> dict[tuple[str, str], SeriesKey]:
    return {(key.family, SEPARATOR.join(key.labels)): key for key in keys}


_WANTED = """
FROM json_each(?) AS wanted CROSS JOIN {table} AS t
  ON t.family = json_extract(wanted.value, '$[0]') AND t.labels = json_extract(wanted.value, '$[1]')
"""


def _read(db: sqlite3.Connection, keys: Iterable[SeriesKey]) -> dict[SeriesKey, _Row]:
    names = _names(keys)
    if not names:
        return {}
    sql = "SELECT t.family, t.labels, t.vector, t.held, t.opened" + _WANTED.format(table="series")
    return {
        names[family, labels]: (
            unpack(vector),
            None if held is None else unpack(held),
            bool(opened),
        )
        for family, labels, vector, held, opened in db.execute(sql, (json.dumps([*names]),))
    }


def _write(db: sqlite3.Connection, changed: Mapping[SeriesKey, _Row]) -> None:
    bulk.write(
        db,
        "INSERT INTO series (family, labels, vector, held, opened) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (family, labels) DO UPDATE"
        " SET vector = excluded.vector, held = excluded.held, opened = excluded.opened",
        [
            (
                key.family,
                SEPARATOR.join(key.labels),
                pack(vector),
                None if held is None else pack(held),
                opened,
            )
            for key, (vector, held, opened) in changed.items()
        ],
    )


def _read_spreads(db: sqlite3.Connection, keys: Iterable[SeriesKey]) -> dict[SeriesKey, Spread]:
    names = _names(keys)
    if not names:
        return {}
    sql = "SELECT t.family, t.labels, t.spread" + _WANTED.format(table="native")
    found = db.execute(sql, (json.dumps([*names]),))
    return {names[family, labels]: _spread(blob) for family, labels, blob in found}


def _write_spreads(db: sqlite3.Connection, spreads: Mapping[SeriesKey, Spread]) -> None:
    bulk.write(
        db,
        "INSERT OR REPLACE INTO native (family, labels, spread) VALUES (?, ?, ?)",
        [
            (key.family, SEPARATOR.join(key.labels), _encode(spread))
            for key, spread in spreads.items()
        ],
    )
