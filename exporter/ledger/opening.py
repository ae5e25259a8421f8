"""Which store `state.url` names: the only place that knows all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from exporter.errors import StateRefused
from exporter.ledger import Ledger, LedgerConfig
from exporter.ledger.sqlite import ledger as sqlite

POSTGRES = ("postgresql://", "postgres://")
"""What addresses of a database begin with."""


def open_ledger(  # noqa: PLR0913 - what the `state` section of a configuration says
    url: str,
    config: LedgerConfig,
    *,
    on_corrupt: Literal["fail", "quarantine"] = "fail",
    damage: str | None = None,
    schema: str = "cicd_exporter",
    password: Callable[[], str | None] = lambda: None,
) -> Ledger:
    """The ledger at `url`: `sqlite:///PATH`, `memory:` or `postgresql://...`.

    `damage` is what was found to be wrong with its content. `password` is asked at each connection
    to a database. Raises StateRefused.
    """
    if not url.startswith(POSTGRES):
        return sqlite.open_ledger(url, config, on_corrupt=on_corrupt, damage=damage)
    if damage is not None:
        raise StateRefused(f"the state is damaged ({damage}): restore the database from a backup")
    try:
        from exporter.ledger.postgres import ledger as postgres  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise StateRefused(
            "state.url names a PostgreSQL database, for which the extra `postgres` is missing:"
            " pip install 'cicd-exporter[postgres]'"
        ) from None
    return postgres.open_ledger(url, config, schema_name=schema, password=password)
