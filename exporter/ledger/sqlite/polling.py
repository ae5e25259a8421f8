"""The rows of the schedule in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from exporter.ledger.polling import AccountPolling, PollingChanges, RepoPolling, StoredPolling
from exporter.ledger.sqlite import bulk
from exporter.ledger.sqlite.codec import RottenError, decoder

_encode = msgspec.msgpack.Encoder().encode
_account = decoder(AccountPolling)
_repo = decoder(RepoPolling)


def load(rows: sqlite3.Cursor, accounts: Mapping[int, str]) -> dict[str, StoredPolling]:
    """All rows by account; `accounts` are the names by number. Raises sqlite3.Error."""
    found: dict[str, StoredPolling] = {}
    for number, blob in rows.execute("SELECT account, polling FROM account_polling"):
        if number not in accounts:
            raise RottenError("a polled account does not exist")
        found[accounts[number]] = StoredPolling(_account(blob), {})
    for number, repo, blob in rows.execute("SELECT account, repo, polling FROM repo_polling"):
        if (stored := found.get(accounts.get(number, ""))) is None:
            raise RottenError("a polled repo belongs to an account that does not exist")
        stored.repos[repo] = _repo(blob)
    return found


def write(db: sqlite3.Connection, account: int, changes: PollingChanges) -> None:
    """Write the changed rows of an account and delete the dropped ones."""
    if changes.account is not None:
        db.execute(
            "INSERT OR REPLACE INTO account_polling (account, polling) VALUES (?, ?)",
            (account, _encode(changes.account)),
        )
    bulk.write(
        db,
        "INSERT OR REPLACE INTO repo_polling (account, repo, polling) VALUES (?, ?, ?)",
        [(account, repo, _encode(row)) for repo, row in changes.repos.items()],
    )
    bulk.write(
        db,
        "DELETE FROM repo_polling WHERE account = ? AND repo = ?",
        [(account, repo) for repo in changes.dropped],
    )
