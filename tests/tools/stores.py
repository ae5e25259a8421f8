"""Which store tests of the ledger's contract open: a SQLite file, or PostgreSQL in its place."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from exporter.ledger import LedgerConfig
from exporter.ledger.sql.ledger import SqlLedger
from exporter.ledger.sqlite import ledger as sqlite
from tests.tools import postgres

Kind = Literal["sqlite", "postgres"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgres")

ON_A_FILE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""Marks a test of what only a file can have or meet."""

kind: Kind = "sqlite"
"""What a `sqlite:///PATH` is opened as. The fixture `store` sets it for a test."""
address: str | None = None
"""Where PostgreSQL is, if not where this process has its own."""


def opened(url: str, config: LedgerConfig, **options: Any) -> SqlLedger:
    """The ledger at `url`; with PostgreSQL in a schema that stands for the path."""
    if kind == "sqlite" or url == "memory:":
        return sqlite.open_ledger(url, config, **options)
    from exporter.ledger.postgres import ledger

    return ledger.open_ledger(
        address or postgres.shared().url,
        config,
        schema_name=postgres.schema_of(url),
        password=lambda: None,
    )
