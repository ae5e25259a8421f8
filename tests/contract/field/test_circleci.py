"""What happened over time to people with projects at CircleCI."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from exporter.metrics import families as f
from tests.contract.providers.test_circleci import provider, station, total
from tests.tools.emulators.circleci import CircleCI
from tests.tools.emulators.rig import Station, iso

BROKEN = {
    "server": Response("Internal Server Error", 500),
    "gone": JSONResponse({"message": "Pipeline not found"}, 404),
    "refused": JSONResponse({"message": "Permission denied"}, 403),
    "shapeless": JSONResponse({"message": "try again"}),
    "no JSON": Response("{", 200, media_type="application/json"),
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
def test_a_pipeline_that_fails_hides_no_other_and_counts_once_it_answers_again(
    tmp_path: Path, fault: Response
) -> None:
    """The workflows of one pipeline cannot be read while twenty-five newer ones run; the exporter
    restarts, and when the pipeline answers it has long left the first page."""
    world = CircleCI()
    broken = world.run(age=7200, status="failed")
    world.faults[broken["id"]] = fault
    world.run(age=7000)
    rig = Station(provider(), world.app(), "/api/v2", path=tmp_path / "state.db")
    rig.polled()
    assert (1, 0) == (rig.value(f.BUILDS), rig.value(f.BUILDS, conclusion="failed"))
    assert list(rig.unread) == [broken["id"]]
    for age in range(25):
        world.run(age=1000 - age)
    rig.polled(deep=True)
    rig.restart()
    rig.polled()
    assert (26, 0) == (rig.value(f.BUILDS), rig.value(f.BUILDS, conclusion="failed"))
    assert list(rig.unread) == [broken["id"]]

    del world.faults[broken["id"]]
    requests = rig.polled()
    idle = rig.polled()

    assert (27, 1) == (rig.value(f.BUILDS), rig.value(f.BUILDS, conclusion="failed"))
    assert f"/api/v2/pipeline/{broken['id']}" in requests
    assert 1 == len(idle)
    assert not rig.unread
    assert 0 == rig.value(f.GAPS)


def test_the_only_pipeline_that_is_new_fails_and_the_repo_is_polled_all_the_same() -> None:
    """A quiet project gets one pipeline that cannot be read."""
    world = CircleCI()
    world.run(age=7000)
    rig = station(world)
    rig.polled()
    broken = world.run(age=100, lasts=10)
    world.faults[broken["id"]] = BROKEN["server"]

    rig.polled()

    assert list(rig.unread) == [broken["id"]]


def test_a_pipeline_that_was_deleted_while_it_failed_is_asked_for_no_more() -> None:
    """A pipeline fails, and then its project's history is cleared."""
    world = CircleCI()
    broken = world.run(age=7200)
    world.faults[broken["id"]] = BROKEN["server"]
    for _ in range(25):
        world.run(age=5000)
    rig = station(world)
    rig.polled()
    world.pipelines["gh/acme/shop"].remove(broken)
    del world.faults[broken["id"]]

    asked = [len(rig.polled()) for _ in range(3)]

    assert [2, 1, 1] == asked
    assert not rig.unread


def rerun(world: CircleCI, pipeline: dict[str, Any], *, age: float, **values: Any) -> None:
    """Run the failed job of a pipeline again; the one that passed is carried over."""
    lasts, status = values.pop("lasts", 30.0), values.pop("status", "success")
    workflow = world.workflow(pipeline, age=age, **values)
    first = world.workflows[pipeline["id"]][0]
    carried = [job for job in world.jobs[first["id"]] if job["status"] == "success"]
    world.jobs[workflow["id"]] += carried
    world.end(workflow, age=age, queued=3, lasts=lasts, status=status)


@pytest.mark.parametrize(
    "told",
    [
        [{"tag": "rerun-workflow-from-failed"}, {"tag": "rerun-workflow-from-failed"}],
        [{"tag": "rerun-workflow-from-beginning"}, {"tag": "rerun-single-job"}],
        [
            {"tag": "rerun-workflow-from-failed", "auto_rerun_number": 1},
            {"tag": "rerun-workflow-from-failed", "auto_rerun_number": 2},
        ],
        [{"auto_rerun_number": 1}, {"auto_rerun_number": "2"}],
    ],
)
@pytest.mark.parametrize("watched", [True, False])
def test_what_runs_again_is_a_retry_without_a_queue_time(
    told: list[dict[str, Any]], watched: bool
) -> None:
    """A workflow fails, is run again, fails once more and passes at last."""
    world = CircleCI()
    pipeline = world.pipeline(age=2000)
    first = world.workflow(pipeline, age=2000)
    times = {"started_at": iso(time.time() - 1990, 0), "stopped_at": iso(time.time() - 1980, 0)}
    world.job(first, name="lint", status="success", **times)
    world.end(first, age=2000, queued=10, lasts=100, status="failed")
    rig = station(world, jobs=True)
    for age, values, status in ((1200, told[0], "failed"), (600, told[1], "success")):
        if watched:
            rig.polled(deep=True)
        rerun(world, pipeline, age=age, status=status, lasts=60, **values)
    rig.polled(deep=True)
    rig.polled(deep=True)

    assert 3 == rig.value(f.BUILDS)
    assert 2 == rig.value(f.RETRIES)
    assert (1, 10) == (rig.value(f.BUILD_QUEUE), total(rig, f.BUILD_QUEUE))
    assert 220 == total(rig, f.BUILD_DURATION)
    assert (1, 3) == (rig.value(f.JOBS, job_name="lint"), rig.value(f.JOBS, job_name="build"))
    assert 0 == rig.value(f.MISSING)
    assert 1 == rig.gauge(f.LAST_CONCLUSION, conclusion="passed")


def test_a_re_run_that_was_counted_before_it_said_so_counts_once() -> None:
    """An older exporter, or an older server, knew of no tag."""
    world = CircleCI()
    pipeline = world.pipeline(age=2000)
    rerun(world, pipeline, age=600)
    rig = station(world)
    rig.polled()

    world.workflows[pipeline["id"]][0]["tag"] = "rerun-workflow-from-failed"
    rig.polled(deep=True)
    world.workflows[pipeline["id"]][0]["tag"] = None
    rig.polled(deep=True)

    assert (1, 0) == (rig.value(f.BUILDS), rig.value(f.RETRIES))


@pytest.mark.parametrize("status", ["canceled", "failed", "unauthorized"])
def test_a_workflow_without_an_end_has_that_of_its_jobs(status: str) -> None:
    """A workflow is cancelled and never says when it stopped."""
    world = CircleCI()
    workflow = world.workflow(world.pipeline(age=2000), age=2000)
    rig = station(world)
    rig.polled()
    world.end(workflow, age=2000, queued=10, lasts=100, status=status)
    workflow["stopped_at"] = None

    rig.polled()
    rig.polled()

    assert (1, 100) == (rig.value(f.BUILD_DURATION), total(rig, f.BUILD_DURATION))
    assert 0 == rig.value(f.MISSING)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_re_run_that_is_said_to_run_for_ever_ends_with_its_jobs(stopped: bool) -> None:
    """The status of a re-run stays `running` although all of its jobs have ended."""
    world = CircleCI()
    pipeline = world.pipeline(age=9000)
    again = world.workflow(pipeline, age=5000, tag="rerun-workflow-from-failed")
    rig = station(world)
    rig.polled()
    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")
    world.end(again, age=5000, queued=10, lasts=100, status="failed")
    again["status"] = "failing"
    if not stopped:
        again["stopped_at"] = None

    rig.polled()

    assert 1 == rig.value(f.BUILDS, conclusion="failed")
    assert 100 == total(rig, f.BUILD_DURATION)
    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")


def test_a_re_run_whose_jobs_have_just_ended_may_have_more_to_come() -> None:
    """The last job that is known ended a minute ago."""
    world = CircleCI()
    again = world.workflow(world.pipeline(age=9000), age=5000, tag="rerun-single-job")
    world.end(again, age=200, lasts=140)
    again |= {"status": "running", "stopped_at": None}
    rig = station(world)
    rig.polled()

    rig.polled()

    assert (0, 1) == (rig.value(f.BUILDS), rig.gauge(f.ACTIVE, status="in_progress"))


def test_a_setup_that_is_run_again_is_still_no_work() -> None:
    """A configuration that cannot be continued is an error, however often its setup is run."""
    world = CircleCI()
    pipeline = world.pipeline(age=900, state="errored")
    for age, tag in ((900, "setup"), (800, "rerun-workflow-from-beginning")):
        world.end(world.workflow(pipeline, age=age, name="setup", tag=tag), age=age, lasts=5)
    rig = station(world)

    rig.polled()

    assert 2 == rig.value(f.BUILDS, workflow="setup", conclusion="passed")
    assert 1 == rig.value(f.BUILDS, workflow="", conclusion="error")
    assert 1 == rig.value(f.RETRIES)


@pytest.mark.parametrize(
    ("trigger", "told", "label"),
    [
        ("github_app", {}, "push"),
        ("bitbucket_dc", {}, "push"),
        ("gitlab", {"event_type": "pull_request"}, "merge_request"),
        ("Decoupled Ingestion System", {"event_type": "push"}, "push"),
        ("Decoupled Ingestion System", {"trigger_type": "github_app"}, "push"),
        ("Decoupled Ingestion System", {}, "decoupled ingestion system"),
        ("scheduled_pipeline", {"event_type": "push"}, "cron"),
        ("schedule", {}, "cron"),
        ("api", {"trigger_type": "github_app"}, "api"),
        (None, {"event_type": "pull_request"}, "merge_request"),
    ],
)
def test_a_project_changes_its_integration_and_its_triggers_are_still_known(
    trigger: str | None, told: dict[str, str], label: str
) -> None:
    """A project moves from the OAuth app of its host to another integration."""
    world = CircleCI()
    parameters = {"git": {"branch": "main"}, "circleci": told}
    pipeline = world.pipeline(
        age=900, vcs=None, trigger={"type": trigger}, trigger_parameters=parameters
    )
    world.end(world.workflow(pipeline, age=900), age=900)
    rig = station(world)

    rig.polled()

    assert 1 == rig.value(f.BUILDS, trigger=label, branch="main")
    assert 0 == rig.value(f.UNMAPPED)


def test_pipelines_that_fail_for_good_cost_little_and_are_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fifty pipelines of a project fail at every poll, but for one that answers at last."""
    world = CircleCI()
    broken = [world.run(age=9000 - n, status="failed") for n in range(50)]
    for pipeline in broken:
        world.faults[pipeline["id"]] = BROKEN["server"]
    world.run(age=600)
    rig = station(world)
    costs = [len(rig.polled()) for _ in range(8)]

    assert 1 == rig.value(f.BUILDS)
    assert {pipeline["id"] for pipeline in broken} == set(rig.unread)
    assert 1 == costs[-1]
    assert max(costs[1:]) <= 100

    del world.faults[broken[7]["id"]]
    monkeypatch.setattr("exporter.providers.circleci.cache._LAST_PAUSE", 0.0)
    for _ in range(3):
        rig.polled()

    assert 1 == rig.value(f.BUILDS, conclusion="failed")
    assert 49 == len(rig.unread)


def test_a_workflow_that_is_said_to_run_for_ever_ends_with_its_jobs_where_they_are_read() -> None:
    """The status of a workflow is never written down, and its jobs have ended long ago."""
    world = CircleCI()
    workflow = world.workflow(world.pipeline(age=9000), age=9000)
    world.end(workflow, age=9000, queued=10, lasts=100)
    workflow |= {"status": "running", "stopped_at": None}
    rig = station(world, jobs=True)
    for _ in range(2):
        rig.polled()

    assert (1, 100) == (rig.value(f.BUILDS, conclusion="passed"), total(rig, f.BUILD_DURATION))


def test_a_group_of_a_merge_queue_is_no_branch_of_its_own() -> None:
    """A repo gets a merge queue, whose branches are made for one build each."""
    world = CircleCI()
    branch = "gh-readonly-queue/main/pr-7-0123456789abcdef"
    pipeline = world.pipeline(age=900, vcs={"branch": branch})
    world.end(world.workflow(pipeline, age=900), age=900)
    rig = station(world)

    rig.polled()

    assert 1 == rig.value(f.BUILDS, branch="merge_queue")


def test_a_project_in_two_spellings_is_polled_once() -> None:
    """One team writes the host in full, another one in short; ids are what they are."""
    native = provider()

    assert native.identity("github/Acme/shop") == native.identity("gh/acme/Shop")
    assert native.identity("circleci/aBc/DeF") != native.identity("circleci/abc/def")
