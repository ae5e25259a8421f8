"""What happened to pipelines of Bitbucket over time, and what an operator needs to see then."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.requests import Request

from exporter.metrics import families as f
from tests.tools.bitbucket_station import station
from tests.tools.emulators import bitbucket
from tests.tools.emulators.rig import iso


def too_large(largest: int, what: str) -> Callable[[Request], int | None]:
    """Pages of one list that cannot be made where they are larger than this."""

    def fails(request: Request) -> int | None:
        size = int(request.query_params.get("pagelen", 0))
        return 503 if request.url.path.endswith(what) and size > largest else None

    return fails


# --- pipelines that run again ---


@pytest.mark.parametrize("is_down", [False, True])
def test_a_re_run_that_passes_is_a_retry_and_heals_the_branch(
    tmp_path: Path, is_down: bool
) -> None:
    world = bitbucket.Bitbucket()
    run = world.run(age=3600, result="FAILED")
    rig = station(world, path=tmp_path / "state.db", jobs=True)
    rig.polled()
    run["run_number"] = 2
    world.end(run, queued=0, lasts=20, result="SUCCESSFUL", age=100)
    if is_down:
        rig.restart()
    rig.polled(deep=True)

    assert (rig.last, rig.gauge(f.STREAK)) == ("passed", 0)
    assert (rig.value(f.BUILDS), rig.value(f.RETRIES)) == (2, 1)
    assert rig.value(f.JOBS) == 2


@pytest.mark.parametrize("is_down", [False, True])
def test_a_re_run_that_is_not_numbered_is_followed_all_the_same(
    tmp_path: Path, is_down: bool
) -> None:
    world = bitbucket.Bitbucket()
    run = world.run(age=3600, result="FAILED")
    del run["run_number"]
    for step in world.steps[run["uuid"]]:
        step["run_number"] = 1
    rig = station(world, path=tmp_path / "state.db", jobs=True)
    rig.polled()
    run["run_number"] = 2  # its steps are numbered
    world.end(run, queued=0, lasts=20, result="SUCCESSFUL", age=100)
    del run["run_number"]
    if is_down:
        rig.restart()
    rig.polled(deep=True)

    assert (rig.last, rig.gauge(f.STREAK)) == ("passed", 0)
    assert rig.value(f.BUILDS) == rig.value(f.BUILDS, conclusion="failed") == 1
    assert rig.value(f.JOBS, conclusion="passed") == rig.value(f.JOBS, conclusion="failed") == 1
    assert [len(rig.polled()), len(rig.polled())] == [1, 1]


def test_a_paused_pipeline_waits_for_days_and_counts_when_it_has_ended(tmp_path: Path) -> None:
    world = bitbucket.Bitbucket()
    run = world.run(age=3 * 86400, lasts=None, stage="PAUSED")
    world.run(age=60)
    rig = station(world, path=tmp_path / "state.db")
    rig.lookback = 4 * 86400
    rig.polled()

    assert rig.gauge(f.ACTIVE, status="waiting") == 1

    world.end(run, queued=0, lasts=20, result="STOPPED", age=100)
    rig.restart()
    rig.polled()

    assert rig.gauge(f.ACTIVE, status="waiting") == 0
    assert rig.value(f.BUILDS, conclusion="cancelled") == 1


# --- what a pipeline does not tell ---


def test_a_missing_end_and_result_are_those_of_the_steps() -> None:
    world, now = bitbucket.Bitbucket(), time.time()
    run = world.run(age=600, lasts=None)
    world.step(run, begun=now - 590, ended=now - 500, result="SUCCESSFUL", name="Build")
    world.step(run, begun=now - 490, ended=now - 400, result="FAILED", name="Test")
    world.step(run, begun=now - 300, ended=now - 300, result="NOT_RUN", name="Deploy")
    run["state"] = {"name": "COMPLETED"}
    rig = station(world)
    rig.polled()

    assert rig.value(f.BUILDS, conclusion="failed") == 1
    assert rig.gauge(f.LAST_DURATION) == pytest.approx(190, abs=0.1)
    assert rig.value(f.MISSING) == 0


# --- parts that fail ---


def test_a_pipeline_whose_steps_fail_keeps_no_other_from_being_counted() -> None:
    world = bitbucket.Bitbucket()
    broken = world.run(age=900, result="FAILED")
    world.run(age=800)

    def fails(request: Request) -> int | None:
        return 500 if request.url.path.endswith(f"{broken['uuid']}/steps") else None

    world.fails = fails
    rig = station(world)
    rig.polled()
    world.run(age=100)
    rig.polled()

    assert rig.value(f.BUILDS) == rig.value(f.BUILDS, conclusion="passed") == 2
    assert rig.unread

    world.fails = lambda request: None
    rig.memories.clear()
    rig.polled()

    assert rig.value(f.BUILDS, conclusion="failed") == 1


@pytest.mark.parametrize("largest", [50, 25])
def test_pipelines_are_read_in_pages_that_the_api_can_make_and_at_no_more_cost(
    largest: int,
) -> None:
    world = bitbucket.Bitbucket()
    for number in range(120):
        world.run(age=4000 - number, lasts=5)
    world.fails = too_large(largest, "/pipelines")
    rig = station(world)
    rig.polled()

    assert rig.value(f.BUILDS) == 120
    assert len(rig.polled()) == 1


@pytest.mark.parametrize("largest", [50, 25])
def test_steps_are_read_in_pages_that_the_api_can_make(largest: int) -> None:
    world, now = bitbucket.Bitbucket(), time.time()
    run = world.run(age=900)
    for number in range(120):
        world.step(run, begun=now - 800, ended=now - 700, result="FAILED", name=f"Test {number}")
    world.fails = too_large(largest, "/steps")
    rig = station(world, jobs=True)
    rig.polled()

    assert rig.value(f.JOBS) == 121


def test_a_step_that_a_shifting_list_shows_twice_counts_once() -> None:
    world, now = bitbucket.Bitbucket(), time.time()
    run = world.run(age=900)
    steps = world.steps[run["uuid"]]
    for number in range(120):
        world.step(run, begun=now - 800, ended=now - 700, result="FAILED", name=f"Test {number}")

    def shifts(request: Request) -> None:
        if request.query_params.get("page") == "2" and len(steps) == 121:
            steps.insert(0, steps[-1] | {"uuid": "{late}", "name": "Late"})

    world.fails = shifts
    rig = station(world, jobs=True)
    rig.polled()

    assert rig.value(f.JOBS) == 121


def test_a_workspace_is_discovered_though_parts_of_it_fail() -> None:
    world = bitbucket.Bitbucket()
    for number in range(120):
        world.run(f"repo-{number:03}", age=600)

    def fails(request: Request) -> int | None:
        if request.url.path.endswith("repo-007/pipelines_config"):
            return 500
        return too_large(50, "/repositories/acme")(request)

    world.fails = fails
    rig = station(world, "acme/*")
    first = rig.polled()
    world.fails = lambda request: None
    world.off = {"repo-007", "repo-008"}
    second = rig.polled()

    assert rig.value(f.BUILDS) == 120
    asked = [[r for r in requests if "pipelines_config" in r] for requests in (first, second)]
    assert [len(requests) for requests in asked] == [120, 1]  # what failed is asked again
    assert len(rig.entries) == 119


def test_a_created_time_of_another_zone_moves_nothing() -> None:
    world, now = bitbucket.Bitbucket(), time.time()
    run = world.run(age=600)
    run["created_on"] = iso(now - 600 + 7200, zone="+02:00")
    rig = station(world)
    rig.polled()

    assert rig.gauge(f.LAST_DURATION) == pytest.approx(60, abs=0.1)
    assert rig.value(f.ANOMALIES) == 0
