"""The buddy provider: recorded objects, documented words, and truth over HTTP."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.demo.serve import serving
from exporter.errors import Gone, Malformed, Refused
from exporter.metrics import families as f
from exporter.model import Build, Ref, Status
from exporter.providers import Query, Repo, Site
from exporter.providers.buddy import WORDS, Action, Buddy, Execution, Pipeline, to_build, to_job
from tests.tools import golden
from tests.tools.buddy_station import provider, station
from tests.tools.emulators import buddy
from tests.tools.emulators.rig import Station, entries, iso

REPO = Repo("acme/shop")
SITE = Site("https://sls.io")
DEPLOY = Pipeline(7, name="deploy")
STATUSES = (
    "INPROGRESS ENQUEUED TERMINATED SUCCESSFUL FAILED INITIAL NOT_EXECUTED SKIPPED TERMINATING"
    " WAITING_FOR_APPLY WAITING_FOR_VARIABLES WAITING_FOR_SETTABLE_VARIABLES"
    " WAITING_FOR_VT_SESSION"
)


def total(rig: Station, family: f.Family) -> float:
    """The sum over all series of a histogram."""
    return sum(vector[-1] for key, vector in rig.view.stored() if key.family == family.name)


def built(**values: Any) -> Build:
    return to_build(msgspec.convert({"id": 5, **values}, Execution), DEPLOY, REPO, SITE)


def page(app: Any, **keys: Any) -> Any:
    async def read() -> Any:
        async with serving(app) as url:
            api = Station(provider(), app, "/api").api(url)
            try:
                return await provider(**keys).connect(api).page(REPO, Query(since=0.0, size=30))
            finally:
                await api.aclose()

    return asyncio.run(read())


# -- recordings


def test_recorded_executions_and_actions_are_understood(shared: Path) -> None:
    folder = shared / "recordings/buddy"
    found = {}
    for key, line in golden.lines(folder, "executions.jsonl"):
        found[key] = golden.told(
            to_build(msgspec.json.decode(line, type=Execution), DEPLOY, REPO, SITE)
        )
    pipelines = [
        msgspec.json.decode(line, type=Pipeline)
        for _, line in golden.lines(folder, "pipelines.jsonl")
    ]

    golden.check("buddy", found)
    assert all(pipeline.name for pipeline in pipelines)


# -- words


def test_every_documented_word_is_in_the_table() -> None:
    words = {word.lower() for word in STATUSES.split()}

    assert words <= WORDS.status.keys() | WORDS.conclusion.keys()
    assert {"click", "event", "schedule"} <= WORDS.trigger.keys()


@pytest.mark.parametrize(
    ("word", "status", "conclusion"),
    [
        ("ENQUEUED", Status.QUEUED, None),
        ("INPROGRESS", Status.IN_PROGRESS, None),
        ("TERMINATING", Status.IN_PROGRESS, None),
        ("WAITING_FOR_APPLY", Status.WAITING, None),
        ("WAITING_FOR_VARIABLES", Status.WAITING, None),
        ("SUCCESSFUL", Status.COMPLETED, "passed"),
        ("FAILED", Status.COMPLETED, "failed"),
        ("TERMINATED", Status.COMPLETED, "cancelled"),
        ("SKIPPED", Status.COMPLETED, "skipped"),
        ("NOT_EXECUTED", Status.COMPLETED, "skipped"),
    ],
)
def test_an_execution_stands_as_its_status_says(
    word: str, status: Status, conclusion: str | None
) -> None:
    build = built(status=word)

    assert (status, conclusion) == (build.status, build.conclusion)


def test_the_start_date_is_the_creation_of_what_has_not_begun() -> None:
    at = "2026-11-20T09:00:00.5Z"
    waiting, running = (
        built(status="ENQUEUED", start_date=at),
        built(status="INPROGRESS", start_date=at),
    )

    assert (None, waiting.time) == (waiting.started_at, waiting.created_at)
    assert (None, running.time) == (running.created_at, running.started_at)
    assert built(status="SUCCESSFUL", start_date=at, finish_date=at).queue is None


@pytest.mark.parametrize("spelling", ["triggered_on", "triggeredOn"])
@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("CLICK", "web"),
        ("MANUAL", "web"),
        ("EVENT", "push"),
        ("ON_EVENT", "push"),
        ("ON_EVERY_PUSH", "push"),
        ("SCHEDULE", "cron"),
        ("SCHEDULED", "cron"),
        ("API", "api"),
    ],
)
def test_the_trigger_is_read_in_either_spelling(spelling: str, word: str, meaning: str) -> None:
    assert meaning == built(**{spelling: word}).trigger


def test_branch_tag_and_pull_request_are_told_apart() -> None:
    main = built(branch={"name": "main", "default": True})
    side = built(branch={"name": "fix", "default": False})
    tag = built(tag={"name": "v1"})
    pull = built(branch={"name": "fix"}, pull_request={"no": 3}, triggered_on="EVENT")

    assert ("main", Ref.BRANCH, "main") == (main.branch, main.ref, main.default_branch)
    assert ("fix", None) == (side.branch, side.default_branch)
    assert ("v1", Ref.TAG) == (tag.branch, tag.ref)
    assert (Ref.PULL_REQUEST, "merge_request") == (pull.ref, pull.trigger)


def test_the_key_names_workspace_project_and_pipeline_as_ids_do_not() -> None:
    assert ("acme/shop/7/5", "acme/shop", "deploy") == (
        built().key.id,
        built().repo,
        built().workflow,
    )
    narrow = to_build(Execution(5), DEPLOY, Repo("acme/shop/deploy"), SITE)
    assert ("acme/shop/7/5", "acme/shop") == (narrow.key.id, narrow.repo)


def test_an_action_whose_turn_never_came_is_no_job() -> None:
    action = Action(action={"id": 1, "name": "notify"}, status="INITIAL")

    assert to_job(action, built(status="SUCCESSFUL"), SITE) is None
    waiting = to_job(action, built(status="INPROGRESS"), SITE)
    assert waiting is not None
    assert Status.QUEUED == waiting.status


# -- truth over HTTP


@pytest.mark.parametrize("modern", [False, True])
def test_every_execution_is_counted_with_its_span_and_conclusion(modern: bool) -> None:
    world = buddy.Buddy(modern=modern)
    deploy, test = world.pipeline(name="deploy"), world.pipeline(name="test")
    world.pipeline(name="idle")
    world.run(deploy, age=900, lasts=30)
    world.run(deploy, age=800, lasts=60, status="FAILED")
    world.run(test, age=700, lasts=5, status="TERMINATED")
    world.run(test, age=600, lasts=None)
    world.run(deploy, age=500, lasts=None, status="WAITING_FOR_APPLY")["status"] = (
        "WAITING_FOR_APPLY"
    )
    rig = station(world)

    requests = rig.polled()

    assert 3 == len(requests)  # what never ran has nothing to list
    assert 1 == rig.value(f.BUILDS, workflow="deploy", conclusion="passed", branch="main")
    assert 1 == rig.value(f.BUILDS, workflow="deploy", conclusion="failed", trigger="push")
    assert 1 == rig.value(f.BUILDS, workflow="test", conclusion="cancelled", repo="acme/shop")
    assert 3 == rig.value(f.BUILD_DURATION)
    assert 95 == pytest.approx(total(rig, f.BUILD_DURATION), abs=0.01)
    assert 0 == rig.value(f.BUILD_QUEUE)
    assert 3 == rig.value(f.MISSING, field="queue")
    assert 1 == rig.gauge(f.ACTIVE, status="waiting")
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")


def test_an_idle_poll_is_one_request_and_a_new_build_one_more() -> None:
    world = buddy.Buddy()
    pipelines = [world.pipeline(name=f"p{i}") for i in range(12)]
    for pipeline in pipelines:
        for i in range(50):
            world.run(pipeline, age=7200 - i)
    rig = station(world)
    rig.polled()

    assert 1 == len(rig.polled())
    execution = world.run(pipelines[3], age=30, lasts=None, revision="r2")
    assert 2 == len(rig.polled())
    world.end(pipelines[3], execution, at=time.time() - 1, status="SUCCESSFUL")
    assert 2 == len(rig.polled())
    assert 1 == len(rig.polled())
    assert 601 == rig.value(f.BUILDS)


def test_a_burst_between_two_polls_is_counted_whole() -> None:
    world = buddy.Buddy()
    one, two = world.pipeline(name="one"), world.pipeline(name="two")
    for pipeline in (one, two):
        world.run(pipeline)
    rig = station(world)
    rig.polled()
    for i in range(200):
        status = "FAILED" if i % 4 else "SUCCESSFUL"
        world.run(one, age=300 - i, lasts=10, status=status, revision=f"r{i}")
    for i in range(70):
        world.run(two, age=300 - i, lasts=10, revision=f"r{i}")

    rig.polled()

    assert (122, 150) == (
        rig.value(f.BUILDS, conclusion="passed"),
        rig.value(f.BUILDS, conclusion="failed"),
    )
    assert 272 == rig.value(f.BUILD_DURATION)


def test_what_looks_unchanged_is_found_when_the_window_is_read_again() -> None:
    world = buddy.Buddy()
    nightly = world.pipeline(name="nightly")
    world.run(nightly, age=7200)
    rig = station(world)
    rig.polled()
    world.run(nightly, age=500, lasts=20, triggered_on="SCHEDULE")

    rig.polled()
    assert 1 == rig.value(f.BUILDS)
    rig.polled(deep=True)
    rig.polled(deep=True)

    assert 2 == rig.value(f.BUILDS)
    assert 1 == rig.value(f.BUILDS, trigger="cron")


def test_an_execution_that_another_overtook_is_read_by_itself() -> None:
    world = buddy.Buddy()
    deploy = world.pipeline()
    slow = world.run(deploy, age=4000, lasts=None)
    world.run(deploy, age=3000)
    rig = station(world)
    rig.polled()
    world.end(deploy, slow, at=time.time() - 5, status="FAILED")

    rig.polled()

    assert 1 == rig.value(f.BUILDS, conclusion="failed", workflow="deploy", branch="main")
    assert 3995 == pytest.approx(total(rig, f.BUILD_DURATION) - 60, abs=2)


def test_one_pipeline_can_be_polled_by_name_or_id() -> None:
    world = buddy.Buddy()
    test = world.pipeline(name="test/all")
    deploy = world.pipeline(name="deploy")
    for pipeline in (test, deploy):
        world.run(pipeline)

    for entry in ("acme/shop/test/all", f"acme/shop/{test['id']}"):
        rig = station(world, entry)
        rig.polled()
        assert 1 == rig.value(f.BUILDS) == rig.value(f.BUILDS, workflow="test/all")


def test_a_pipeline_that_is_not_there_is_told_as_such() -> None:
    world = buddy.Buddy()
    world.pipeline()

    with pytest.raises(Gone, match="no pipeline is named 'nope'"):
        station(world, "acme/shop/nope").polled()


def test_actions_are_jobs() -> None:
    world = buddy.Buddy()
    execution = world.run(world.pipeline(), age=500, lasts=90)
    now = time.time()
    times = {"start_date": iso(now - 500, 3), "finish_date": iso(now - 480, 3)}
    world.action(execution, "build", "SUCCESSFUL", **times)
    world.action(execution, "ship", "FAILED", **times, action_execution_id="64f0")
    world.action(execution, "on failure", "INITIAL")
    world.action(execution, "rest", "NOT_EXECUTED")
    rig = station(world, jobs=True)

    requests = rig.polled()

    assert 3 == len(requests)
    assert 3 == rig.value(f.JOBS)
    assert 1 == rig.value(f.JOBS, job_name="ship", conclusion="failed")
    assert 1 == rig.value(f.JOBS, job_name="rest", conclusion="skipped")
    assert 40 == pytest.approx(total(rig, f.JOB_DURATION), abs=0.01)


def test_a_workspace_is_discovered_but_for_what_is_excluded_or_closed() -> None:
    world = buddy.Buddy()
    for i in range(90):
        world.run(world.pipeline(f"p{i:02}"))
    world.projects["p89"]["status"] = "CLOSED"
    rig = station(world, "acme/*", exclude=["acme/p0*"])

    rig.polled()

    assert [f"acme/p{i}" for i in range(10, 89)] == rig.entries
    assert 79 == rig.value(f.BUILDS)


def test_an_odd_execution_is_left_out_and_counted() -> None:
    world = buddy.Buddy()
    deploy = world.pipeline()
    world.run(deploy)
    world.executions[deploy["id"]].append({"status": "FAILED"})

    found = page(world.app())

    assert (1, 1) == (len(found.builds), found.rejected)


def test_an_answer_without_its_list_is_not_an_empty_one() -> None:
    world = buddy.Buddy()
    world.pipelines["shop"] = []
    app = world.app()
    world.pipelines = {}

    with pytest.raises(Gone):
        page(app)
    broken = buddy.Buddy()
    broken._pipelines = lambda request: {"errors": []}  # type: ignore[method-assign]
    with pytest.raises(Malformed, match="holds no pipelines"):
        page(broken.app())


# -- credentials and entries


def test_the_token_is_a_bearer() -> None:
    assert {"Authorization": "Bearer t"} == provider().headers("t")


def test_a_refused_token_is_told_as_such() -> None:
    world = buddy.Buddy()
    rig = station(world)
    rig.native = provider()
    object.__setattr__(rig.native, "headers", lambda token: {})

    with pytest.raises(Refused) as caught:
        rig.polled()

    assert "unauthorized" == caught.value.reason


@pytest.mark.parametrize("entry", ["acme", "acme/", "*", "*/shop", "acme/sh*", "/shop"])
def test_an_entry_of_another_shape_is_a_fault(entry: str) -> None:
    assert [("repos", 0)] == [place for place, _ in Buddy.faults({"repos": [entry]})]


def test_a_project_covers_its_pipelines() -> None:
    assert ["acme/shop"] == entries(provider(), "acme/shop/deploy", "acme/shop")
    assert ["acme/shop", "acme/shopping"] == entries(provider(), "acme/shop", "acme/shopping")
    assert [] == Buddy.faults({"repos": ["acme/shop", "acme/*", "acme/shop/Build *"]})
    assert provider().is_wildcard("acme/*")
    assert not provider().is_wildcard("acme/shop/*")
