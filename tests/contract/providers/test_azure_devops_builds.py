"""Every build and attempt of Azure DevOps is counted once, whatever its timeline tells."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from exporter.demo.serve import serving
from exporter.errors import StateUnavailable
from exporter.metrics import families as f
from exporter.providers import Query, Repo
from exporter.providers.azure_devops import Run, read_timeline, to_build
from exporter.providers.azure_devops.names import Names
from exporter.providers.azure_devops.timeline import Timeline
from tests.tools.azure_devops_station import PLACE, SITE, provider, station
from tests.tools.emulators import azure_devops
from tests.tools.emulators.rig import Station


def total(rig: Station, family: f.Family) -> float:
    """The sum over all series of a histogram."""
    return sum(vector[-1] for key, vector in rig.view.stored() if key.family == family.name)


def timelines(requests: list[str]) -> list[str]:
    return [request for request in requests if "/timeline" in request]


# -- truth over HTTP


def test_every_build_is_counted_with_its_span_queue_and_conclusion() -> None:
    world = azure_devops.AzureDevOps()
    world.run(age=900, queued=4, lasts=30)
    world.run(age=800, queued=8, lasts=60, result="failed")
    world.run(age=700, queued=1, lasts=5, result="partiallySucceeded", reason="schedule")
    world.run(age=60, lasts=None)
    world.run(age=50, lasts=None, status="notStarted", startTime=None)
    rig = station(world)

    rig.polled()

    for conclusion in ("passed", "failed", "partial"):
        assert 1 == rig.value(
            f.BUILDS,
            conclusion=conclusion,
            repo="acme/shop/shop",
            workflow="shop-ci",
            branch="main",
        )
    assert 1 == rig.value(f.BUILDS, trigger="cron", conclusion="partial")
    assert 95 == pytest.approx(total(rig, f.BUILD_DURATION), abs=0.1)
    assert 13 == pytest.approx(total(rig, f.BUILD_QUEUE), abs=0.1)
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")
    assert 1 == rig.gauge(f.ACTIVE, status="queued")
    assert 0 == rig.value(f.MISSING)


def test_an_idle_poll_of_a_project_is_two_requests_however_many_repositories_are_polled() -> None:
    world = azure_devops.AzureDevOps()
    for minutes in range(40):
        world.run(f"repo-{minutes % 4}", age=9000 - 60 * minutes)
    rig = station(world, *(f"acme/shop/repo-{i}" for i in range(4)))
    rig.polled()

    assert 2 == len(rig.polled())
    begun = world.run("repo-1", age=30, lasts=None)
    assert 3 == len(rig.polled())  # the timeline of the new one
    world.end(begun, at=time.time() - 1)
    assert 3 == len(rig.polled())
    assert 2 == len(rig.polled())
    assert 41 == rig.value(f.BUILDS)
    assert 11 == rig.value(f.BUILDS, repo="acme/shop/repo-1")


def test_polls_side_by_side_share_one_listing_and_each_sees_it_once() -> None:
    world = azure_devops.AzureDevOps()
    for i in range(5):
        world.run(f"repo-{i}", age=900)
    app = world.app()
    native = provider()

    async def read() -> int:
        async with serving(app) as url:
            api = Station(native, app, "").api(url)
            source = native.connect(api)
            for _ in range(2):
                query = Query(since=time.time() - 7200, size=30)
                pages = await asyncio.gather(
                    *(source.page(Repo(f"acme/shop/repo-{i}"), query) for i in range(5))
                )
                assert [1] * 5 == [len(page.builds) for page in pages]
            await api.aclose()
            return sum("statusFilter" in request for request in app.state.requests)

    assert 2 * 2 == asyncio.run(read())


def test_a_build_that_never_started_has_no_timeline_to_ask_for() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=300, lasts=20, result="canceled")
    del build["startTime"]
    rig = station(world, jobs=True)

    assert [] == timelines(rig.polled())
    assert 1 == rig.value(f.BUILDS, conclusion="cancelled")
    assert 0 == rig.value(f.BUILD_DURATION)


def test_a_burst_between_two_polls_is_counted_whole() -> None:
    world = azure_devops.AzureDevOps()
    world.run()
    rig = station(world)
    rig.polled()
    for i in range(200):
        world.run(age=300 - i, lasts=10, result="failed" if i % 4 else "succeeded")

    rig.polled()

    assert (51, 150) == (
        rig.value(f.BUILDS, conclusion="passed"),
        rig.value(f.BUILDS, conclusion="failed"),
    )


def test_a_burst_of_builds_that_took_long_is_counted_whole() -> None:
    world = azure_devops.AzureDevOps()
    rig = station(world)
    world.run()
    rig.polled()
    for i in range(80):
        world.run(age=9000 + i, lasts=8900 + i)

    rig.polled()

    assert 81 == rig.value(f.BUILDS)


def test_old_unfinished_builds_do_not_hide_the_finished_ones() -> None:
    world = azure_devops.AzureDevOps()
    rig = station(world)
    world.run(age=5 * 86400, lasts=None)
    rig.polled()
    world.run(age=100, lasts=10)

    rig.polled()

    assert 1 == rig.value(f.BUILDS)
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")


# -- attempts


def test_a_rerun_is_counted_once_with_the_time_of_its_own_records() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=7200, lasts=100, result="failed")
    rig = station(world)
    rig.polled()
    now = time.time()
    world.rerun(build, at=now - 50)
    rig.polled()

    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")

    world.end(build, at=now - 10)
    rig.polled()
    rig.polled(deep=True)

    assert (1, 1) == (
        rig.value(f.BUILDS, conclusion="failed"),
        rig.value(f.BUILDS, conclusion="passed"),
    )
    assert 1 == rig.value(f.RETRIES)
    assert 140 == pytest.approx(total(rig, f.BUILD_DURATION), abs=0.1)
    assert 0 == rig.value(f.ANOMALIES) == rig.value(f.MISSING)


@pytest.mark.parametrize("jobs", [True, False])
def test_attempts_between_two_polls_come_from_the_timelines_before(*, jobs: bool) -> None:
    world = azure_devops.AzureDevOps()
    rig = station(world, jobs=jobs)
    world.run()
    rig.polled()
    now = time.time()
    build = world.run(age=300, queued=1, lasts=20, result="failed")
    world.rerun(build, at=now - 200)
    world.end(build, at=now - 170, result="canceled")
    world.rerun(build, at=now - 100)
    world.end(build, at=now - 60)

    first, second = rig.polled(), rig.polled(deep=True)

    assert 3 + 2 == len(first)
    assert 2 == len(second)
    for conclusion in ("failed", "cancelled"):
        assert 1 == rig.value(f.BUILDS, conclusion=conclusion)
    assert (4, 2) == (rig.value(f.BUILDS), rig.value(f.RETRIES))
    assert (4 if jobs else 0) == rig.value(f.JOBS)
    assert 60 + 20 + 30 + 40 == pytest.approx(total(rig, f.BUILD_DURATION), abs=0.1)
    assert 0 == rig.value(f.MISSING) == rig.value(f.ANOMALIES)


def test_an_attempt_is_not_lost_with_the_poll_that_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = azure_devops.AzureDevOps()
    rig = station(world)
    world.run()
    rig.polled()
    build = world.run(age=300, queued=1, lasts=20, result="failed")
    world.rerun(build, at=time.time() - 200)
    world.end(build, at=time.time() - 170)

    async def broken(*_: Any, **__: Any) -> Any:
        raise StateUnavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(rig.recorder, "record", broken)
        with pytest.raises(StateUnavailable):
            rig.polled()
    requests = rig.polled()

    assert 2 == len(requests)
    assert 1 == rig.value(f.BUILDS, conclusion="failed")
    assert (3, 1) == (rig.value(f.BUILDS), rig.value(f.RETRIES))
    assert 0 == rig.value(f.MISSING)


def test_a_rerun_while_we_were_away_is_found() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=7200, lasts=100, result="failed")
    world.run(age=7000)
    rig = station(world)
    rig.polled()
    rig.native = provider()  # a restart forgets all but the ledger
    now = time.time()
    world.rerun(build, at=now - 50)
    world.end(build, at=now - 10)

    rig.polled(deep=True)

    assert (3, 1) == (rig.value(f.BUILDS), rig.value(f.RETRIES))
    assert 0 == rig.value(f.ANOMALIES) == rig.value(f.MISSING)


def test_an_attempt_that_no_timeline_tells_is_missing() -> None:
    world = azure_devops.AzureDevOps()
    rig = station(world)
    build = world.run(age=300, lasts=20, result="failed")
    world.rerun(build, at=time.time() - 200)
    world.end(build, at=time.time() - 170)
    del world.timelines[build["id"]][next(t for t in world.timelines[build["id"]] if t)]

    rig.polled()

    assert 1 == rig.value(f.BUILDS)
    assert 1 == rig.value(f.MISSING, field="attempt")


def test_a_build_that_is_run_again_while_we_read_keeps_its_own_attempt() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=300, lasts=20, result="failed")
    listed = to_build(msgspec.convert(dict(build), Run), PLACE, Names(), SITE)
    world.rerun(build, at=time.time() - 100)
    running = to_build(msgspec.convert(dict(build), Run), PLACE, Names(), SITE)
    records = Timeline([msgspec.Raw(msgspec.json.encode(r)) for r in world.timelines[100][""]])

    reading = read_timeline(records.read(), listed, now=0.0)

    assert 1 == reading.attempt
    assert 2 == read_timeline(records.read(), running, now=0.0).attempt


# -- what else a timeline tells


def test_a_build_that_is_held_for_an_approval_waits() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=400, lasts=None)
    for record in world.timelines[build["id"]][""]:
        record |= {"state": "completed", "result": "succeeded", "finishTime": record["startTime"]}
    world.record(build, "Stage", "deploy")
    world.record(build, "Job", "roll out", inside="deploy")
    world.record(build, "Checkpoint", "check", started=time.time() - 300, inside="deploy")
    gate = world.record(
        build, "Checkpoint.Approval", "approval", started=time.time() - 300, inside="check"
    )
    rig = station(world, jobs=True)
    rig.polled()

    assert 1 == rig.gauge(f.ACTIVE, status="waiting")
    assert 1 == rig.gauge(f.JOBS_ACTIVE, status="waiting", job_name="roll out")

    gate["state"] = "completed"
    world.end(build, at=time.time() - 1)
    rig.polled()

    assert 0 == rig.gauge(f.ACTIVE, status="waiting")
    assert (1, 2) == (rig.value(f.BUILDS), rig.value(f.JOBS))


def test_the_timeline_of_an_old_unfinished_build_is_read_now_and_then() -> None:
    world = azure_devops.AzureDevOps()
    world.run(age=3600, lasts=None)
    rig = station(world)

    assert [1, 0, 0] == [len(timelines(rig.polled())) for _ in range(3)]


def test_a_job_that_ran_too_long_is_a_timeout() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=4000, lasts=3600, result="canceled")
    job = world.timelines[build["id"]][""][1]
    job["issues"] = [{"message": "The job ran longer than the maximum time of 60 minutes."}]
    world.run(age=300, result="canceled")
    rig = station(world, jobs=True)

    rig.polled()

    for family in (f.BUILDS, f.JOBS):
        assert (1, 1) == (
            rig.value(family, conclusion="timeout"),
            rig.value(family, conclusion="cancelled"),
        )


def test_a_timeline_that_fails_for_now_delays_its_own_build_only() -> None:
    world = azure_devops.AzureDevOps()
    broken = world.run(age=300)
    world.run(age=200)
    world.refused[broken["id"]] = 503
    rig = station(world)

    rig.polled()
    assert 1 == rig.value(f.BUILDS)
    world.refused.clear()
    rig.polled()
    rig.polled()

    assert 2 == rig.value(f.BUILDS)


def test_a_timeline_that_is_gone_costs_one_request_and_no_build() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=300)
    world.refused[build["id"]] = 404
    rig = station(world)

    assert [1, 0] == [len(timelines(rig.polled())), len(timelines(rig.polled()))]
    assert 1 == rig.value(f.BUILDS)


def test_a_deleted_build_is_no_longer_active() -> None:
    world = azure_devops.AzureDevOps()
    world.run(age=300, lasts=None)
    rig = station(world)
    rig.polled()
    world.projects["shop"].clear()

    for _ in range(4):
        rig.polled()
        rig.memories["acme/shop"].checked.clear()

    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")
    assert 0 == rig.value(f.BUILDS)


def test_a_build_that_left_the_window_is_refreshed_by_itself() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=300, lasts=None)
    rig = station(world)
    rig.polled()
    world.end(build, at=time.time() - 7200)  # a clock that went wrong

    requests = rig.polled()

    assert any(f"builds/{build['id']}?" in request for request in requests)
    assert 1 == rig.value(f.BUILDS)
