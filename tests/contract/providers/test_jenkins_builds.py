"""Every build of a Jenkins job is counted once, from the queue to its stages."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from exporter.demo.serve import serving
from exporter.errors import Gone, Malformed, StateUnavailable
from exporter.metrics import families as f
from exporter.providers import Page, Query, Repo
from tests.tools.emulators import jenkins
from tests.tools.emulators.jenkins import FREESTYLE
from tests.tools.emulators.rig import Station
from tests.tools.jenkins_station import provider, station
from tests.tools.sources import source_of


def total(rig: Station, family: f.Family) -> float:
    """The sum over all series of a histogram."""
    return sum(vector[-1] for key, vector in rig.view.stored() if key.family == family.name)


# -- truth over HTTP


def test_every_build_is_counted_with_its_span_and_conclusion() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=900, lasts=30)
    world.run("team/shop", age=800, lasts=60, result="FAILURE")
    world.run("team/shop", age=700, lasts=5, result="UNSTABLE")
    world.run("team/shop", age=60, lasts=None)
    rig = station(world)

    rig.polled()

    for conclusion in ("passed", "failed", "partial"):
        assert 1 == rig.value(
            f.BUILDS, conclusion=conclusion, repo="team/shop", workflow="shop", trigger="web"
        )
    assert 95 == pytest.approx(total(rig, f.BUILD_DURATION), abs=0.01)
    assert 0 == rig.value(f.BUILD_QUEUE)
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")


def test_an_idle_round_is_one_request_for_all_jobs_and_a_new_build_one_more() -> None:
    world = jenkins.Jenkins()
    for i in range(30):
        world.run(f"team/job-{i}", age=7200, kind=FREESTYLE)
    rig = station(world, "team/*")
    rig.polled()

    assert 1 == len(rig.polled())  # discovery and polls share the tree
    begun = world.run("team/job-7", age=30, lasts=None)
    assert 2 == len(rig.polled())
    assert 1 == len(rig.polled())  # it still runs: the tree says so
    world.end(begun, lasts=20)
    assert 2 == len(rig.polled())
    assert 1 == len(rig.polled())
    assert 31 == rig.value(f.BUILDS)


def test_polls_side_by_side_share_one_tree_and_each_sees_it_once() -> None:
    world = jenkins.Jenkins()
    for name in "abc":
        world.run(f"team/{name}")
    app = world.app()
    native = provider()

    async def read() -> list[bool]:
        async with serving(app) as url:
            api = Station(native, app, "/ci").api(url)
            source = native.connect(api)
            for _ in range(2):
                query = Query(since=0.0, size=30)
                await asyncio.gather(*(source.page(Repo(f"team/{name}"), query) for name in "abc"))
            await api.aclose()
            return [request.startswith("/ci/api/json") for request in app.state.requests]

    assert 2 == sum(asyncio.run(read()))


def test_a_page_token_of_another_provider_begins_the_walk_anew() -> None:
    api: Any = None

    with pytest.raises(Malformed):
        asyncio.run(
            provider().connect(api).page(Repo("team/shop"), Query(since=0.0, size=30, token="c/2"))
        )


def test_what_has_rested_for_days_costs_nothing_even_when_all_is_read_again() -> None:
    world = jenkins.Jenkins()
    world.run("team/attic", age=4 * 86400)
    world.run("team/shop", age=7200)
    rig = station(world, "team/attic", "team/shop")
    rig.polled()

    assert 2 == len(rig.polled(deep=True))


def test_a_burst_between_two_polls_is_counted_whole() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop")
    rig = station(world)
    rig.polled()
    for i in range(200):
        world.run("team/shop", age=300 - i, lasts=10, result="FAILURE" if i % 4 else "SUCCESS")

    rig.polled()

    assert (51, 150) == (
        rig.value(f.BUILDS, conclusion="passed"),
        rig.value(f.BUILDS, conclusion="failed"),
    )


def test_a_build_that_ends_beside_a_newer_one_is_counted() -> None:
    world = jenkins.Jenkins()
    older = world.run("team/shop", age=600, lasts=None)
    world.run("team/shop", age=300, lasts=10)
    rig = station(world)
    rig.polled()
    rig.polled()
    world.end(older, lasts=590)
    rig.memories["team/shop"].checked.clear()  # the poller asks again after a while

    rig.polled()

    assert 2 == rig.value(f.BUILDS)
    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")


@pytest.mark.parametrize("deep", [True, False])
def test_what_was_read_but_not_committed_is_read_again(
    monkeypatch: pytest.MonkeyPatch, *, deep: bool
) -> None:
    world = jenkins.Jenkins()
    world.run("team/shop")
    rig = station(world)
    rig.polled()
    rig.polled()
    world.run("team/shop", age=60, lasts=10)

    async def broken(*_: Any, **__: Any) -> Any:
        raise StateUnavailable("disk full")

    requests = []
    with monkeypatch.context() as patch:
        patch.setattr(rig.recorder, "record", broken)
        for number in range(3):
            before = len(rig.app.state.requests)
            with pytest.raises(StateUnavailable):
                rig.polled(deep=deep and number == 0)
            requests.append(len(rig.app.state.requests) - before)

    assert [2, 2, 2] == requests
    assert 2 == len(rig.polled())
    assert 2 == rig.value(f.BUILDS)
    assert 1 == len(rig.polled())


def test_a_walk_that_broke_off_between_pages_is_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=9000)
    rig = station(world)
    rig.polled()
    for i in range(100):
        world.run("team/shop", age=300 - i, lasts=10)
    source = source_of(rig.native, None)
    listed = source.page

    async def dies(repo: Repo, query: Query) -> Page:
        if query.token is not None:
            raise Gone("killed", reason="not_found")
        return await listed(repo, query)

    with monkeypatch.context() as patch:
        patch.setattr(source, "page", dies)
        for _ in range(3):
            rig.polled()
    rig.polled()

    assert 101 == rig.value(f.BUILDS)


def test_a_job_that_is_made_anew_counts_its_numbers_again() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=7200)
    running = world.run("team/shop", age=7000, lasts=None)
    rig = station(world)
    rig.polled()
    world.job("team/shop")["runs"].clear()
    world.run("team/shop", age=100, lasts=5)
    world.run("team/shop", age=90, lasts=5)
    for _ in range(4):
        rig.polled()
        rig.memories["team/shop"].checked.clear()

    assert running["number"] == 2
    assert 3 == rig.value(f.BUILDS)
    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")


# -- the queue


def test_what_waits_in_the_queue_is_queued_until_it_is_a_build() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=7200)
    world.run("team/api", age=7200)
    rig = station(world, "team/shop", "team/api")
    rig.polled()
    world.wait(41, "team/shop", age=30)

    assert 2 == len(rig.polled())  # the tree, and the queue for all
    assert 1 == rig.gauge(f.ACTIVE, status="queued", repo="team/shop")

    world.queue.clear()
    begun = world.run("team/shop", age=5, lasts=None, queueId=41)
    rig.polled()

    assert 0 == rig.gauge(f.ACTIVE, status="queued")
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")

    world.end(begun, lasts=4)
    rig.polled()

    assert (3, 0) == (rig.value(f.BUILDS), rig.value(f.ANOMALIES))


def test_a_queued_build_that_no_list_showed_is_asked_after() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=7200)
    world.wait(41, "team/shop")
    world.wait(42, "team/shop")
    rig = station(world)
    rig.polled()
    assert 2 == rig.gauge(f.ACTIVE, status="queued")
    rig.native = provider()  # a restart
    started = world.run("team/shop", age=5, lasts=3, queueId=41)
    done, given_up = world.queue[41], world.queue[42]
    world.job("other")
    for item in (done, given_up):
        item["task"] = {"url": world.job("other")["url"]}
    done["executable"] = {"number": started["number"]}
    given_up["cancelled"] = True

    for _ in range(4):
        rig.polled()
        rig.memories["team/shop"].checked.clear()

    assert 0 == rig.gauge(f.ACTIVE, status="queued")
    assert 2 == rig.value(f.BUILDS)


# -- stages


def stage(name: str, status: str, *, age: float = 100.0, lasts: float = 5.0) -> dict[str, Any]:
    started = int((time.time() - age) * 1000)
    return {
        "id": name,
        "name": name,
        "status": status,
        "startTimeMillis": started,
        "durationMillis": int(lasts * 1000),
    }


def test_a_pipeline_that_asks_for_input_waits() -> None:
    world = jenkins.Jenkins()
    begun = world.run("team/shop", age=400, lasts=None)
    world.stage_view("team/shop", 1, "PAUSED_PENDING_INPUT")
    rig = station(world)
    rig.polled()

    assert 1 == rig.gauge(f.ACTIVE, status="waiting")

    world.stage_view("team/shop", 1, "IN_PROGRESS")
    rig.memories["team/shop"].checked.clear()
    assert 2 == len(rig.polled())
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")
    assert 0 == rig.gauge(f.ACTIVE, status="waiting")

    world.end(begun, lasts=390)
    rig.polled()
    assert 1 == rig.value(f.BUILDS)


def test_stages_are_jobs_and_none_is_counted_twice() -> None:
    world = jenkins.Jenkins()
    begun = world.run("team/shop", age=100, lasts=None)
    world.run("team/plain", kind=FREESTYLE)
    first = stage("compile", "SUCCESS", lasts=20)
    never = stage("x", "NOT_EXECUTED")
    world.stage_view("team/shop", 1, "IN_PROGRESS", first, stage("test", "IN_PROGRESS"), never)
    rig = station(world, "team/shop", "team/plain", jobs=True)
    rig.polled()

    assert (1, 1) == (rig.value(f.JOBS), rig.gauge(f.JOBS_ACTIVE, status="in_progress"))

    world.end(begun, lasts=90)
    failed = stage("test", "FAILED", lasts=30)
    world.stage_view("team/shop", 1, "FAILED", first, failed, never)
    assert 3 == len(rig.polled())
    rig.polled(deep=True)

    assert 3 == rig.value(f.JOBS)
    assert 1 == rig.value(f.JOBS, job_name="test", conclusion="failed")
    assert 1 == rig.value(f.JOBS, job_name="x", conclusion="skipped")
    assert 50 == pytest.approx(total(rig, f.JOB_DURATION), abs=0.1)
    assert 2 == rig.value(f.BUILDS)


def test_without_the_stage_view_it_is_asked_for_once_an_hour() -> None:
    world = jenkins.Jenkins()
    for i in range(5):
        world.run("team/shop", age=900 - i)
    rig = station(world, jobs=True)
    first = rig.polled()
    world.run("team/shop", age=60, lasts=5)
    second = rig.polled()

    assert 5 >= sum("wfapi" in request for request in first) >= 1
    assert 0 == sum("wfapi" in request for request in second)
    assert (6, 0) == (rig.value(f.BUILDS), rig.value(f.JOBS))
