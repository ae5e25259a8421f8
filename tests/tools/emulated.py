"""An emulator with an account of each integration, a clock, a client, and builds to add."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from exporter.demo import JobRun, Run, World
from exporter.demo.integrations import INTEGRATIONS
from tests.tools.emulators.unified import EmulatorThread

NOW = 1_795_000_000.0
"""The world's time when a test begins."""

ENTRIES = {
    "github": "acme/shop",
    "azuredevops": "acme/shop",
    "bitbucket": "acme/shop",
    "circleci": "gh/acme/shop",
    "jenkins": "folder/shop",
    "travisci": "15022857",
    "buddy": "acme/shop/deploy",
}
BUILDS = [name for name in ENTRIES if name != "buddy"]
IDS = {"bitbucket": "{{1f0e2d3c-4b5a-6978-8796-a5b4c3d2e1{:02d}}}"}
"""Where an id is not just a number."""


class Clock:
    """A clock that a test moves."""

    now = NOW

    def __call__(self) -> float:
        return self.now


class Client:
    """An HTTP client with the right token and an account's scope."""

    def __init__(self, url: str) -> None:
        headers = {"Authorization": "Bearer demo"}
        self.http = httpx.Client(base_url=url, headers=headers, verify=False, trust_env=False)

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(path, params=params)

    def unified(self, account: str, path: str, **params: Any) -> Any:
        """The JSON body of a unified endpoint, with all scope parameters of the account."""
        answer = self.get(f"/unified/ci-cd/{path}", **scope(account), **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def walk(self, account: str, **params: Any) -> Iterator[list[str]]:
        """The ids of each page of builds, to the end of the list."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.unified(account, "builds", next_cursor=cursor, **params)
            yield [item["id"] for item in page["result"]]
            cursor = page.get("next_cursor") or None


def scope(account: str) -> dict[str, str]:
    """Every scope parameter of an account's one repo, under each of its names."""
    integration = INTEGRATIONS[account]
    parts = integration.parts(ENTRIES[account])
    aliases = {alias: parts[name] for alias, name in integration.aliases.items()}
    return {"integrated_account_id": account, **parts, **aliases}


def run(account: str = "github", number: int = 1, **fields: Any) -> Run:
    """A build that was created, started and ended 10, 20 and 80 seconds after `NOW`."""
    created = fields.pop("created_at", NOW + 10)
    jobs = (
        JobRun(id=f"{number}7", name="test", started_at=created + 10, completed_at=created + 70),
    )
    return Run(
        id=IDS.get(account, "{}").format(number),
        number=number,
        **{
            "created_at": created,
            "started_at": created + 10,
            "completed_at": created + 70,
            "workflow": "CI",
            "jobs": jobs,
        }
        | fields,
    )


@pytest.fixture(scope="module")
def server():
    with EmulatorThread(World(Clock())) as server:
        yield server


@pytest.fixture
def emulator(server):
    """An emulator with an account of each integration, named after it, at `NOW`."""
    server.world.clock.now = NOW
    server.world.page_size = 50
    server.world.accounts.clear()
    for integration, entry in ENTRIES.items():
        server.world.open(integration, integration, entry)
    server.faults.clear()
    server.journal.clear()
    return server


@pytest.fixture
def clock(emulator):
    return emulator.world.clock


@pytest.fixture(scope="module")
def client(server):
    client = Client(server.url)
    with client.http:
        yield client


def add(emulator: EmulatorThread, account: str, *runs: Run) -> None:
    emulator.world.add(account, ENTRIES[account], *runs)
