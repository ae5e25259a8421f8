"""The circleci provider: recorded objects, documented words, and truth over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.demo.serve import serving
from exporter.errors import Refused
from exporter.metrics import families as f
from exporter.model import Ref, Status
from exporter.providers import Query, Repo, Site
from exporter.providers.circleci import WORDS, CircleCI
from exporter.providers.circleci.cache import PipelineReads
from exporter.providers.circleci.mapping import (
    Listed,
    Pipeline,
    Workflow,
    started,
    to_build,
    to_builds,
    to_job,
    with_workflow,
)
from tests.tools import golden
from tests.tools.emulators import circleci
from tests.tools.emulators.rig import Station, entries, iso

SLUG = "gh/acme/shop"
REPO = Repo(SLUG)
SITE = Site("https://app.circleci.com")
PAGE = "https://app.circleci.com/pipelines/github/acme/shop/7/workflows/w"


def provider(*repos: str, **keys: Any) -> CircleCI:
    named = {"name": "acme", "provider": "circleci", "token_env": "T"}
    return CircleCI(**{**named, "repos": list(repos or (SLUG,)), **keys})


def station(world: circleci.CircleCI, *repos: str, **keys: Any) -> Station:
    return Station(provider(*repos, **keys), world.app(), "/api/v2")


def total(rig: Station, family: f.Family) -> float:
    """The sum over all series of a histogram."""
    return sum(vector[-1] for key, vector in rig.view.stored() if key.family == family.name)


# -- recordings


def test_recorded_pipelines_workflows_and_jobs_are_understood(shared: Path) -> None:
    folder = shared / "recordings/circleci"
    found = {}
    pipelines = {}
    for key, line in golden.lines(folder, "pipelines.jsonl"):
        item = msgspec.json.decode(line, type=Pipeline)
        pipelines[item.id] = item
        found[key] = golden.told((*to_builds(item, [], REPO, SITE), to_build(item, REPO, SITE))[0])
    for key, line in golden.lines(folder, "workflows.jsonl"):
        owner = json.loads(line)["pipeline_id"]
        base = to_build(pipelines.get(owner, Pipeline(owner)), REPO, SITE)
        found[key] = golden.told(with_workflow(base, msgspec.json.decode(line, type=Workflow)))
    for key, line in golden.lines(folder, "jobs.jsonl"):
        found[key] = golden.told(to_job(msgspec.json.decode(line, type=Listed), PAGE))

    golden.check("circleci", found)


def test_the_words_of_recorded_v1_builds_are_known_too(shared: Path) -> None:
    v1 = shared / "recordings/circleci/v1_builds.jsonl"
    builds = [json.loads(line) for line in v1.read_text().splitlines()]
    words = {build[field] for build in builds for field in ("status", "outcome", "lifecycle")}

    assert words - {None} <= WORDS.status.keys() | WORDS.conclusion.keys()


# -- words


def test_every_documented_word_is_in_the_table(shared: Path) -> None:
    paths = json.loads((shared / "openapi/circleci/circleci-v2.json").read_text())["paths"]

    def item(path: str) -> Any:
        content = paths[path]["get"]["responses"]["200"]["content"]["application/json"]
        return content["schema"]["properties"]["items"]["items"]["properties"]

    workflow, pipeline = item("/pipeline/{pipeline-id}/workflow"), item("/pipeline")
    triggers = pipeline["trigger"]["properties"]["type"]["enum"]
    jobs = (
        "success running not_run failed retried queued not_running infrastructure_fail timedout"
        " on_hold terminated-unknown blocked canceled unauthorized"
    )

    known = WORDS.status.keys() | WORDS.conclusion.keys()
    assert {*workflow["status"]["enum"], *jobs.split()} <= known
    assert {*triggers, "scheduled_pipeline"} <= WORDS.trigger.keys()


@pytest.mark.parametrize(
    ("word", "status", "conclusion"),
    [
        ("running", Status.IN_PROGRESS, None),
        ("failing", Status.IN_PROGRESS, None),
        ("on_hold", Status.WAITING, None),
        ("success", Status.COMPLETED, "passed"),
        ("failed", Status.COMPLETED, "failed"),
        ("error", Status.COMPLETED, "error"),
        ("canceled", Status.COMPLETED, "cancelled"),
        ("not_run", Status.COMPLETED, "skipped"),
        ("unauthorized", Status.COMPLETED, "unauthorized"),
    ],
)
def test_a_workflow_stands_as_its_status_says(
    word: str, status: Status, conclusion: str | None
) -> None:
    build = with_workflow(to_build(Pipeline("p"), REPO, SITE), Workflow("w", status=word))

    assert (status, conclusion) == (build.status, build.conclusion)


@pytest.mark.parametrize(
    ("word", "begun", "status", "conclusion"),
    [
        ("running", True, Status.IN_PROGRESS, None),
        ("running", False, Status.QUEUED, None),  # the list says so too early
        ("blocked", False, Status.QUEUED, None),
        ("on_hold", False, Status.WAITING, None),
        ("retried", True, Status.COMPLETED, "retried"),
        ("infrastructure_fail", True, Status.COMPLETED, "error"),
        ("timedout", True, Status.COMPLETED, "timeout"),
        ("terminated-unknown", True, Status.COMPLETED, "terminated-unknown"),
    ],
)
def test_a_job_stands_as_its_status_says(
    word: str, begun: bool, status: Status, conclusion: str | None
) -> None:
    at = "2026-11-20T09:00:00Z" if begun else None
    job = to_job(Listed("j", status=word, started_at=at), None)

    assert (status, conclusion, begun) == (job.status, job.conclusion, job.started_at is not None)


@pytest.mark.parametrize(
    ("pipeline", "branch", "ref"),
    [
        ({"vcs": {"branch": "main"}}, "main", Ref.BRANCH),
        ({"vcs": {"tag": "v1"}}, "v1", Ref.TAG),
        ({"vcs": {"branch": "pull/17"}}, "pull/17", Ref.PULL_REQUEST),
        ({"vcs": {"branch": "pull/17/head"}}, "pull/17/head", Ref.PULL_REQUEST),
        ({"vcs": {"branch": "pull/me"}}, "pull/me", Ref.BRANCH),
        ({"vcs": {"branch": "fix", "review_id": "9"}}, "fix", Ref.PULL_REQUEST),
        (
            {
                "vcs": {
                    "branch": "main",
                    "origin_repository_url": "https://github.com/eve/shop",
                    "target_repository_url": "https://github.com/acme/shop",
                }
            },
            "main",
            Ref.PULL_REQUEST,
        ),
        ({"trigger_parameters": {"git": {"branch": "main"}}}, "main", Ref.BRANCH),
        ({}, None, Ref.BRANCH),
    ],
)
def test_the_pipeline_tells_what_was_built(pipeline: Any, branch: str | None, ref: Ref) -> None:
    build = to_build(msgspec.convert({"id": "p", **pipeline}, Pipeline), REPO, SITE)

    assert (branch, ref) == (build.branch, build.ref)


def test_a_webhook_of_a_pull_request_is_a_merge_request() -> None:
    webhook = {"type": "webhook"}

    assert "push" == to_build(Pipeline("p", trigger=webhook), REPO, SITE).trigger
    pull = to_build(Pipeline("p", trigger=webhook, vcs={"branch": "pull/1"}), REPO, SITE)
    assert "merge_request" == pull.trigger


def test_an_approval_is_not_the_start() -> None:
    approval = Listed("a", type="approval", started_at="2026-11-20T09:00:00Z")
    job = Listed("j", type="build", started_at="2026-11-20T10:00:00Z")

    assert started([job]) == started([approval, job])
    assert started([approval]) is None


def test_a_configuration_error_surfaces_as_an_error() -> None:
    errored = Pipeline("p", state="errored", created_at="2026-11-20T09:00:00Z")
    setup, main = Workflow("s", tag="setup", status="success"), Workflow("m", status="failed")

    assert [("p", "error")] == [
        (b.key.id, b.conclusion) for b in to_builds(errored, [], REPO, SITE)
    ]
    assert ["passed", "error"] == [b.conclusion for b in to_builds(errored, [setup], REPO, SITE)]
    assert ["failed"] == [b.conclusion for b in to_builds(errored, [main], REPO, SITE)]
    assert () == to_builds(Pipeline("p", state="created"), [], REPO, SITE)


# -- truth over HTTP


def test_every_workflow_is_counted_with_its_span_queue_and_conclusion() -> None:
    world = circleci.CircleCI()
    pipeline = world.pipeline(age=900)
    for name, status, lasts in (("ci", "success", 30), ("deploy", "failed", 60)):
        workflow = world.workflow(pipeline, age=900, name=name)
        world.end(workflow, age=900, queued=4, lasts=lasts, status=status)
    cron = world.pipeline(age=800, trigger={"type": "scheduled_pipeline"})
    world.end(world.workflow(cron, age=800), age=800, queued=2, lasts=5, status="error")
    world.pipeline(age=700, state="errored", trigger={"type": "api"})
    held = world.pipeline(age=600)
    world.workflow(held, age=600, status="on_hold")
    world.workflow(held, age=600, status="failing", name="lint")
    world.workflow(held, age=600, status="not_run", stopped_at=iso(time.time() - 599, 0))
    rig = station(world)

    rig.polled()

    assert 1 == rig.value(f.BUILDS, workflow="ci", conclusion="passed", branch="main")
    assert 1 == rig.value(f.BUILDS, workflow="deploy", conclusion="failed", trigger="push")
    assert 1 == rig.value(f.BUILDS, workflow="ci", conclusion="error", trigger="cron")
    assert 1 == rig.value(f.BUILDS, workflow="", conclusion="error", trigger="api")
    assert 1 == rig.value(f.BUILDS, conclusion="skipped")
    assert 3 == rig.value(f.BUILD_DURATION) == rig.value(f.BUILD_QUEUE)
    assert 95 == pytest.approx(total(rig, f.BUILD_DURATION))
    assert 10 == pytest.approx(total(rig, f.BUILD_QUEUE), abs=3)  # times are cut to the second
    assert 1 == rig.gauge(f.ACTIVE, status="waiting")
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress", workflow="lint")
    assert 1 == rig.value(f.MISSING, field="duration")


def test_an_idle_poll_is_one_request_and_a_new_build_three() -> None:
    world = circleci.CircleCI()
    for minutes in range(50):
        world.run(age=7200 - 60 * minutes)
    rig = station(world)
    first = rig.polled()

    assert 3 + 50 + 50 == len(first)
    assert 1 == len(rig.polled())
    pipeline = world.pipeline(age=90)
    workflow = world.workflow(pipeline, age=90)
    assert 2 == len(rig.polled())  # the list, the workflows
    world.end(workflow, age=90, lasts=20)
    assert 3 == len(rig.polled())  # and its jobs
    assert 1 == len(rig.polled())
    assert 51 == rig.value(f.BUILDS)


def test_a_burst_between_two_polls_is_counted_whole() -> None:
    world = circleci.CircleCI()
    world.run()
    rig = station(world)
    rig.polled()
    for i in range(200):
        world.run(age=300 - i, lasts=10, status="failed" if i % 4 else "success")

    rig.polled()

    assert 51 == rig.value(f.BUILDS, conclusion="passed")
    assert 150 == rig.value(f.BUILDS, conclusion="failed")
    assert 201 == rig.value(f.BUILD_DURATION)
    assert 0 == rig.value(f.GAPS)


def test_a_rerun_is_a_build_of_its_own_without_the_jobs_of_the_first() -> None:
    world = circleci.CircleCI()
    pipeline = world.pipeline(age=7200)
    first = world.workflow(pipeline, age=7200)
    green = world.job(
        first,
        name="lint",
        status="success",
        started_at=iso(time.time() - 7190, 0),
        stopped_at=iso(time.time() - 7180, 0),
    )
    world.end(first, age=7200, queued=10, lasts=100, status="failed")
    for _ in range(30):
        world.run(age=5000)
    rig = station(world, jobs=True)
    rig.polled()
    again = world.workflow(pipeline, age=100)
    world.jobs[again["id"]].append(green)
    world.end(again, age=100, queued=3, lasts=20)

    assert 1 == len(rig.polled())
    requests = rig.polled(deep=True)
    rig.polled(deep=True)

    assert 2 + 31 + 1 == len(requests)  # no jobs of what is counted
    assert (31, 1) == (
        rig.value(f.BUILDS, conclusion="passed"),
        rig.value(f.BUILDS, conclusion="failed"),
    )
    assert 0 == rig.value(f.RETRIES)
    assert 1 == rig.value(f.JOBS, job_name="lint")
    assert 32 == rig.value(f.JOBS, job_name="build")
    assert 100 + 30 * 60 + 20 == pytest.approx(total(rig, f.BUILD_DURATION))


def test_a_held_workflow_is_read_by_itself_until_it_ends() -> None:
    world = circleci.CircleCI()
    pipeline = world.pipeline(age=9000, trigger={"type": "explicit"})
    held = world.workflow(pipeline, age=9000, name="deploy", status="on_hold")
    rig = station(world)
    rig.polled()
    world.end(held, age=9000, queued=8000, lasts=40)

    requests = rig.polled()

    assert [f"/api/v2/workflow/{held['id']}", f"/api/v2/workflow/{held['id']}/job"] == requests[1:]
    assert 1 == rig.value(f.BUILDS, workflow="deploy", trigger="web", branch="main")
    assert 40 == total(rig, f.BUILD_DURATION)


def test_workflows_that_follow_a_setup_are_found() -> None:
    world = circleci.CircleCI()
    pipeline = world.pipeline(age=90, state="setup")
    world.end(world.workflow(pipeline, age=90, tag="setup", name="setup"), age=90, lasts=5)
    rig = station(world)
    rig.polled()
    pipeline["state"] = "created"
    world.end(world.workflow(pipeline, age=60), age=60, lasts=5)

    rig.polled()

    assert 1 == rig.value(f.BUILDS, workflow="setup")
    assert 1 == rig.value(f.BUILDS, workflow="ci")


def test_jobs_are_counted_with_those_of_further_pages_and_approvals() -> None:
    world = circleci.CircleCI()
    workflow = world.workflow(world.pipeline(age=500), age=500, status="on_hold")
    now = time.time()
    for i in range(45):
        times = {"started_at": iso(now - 490, 0), "stopped_at": iso(now - 480, 0)}
        world.job(workflow, name=f"test {i}", status="success", **times)
    approval = world.job(workflow, name="ship?", type="approval", status="on_hold")
    del approval["job_number"]
    rig = station(world, jobs=True)

    rig.polled()

    assert 45 == rig.value(f.JOBS, conclusion="passed") == rig.value(f.JOB_DURATION)
    assert 1 == rig.gauge(f.JOBS_ACTIVE, status="waiting", job_name="ship?")
    assert 0 == rig.value(f.JOB_QUEUE)


def test_a_slug_is_one_segment_of_the_path() -> None:
    world = circleci.CircleCI()
    world.run()

    requests = station(world).polled()

    assert "/api/v2/project/gh%2Facme%2Fshop/pipeline" == requests[0]


def test_a_pipeline_of_the_lookback_is_found_though_it_began_before() -> None:
    world = circleci.CircleCI()
    world.run(age=4000, lasts=3000)
    world.run(age=4000, lasts=10)
    rig = Station(provider(), world.app(), "/api/v2", lookback=3600.0)

    rig.polled()

    assert 3000 == total(rig, f.BUILD_DURATION)
    assert 1 == rig.value(f.BUILDS)


def test_an_odd_pipeline_is_left_out_and_counted() -> None:
    world = circleci.CircleCI()
    world.run()
    world.pipelines[SLUG].append({"id": 7, "created_at": "2026-01-01T00:00:00Z"})

    async def page() -> Any:
        async with serving(world.app()) as url:
            api = station(world).api(url)
            try:
                return await provider().connect(api).page(REPO, Query(since=0.0, size=30))
            finally:
                await api.aclose()

    found = asyncio.run(page())

    assert (1, 1) == (len(found.builds), found.rejected)


def test_what_is_remembered_of_pipelines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.providers.circleci.cache._MOST_REMEMBERED", 2)
    reads = PipelineReads()
    for name in "abac":
        reads.note(name, done=True)

    assert [True, False, True] == [name in reads for name in "abc"]


# -- credentials and entries


def test_the_token_travels_in_a_header_of_its_own() -> None:
    assert {"Circle-Token": "t"} == provider().headers("t")


def test_a_refused_token_is_told_as_such() -> None:
    world = circleci.CircleCI()

    async def page() -> None:
        async with serving(world.app()) as url:
            api = station(world).api(url)
            api._credentials = dict
            try:
                await provider().connect(api).page(REPO, Query(since=0.0, size=30))
            finally:
                await api.aclose()

    with pytest.raises(Refused) as caught:
        asyncio.run(page())

    assert "unauthorized" == caught.value.reason


@pytest.mark.parametrize("entry", ["acme/shop", "gh/acme/*", "*", "gh/acme/shop/x", "gh//shop"])
def test_an_entry_of_another_shape_is_a_fault(entry: str) -> None:
    assert [("repos", 0)] == [place for place, _ in CircleCI.faults({"repos": [entry]})]


def test_a_slug_spelled_out_is_the_same_project() -> None:
    names = ["github/acme/shop", "gh/acme/shop", "github/acme/shop2"]

    assert ["gh/acme/shop", "github/acme/shop2"] == entries(provider(), *names)
