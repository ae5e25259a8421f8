"""Which store `state.url` names: the only place that knows all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

from exporter.errors import StateRefused, StateUnavailable
from exporter.files import SMALL, content, why
from exporter.ledger import Ledger, LedgerConfig
from exporter.ledger.sqlite import ledger as sqlite

_POSTGRES = ("postgresql://", "postgres://")


def password_of(variable: str | None, file: str | None) -> Callable[[], str | None]:
    """What reads the password anew each time, from an environment variable or a file.

    It raises StateUnavailable where that cannot be read now.
    """

    def read() -> str | None:
        if variable is not None:
            return os.environ.get(variable)
        try:
            return None if file is None else content(file, most=SMALL).decode().strip()
        except (OSError, ValueError) as error:
            reason = why(error) if isinstance(error, OSError) else "holds no text"
            raise StateUnavailable(
                f"the password of the state cannot be read: state.password_file {file} {reason}"
            ) from None

    return read


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
    if not url.startswith(_POSTGRES):
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
