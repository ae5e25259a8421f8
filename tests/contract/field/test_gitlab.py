"""What happened to pipelines of GitLab over time, and what an operator needs to see then."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.requests import Request

from exporter.metrics import families as f
from tests.contract.field.meanwhile import Pause, whatever_it_does
from tests.tools.emulators.gitlab import Pipeline, World
from tests.tools.gitlab_station import DAY, LIST, SHOP, paths, station


def failed(world: World, ago: float) -> Pipeline:
    """A pipeline whose only job has failed."""
    begun = time.time() - ago
    made = world.ran(SHOP, begun, 60.0, "failed")
    world.job(made, "test", "failed", begun, queued=1.0, reason="script_failure")
    return made


def ends(pipeline: Pipeline, name: str, status: str, at: float) -> None:
    """The newest job of a name ends, and its pipeline with it."""
    job = [job for job in pipeline.jobs if job.name == name][-1]
    job.status, job.ended = status, at
    pipeline.turns(status, at)


# --- pipelines that go on after their end ---


@whatever_it_does
def test_a_retried_job_that_passes_heals_the_branch(tmp_path: Path, meanwhile: Pause) -> None:
    world, now = World(), time.time()
    made = failed(world, ago=3600)
    rig = station(world, path=tmp_path / "state.db", jobs=True)
    rig.polled()
    world.retry(made, "test", now - 120)
    ends(made, "test", "success", now - 60)
    meanwhile(rig)
    rig.polled()
    rig.polled()

    assert (rig.last, rig.gauge(f.STREAK)) == ("passed", 0)
    assert rig.value(f.BUILDS) == rig.value(f.BUILDS, conclusion="failed") == 1
    assert rig.value(f.JOBS, conclusion="failed") == rig.value(f.JOBS, conclusion="passed") == 1
    assert rig.value(f.RETRIES) == 0


@whatever_it_does
def test_a_deployment_that_is_played_days_later_and_fails_breaks_the_branch(
    tmp_path: Path, meanwhile: Pause
) -> None:
    world, now = World(), time.time()
    made = world.ran(SHOP, now - 3 * DAY, 60.0, "success")
    world.job(made, "build", "success", now - 3 * DAY)
    deploy = world.job(made, "deploy", "manual", now - 3 * DAY)
    deploy.begun = None
    rig = station(world, path=tmp_path / "state.db", jobs=True)
    rig.lookback = 5 * DAY
    rig.polled()
    world.play(made, deploy, now - 120)
    ends(made, "deploy", "failed", now - 60)
    meanwhile(rig)
    rig.polled()

    assert (rig.last, rig.gauge(f.STREAK), rig.value(f.BUILDS)) == ("failed", 1, 1)
    assert rig.value(f.JOBS, job_name="deploy", conclusion="failed") == 1
    assert rig.value(f.JOBS, job_name="build") == 1
    assert rig.value(f.JOB_QUEUE, job_name="deploy") == 1
    assert rig.gauge(f.LAST_COMPLETED) == pytest.approx(now - 60, abs=0.01)


@whatever_it_does
def test_each_end_of_a_pipeline_that_is_retried_again_and_again_is_followed(
    tmp_path: Path, meanwhile: Pause
) -> None:
    world, now = World(), time.time()
    made = failed(world, ago=9000)
    rig = station(world, path=tmp_path / "state.db", jobs=True)
    rig.polled()
    told = []
    for number, status in enumerate(["failed", "canceled", "success", "failed", "success"]):
        world.retry(made, "test", now - 1000 + 100 * number)
        ends(made, "test", status, now - 950 + 100 * number)
        meanwhile(rig)
        rig.polled()
        told.append(rig.last)

    assert told == ["failed", "cancelled", "passed", "failed", "passed"]
    assert rig.value(f.JOBS, job_name="test") == 6
    assert rig.value(f.BUILDS) == 1
    assert rig.value(f.ANOMALIES) == 5
    assert rig.value(f.BUILD_DURATION) == 1


@whatever_it_does
def test_a_retry_that_hangs_is_active_until_it_ends(tmp_path: Path, meanwhile: Pause) -> None:
    world, now = World(), time.time()
    made = failed(world, ago=3600)
    rig = station(world, path=tmp_path / "state.db", jobs=True)
    rig.polled()
    world.retry(made, "test", now - 300)
    meanwhile(rig)
    rig.polled()
    meanwhile(rig)
    rig.polled()

    assert rig.gauge(f.ACTIVE, status="in_progress") == 1
    assert rig.gauge(f.JOBS_ACTIVE, job_name="test", status="in_progress") == 1
    assert (rig.last, rig.value(f.BUILDS)) == ("failed", 1)

    ends(made, "test", "success", now - 10)
    meanwhile(rig)
    rig.polled()

    assert rig.gauge(f.ACTIVE, status="in_progress") == 0
    assert rig.gauge(f.JOBS_ACTIVE, job_name="test", status="in_progress") == 0
    assert rig.last == "passed"


def test_a_page_from_before_its_end_makes_a_pipeline_active_no_more() -> None:
    world, now = World(), time.time()
    made = world.pipeline(SHOP, now - 600)
    made.turns("running", now - 590)
    rig = station(world)
    rig.polled()
    made.turns("success", now - 60)
    rig.polled()
    made.status, made.updated = "running", now - 590  # a replica of the database lags behind
    rig.polled()

    assert rig.gauge(f.ACTIVE, status="in_progress") == 0
    assert rig.value(f.ANOMALIES) == 0


def test_a_pipeline_whose_known_end_is_before_its_start_ended_with_its_last_job() -> None:
    world, now = World(), time.time()
    made = world.pipeline(SHOP, now - 900)
    made.turns("canceled", now - 890)
    made.turns("running", now - 300)
    world.job(made, "test", "success", now - 299)
    made.status, made.updated = "success", now - 280
    rig = station(world)  # it is first seen now, with the end that it had before
    rig.polled()

    assert rig.value(f.BUILD_DURATION, conclusion="passed") == 1
    assert rig.gauge(f.LAST_DURATION) == pytest.approx(11.0, abs=0.01)


def test_a_blocked_pipeline_waits_for_days_and_counts_when_it_has_ended() -> None:
    world, now = World(), time.time()
    made = world.pipeline(SHOP, now - 4 * DAY)
    made.turns("manual", now - 3600)
    rig = station(world)
    rig.polled()

    assert rig.gauge(f.ACTIVE, status="waiting") == 1

    made.turns("running", now - 100)
    made.turns("success", now - 10)
    rig.polled()

    assert rig.gauge(f.ACTIVE, status="waiting") == 0
    assert rig.value(f.BUILDS, conclusion="passed") == 1


# --- lists in the order of change ---


def test_old_pipelines_that_change_hide_no_new_one_and_cost_nothing_afterwards() -> None:
    world, now = World(), time.time()
    old = [world.ran(SHOP, now - 3 * DAY + i, 5.0, "success") for i in range(150)]
    rig = station(world)
    rig.polled()
    for number, pipeline in enumerate(old):
        pipeline.updated = now - 20 + number / 100
    world.ran(SHOP, now - 120, 60.0, "failed")
    rig.polled()

    assert rig.value(f.BUILDS) == rig.value(f.BUILDS, conclusion="failed") == 1
    assert rig.last == "failed"
    assert all(path == LIST for path in paths(rig.polled()))


def test_pipelines_that_are_deleted_between_two_pages_hide_others_for_a_while_only() -> None:
    world, now = World(), time.time()
    made = [world.ran(SHOP, now - 3000 + i, 5.0, "success") for i in range(250)]

    def deletes(request: Request) -> None:
        if request.query_params.get("page") == "2" and len(world.pipelines) == 250:
            del world.pipelines[-30:]

    world.fails = deletes
    rig = station(world)
    rig.polled()
    rig.polled(deep=True)

    assert rig.value(f.BUILDS) == len(made)


# --- parts that fail ---


def only(pattern: str, status: int) -> Callable[[Request], int | None]:
    """A fault of the requests whose path ends so."""

    def fails(request: Request) -> int | None:
        return status if re.search(f"{pattern}$", request.url.path) else None

    return fails


@pytest.mark.parametrize("what", ["/jobs", ""])
def test_a_pipeline_that_cannot_be_read_keeps_no_other_from_being_counted(what: str) -> None:
    world, now = World(), time.time()
    broken = world.ran(SHOP, now - 500, 60.0, "failed")
    world.ran(SHOP, now - 600, 60.0, "success")
    world.fails = only(f"/{broken.id}{what}", 500)
    rig = station(world, jobs=True)
    rig.polled()
    world.ran(SHOP, now - 100, 60.0, "success")
    rig.polled()

    assert rig.value(f.BUILDS) == rig.value(f.BUILDS, conclusion="passed") == 2
    assert any(str(broken.id) in part for part in rig.unread)

    world.fails = lambda request: None
    rig.memories.clear()
    rig.polled()

    assert rig.value(f.BUILDS, conclusion="failed") == 1
    assert rig.value(f.BUILD_DURATION) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_a_pipeline_that_may_not_be_read_is_counted_without_its_times(status: int) -> None:
    world, now = World(), time.time()
    hidden = world.ran(SHOP, now - 500, 60.0, "failed")
    world.ran(SHOP, now - 600, 60.0, "success")
    world.fails = only(f"/{hidden.id}", status)
    rig = station(world)
    rig.polled()

    assert rig.value(f.BUILDS) == 2
    assert rig.value(f.BUILD_DURATION) == rig.value(f.MISSING, field="duration") == 1


def test_the_jobs_of_a_retried_pipeline_that_fail_for_a_while_are_counted_afterwards() -> None:
    world, now = World(), time.time()
    made = failed(world, ago=3600)
    rig = station(world, jobs=True)
    rig.polled()
    world.retry(made, "test", now - 300)
    ends(made, "test", "success", now - 200)
    world.fails = only(f"/{made.id}/jobs", 500)
    rig.polled()
    world.ran(SHOP, now - 100, 30.0, "success")
    rig.polled()

    assert rig.value(f.BUILDS, conclusion="passed") == 1

    world.fails = lambda request: None
    rig.memories.clear()
    rig.polled()

    assert rig.value(f.JOBS, conclusion="passed") == 1
    assert rig.gauge(f.ACTIVE, status="in_progress") in {None, 0}


@pytest.mark.parametrize("largest", [50, 25])
def test_jobs_are_read_in_pages_that_the_api_can_make(largest: int) -> None:
    world, now = World(), time.time()
    made = world.ran(SHOP, now - 900, 600.0, "success")
    for number in range(120):
        world.job(made, f"unit {number}", "success", now - 890)

    def fails(request: Request) -> int | None:
        size = int(request.query_params.get("per_page", 0))
        return 502 if request.url.path.endswith("/jobs") and size > largest else None

    world.fails = fails
    rig = station(world, jobs=True)
    rig.polled()

    assert rig.value(f.JOBS) == 120
    assert rig.unread == {}


def test_pipelines_are_read_in_pages_that_the_api_can_make_and_at_no_more_cost() -> None:
    world, now = World(), time.time()
    for number in range(120):
        world.ran(SHOP, now - 4000 + number, 5.0, "success")
    world.fails = lambda request: 500 if int(request.query_params.get("per_page", 0)) > 50 else None
    rig = station(world)
    rig.polled()
    rig.polled()

    assert rig.value(f.BUILDS) == 120
    assert paths(rig.polled()) == [LIST]


def test_a_job_that_a_shifting_list_shows_twice_counts_once() -> None:
    world, now = World(), time.time()
    made = world.ran(SHOP, now - 900, 600.0, "failed")
    for number in range(120):
        world.job(made, f"unit {number}", "success", now - 890)

    def retries(request: Request) -> None:
        again = request.query_params.get("page") == "2" and len(made.jobs) == 120
        if request.url.path.endswith("/jobs") and again:
            world.retry(made, "unit 60", now - 5)

    world.fails = retries
    rig = station(world, jobs=True)
    rig.polled()

    assert rig.value(f.JOBS) == 120
    assert rig.value(f.JOBS, job_name="unit 20") == 1

    ends(made, "unit 60", "success", now - 1)
    rig.polled()

    assert rig.value(f.JOBS, job_name="unit 60") == 2
    assert rig.value(f.JOBS) == 121


# --- what pipelines run for ---


def test_merge_trains_and_merge_requests_are_no_branches() -> None:
    world, now = World(), time.time()
    refs = {"train": "merge_queue", "merge": "pull_request", "head": "pull_request"}
    for number, kind in enumerate(refs):
        ref, source = f"refs/merge-requests/7/{kind}", "merge_request_event"
        world.ran(SHOP, now - 500 + number, 5.0, "success", ref=ref, source=source)
    rig = station(world)
    rig.polled()

    found = {branch: rig.value(f.BUILDS, branch=branch) for branch in refs.values()}
    assert found == {"merge_queue": 1, "pull_request": 2}
    assert rig.value(f.BUILDS, trigger="merge_request") == 3
