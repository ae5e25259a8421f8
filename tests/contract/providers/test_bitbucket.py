"""The bitbucket provider: recorded objects, documented words, and truth over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from exporter.demo.serve import serving
from exporter.errors import Refused
from exporter.http import Api, RetryPolicy
from exporter.metrics import families as f
from exporter.model import Build, Ref, Status
from exporter.model.vocabulary import by_word
from exporter.providers import Query, Repo, Site
from exporter.providers.bitbucket import Bitbucket
from exporter.providers.bitbucket.mapping import WORDS, Pipeline, Step, filled, to_build, to_job
from exporter.providers.bitbucket.source import PagedValues
from exporter.times import instant
from tests.tools import golden
from tests.tools.bitbucket_station import provider, station
from tests.tools.emulators import bitbucket
from tests.tools.emulators.rig import Station, entries, iso

REPO = Repo("acme/shop", default_branch="trunk")
SITE = Site("https://bitbucket.org")


def built(**values: Any) -> Build:
    return to_build(msgspec.convert({"uuid": "{u-1}", **values}, Pipeline), REPO, SITE)


# -- recordings


def test_recorded_pipelines_become_builds_whose_start_the_steps_tell(shared: Path) -> None:
    folder = shared / "recordings/bitbucket"
    steps = [msgspec.json.decode(s, type=Step) for _, s in golden.lines(folder, "steps.jsonl")]
    owners = [json.loads(s)["pipeline"]["uuid"] for _, s in golden.lines(folder, "steps.jsonl")]
    found = {}
    for key, line in golden.lines(folder, "pipelines.jsonl"):
        item = msgspec.json.decode(line, type=Pipeline)
        build = to_build(item, REPO, SITE)
        mine = (s for s, owner in zip(steps, owners, strict=True) if owner == item.uuid)
        jobs = tuple(to_job(step, build, SITE) for step in mine)
        found[key] = golden.told(filled(build, jobs))
    running = built(state={"name": "IN_PROGRESS"})
    for key, line in golden.lines(folder, "steps.jsonl"):
        job = to_job(msgspec.json.decode(line, type=Step), running, SITE)
        found[key] = golden.told(job)

    golden.check("bitbucket", found)


# -- words


def test_every_documented_word_is_in_the_table(shared: Path) -> None:
    openapi = shared / "openapi/bitbucket/bitbucket.pipelines.json"
    paths = json.loads(openapi.read_text())["paths"]
    listing = paths["/repositories/{workspace}/{repo_slug}/pipelines"]["get"]["parameters"]
    words = {p["name"]: {w.lower() for w in p["enum"]} for p in listing if "enum" in p}
    results = set(by_word({"": "SUCCESSFUL FAILED ERROR STOPPED EXPIRED NOT_RUN"}))

    assert words["status"] <= WORDS.status.keys() | WORDS.conclusion.keys()
    assert words["trigger_type"] <= WORDS.trigger.keys()
    assert results <= WORDS.conclusion.keys()


@pytest.mark.parametrize(
    ("state", "status", "conclusion"),
    [
        ({"name": "PENDING"}, Status.QUEUED, None),
        ({"name": "IN_PROGRESS", "stage": {"name": "RUNNING"}}, Status.IN_PROGRESS, None),
        ({"name": "IN_PROGRESS", "stage": {"name": "PAUSED"}}, Status.WAITING, None),
        ({"name": "IN_PROGRESS", "stage": {"name": "HALTED"}}, Status.WAITING, None),
        (
            {
                "type": "pipeline_state_in_progress",
                "stage": {"type": "pipeline_state_in_progress_paused"},
            },
            Status.WAITING,
            None,
        ),
        ({"name": "PAUSED"}, Status.WAITING, None),
        (
            {
                "type": "pipeline_step_state_pending",
                "stage": {"type": "pipeline_step_state_pending_halted"},
            },
            Status.WAITING,
            None,
        ),
        (
            {
                "type": "pipeline_state_completed",
                "result": {"type": "pipeline_state_completed_expired"},
            },
            Status.COMPLETED,
            "timeout",
        ),
        ({"name": "COMPLETED", "result": {"name": "ERROR"}}, Status.COMPLETED, "error"),
        ({"name": "COMPLETED", "result": {"name": "STOPPED"}}, Status.COMPLETED, "cancelled"),
        ({"name": "COMPLETED", "result": {"name": "NOVEL"}}, Status.COMPLETED, "other"),
        ({"name": "COMPLETED"}, Status.COMPLETED, None),
        ("odd", Status.QUEUED, None),
    ],
)
def test_state_stage_and_result_say_together_how_a_pipeline_stands(
    state: Any, status: Status, conclusion: str | None
) -> None:
    build = built(state=state)

    assert (status, conclusion) == (build.status, build.conclusion)


@pytest.mark.parametrize(
    ("target", "workflow", "branch", "ref"),
    [
        ({"ref_type": "branch", "ref_name": "main"}, "", "main", Ref.BRANCH),
        (
            {"ref_name": "main", "selector": {"type": "branches", "pattern": "ma*"}},
            "branches",
            "main",
            Ref.BRANCH,
        ),
        (
            {"ref_name": "main", "selector": {"type": "custom", "pattern": "nightly"}},
            "nightly",
            "main",
            Ref.BRANCH,
        ),
        (
            {"ref_type": "tag", "ref_name": "v1", "selector": {"type": "tags", "pattern": "v*"}},
            "tags",
            "v1",
            Ref.TAG,
        ),
        (
            {
                "type": "pipeline_pullrequest_target",
                "source": "fix/cart",
                "destination": "main",
                "selector": {"type": "pull-requests", "pattern": "**"},
            },
            "pull-requests",
            "fix/cart",
            Ref.PULL_REQUEST,
        ),
        ({"type": "pipeline_commit_target"}, "", None, Ref.BRANCH),
        (None, "", None, Ref.BRANCH),
    ],
)
def test_the_target_names_workflow_and_branch(
    target: Any, workflow: str, branch: str | None, ref: Ref
) -> None:
    build = built(target=target)

    assert (workflow, branch, ref) == (build.workflow, build.branch, build.ref)


@pytest.mark.parametrize("section", ["pull-requests", "PULLREQUESTS", "pull_requests"])
def test_a_pull_request_is_known_by_the_section_that_ran_for_it(section: str) -> None:
    build = built(target={"ref_name": "fix", "selector": {"type": section, "pattern": "**"}})

    assert ("pull-requests", Ref.PULL_REQUEST) == (build.workflow, build.ref)


def test_a_push_to_a_pull_request_is_a_merge_request_and_a_manual_run_stays_one() -> None:
    target = {"type": "pipeline_pullrequest_target", "source": "fix"}

    assert "merge_request" == built(target=target, trigger={"name": "PUSH"}).trigger
    assert "web" == built(target=target, trigger={"type": "pipeline_trigger_manual"}).trigger
    assert "other" == built(target=target).trigger


def test_a_step_that_waits_for_a_person_is_told_from_one_that_waits_for_its_turn() -> None:
    paused = built(state={"name": "IN_PROGRESS", "stage": {"name": "PAUSED"}})
    running = built(state={"name": "IN_PROGRESS", "stage": {"name": "RUNNING"}})
    step = Step("{s}", state={"name": "PENDING"}, trigger={"type": "pipeline_step_trigger_manual"})

    assert Status.WAITING == to_job(step, paused, SITE).status
    assert Status.QUEUED == to_job(step, running, SITE).status


def test_fractions_of_nine_digits_are_understood() -> None:
    step = Step("{s}", state={"name": "IN_PROGRESS"}, started_on="2023-02-20T09:12:40.109572944Z")

    assert instant("2023-02-20T09:12:40Z") + 0.109572944 == to_job(step, built(), SITE).started_at  # type: ignore[operator]


# -- truth over HTTP


def test_every_build_is_counted_with_its_span_queue_and_conclusion() -> None:
    world = bitbucket.Bitbucket()
    world.run(age=900, queued=4, lasts=30)
    world.run(age=800, queued=8, lasts=60, result="FAILED")
    world.run(age=700, queued=1, lasts=5, result="ERROR", trigger={"name": "SCHEDULE"})
    world.run(age=60, lasts=None)
    world.run(age=50, lasts=None, stage="PAUSED")
    rig = station(world)

    rig.polled()

    for conclusion in ("passed", "failed", "error"):
        assert 1 == rig.value(f.BUILDS, conclusion=conclusion, workflow="default", branch="main")
    assert 1 == rig.value(f.BUILDS, trigger="cron", conclusion="error")
    assert 3 == rig.value(f.BUILD_DURATION) == rig.value(f.BUILD_QUEUE)
    assert 95 == pytest.approx(total(rig, f.BUILD_DURATION), abs=0.1)
    assert 13 == pytest.approx(total(rig, f.BUILD_QUEUE), abs=0.1)
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")
    assert 1 == rig.gauge(f.ACTIVE, status="waiting")
    assert 0 == rig.value(f.MISSING)


def total(rig: Station, family: f.Family) -> float:
    """The sum over all series of a histogram."""
    return sum(vector[-1] for key, vector in rig.view.stored() if key.family == family.name)


def test_an_idle_poll_is_one_request_and_a_new_build_one_more() -> None:
    world = bitbucket.Bitbucket()
    for minutes in range(40):
        world.run(age=7200 - 60 * minutes)
    rig = station(world)
    rig.polled()

    assert 1 == len(rig.polled())
    begun = world.run(age=30, lasts=None)
    assert 1 == len(rig.polled())
    world.end(begun, queued=1, lasts=9, result="SUCCESSFUL", age=30)
    assert 2 == len(rig.polled())
    assert 1 == len(rig.polled())
    assert 41 == rig.value(f.BUILDS)


def test_a_burst_between_two_polls_is_counted_whole() -> None:
    world = bitbucket.Bitbucket()
    world.run()
    rig = station(world)
    rig.polled()
    for i in range(200):
        world.run(age=300 - i, lasts=10, result="FAILED" if i % 4 else "SUCCESSFUL")

    rig.polled()

    assert (51, 150) == (
        rig.value(f.BUILDS, conclusion="passed"),
        rig.value(f.BUILDS, conclusion="failed"),
    )
    assert 0 == rig.value(f.GAPS)


def test_a_rerun_is_counted_once_with_the_time_of_its_own_steps() -> None:
    world = bitbucket.Bitbucket()
    run = world.run(age=7200, lasts=100, result="FAILED")
    world.step(
        run, begun=time.time() - 7190, ended=time.time() - 7180, result="SUCCESSFUL", name="Lint"
    )
    for _ in range(31):
        world.run(age=5000)
    rig = station(world)
    rig.polled()
    run["run_number"] = 2
    world.end(run, queued=0, lasts=20, result="SUCCESSFUL", age=100)

    rig.polled()
    assert 0 == rig.value(f.RETRIES)  # beyond the first page, until the window is read again
    rig.polled(deep=True)
    rig.polled(deep=True)

    assert (33, 1) == (rig.value(f.BUILDS), rig.value(f.RETRIES))
    assert 33 == rig.value(f.BUILD_DURATION)
    assert 100 + 31 * 60 + 20 == pytest.approx(total(rig, f.BUILD_DURATION), abs=0.1)
    assert 0 == rig.value(f.MISSING)


def test_an_attempt_that_nobody_saw_is_told_as_missing() -> None:
    world = bitbucket.Bitbucket()
    rig = station(world)
    world.run()
    rig.polled()
    run = world.run(age=100, run_number=3, lasts=None)
    world.end(run, queued=3, lasts=20, result="SUCCESSFUL", age=100)

    rig.polled()

    assert 2 == rig.value(f.MISSING, field="attempt")


def test_a_build_that_never_ran_has_no_duration() -> None:
    world = bitbucket.Bitbucket()
    run = world.run(lasts=None)
    now = time.time()
    run |= {
        "state": {"name": "COMPLETED", "result": {"name": "STOPPED"}},
        "completed_on": iso(now - 10, 6),
    }
    world.step(run, begun=now - 11, ended=now - 11, result="NOT_RUN")
    rig = station(world, jobs=True)

    rig.polled()

    assert 1 == rig.value(f.BUILDS, conclusion="cancelled")
    assert 0 == rig.value(f.BUILD_DURATION)
    assert 1 == rig.value(f.JOBS, conclusion="skipped")
    assert 0 == rig.value(f.JOB_DURATION)


def test_an_unfinished_build_beyond_the_page_is_read_by_itself_until_it_ends() -> None:
    world = bitbucket.Bitbucket()
    run = world.run(age=9000, lasts=None)
    for i in range(150):
        world.run(age=8000 - i)
    rig = station(world)
    rig.polled()
    world.end(run, queued=2, lasts=8900, result="SUCCESSFUL", age=9000)

    requests = rig.polled()

    assert 151 == rig.value(f.BUILDS)
    assert [True, False] == [run["uuid"].strip("{}") in r for r in (requests[-1], requests[0])]
    assert all("{" not in request for request in requests)  # braces are quoted


def test_steps_are_jobs_and_none_is_counted_twice() -> None:
    world = bitbucket.Bitbucket()
    run = world.run(age=500, queued=5, lasts=40, result="FAILED")
    for i in range(120):
        begun = time.time() - 490
        world.step(run, begun=begun, ended=begun + 2, result="SUCCESSFUL", name=f"Test {i}")
    rig = station(world, jobs=True)
    rig.polled()
    run["run_number"] = 2
    world.end(run, queued=0, lasts=20, result="SUCCESSFUL", age=100)

    rig.polled(deep=True)

    assert 122 == rig.value(f.JOBS)
    assert 2 == rig.value(f.JOBS, job_name="Build")
    assert 1 == rig.value(f.JOBS, job_name="Test 7")
    assert 60 + 240 == pytest.approx(total(rig, f.JOB_DURATION), abs=0.1)
    assert 0 == rig.value(f.JOB_QUEUE)


def test_a_workspace_is_discovered_but_for_what_is_excluded_or_has_no_pipelines() -> None:
    world = bitbucket.Bitbucket()
    for i in range(120):
        world.run(f"repo-{i:03}", lasts=10)
    world.off = {f"repo-{i:03}" for i in range(100, 120)}
    rig = station(world, "acme/*", exclude=["acme/repo-00*"])

    first, second = rig.polled(), rig.polled()

    assert [f"acme/repo-{i:03}" for i in range(10, 100)] == rig.entries
    assert 90 == rig.value(f.BUILDS)
    assert 2 + 110 + 2 * 90 == len(first)
    assert 2 + 90 == len(second)  # nobody is asked twice whether pipelines are on


def test_discovery_tells_the_default_branch() -> None:
    world = bitbucket.Bitbucket()
    world.run()
    world.run(target={"ref_name": "trunk"})
    rig = station(world, "acme/*")

    rig.polled()

    assert 1 == rig.value(f.BUILDS, branch="trunk")


def test_the_page_size_of_a_walk_stays_when_it_is_resumed() -> None:
    world = bitbucket.Bitbucket()
    for i in range(250):
        world.run(age=8000 - i)

    async def pages() -> list[int]:
        numbers: list[int] = []
        token, size = None, 100
        async with serving(world.app()) as url:
            api = station(world).api(url)
            while True:
                query = Query(since=0.0, size=size, token=token)
                page = await provider().connect(api).page(REPO, query)
                numbers += [build.number or 0 for build in page.builds]
                token, size = page.next, 30
                if token is None:
                    await api.aclose()
                    return numbers

    assert list(range(250, 0, -1)) == asyncio.run(pages())


def test_an_odd_pipeline_is_left_out_and_counted() -> None:
    world = bitbucket.Bitbucket()
    world.run()
    app = world.app()
    world.repos["shop"].append({"created_on": "2026-01-01T00:00:00Z"})
    rig = Station(provider(), app, "/2.0")

    rig.polled()

    assert 1 == rig.value(f.BUILDS)


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ({"values": [], "size": 0, "pagelen": 30}, False),
        ({"values": [1], "size": 31, "pagelen": 30}, True),
        ({"values": [1], "size": 31, "pagelen": 10, "page": 1}, True),
        ({"values": [1], "size": 30, "pagelen": 30}, False),
        ({"values": [1], "next": "https://elsewhere.example"}, True),
        ({"values": [1] * 30}, True),
        ({"values": [1] * 29}, False),
    ],
)
def test_a_list_goes_on_as_long_as_it_says_so(body: dict[str, Any], more: bool) -> None:
    envelope = msgspec.json.decode(json.dumps(body), type=PagedValues)

    assert more == envelope.continues(1, 30)


# -- credentials


def test_a_user_name_makes_it_basic_and_none_bearer() -> None:
    assert {"Authorization": "Bearer t"} == provider().headers("t")
    basic = provider(username="ci@acme.example").headers("t")
    assert {"Authorization": "Basic Y2lAYWNtZS5leGFtcGxlOnQ="} == basic


@pytest.mark.parametrize("answer", ["401", "page"])
def test_a_refused_or_unsigned_in_account_is_told_as_such(answer: str) -> None:
    async def endpoint(_: Request) -> HTMLResponse:
        page = "<html><title>Log in with Atlassian account</title></html>"
        return HTMLResponse(page, 401 if answer == "401" else 200)

    async def polled() -> None:
        async with serving(Starlette(routes=[Route("/{p:path}", endpoint)])) as url:
            api = Api(root=url, headers=dict, timeout=5.0, retries=RetryPolicy(attempts=1))
            try:
                await provider().connect(api).page(REPO, Query(since=0.0, size=30))
            finally:
                await api.aclose()

    with pytest.raises(Refused) as caught:
        asyncio.run(polled())

    assert "unauthorized" == caught.value.reason


@pytest.mark.parametrize("entry", ["acme", "acme/", "*", "acme/shop/x", "ac*/shop", "acme/sh*"])
def test_an_entry_of_another_shape_is_a_fault(entry: str) -> None:
    assert [("repos", 0)] == [place for place, _ in Bitbucket.faults({"repos": [entry]})]


def test_a_repo_is_the_same_however_it_is_spelled() -> None:
    uuid = "5F1C2B3A-0000-4000-8000-000000000001"
    spelled = ["Acme/Shop", "acme/shop", f"{{{uuid}}}/api", f"{uuid.lower()}/api"]

    assert 2 == len(entries(provider(), *spelled))
    assert provider(exclude=["acme/legacy-*"]).excludes("Acme/Legacy-API")


@pytest.mark.parametrize(
    "name", ["acme/shop", "acme/shop.web", "a_b-c/_x", "{5f1c2b3a-0000-4000-8000-000000000001}/api"]
)
def test_a_repo_may_have_this_name(name: str) -> None:
    assert re.fullmatch(Bitbucket.name_pattern, name)


@pytest.mark.parametrize(
    "name", ["acme", "acme/", "acme/..", "../user", "acme/.", "acme/a/b", "acme/%2e%2e", "a/<b>"]
)
def test_no_repo_has_this_name(name: str) -> None:
    assert not re.fullmatch(Bitbucket.name_pattern, name)


def test_a_repo_and_a_workspace_are_no_faults() -> None:
    entries = ["acme/shop", "acme/*", "{5f1c2b3a}/shop.web"]

    assert [] == Bitbucket.faults({"repos": entries})
