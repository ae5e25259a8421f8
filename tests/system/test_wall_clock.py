"""What is counted goes by the providers' clocks, whatever ours does meanwhile."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.demo import JobRun, Run
from exporter.ledger.rows import Cursor
from exporter.metrics import families as f
from tests.system.client import connected
from tests.tools import reloading
from tests.tools.emulators.unified import Request
from tests.tools.hostile import Server, http
from tests.tools.reloading import Inside, Stage, assert_counted, eventually, run
from tests.tools.scripted import DAY, Rig, build, done
from tests.tools.system import account

stage = reloading.stage

HOUR = 3600.0
Jump = Callable[[float], None]


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Puts our wall clock so many seconds ahead of the providers'."""
    real = time.time

    def set_ahead(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return set_ahead


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 10_000 * DAY, -10_000 * DAY])
def test_the_providers_clock_does_not_jump_with_ours(jump: Jump, seconds: float) -> None:
    async def go() -> None:
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        async with Server(http(date=date)) as server, connected(server.root) as (api, _):
            await api.get("/x", into=dict)
            now = api.now()
            jump(seconds)
            assert api.now() == pytest.approx(now, abs=1)

    asyncio.run(go())


def test_nothing_is_forgotten_or_lost_while_our_clock_is_off_by_years(
    stage: Stage, jump: Jump
) -> None:
    stage.write("one")
    real = time.time

    async def work(inside: Inside) -> None:
        builds = 2
        await eventually(lambda: assert_counted(inside, one=builds))
        for ahead in (400 * DAY, -400 * DAY, 0.0):
            jump(ahead)
            inside.assembly.housekeeping._sweep_at = 0.0
            await inside.assembly.housekeeping.sweep()
            assert_counted(inside, one=builds)
            now, builds = real(), builds + 1
            stage.build("one", created_at=now - 30, started_at=now - 20, completed_at=now - 1)
            await eventually(lambda builds=builds: assert_counted(inside, one=builds))  # type: ignore[misc]
        scrape = inside.scrape()
        assert scrape.total("cicd_build_duration_seconds_count", account="one") == builds
        assert scrape.total("cicd_exporter_anomalies_total") == 0

    run(stage, work)


def test_a_clock_that_is_put_back_during_a_poll_costs_no_duration(stage: Stage, jump: Jump) -> None:
    world, faults = stage.emulator.world, stage.emulator.faults
    world.open("circle", "circleci", "gh/acme/web")
    stage.write(
        account("circle", "circleci", stage.emulator.url, ["gh/acme/web"]),
        polling={"interval": "0.5s", "timeout": "0.3s"},
    )
    now = int(time.time())
    for number in (1, 2):
        job = JobRun(id=f"{number}7", name="a", started_at=now - 60, completed_at=now - 30)
        one = Run(
            id=str(uuid.UUID(int=number)),
            number=number,
            created_at=now - 70,
            started_at=now - 60,
            completed_at=now - 30,
            jobs=(job,),
        )
        world.add("circle", "gh/acme/web", one)

    def jobs_of_the_second(request: Request) -> bool:
        return request.path.endswith("/jobs") and request.params.get("build_id", "").endswith("2")

    faults.hang(where=jobs_of_the_second)

    async def work(inside: Inside) -> None:
        requests = inside.schedule.accounts[0].api.stats.requests

        def assert_half_read() -> None:
            assert requests["200"] == 4  # for the account's health, builds, the first one's jobs

        await eventually(assert_half_read)
        jump(-HOUR)
        await eventually(lambda: assert_counted(inside, circle=1))
        faults.clear()
        await eventually(lambda: assert_counted(inside, circle=2))
        scrape = inside.scrape()
        assert scrape.total("cicd_build_duration_seconds_sum", account="circle") == 60
        assert scrape.total("cicd_exporter_anomalies_total") == 0

    run(stage, work)


def test_a_repo_that_is_met_while_our_clock_is_ahead_still_has_its_lookback(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path / "s.db")
    ahead = Cursor(floor=time.time() + DAY)
    rig.run(lambda: rig.recorder.target("acme", "acme/shop", ahead))
    rig.provider._builds = [done(build("1"))]

    rig.poll()
    target = rig.poll()

    assert target.cursor.floor == pytest.approx(time.time() - rig.lookback, abs=5)
    assert rig.value(f.BUILDS) == 1
    rig.crash()
