"""One statement for many rows, and none where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter.ledger.sql import Driver


def write(db: Driver, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Execute `sql` for each row."""
    if rows:
        db.executemany(sql, rows)
