"""What happens over time to an account whose credential is refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from exporter.times import instant
from tests.tools.emulators.github import Hub
from tests.tools.serving import ServerThread
from tests.tools.system import Exporter, configure, eventually

ENTRIES = ["acme/api", "acme/shop", "acme/web"]
RIGHT, WRONG = "ghp_right", "ghp_wrong"
LONG, SOON = 18.0, 15.0
"""Seconds to the next try of an account that is left alone, and until a mended one is up."""


def test_a_mended_token_is_taken_at_once_however_long_the_account_is_left_alone(
    tmp_path: Path,
) -> None:
    """A token is refused again and again; somebody replaces the file, but not the variable."""
    hub = Hub()
    hub.tokens = {RIGHT}
    for entry in ENTRIES:
        hub.repo(entry)
        hub.end(hub.begin(entry))
    token = tmp_path / "token"
    token.write_text(WRONG)
    with ServerThread(hub.app) as server:
        url = f"{server.url}/api/v3"
        common = {"provider": "github", "url": url, "repos": ENTRIES}
        accounts = [
            {"name": "file", "token_file": str(token), **common},
            {"name": "variable", "token_env": "REFUSED", **common},
        ]
        file = configure(tmp_path, accounts, polling={"interval": "15s"})
        with Exporter(file, env={"REFUSED": WRONG}) as exporter:

            def told() -> dict[str, Any]:
                return {account["name"]: account for account in exporter.status()["accounts"]}

            def assert_left_alone() -> None:
                for account in told().values():
                    assert account["state"] == "unauthorized"
                    assert (instant(account["next_try_at"]) or 0) - time.time() > LONG

            eventually(assert_left_alone, within=60)
            (tmp_path / "new").write_text(RIGHT)
            (tmp_path / "new").replace(token)

            def assert_up() -> None:
                account = told()["file"]
                assert account["up"]
                assert not any(repo["error"] for repo in account["repos"])

            eventually(assert_up, within=SOON)
            assert not told()["variable"]["up"]
            assert not any(secret in exporter.log for secret in (RIGHT, WRONG))
