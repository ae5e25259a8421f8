"""What a state holds, counted."""

from __future__ import annotations

import msgspec

from exporter.ledger.sql import Driver


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what is in a state."""

    bytes: int
    """Of all that is kept."""
    format: int
    """Version of the tables."""
    accounts: dict[str, int]
    """Repos that have been polled, by account."""
    builds: int
    """Completed attempts that are remembered."""
    jobs: int
    """The same of jobs."""
    active: int
    """Builds that have not completed."""
    logged: int
    """Finished builds in the build log."""
    pipelines: int
    series: int
    """Of counters and histograms; a histogram is one."""
    oldest: float | None
    """When the attempt was last listed that has not been for longest. Epoch seconds."""


class WorkerContents(msgspec.Struct, frozen=True):
    """An exporter that writes a state in a database."""

    name: str
    accounts: list[str]
    """Those that it polls."""


class DatabaseContents(Contents, frozen=True, kw_only=True):
    """What a state in a database holds; `bytes` are those of its tables and indexes."""

    database: str
    """Host and name."""
    schema: str
    workers: list[WorkerContents]
    """The exporters that write it, the oldest first."""


class ServerHealth(msgspec.Struct, frozen=True):
    """What may be wrong with the server of a database."""

    version: str
    is_standby: bool
    is_synchronous: bool
    """Whether a commit is on the disk when it is answered."""
    round_trip: float
    """Seconds."""
    workers: list[str] = []
    """The names of the exporters that write the state, the oldest first."""
    is_agreed: bool = True
    """Whether they have the same rules and accounts in their files."""


_TABLES = {
    "builds": "attempt",
    "jobs": "job",
    "active": "active",
    "logged": "build",
    "pipelines": "pipeline",
    "series": "series",
}


def counted(db: Driver) -> dict[str, object]:
    """All of `Contents` that the tables tell, by field."""
    found: dict[str, object] = {
        field: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - names of ours
        for field, table in _TABLES.items()
    }
    accounts = db.execute(
        "SELECT name, count(repo) FROM account LEFT JOIN target ON target.account = account.id"
        " GROUP BY name ORDER BY name"
    )
    oldest = db.execute("SELECT min(listed) FROM attempt").fetchone()[0]
    return found | {
        "accounts": dict(accounts.fetchall()),
        "oldest": oldest if isinstance(oldest, float) else None,
    }
