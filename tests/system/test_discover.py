"""`discover` tells what would be polled and what that costs, as it then comes true."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from exporter import daemon
from exporter.commands import discover
from exporter.config import Config, load
from exporter.demo.serve import serving
from tests.tools.commands import Ended, command
from tests.tools.emulators.github import TOKEN, Hub
from tests.tools.system import configure

T = TypeVar("T")

KEY = "DISCOVER_TEST_TOKEN"


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, TOKEN)


def hub(repos: int = 12) -> Hub:
    made = Hub()
    for number in range(repos):
        made.repo(f"acme/r{number:02}")
        for branch in ("main", "topic"):
            made.end(made.begin(f"acme/r{number:02}", head_branch=branch))
    return made


def account(url: str, **keys: Any) -> dict[str, Any]:
    known = {"name": "acme", "provider": "github", "token_env": KEY, "repos": ["acme/*"]}
    return {**known, "url": f"{url}/api/v3", **keys}


def visiting(
    github: Hub, folder: Path, work: Callable[[Config], Awaitable[T]], *accounts: dict[str, Any]
) -> T:
    async def visit() -> T:
        async with serving(github.app) as url:
            several = [account(url, **keys) for keys in accounts or ({},)]
            file = configure(folder, several, state={"url": "memory:"})
            return await work(load(file))

    return asyncio.run(visit())


def discovered(github: Hub, folder: Path, *accounts: dict[str, Any], sample: int = 3) -> Any:
    async def work(config: Config) -> Any:
        return discover._data(await discover._prospects(config, sample), config)

    return visiting(github, folder, work, *accounts)


def test_what_wildcards_match_is_told(tmp_path) -> None:
    data = discovered(hub(), tmp_path, {"repos": ["acme/*", "acme/r03"], "exclude": ["acme/r1*"]})

    entries = [f"acme/r{n:02}" for n in range(10)]
    (found,) = data["accounts"]
    assert found["wildcards"] == {"acme/*": entries}
    assert found["repos"] == entries
    assert found["errors"] == []


def test_the_series_are_those_that_polling_makes(tmp_path) -> None:
    async def polled(config: Config) -> int:
        async with daemon.assembled(config, hold=False) as assembly:
            assert await assembly.once()
            return assembly.view.samples

    data = discovered(hub(), tmp_path)

    assert len(data["accounts"][0]["sampled"]) == 3
    assert data["series"]["estimate"] == visiting(hub(), tmp_path, polled) > 0


def test_the_requests_are_those_of_idle_polls(tmp_path) -> None:
    rates = discovered(hub(), tmp_path)["accounts"][0]["requests_per_hour"]

    assert rates == {"planned": 12 * 60, "if_idle": 12 * 4, "limit": None}


def test_few_requests_are_made(tmp_path) -> None:
    github = hub()

    discovered(github, tmp_path, sample=2)

    assert sum("/actions/runs" in request for request in github.requests) == 4


def test_what_a_limit_does_not_allow_is_not_promised(tmp_path) -> None:
    github = hub()
    github.remaining = 115
    github.told |= {"x-ratelimit-limit": "120", "x-ratelimit-reset": str(int(time.time()) + 3600)}
    # Without a token its 304 count as well, so that all polls do.
    (found,) = discovered(github, tmp_path, {"token_env": None})["accounts"]

    assert found["interval"] > found["wanted_interval"] == 60
    assert found["requests_per_hour"]["planned"] <= found["requests_per_hour"]["limit"] <= 120


def test_accounts_with_one_token_share_its_limit(tmp_path) -> None:
    def intervals(*accounts: dict[str, Any]) -> list[float]:
        github = hub()
        github.remaining = 400
        reset = str(int(time.time()) + 3600)
        github.told |= {"x-ratelimit-limit": "400", "x-ratelimit-reset": reset}
        data = discovered(github, tmp_path, *({"token_env": None, **keys} for keys in accounts))
        return [found["interval"] for found in data["accounts"]]

    (alone,) = intervals({})
    together = intervals({"name": "a"}, {"name": "b"})

    assert together[0] == together[1] > 1.5 * alone


def test_a_dead_repo_is_an_error_and_the_others_are_counted(tmp_path) -> None:
    (found,) = discovered(hub(1), tmp_path, {"repos": ["acme/gone", "acme/r00"]})["accounts"]

    assert found["repos"] == ["acme/gone", "acme/r00"]
    assert found["sampled"] == ["acme/r00"]
    assert len(found["errors"]) == 1
    assert found["errors"][0].startswith("acme/gone: ")
    assert "404" in found["errors"][0]


def test_a_poisoned_name_does_not_reach_the_terminal(tmp_path) -> None:
    github = hub(0)
    github.repo("acme/\x1b]0;you\x07\u202eevil")

    data = discovered(github, tmp_path)

    assert data["accounts"][0]["wildcards"]["acme/*"] == []  # no name that the provider allows
    assert all(line.isprintable() for line in discover._lines(data))


def test_the_command_prints_it_for_people_and_for_programs(tmp_path) -> None:
    async def work(config: Config) -> list[Ended]:
        file = f"--config.file={tmp_path}/config.yaml"
        first = await asyncio.to_thread(command, "discover", file)
        return [first, await asyncio.to_thread(command, "discover", file, "--format=json")]

    table, data = visiting(hub(2), tmp_path, work)

    series = json.loads(data.out)["series"]["estimate"]
    assert (0, 0, "", "") == (table.code, data.code, table.err, data.err)
    assert table.out.splitlines() == [
        "acme (github): 2 repos",
        "  acme/* matches 2",
        "    acme/r00",
        "    acme/r01",
        "  requests per hour: 120 at first, 8 when all is idle, limit not known",
        f"  series: about {series}, from 2 sampled repo(s)",
        f"all series: about {series}, metrics.series_limit 500000",
    ]
