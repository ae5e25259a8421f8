"""What happened to users of Azure DevOps over time, told as stories."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from exporter.errors import ProviderError
from exporter.metrics import families as f
from exporter.schedule.discovery import name_fault
from tests.tools.azure_devops_station import provider, station
from tests.tools.emulators import azure_devops
from tests.tools.emulators.rig import Station
from tests.tools.system import eventually


def restarted(rig: Station) -> None:
    """A restart forgets all but the ledger."""
    rig.native = provider(*rig.native.repos, jobs=rig.native.jobs)
    rig.memories.clear()


def held(world: azure_devops.AzureDevOps, age: float, **values: Any) -> dict[str, Any]:
    """A build that has built and waits for somebody to approve its stage `deploy`."""
    build = world.run(age=age, lasts=None, **values)
    for record in world.timelines[build["id"]][""]:
        record |= {"state": "completed", "result": "succeeded", "finishTime": record["startTime"]}
    since = time.time() - age + 60
    world.record(build, "Stage", "deploy")
    world.record(build, "Checkpoint.Approval", "approval", started=since, inside="deploy")
    world.record(build, "Job", "roll out", inside="deploy")
    return build


def decide(world: azure_devops.AzureDevOps, build: dict[str, Any], result: str, age: float) -> None:
    """The approval ends, and with it the build, whose stage does not run."""
    for record in world.timelines[build["id"]][""]:
        if record["state"] != "completed":
            is_check = record["type"].startswith("Checkpoint")
            ended = azure_devops.stamp(time.time() - age)
            record |= {"state": "completed", "finishTime": ended}
            record["result"] = result if is_check else "skipped"
    world.end(build, at=time.time() - age, result="failed")


# -- approvals


def test_production_is_gated_and_most_builds_stay_unapproved_for_days() -> None:
    world = azure_devops.AzureDevOps()
    for number in range(12):
        held(world, age=3 * 86400 + 600 * number)
    world.run(age=1200, result="failed")
    world.run(age=600)
    rig = station(world, jobs=True)

    rig.polled()
    world.run(age=60, lasts=10)
    rig.polled()

    assert 12 == rig.gauge(f.ACTIVE, status="waiting")
    assert (2, 1) == (
        rig.value(f.BUILDS, conclusion="passed"),
        rig.value(f.BUILDS, conclusion="failed"),
    )
    assert 0 == rig.gauge(f.STREAK)


def test_nobody_approves_a_release_for_a_month_and_azure_fails_it() -> None:
    world = azure_devops.AzureDevOps()
    world.run(age=40 * 86400, lasts=60)
    build = held(world, age=30 * 86400)
    rig = station(world, jobs=True)
    rig.polled()
    decide(world, build, "abandoned", age=10)

    rig.polled()

    assert 1 == rig.value(f.BUILDS) == rig.value(f.BUILDS, conclusion="cancelled")
    assert (0, 0) == (rig.gauge(f.STREAK), rig.gauge(f.LAST_CONCLUSION, conclusion="failed"))
    assert 0 == rig.value(f.JOBS, conclusion="failed")


def test_a_release_that_ran_out_is_started_again_and_approved() -> None:
    world = azure_devops.AzureDevOps()
    build = held(world, age=86400)
    rig = station(world, jobs=True)
    rig.polled()
    decide(world, build, "abandoned", age=3600)
    world.rerun(build, "deploy", "approval", "roll out", at=time.time() - 60)
    world.end(build, at=time.time() - 10)

    rig.polled()

    assert (1, 1, 1) == (
        rig.value(f.BUILDS, conclusion="cancelled"),
        rig.value(f.BUILDS, conclusion="passed"),
        rig.value(f.RETRIES),
    )
    assert 1 == rig.value(f.JOBS, job_name="roll out", conclusion="passed")
    assert 0 == rig.value(f.MISSING)


def test_somebody_rejects_a_release() -> None:
    world = azure_devops.AzureDevOps()
    build = held(world, age=7200)
    rig = station(world)
    rig.polled()
    decide(world, build, "failed", age=10)

    rig.polled()

    assert 1 == rig.value(f.BUILDS, conclusion="failed") == rig.gauge(f.STREAK)


def test_a_stage_that_is_started_by_hand_the_day_after_the_build_has_passed_fails() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=9000, lasts=60)
    stage = world.record(build, "Stage", "deploy", state="completed", result="manuallyQueued")
    job = world.record(
        build, "Job", "roll out", inside="deploy", state="completed", result="manuallyQueued"
    )
    rig = station(world, jobs=True)
    rig.polled()
    began = azure_devops.stamp(time.time() - 100)
    build["status"], build["lastChangedDate"] = "inProgress", began
    for name in ("finishTime", "result"):
        del build[name]
    for record in (stage, job):
        record |= {"state": "inProgress", "result": None, "startTime": began}
    restarted(rig)
    rig.polled()

    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")

    world.end(build, at=time.time() - 10, result="failed")
    rig.polled()

    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")
    assert (1, 1) == (rig.value(f.BUILDS), rig.gauge(f.LAST_CONCLUSION, conclusion="failed"))
    assert 1 == rig.gauge(f.STREAK)
    assert 1 == rig.value(f.JOBS, job_name="roll out", conclusion="failed")
    assert 1 == rig.value(f.ANOMALIES, kind="conclusion_changed")


# -- stages that are run again one by one


STAGES = ("b", "c", "d")


def red(world: azure_devops.AzureDevOps, now: float) -> dict[str, Any]:
    """A build of four stages with a job each, of which three have failed."""
    build = world.run(age=time.time() - now + 9000, queued=10, lasts=None)
    world.timelines[build["id"]][""].clear()
    for place, name in enumerate(("a", *STAGES)):
        began = now - 8900 + 100 * place
        world.record(build, "Stage", name, started=began)
        world.record(build, "Job", f"{name} job", started=began, inside=name)
    world.end(build, at=now - 8000, result="failed")
    for record in world.timelines[build["id"]][""][:2]:
        record["result"] = "succeeded"
    return build


@pytest.mark.parametrize("looks", list(itertools.product([True, False], repeat=3)))
@pytest.mark.parametrize("order", list(itertools.permutations(STAGES)))
@pytest.mark.parametrize("restarts", [True, False])
def test_failed_stages_are_run_again_one_by_one_until_all_is_green(
    order: tuple[str, ...], looks: tuple[bool, ...], *, restarts: bool
) -> None:
    """Whichever ends we see, and whether we restart before each: the build is green at last,
    each job counts once for each of its runs, and each end that we saw counts or is told."""
    world, now = azure_devops.AzureDevOps(), time.time()
    build = red(world, now)
    rig = station(world, jobs=True)
    seen = 0
    for step, look in enumerate((*looks, True)):
        if step:
            stage = order[step - 1]
            began = now - 8000 + 1000 * step
            world.rerun(build, stage, f"{stage} job", at=began)
            result = "succeeded" if step == len(order) else "failed"
            world.end(build, at=began + 500, result=result)
            for record in world.timelines[build["id"]][""]:
                if record["name"].startswith(stage):
                    record["result"] = "succeeded"
        if look:
            restarted(rig) if restarts else None
            rig.polled(deep=True)
            seen += step > 0

    assert 1 == rig.gauge(f.LAST_CONCLUSION, conclusion="passed")
    assert 0 == rig.gauge(f.STREAK)
    assert (4, 3) == (
        rig.value(f.JOBS, conclusion="passed"),
        rig.value(f.JOBS, conclusion="failed"),
    )
    assert (2, 1) == (rig.value(f.BUILDS), rig.value(f.RETRIES))
    assert seen - 1 == rig.value(f.ANOMALIES, kind="ended_again") + rig.value(
        f.ANOMALIES, kind="conclusion_changed"
    )
    assert 0 == rig.value(f.MISSING)


@pytest.mark.parametrize("order", ["bbc", "bcb", "cbb", "bcc", "ccb", "cbc"])
def test_one_of_two_failed_stages_takes_two_tries(order: str) -> None:
    """Attempts are numbered by stage: whatever the order, the last end is what the build is."""
    world, now = azure_devops.AzureDevOps(), time.time()
    build = red(world, now)
    rig = station(world, jobs=True)
    rig.polled()
    for step, stage in enumerate(order, 1):
        began = now - 8000 + 1000 * step
        world.rerun(build, stage, f"{stage} job", at=began)
        rig.polled()
        assert 1 == rig.gauge(f.ACTIVE, status="in_progress")
        world.end(build, at=began + 500, result="succeeded" if step == 3 else "failed")
        rig.polled()

    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")
    assert 1 == rig.gauge(f.LAST_CONCLUSION, conclusion="passed")
    assert 0 == rig.gauge(f.STREAK)
    assert 4 + 3 == rig.value(f.JOBS)
    assert 3 == rig.value(f.BUILDS)
    assert 1 == rig.value(f.ANOMALIES, kind="ended_again") + rig.value(
        f.ANOMALIES, kind="conclusion_changed"
    )


def test_a_stage_is_run_again_while_we_are_down_and_still_runs_when_we_come_back() -> None:
    world, now = azure_devops.AzureDevOps(), time.time()
    build = red(world, now)
    rig = station(world, jobs=True)
    rig.polled()
    world.rerun(build, "b", "b job", at=now - 5000)
    world.end(build, at=now - 4000, result="failed")
    rig.polled(deep=True)
    world.rerun(build, "c", "c job", at=now - 100)
    restarted(rig)

    rig.polled()

    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")
    assert (2, 2) == (rig.value(f.BUILDS), rig.gauge(f.STREAK))


# -- one timeline


@pytest.mark.parametrize("status", [500, 503, 200])
def test_one_timeline_cannot_be_read_for_a_while(status: int) -> None:
    """The others count at once, the repo is polled as ever, and nothing is lost at last."""
    world = azure_devops.AzureDevOps()
    world.run(age=900)
    broken = world.run(age=600, result="failed")
    world.run(age=300)
    world.refused[broken["id"]] = status
    rig = station(world, jobs=True)

    requests = rig.polled()
    world.run(age=30, lasts=5)
    rig.polled()

    assert 1 == sum(f"builds/{broken['id']}/timeline" in request for request in requests)
    assert 3 == rig.value(f.BUILDS, conclusion="passed")
    assert 0 == rig.value(f.BUILDS, conclusion="failed")

    world.refused.clear()

    def assert_counted() -> None:
        rig.polled(deep=True)  # it is asked for again after a quarter of the time that it failed
        assert (3, 1) == (rig.value(f.BUILDS, conclusion="passed"), rig.value(f.BUILDS) - 3)
        assert 1 == rig.value(f.JOBS, conclusion="failed")

    eventually(assert_counted)


@pytest.mark.parametrize("status", [403, 404])
def test_one_timeline_is_refused_for_ever(status: int) -> None:
    world = azure_devops.AzureDevOps()
    world.run(age=900)
    refused = world.run(age=600, result="failed")
    world.refused[refused["id"]] = status
    rig = station(world, jobs=True)

    rig.polled()
    rig.polled()

    assert (2, 1) == (rig.value(f.BUILDS), rig.value(f.JOBS))


def test_the_timeline_of_a_running_build_cannot_be_read() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=600, lasts=None)
    world.refused[build["id"]] = 500
    rig = station(world)

    rig.polled()

    assert 1 == rig.gauge(f.ACTIVE, status="in_progress")


# -- touched and deleted


def test_old_builds_get_a_tag() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=9000, lasts=60)
    rig = station(world)
    rig.polled()
    build["lastChangedDate"] = azure_devops.stamp(time.time() - 5)

    requests = rig.polled(deep=True)

    assert not any("timeline" in request for request in requests)
    assert (1, 0) == (rig.value(f.BUILDS), rig.value(f.ANOMALIES))


def test_a_running_build_is_deleted() -> None:
    world = azure_devops.AzureDevOps()
    build = world.run(age=300, lasts=None)
    rig = station(world)
    rig.polled()
    build |= {"deleted": True, "status": "deleted"}  # as a single build it can be read on

    for _ in range(4):
        rig.polled()
        rig.memories["acme/shop"].checked.clear()

    assert 0 == rig.gauge(f.ACTIVE, status="in_progress")
    assert 0 == rig.value(f.BUILDS)


# -- answers that are none


def test_a_page_in_place_of_a_timeline_is_its_build_s_own_trouble() -> None:
    """The account stays as it is, and all builds count with their jobs once the page is gone."""
    world = azure_devops.AzureDevOps()
    broken = world.run(age=900)
    world.run(age=800)
    rig = station(world, "acme/shop", jobs=True)
    world.refused = {broken["id"]: 203}
    for _ in range(3):
        rig.polled()

    assert rig.value(f.BUILDS) == rig.value(f.JOBS) == 1

    world.refused = {}

    def assert_counted() -> None:
        rig.polled(deep=True)  # it is asked for again after a quarter of the time that it failed
        assert rig.value(f.BUILDS) == rig.value(f.JOBS) == 2

    eventually(assert_counted)


def test_jobs_that_were_read_before_a_poll_failed_are_counted_after_it() -> None:
    world = azure_devops.AzureDevOps()
    refused = world.run(age=900)
    world.run(age=800)
    rig = station(world, "acme/shop", jobs=True)
    world.refused = {refused["id"]: 429}
    with pytest.raises(ProviderError):
        rig.polled()
    world.refused = {}
    rig.polled()

    assert rig.value(f.BUILDS) == rig.value(f.JOBS) == 2


def test_projects_whose_names_hold_spaces_and_umlauts_are_found() -> None:
    """But nothing that would lead a request elsewhere."""
    names = ["My tools", "Büro (alt)", "日本", "..", "a/b", "x?y", " edge", "_own", "two\nlines"]
    azure = provider("acme/*")
    usual = [name for name in names if name_fault(azure, f"acme/{name}") is None]

    assert usual == names[:3]


def test_the_second_page_of_an_organization_fails() -> None:
    """The projects of the first one are polled, and the failure is told."""
    world = azure_devops.AzureDevOps()
    for project in ("shop", "tools", "web"):
        world.run(project=project)
    world.failing["projects"] = 500
    rig = station(world, "acme/*")
    rig.polled()

    assert rig.entries == ["acme/shop", "acme/tools"]
