"""What happened to builds of Jenkins over time, and what an operator needs to see then."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from exporter.demo.serve import serving
from exporter.errors import ProviderError
from exporter.metrics import families as f
from exporter.providers import Matches
from tests.contract.field.meanwhile import Pause, restarts, whatever_it_does
from tests.tools.emulators import jenkins
from tests.tools.emulators.jenkins import FOLDER, FREESTYLE, MULTIBRANCH, PIPELINE, raw_path
from tests.tools.emulators.rig import Station
from tests.tools.jenkins_station import station


def last(rig: Station) -> list[str]:
    """How the latest build ended."""
    words = ("passed", "failed", "cancelled")
    return [w for w in words if rig.gauge(f.LAST_CONCLUSION, conclusion=w) == 1]


def settle(rig: Station) -> None:
    """Poll until what is asked for again has been."""
    for _ in range(4):
        rig.polled()
        for memory in rig.memories.values():
            memory.checked.clear()


# --- builds that a restart of the controller brings back without their times ---


NULL = {"timestamp": None, "duration": None, "building": None, "result": None}
LOST: dict[str, tuple[str, str, dict[str, Any]]] = {
    "the newest": (FREESTYLE, "newest", {}),
    "the newest, of a pipeline": (PIPELINE, "newest", {"result": "FAILURE"}),
    "the oldest, and the rest is null": (FREESTYLE, "oldest", NULL),
    "all, and building is null": (PIPELINE, "all", {"building": None}),
    "all": (FREESTYLE, "all", {}),
    "all, and all is null": (PIPELINE, "all", NULL),
}


@whatever_it_does
@pytest.mark.parametrize(("kind", "which", "lost"), LOST.values(), ids=LOST)
def test_counted_builds_that_lose_their_start_stay_what_they_were(
    tmp_path: Path, meanwhile: Pause, kind: str, which: str, lost: dict[str, Any]
) -> None:
    world = jenkins.Jenkins()
    runs = [world.run("team/shop", age=900 - 100 * i, kind=kind) for i in range(4)]
    rig = station(world, path=tmp_path / "state.db")
    rig.polled()
    before = [dict(run) for run in runs]
    for run in {"newest": runs[-1:], "oldest": runs[:1], "all": runs}[which]:
        world.lose(run, **lost)
    meanwhile(rig)
    settle(rig)
    rig.polled(deep=True)

    assert (4, 4) == (rig.value(f.BUILDS), rig.value(f.BUILDS, conclusion="passed"))
    assert (["passed"], 0) == (last(rig), rig.gauge(f.STREAK))
    assert 0 == rig.value(f.ANOMALIES)

    for run, known in zip(runs, before, strict=True):  # another restart finds the times again
        run.update(known)
    world.run("team/shop", age=60, lasts=5, kind=kind)
    meanwhile(rig)
    settle(rig)

    assert (5, 5) == (rig.value(f.BUILDS), rig.value(f.BUILDS, conclusion="passed"))
    assert 0 == rig.value(f.ANOMALIES)


@whatever_it_does
@pytest.mark.parametrize("kind", [FREESTYLE, PIPELINE])
def test_a_running_build_that_dies_with_the_controller_counts_once_and_has_no_duration(
    tmp_path: Path, meanwhile: Pause, kind: str
) -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=9000, kind=kind)
    running = world.run("team/shop", age=600, lasts=None, kind=kind)
    rig = station(world, path=tmp_path / "state.db")
    rig.polled()
    started = running["timestamp"]
    world.lose(running)
    meanwhile(rig)
    settle(rig)

    assert 1 == rig.value(f.BUILDS, conclusion="cancelled")
    assert (1, 1) == (rig.value(f.BUILD_DURATION), rig.value(f.MISSING, field="duration"))
    assert (["cancelled"], 0) == (last(rig), rig.gauge(f.ACTIVE, status="in_progress"))

    running |= {"timestamp": started}  # the next restart reads it from the disk
    meanwhile(rig)
    settle(rig)

    assert 2 == rig.value(f.BUILDS)


@whatever_it_does
def test_a_build_that_loses_its_start_while_it_runs_ends_as_the_one_it_was(
    tmp_path: Path, meanwhile: Pause
) -> None:
    world = jenkins.Jenkins()
    running = world.run("team/shop", age=600, lasts=None)
    rig = station(world, path=tmp_path / "state.db")
    rig.polled()
    started = running["timestamp"]
    running |= {"timestamp": 0}
    meanwhile(rig)
    settle(rig)

    assert (0, 1) == (rig.value(f.BUILDS), rig.gauge(f.ACTIVE, status="in_progress"))

    running |= {"timestamp": started}
    world.end(running, lasts=590, result="FAILURE")
    meanwhile(rig)
    settle(rig)

    assert (1, 1) == (rig.value(f.BUILDS), rig.value(f.BUILDS, conclusion="failed"))
    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")


def test_a_build_lost_in_a_crash_takes_no_time_that_anybody_knows() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=600, lasts=0, result="FAILURE", kind=FREESTYLE)
    rig = station(world)
    rig.polled()

    assert 1 == rig.value(f.BUILDS, conclusion="failed")
    assert (0, 1) == (rig.value(f.BUILD_DURATION), rig.value(f.MISSING, field="duration"))


def test_the_stages_tell_when_a_lost_pipeline_ended() -> None:
    world = jenkins.Jenkins()
    lost = world.run("team/shop", age=600, lasts=0, result="FAILURE")
    begun = lost["timestamp"] + 1000
    stage = {"id": "1", "name": "build", "status": "FAILED", "startTimeMillis": begun}
    world.stage_view("team/shop", 1, "FAILED", {**stage, "durationMillis": 40_000})
    rig = station(world)
    rig.polled()

    assert 1 == rig.value(f.BUILD_DURATION, conclusion="failed")
    assert 0 == rig.value(f.MISSING, field="duration")


@pytest.mark.parametrize("kind", [FREESTYLE, PIPELINE])
def test_the_first_poll_counts_no_build_of_which_nobody_knows_when_it_was(kind: str) -> None:
    world = jenkins.Jenkins()
    for _ in range(150):
        world.lose(world.run("team/shop", age=9 * 86400, kind=kind))
    world.run("team/shop", age=3 * 86400, kind=kind)
    world.lose(world.run("team/shop", age=2 * 86400, kind=kind))
    world.run("team/shop", age=600, kind=kind)
    world.lose(world.run("team/shop", age=500, kind=kind))
    for _ in range(150):
        world.lose(world.run("team/attic", age=9 * 86400, kind=kind))
    rig = station(world, "team/shop", "team/attic", lookback=86400.0)

    rig.polled()

    assert 2 == rig.value(f.BUILDS)  # the dated one, and the one that began after it
    assert 1 == rig.value(f.BUILDS, conclusion="passed")


@whatever_it_does
def test_a_build_that_came_and_was_lost_between_two_polls_counts(
    tmp_path: Path, meanwhile: Pause
) -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=7200)
    rig = station(world, path=tmp_path / "state.db")
    rig.polled()
    rig.polled()
    world.lose(world.run("team/shop", age=100))
    meanwhile(rig)
    rig.polled()
    world.lose(world.run("team/shop", age=-2))  # later than the last poll, whatever its clock
    world.run("team/shop", age=-3, lasts=1)
    rig.polled()
    rig.polled(deep=True)

    assert (2, 2) == (
        rig.value(f.BUILDS, conclusion="passed"),
        rig.value(f.BUILDS, conclusion="cancelled"),
    )


@whatever_it_does
def test_a_job_that_is_made_anew_begins_its_numbers_again(tmp_path: Path, meanwhile: Pause) -> None:
    world = jenkins.Jenkins()
    for i in range(5):
        world.run("team/shop", age=7200 - i)
    rig = station(world, path=tmp_path / "state.db")
    rig.polled()
    rig.polled()
    world.job("team/shop")["runs"].clear()
    for i in range(3):
        world.run("team/shop", age=100 - i, lasts=5)
    meanwhile(rig)
    settle(rig)

    assert 8 == rig.value(f.BUILDS)

    world.run("team/shop", age=50, lasts=5, number=1000)  # somebody sets the next number
    settle(rig)

    assert (9, 0) == (rig.value(f.BUILDS), rig.value(f.GAPS))


# --- one part that fails ---


def fails(place: str, status: int, body: str = "Oops") -> Callable[[Request], Response | None]:
    """Whatever lies below a path fails."""

    def answer(request: Request) -> Response | None:
        is_there = raw_path(request).startswith(place)
        return PlainTextResponse(body, status) if is_there else None

    return answer


def shop() -> jenkins.Jenkins:
    """A multibranch job with three branches."""
    world = jenkins.Jenkins()
    world.job("team/shop", MULTIBRANCH)
    for branch in ("main", "feature%2Fcart", "dev"):
        world.run(f"team/shop/{branch}", age=3600)
    return world


CART = "/job/team/job/shop/job/feature%252Fcart"
FAULTS = [(400, "x"), (403, "x"), (404, "x"), (500, "x"), (200, "no json"), (200, "{}")]


@whatever_it_does
@pytest.mark.parametrize(("status", "body"), FAULTS)
def test_a_branch_that_fails_hides_no_other_and_is_read_whole_when_it_answers_again(
    tmp_path: Path, meanwhile: Pause, status: int, body: str
) -> None:
    world = shop()
    rig = station(world, path=tmp_path / "state.db")
    world.fails = fails(CART, status, body)
    for i in range(6):
        world.run("team/shop/feature%2Fcart", age=3000 - i, lasts=5)
        world.run("team/shop/main", age=3000 - i, lasts=5)
        meanwhile(rig)
        rig.polled(deep=i == 3)
        assert (["team/shop/feature%2Fcart"], 2 + i + 1) == (
            [*rig.unread],
            rig.value(f.BUILDS),
        )

    world.fails = lambda request: None
    meanwhile(rig)
    rig.polled()

    assert ({}, 15) == (dict(rig.unread), rig.value(f.BUILDS))
    assert 1 == len(rig.polled()) or meanwhile is restarts


def test_a_branch_that_answers_404_is_gone_only_if_the_controller_says_so() -> None:
    world = shop()
    rig = station(world)
    world.fails = fails(CART, 404)
    rig.polled()

    assert "answers 404 although" in str(rig.unread["team/shop/feature%2Fcart"])

    branches = world.job("team/shop")["jobs"]
    branches[:] = [branch for branch in branches if branch["name"] != "feature%2Fcart"]
    rig.polled()

    assert {} == dict(rig.unread)


def test_a_multibranch_job_of_which_nothing_answers_has_failed() -> None:
    world = shop()
    world.fails = fails("/job/team/job/shop/job/", 500)

    with pytest.raises(ProviderError, match="500"):
        station(world).polled()


def test_a_failing_branch_costs_one_request_a_poll() -> None:
    world = shop()
    rig = station(world)
    for status in (400, 404):
        world.fails = fails(CART, status)
        rig.polled()
        rig.polled()

        assert 2 == len(rig.polled())


def test_a_list_that_is_too_much_at_once_is_read_in_parts() -> None:
    world = jenkins.Jenkins()
    for i in range(140):
        world.run("team/shop", age=9000 - i, lasts=5)

    def large(request: Request) -> Response | None:
        cut = re.search(r"uilds\[.*\{(\d+),(\d+)\}", request.query_params.get("tree", ""))
        too_much = cut is not None and int(cut[2]) - int(cut[1]) > 10
        return PlainTextResponse("Oops", 500) if too_much else None

    world.fails = large
    rig = station(world)
    rig.polled()

    assert 140 == rig.value(f.BUILDS)


def test_a_queue_that_fails_is_told_and_hides_no_build() -> None:
    world = shop()
    world.wait(41, "team/shop/main")
    world.fails = fails("/queue", 500)
    rig = station(world)
    rig.polled()

    assert (["/queue"], 3) == ([*rig.unread], rig.value(f.BUILDS))

    world.fails = fails("/queue", 403)  # it is not for us
    rig.polled(deep=True)

    assert ([], 3) == ([*rig.unread], rig.value(f.BUILDS))


def test_a_stage_view_that_fails_hides_no_running_build() -> None:
    world = jenkins.Jenkins()
    running = world.run("team/shop", age=60, lasts=None)
    world.fails = lambda request: (
        PlainTextResponse("Oops", 500) if "wfapi" in raw_path(request) else None
    )
    rig = station(world)
    rig.polled()

    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")

    world.end(running, lasts=50)
    rig.polled()

    assert 1 == rig.value(f.BUILDS)


def test_a_build_without_a_stage_view_hides_no_stages_of_others() -> None:
    world = jenkins.Jenkins()
    stage = {"id": "1", "name": "unit", "status": "SUCCESS", "durationMillis": 5000}
    world.run("team/shop", age=3600)
    rig = station(world, jobs=True)
    rig.polled()
    for number in (2, 3):
        run = world.run("team/shop", age=100 - number, lasts=50)
        shown = {**stage, "startTimeMillis": run["timestamp"]}
        world.stage_view("team/shop", number, "SUCCESS", shown)
    rig.polled()

    assert (3, 2) == (rig.value(f.BUILDS), rig.value(f.JOBS))


def broken_folder(request: Request) -> Response | None:
    """The folder `bad` cannot be listed, nor anything that reaches into it."""
    path, wanted = raw_path(request), request.query_params.get("tree", "")
    deep = wanted.count("jobs[") > 1
    reaches = path.startswith("/job/bad/") or (path == "/api/json" and deep)
    return PlainTextResponse("Oops", 500) if reaches else None


def discovered(world: jenkins.Jenkins, pattern: str) -> Matches:
    """What a wildcard matches, and why there may be more."""
    rig = station(world, pattern)

    async def find() -> Matches:
        async with serving(rig.app) as url:
            api = rig.api(url)
            try:
                found = await rig.source(api).discover(pattern)
            finally:
                await api.aclose()
        assert isinstance(found, Matches)
        return found

    return asyncio.run(find())


def halves() -> jenkins.Jenkins:
    """A job in a good folder and one in a bad one."""
    world = jenkins.Jenkins()
    world.run("good/shop")
    world.run("bad/shop")
    world.fails = broken_folder
    return world


@pytest.mark.parametrize("entry", ["good/*", "good/shop"])
def test_a_folder_that_cannot_be_listed_hides_no_other(entry: str) -> None:
    rig = station(halves(), entry)
    rig.polled()

    assert 1 == rig.value(f.BUILDS)
    assert 2 == len(rig.polled())  # what could not be answered is not asked for again


def test_a_wildcard_finds_what_is_not_in_the_folder_that_cannot_be_listed() -> None:
    found = discovered(halves(), "**")

    assert ["good/shop"] == [repo.entry for repo in found]
    assert "/job/bad/" in str(found.error)


def test_a_job_whose_last_build_breaks_every_list_is_read_by_itself() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop")
    world.fails = lambda request: (
        PlainTextResponse("Oops", 500)
        if "lastBuild" in request.query_params.get("tree", "")
        else None
    )
    rig = station(world)
    rig.polled()
    world.run("team/shop", age=60, lasts=5)
    rig.polled()

    assert 2 == rig.value(f.BUILDS)


def test_a_controller_that_cannot_list_its_jobs_tells_of_each_by_itself() -> None:
    world = shop()
    world.run("team/api")
    world.fails = lambda request: (
        PlainTextResponse("Oops", 500) if raw_path(request) == "/api/json" else None
    )
    rig = station(world, "team/shop", "team/shop/main", "team/api")
    rig.polled()

    assert 3 == rig.value(f.BUILDS, repo="team/shop")
    assert 1 == rig.value(f.BUILDS, repo="team/api")


# --- folders without an end, and names that lead elsewhere ---


@pytest.mark.parametrize("told", ["as Jenkins does", "without classes of its own"])
def test_a_proxy_that_loses_the_path_does_not_make_folders_without_an_end(told: str) -> None:
    world = jenkins.Jenkins()
    world.job("a", FOLDER)
    world.job("b", FOLDER)
    world.run("shop", kind=FREESTYLE)

    def root(request: Request) -> Response | None:
        if not re.fullmatch(r"(/job/[ab])+/api/json", raw_path(request)):
            return None
        kind = {"_class": "hudson.model.Hudson"} if told == "as Jenkins does" else {}
        jobs = [{**job, "lastBuild": job["runs"][0]} if "runs" in job else job for job in bare]
        return JSONResponse({"jobs": jobs, **kind})

    bare = [{k: v for k, v in job.items() if k != "jobs"} for job in world.root["jobs"]]
    for job in world.root["jobs"][:2]:
        del job["jobs"]
    told_before = world._told
    world._told = lambda place: (  # type: ignore[method-assign]
        place if place.get("_class") == FOLDER else told_before(place)
    )
    world.fails = root
    found = discovered(world, "**")

    assert ["shop"] == [repo.entry for repo in found]
    assert "a proxy loses the path" in str(found.error)


def test_folders_that_do_not_end_are_told_after_a_bounded_number_of_requests() -> None:
    world = jenkins.Jenkins()
    asked: list[str] = []

    def endless(request: Request) -> Response:
        asked.append(raw_path(request))
        return JSONResponse({"jobs": [{"_class": FOLDER, "name": name} for name in "ab"]})

    world.fails = endless

    found = discovered(world, "**")

    assert "do not end" in str(found.error)
    assert len(asked) <= 1001


ODD = ["..", ".", "", "%2E.", "%00", "%2e%2e%2F%2e%2e%2Fuser", "%252e%252e%2F%252e%252e%2Fuser"]


@pytest.mark.parametrize("name", [*ODD, "a/b", "..\\x", "x%0Ay", "a%2F%2Fb", "a%2F..%2Fb"])
def test_a_branch_whose_name_leads_elsewhere_is_told_and_never_asked_for(name: str) -> None:
    world = shop()
    branch = dict(world.job("team/shop/main"), name=name)
    world.job("team/shop")["jobs"].append(branch)
    rig = station(world)
    requests = rig.polled()

    assert [f"team/shop/{name}"] == [*rig.unread]
    assert "cannot be asked for" in str(rig.unread[f"team/shop/{name}"])
    assert 1 + 3 == len(requests)
    assert 3 == rig.value(f.BUILDS)


@pytest.mark.parametrize("name", ["%3Cscript%3E", "<script>", "a..b", "100%25", "C++ (fast)", "猫"])
def test_a_branch_with_a_name_that_is_only_odd_is_read(name: str) -> None:
    world = shop()
    world.run(f"team/shop/{name}", age=60, lasts=5)
    rig = station(world)
    rig.polled()

    assert ({}, 4) == (dict(rig.unread), rig.value(f.BUILDS))


# --- the queue ---


def test_a_controller_that_lost_its_queue_gives_the_same_ids_to_other_builds() -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=7200)
    rig = station(world)
    world.wait(7, "team/shop", age=300)
    rig.polled()
    world.queue.clear()
    world.run("team/shop", age=200, lasts=10, queueId=7)
    rig.polled()

    assert (2, 0) == (rig.value(f.BUILDS), rig.gauge(f.ACTIVE, status="queued"))

    world.wait(7, "team/shop", age=20)  # after the restart
    rig.polled(deep=True)

    assert (2, 1) == (rig.value(f.BUILDS), rig.gauge(f.ACTIVE, status="queued"))

    world.queue.clear()
    running = world.run("team/shop", age=5, lasts=None, queueId=7)
    settle(rig)

    assert 0 == rig.gauge(f.ACTIVE, status="queued")
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")

    world.end(running, lasts=4)
    settle(rig)

    assert 3 == rig.value(f.BUILDS)


def test_a_queued_build_whose_id_is_another_jobs_now_is_gone(tmp_path: Path) -> None:
    world = jenkins.Jenkins()
    world.run("team/shop", age=7200)
    world.run("team/api", age=7200)
    world.wait(7, "team/shop", age=300)
    rig = station(world, path=tmp_path / "state.db")
    rig.polled()
    world.queue.clear()
    world.wait(7, "team/api", age=20)
    world.queue[7]["executable"] = {"number": 1}
    rig.restart()
    settle(rig)

    assert 0 == rig.gauge(f.ACTIVE, status="queued", repo="team/shop")
    assert 1 == rig.value(f.BUILDS)
