"""One statement for many rows, and none where there are none."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any


def write(db: sqlite3.Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Execute `sql` for each row."""
    if rows:
        db.executemany(sql, rows)
