"""Reading everything that a process needs in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.ledger.rows import Cursor, Snapshot, Target
from exporter.ledger.sql import Driver, limits, meta, polling, series
from exporter.ledger.sql.codec import RottenError, decoder
from exporter.model import Build

_build = decoder(Build)
_cursor = decoder(Cursor)


def accounts(db: Driver) -> dict[str, int]:
    """The numbers of all accounts by name."""
    return dict(db.execute("SELECT name, id FROM account").fetchall())


def load(db: Driver, *, native: bool) -> Snapshot:
    """Everything; `native` tells whether with native buckets. Raises RottenError."""
    names = {number: name for name, number in accounts(db).items()}
    targets = list(_targets(db, names))
    counted = "SELECT name, samples FROM account WHERE samples IS NOT NULL"
    snapshot = Snapshot(
        targets=targets,
        pipelines=list(series.all_pipelines(db)),
        series=list(series.read_all(db, native=native)),
        open_builds=[
            (target, _build(blob))
            for target, blob in db.execute("SELECT target, build FROM active")
        ],
        samples=dict(db.execute(counted).fetchall()),
        swept_at=meta.number(db, "swept_at"),
        limits=limits.load(db),
        dropped=meta.dropped(db),
        polling=polling.load(db, names),
        series_limit=int(meta.number(db, "series_limit") or 0),
        bounds=meta.bounds(db),
    )
    known = {target.id for target in targets}
    if not known.issuperset(row[0] for row in (*snapshot.open_builds, *snapshot.pipelines)):
        raise RottenError("a build or pipeline belongs to a repo that does not exist")
    return snapshot


def _targets(db: Driver, names: Mapping[int, str]) -> Iterator[Target]:
    for row in db.execute("SELECT id, account, repo, cursor, quiet FROM target"):
        ident, account, repo, cursor, quiet = row
        if account not in names:
            raise RottenError("a repo belongs to an account that does not exist")
        yield Target(ident, names[account], repo, _cursor(cursor), bool(quiet))
