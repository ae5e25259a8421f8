"""Which store tests of the ledger's contract open: a SQLite file, or PostgreSQL in its place."""

from __future__ import annotations

import os
from typing import Any, Literal

import pytest
from hypothesis import settings

from exporter.ledger import LedgerConfig
from exporter.ledger.sql.ledger import SqlLedger
from exporter.ledger.sqlite import ledger as sqlite
from tests.tools import postgres

Kind = Literal["sqlite", "postgres"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgres")

MORE = bool(os.environ.get("CICD_EXPORTER_FUZZ"))
"""Whether as many examples as can be are wanted."""
ON_A_FILE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""Marks a test of what only a file can have or meet."""

kind: Kind = "sqlite"
"""What a `sqlite:///PATH` is opened as. The fixture `store` sets it for a test."""
_SHARE = 4
"""What part of the examples a database is tried with, as each needs tables of its own."""


def examples(wanted: settings, store: str) -> settings:
    """The settings of a property for this kind of store."""
    if store == "sqlite" or MORE:
        return wanted
    return settings(wanted, max_examples=max(wanted.max_examples // _SHARE, 1))


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
        patience=20.0,
    )
