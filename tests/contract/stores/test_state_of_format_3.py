"""No build of a state of format 3 or 4 counts twice under today's keys.

What stood in such a state was found by polling these worlds with the last version that wrote
format 3: the rows of builds and jobs were those that `older` makes, under the same keys.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from exporter.providers.azure_devops import AzureDevOps
from exporter.providers.github import GitHub
from exporter.providers.gitlab import GitLab
from exporter.providers.jenkins import Jenkins
from exporter.providers.travis import Travis
from tests.contract.stores.test_state_upgrade import copied
from tests.tools.emulators import azure_devops, github, gitlab, jenkins, travis
from tests.tools.emulators.rig import TOKEN, Station, iso

NOW = float(int(time.time()))
AGES = (7200.0, 3600.0, 600.0)


def of_jenkins(path: Path) -> Station:
    world = jenkins.Jenkins()
    for age in AGES:
        world.run("team/shop", age=age)
    world.run("team/shop", age=60.0, lasts=None)
    named: Any = {"name": "acme", "provider": "jenkins", "token_env": "T", "username": "me"}
    provider = Jenkins(**named, repos=["team/shop"], jobs=True)
    return Station(provider, world.app(), "/ci", path=path)


def of_travis(path: Path) -> Station:
    world = travis.World()
    for age in AGES:
        world.ran("acme/shop", NOW - age, 60.0, "passed", jobs=2)
    restarted = world.ran("acme/shop", NOW - 500.0, 60.0, "failed", jobs=2)
    restarted.restart(NOW - 300.0)
    restarted.turns("started", NOW - 290.0)
    restarted.turns("passed", NOW - 200.0)
    named: Any = {"name": "acme", "provider": "travis", "token_env": "T"}
    return Station(Travis(**named, repos=["acme/shop"], jobs=True), world.app(), "", path=path)


def of_github(path: Path) -> Station:
    world = github.Hub()
    world.repo("acme/shop")
    for age in AGES:
        run = world.begin(ago=age)
        world.end(run)
        times = {"created_at": iso(NOW - age), "started_at": iso(NOW - age + 2)}
        job = {"id": run + 100, "name": "test", "status": "completed", "conclusion": "success"}
        world.jobs[run, 1] = [{**job, **times, "completed_at": iso(NOW - age + 20)}]
    again = world.begin(ago=500.0)
    world.end(again, "failure")
    world.again(again, ago=300.0)
    world.end(again)
    world.begin(ago=60.0)
    named: Any = {"name": "acme", "provider": "github", "token_env": "T"}
    world.tokens.add(TOKEN)
    world.app.state.requests = world.requests
    provider = GitHub(**named, repos=["acme/shop"], jobs=True)
    return Station(provider, world.app, "/api/v3", path=path)


def of_gitlab(path: Path) -> Station:
    world = gitlab.World()
    for age in AGES:
        made = world.pipeline("acme/shop", NOW - age - 2)
        world.job(made, "test", "success", NOW - age)
        made.turns("running", NOW - age)
        made.turns("success", NOW - age + 10)
    named: Any = {"name": "acme", "provider": "gitlab", "token_env": "T"}
    provider = GitLab(**named, repos=["acme/shop"], jobs=True)
    return Station(provider, world.app(), "/api/v4", path=path)


def of_azure_devops(path: Path) -> Station:
    world = azure_devops.AzureDevOps()
    for age in AGES:
        world.run(age=age)
    world.run(age=60.0, lasts=None)
    named: Any = {"name": "acme", "provider": "azure_devops", "token_env": "T"}
    provider = AzureDevOps(**named, repos=["Acme/shop"], jobs=True)
    return Station(provider, world.app(), "", path=path)


WORLDS: dict[str, Callable[[Path], Station]] = {
    "jenkins": of_jenkins,
    "travis": of_travis,
    "github": of_github,
    "gitlab": of_gitlab,
    "azure_devops": of_azure_devops,
}
KEYS = {
    "jenkins": r"team/shop#\d@\d{10}",
    "travis": r"\d+@\d{10}",
    "github": r"900000000\d",
    "gitlab": r"\d+",
    "azure_devops": r"acme/\d+",
}
"""How the last version that wrote format 3 called the builds."""


def begun(provider: str, path: Path) -> Station:
    """A world that stands still at `NOW`, polled once."""
    with mock.patch("time.time", return_value=NOW):
        station = WORLDS[provider](path)
    station.polled()
    return station


def older(path: Path, version: int) -> None:
    """Make of today's file one of an older format, with what stood in one."""
    new = path.rename(path.with_name("new.db"))
    copied(new, path, version)
    with closing(sqlite3.connect(path)) as db:
        db.execute(  # a build that was run again under a key of its own had its first run, too
            "INSERT OR IGNORE INTO attempt (account, key, attempt, listed, flags)"
            " SELECT account, key, attempt - 1, listed, 2"
            " FROM attempt WHERE attempt > 1 AND key LIKE '%@%'"
        )
        db.commit()


def counters(station: Station) -> dict[Any, Any]:
    return {key: vector for key, vector in station.view.stored() if any(vector)}


def rows(path: Path) -> list[Any]:
    """What tells builds and jobs apart in a file."""
    with closing(sqlite3.connect(path)) as db:
        attempts = db.execute("SELECT key, attempt, conclusion, flags FROM attempt").fetchall()
        jobs = db.execute("SELECT key, attempt, job FROM job").fetchall()
        active = db.execute("SELECT key, attempt FROM active").fetchall()
        return [*attempts, *jobs, *active]


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("provider", WORLDS)
def test_what_an_older_version_counted_is_not_counted_again(
    tmp_path: Path, provider: str, version: int
) -> None:
    path = tmp_path / "s.db"
    station = begun(provider, path)
    counted = counters(station)
    station.crash()
    older(path, version)
    assert all(re.fullmatch(KEYS[provider], str(key)) for key, *_ in rows(path))
    assert len(rows(path)) > len(AGES)

    station.start()

    assert counters(station) == counted
    for _ in range(2):
        station.polled(deep=True)
        assert counters(station) == counted
    station.crash()
