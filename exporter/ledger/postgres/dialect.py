"""From the words of `exporter.ledger.sql` to those of PostgreSQL and psycopg."""

from __future__ import annotations

import functools
import re

from exporter.ledger.sql.copying import TABLES

_WORDS = (
    # A set of keys is one JSON array. Its elements come as text; a list among them is JSON.
    (
        r"json_each\(([?]|:\w+)\) AS wanted",
        r"jsonb_array_elements_text(\1::jsonb) AS wanted (value)",
    ),
    (r"json_extract\(wanted\.value, '\$\[(\d+)\]'\)", r"(wanted.value::jsonb ->> \1)"),
    # SQLite is told the order of a join; PostgreSQL finds it.
    (r"CROSS JOIN", "JOIN"),
    # SQLite keeps decimal ids as numbers, here all of them are text.
    (r"\b(key|job) = \?", r"\1 = ?::text"),
    (r"%", "%%"),
    (r"(?<!:):(\w+)", r"%(\1)s"),
    (r"\?", "%s"),
)


_OURS = "|".join((*TABLES, "fleet", "change", "worker", "lease", "scrape", "account_report"))
_TABLE = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE) ({_OURS})\b")


@functools.lru_cache(maxsize=512)
def translated(sql: str, schema: str) -> bytes:
    """A statement as psycopg takes it, with the quoted `schema` before each of our tables.

    >>> translated("SELECT t.job FROM job AS t WHERE t.key = ? AND t.started = ?", '"ci"')
    b'SELECT t.job FROM "ci".job AS t WHERE t.key = %s::text AND t.started = %s'
    """
    for pattern, words in _WORDS:
        sql = re.sub(pattern, words, sql)
    return _TABLE.sub(rf"\1 {schema}.\2", sql).encode()
