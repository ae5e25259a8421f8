"""The rows of the schedule."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from exporter.ledger.polling import AccountPolling, PollingChanges, RepoPolling, StoredPolling
from exporter.ledger.sql import Driver, bulk
from exporter.ledger.sql.codec import RottenError, decoder

_encode = msgspec.msgpack.Encoder().encode
_account = decoder(AccountPolling)
_repo = decoder(RepoPolling)


def load(db: Driver, accounts: Mapping[int, str]) -> dict[str, StoredPolling]:
    """All rows by account; `accounts` are the names by number."""
    found: dict[str, StoredPolling] = {}
    for number, blob in db.execute("SELECT account, polling FROM account_polling"):
        if number not in accounts:
            raise RottenError("a polled account does not exist")
        found[accounts[number]] = StoredPolling(_account(blob), {})
    for number, repo, blob in db.execute("SELECT account, repo, polling FROM repo_polling"):
        if (stored := found.get(accounts.get(number, ""))) is None:
            raise RottenError("a polled repo belongs to an account that does not exist")
        stored.repos[repo] = _repo(blob)
    return found


def write(db: Driver, account: int, changes: PollingChanges) -> None:
    """Write the changed rows of an account and delete the dropped ones."""
    if changes.account is not None:
        db.execute(
            "INSERT INTO account_polling (account, polling) VALUES (?, ?)"
            " ON CONFLICT (account) DO UPDATE SET polling = excluded.polling",
            (account, _encode(changes.account)),
        )
    bulk.write(
        db,
        "INSERT INTO repo_polling (account, repo, polling) VALUES (?, ?, ?)"
        " ON CONFLICT (account, repo) DO UPDATE SET polling = excluded.polling",
        [(account, repo, _encode(row)) for repo, row in changes.repos.items()],
    )
    bulk.write(
        db,
        "DELETE FROM repo_polling WHERE account = ? AND repo = ?",
        [(account, repo) for repo in changes.dropped],
    )
