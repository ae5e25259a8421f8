"""Which store `state.url` names: the only place that knows all of them."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from exporter.errors import StateRefused, StateUnavailable
from exporter.files import SMALL, content, why
from exporter.ledger import DATABASES, Ledger, LedgerConfig
from exporter.ledger.build_log import BuildLog
from exporter.ledger.rows import Snapshot
from exporter.ledger.sql.contents import DatabaseContents, ServerHealth
from exporter.ledger.sql.copying import Digest
from exporter.ledger.sqlite import ledger as sqlite

_NAME = "command"
"""What a command calls itself at the server."""
_PATIENCE = 2.0
"""Seconds that a command waits for the end of an exporter that is stopping."""


class Stored(Protocol):
    """Where a state is: the section `state` of a configuration."""

    url: str
    schema: str
    password_env: str | None
    password_file: str | None


class FleetMember(NamedTuple):
    """One process among several that write a database."""

    name: str | None
    """For people; the host's name if None."""
    lease: float
    """Seconds after which one that is silent has lost what it polls."""


class Database(Protocol):
    """A state in a database, as commands look at it; each method raises StateRefused."""

    def migrate(self) -> tuple[int | None, int]:
        """Make or upgrade the tables; the format before, None if they were right, and today's."""

    def inspect(self) -> DatabaseContents:
        """What is in it."""

    def damage(self, rotten: Callable[[Snapshot], Iterable[str]]) -> list[str]:
        """What is wrong with it, a line each; nothing if it is sound."""

    def build_log(self) -> AbstractContextManager[BuildLog]:
        """The build log, as it is now."""

    def health(self) -> ServerHealth:
        """What the server says of itself."""


def password_of(variable: str | None, file: str | None) -> Callable[[], str | None]:
    """What reads the password anew each time, from an environment variable or a file.

    It raises StateUnavailable where that cannot be read now.
    """

    def read() -> str | None:
        if variable is not None:
            return os.environ.get(variable)
        try:
            return None if file is None else content(file, most=SMALL).decode().rstrip("\r\n")
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
    patience: float = 0.0,
    worker: FleetMember | None = None,
) -> Ledger:
    """The ledger at `url`: `sqlite:///PATH`, `memory:` or `postgresql://...`.

    `damage` is what was found to be wrong with its content. `password` is asked at each connection
    to a database. Without a `worker`, which shares the database with others, a process that writes
    there is waited for, so many seconds. Raises StateRefused, and StateInUse where that goes on.
    """
    if not url.startswith(DATABASES):
        return sqlite.open_ledger(url, config, on_corrupt=on_corrupt, damage=damage)
    if damage is not None:
        raise StateRefused(f"the state is damaged ({damage}): restore the database from a backup")
    postgres = _postgres("ledger")
    opened: Ledger = postgres.open_ledger(
        url,
        config,
        schema_name=schema,
        password=password,
        patience=patience,
        **({} if worker is None else {"alone": False, **worker._asdict()}),
    )
    return opened


def database(state: Stored) -> Database:
    """The state in a database, to be looked at. Raises StateRefused if the extra is missing."""
    password = password_of(state.password_env, state.password_file)
    access = _postgres("driver").Access(
        state.url, schema=state.schema, name=_NAME, password=password
    )
    found: Database = _postgres("database").Database(access)
    return found


def copy(source: str, target: str, *, schema: str) -> dict[str, Digest]:
    """Copy the state at one address into an empty one at another; what it was, by table.

    Nobody may use either meanwhile. Passwords come from where libpq finds them. Raises StateError.
    """
    whole = LedgerConfig(retention=math.inf, lookback=0.0)
    with ExitStack() as opened:
        ledgers = []
        for url in (source, target):
            if url.startswith(DATABASES):
                ledger = _postgres("ledger").open_ledger(
                    url, whole, schema_name=schema, password=lambda: None, patience=_PATIENCE
                )
            else:
                if url == source and not Path(_path(url)).exists():
                    raise StateRefused(f"state file {_path(url)} not found: check --from")
                ledger = sqlite.open_ledger(url, whole)
            opened.callback(ledger.close)
            ledgers.append(ledger)
        copied: dict[str, Digest] = ledgers[0].copy_into(ledgers[1])
        return copied


def _path(url: str) -> str:
    return url.removeprefix("sqlite:///")


def _postgres(module: str) -> Any:
    """A module of the store, which needs the extra."""
    try:
        return importlib.import_module(f"exporter.ledger.postgres.{module}")
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise StateRefused(
            "the address names a PostgreSQL database, for which the extra `postgres` is missing:"
            " pip install 'cicd-exporter[postgres]'"
        ) from None
