"""Jobs are counted once, and the times of a build are those of its jobs."""

from __future__ import annotations

import time
from typing import Any

import pytest

from exporter.metrics import families as f
from exporter.model import Status
from exporter.providers.github.mapping import to_job, with_jobs
from tests.contract.providers.github import (
    BEGUN,
    CREATED,
    ENDED,
    LATEST,
    RUNS,
    SITE,
    Desk,
    at,
    build,
    live,
    task,
)
from tests.tools.emulators.github import Hub, iso

# -- jobs


@pytest.mark.parametrize(
    ("fields", "status", "conclusion", "duration", "queue"),
    [
        ({}, Status.COMPLETED, "passed", 328.0, 10.0),
        ({"conclusion": "failure"}, Status.COMPLETED, "failed", 328.0, 10.0),
        ({"conclusion": "timed_out"}, Status.COMPLETED, "timeout", 328.0, 10.0),
        ({"conclusion": "skipped"}, Status.COMPLETED, "skipped", None, 10.0),
        ({"created_at": None}, Status.COMPLETED, "passed", 328.0, None),
        (
            {"conclusion": "cancelled", "created_at": BEGUN},
            Status.COMPLETED,
            "cancelled",
            None,
            None,
        ),
        (
            {"status": "queued", "conclusion": None, "created_at": BEGUN, "completed_at": None},
            Status.QUEUED,
            None,
            None,
            None,
        ),
        ({"status": "waiting", "conclusion": None}, Status.WAITING, None, None, None),
        ({"status": "in_progress", "conclusion": None}, Status.IN_PROGRESS, None, None, 10.0),
        ({"conclusion": "action_required"}, Status.WAITING, None, None, None),
    ],
)
def test_what_a_job_tells(
    fields: dict[str, Any],
    status: Status,
    conclusion: str | None,
    duration: float | None,
    queue: float | None,
) -> None:
    job = to_job(task(**fields), build(), SITE)

    assert (status, conclusion) == (job.status, job.conclusion)
    assert (duration, queue) == (job.duration, job.queue)


NOW = at(ENDED) + 3600


def test_with_jobs_the_times_are_theirs() -> None:
    tasks = [
        task(),
        task(id=2, started_at="2026-11-20T09:00:09Z", completed_at="2026-11-20T09:05:00Z"),
        task(id=3, conclusion="skipped", started_at=CREATED, completed_at=ENDED),
    ]
    done = with_jobs(build(), tasks, SITE, now=NOW)

    assert (9.0, 331.0) == (done.queue, done.duration)
    assert ["1", "2", "3"] == [job.id for job in done.jobs]


def test_a_run_none_of_whose_jobs_ran_keeps_its_own_times() -> None:
    assert 342.0 == with_jobs(build(conclusion="startup_failure"), [], SITE, now=NOW).duration
    skipped = with_jobs(build(conclusion="skipped"), [task(conclusion="skipped")], SITE, now=NOW)
    assert (None, None) == (skipped.duration, skipped.queue)


def test_a_run_cancelled_in_the_queue_has_no_duration() -> None:
    queued = task(conclusion="cancelled", started_at="2026-11-20T09:00:02Z")
    found = with_jobs(build(conclusion="cancelled"), [queued], SITE, now=NOW)

    assert (None, None) == (found.duration, found.queue)
    assert found.completed_at == at("2026-11-20T09:05:40Z")


def test_jobs_of_an_earlier_attempt_are_left_to_it() -> None:
    second = build(run_attempt=2, run_started_at="2026-11-20T10:00:00Z")
    created, ended = "2026-11-20T10:00:01Z", "2026-11-20T10:03:00Z"
    tasks = [
        task(id=1),  # listed as it was
        task(id=2, run_attempt=2, created_at=created),  # listed again as one of this attempt
        task(id=3, run_attempt=2, created_at=None),  # the same, at an old server
        task(id=4, run_attempt=2, created_at=created, started_at=created, completed_at=ended),
    ]
    found = with_jobs(second, tasks, SITE, now=NOW)

    assert ["4"] == [job.id for job in found.jobs]
    assert (179.0, None) == (found.duration, found.queue)


def test_a_run_is_complete_when_its_jobs_are_or_some_minutes_have_passed() -> None:
    tasks = [task(), task(id=2, status="in_progress", conclusion=None, completed_at=None)]

    moments_ago = with_jobs(build(), tasks, SITE, now=at(ENDED) + 5)
    long_ago = with_jobs(build(), tasks, SITE, now=NOW)

    assert (Status.IN_PROGRESS, None) == (moments_ago.status, moments_ago.completed_at)
    assert (Status.COMPLETED, "passed") == (long_ago.status, long_ago.conclusion)


# -- with jobs


def job(number: int, run_attempt: int, begun: float, **fields: Any) -> dict[str, Any]:
    times = {
        "created_at": iso(begun),
        "started_at": iso(begun + 4),
        "completed_at": iso(begun + 24),
    }
    named = {"id": number, "name": f"job {number % 10}", "run_attempt": run_attempt}
    return {**named, "status": "completed", "conclusion": "success", **times, **fields}


@live
async def test_jobs_are_counted_once_and_tell_the_times_of_their_builds(hub: Hub) -> None:
    begun = int(time.time()) - 60
    build = hub.begin(ago=60)
    waiting = {"status": "queued", "conclusion": None, "completed_at": None}
    hub.jobs[build, 1] = [job(1, 1, begun), job(2, 1, begun, **waiting)]
    async with Desk(hub, jobs=True) as desk:
        path = f"{RUNS}/{build}/attempts/1/jobs?per_page=100"
        await desk.polled()
        assert [LATEST, path] == await desk.polled()
        free = desk.free
        assert [LATEST, path] == await desk.polled()
        assert free + 2 == desk.free
        assert (1, 1) == (desk.value(f.JOBS), desk.gauge(f.JOBS_ACTIVE, status="queued"))

        hub.jobs[build, 1][1] = job(2, 1, begun + 10)
        hub.end(build, after=50)
        assert [LATEST, path] == await desk.polled()
        assert [LATEST] == await desk.polled()

        assert (2, 1) == (desk.value(f.JOBS), desk.value(f.BUILDS))
        assert (40, 8) == (desk.seconds(f.JOB_DURATION), desk.seconds(f.JOB_QUEUE))
        assert (30, 4) == (desk.seconds(f.BUILD_DURATION), desk.seconds(f.BUILD_QUEUE))


@live
async def test_jobs_carried_over_into_a_new_attempt_are_not_counted_again(hub: Hub) -> None:
    begun = int(time.time()) - 3000
    build = hub.begin(ago=3000)
    hub.jobs[build, 1] = [job(1, 1, begun), job(2, 1, begun, conclusion="failure")]
    hub.end(build, "failure", after=40)
    hub.again(build, ago=1000)
    again = begun + 2000
    carried = {"created_at": iso(again), "id": 11}
    hub.jobs[build, 2] = [{**job(1, 2, begun), **carried}, job(12, 2, again)]
    hub.end(build, after=40)
    async with Desk(hub, jobs=True) as desk:
        await desk.polled()
        await desk.polled(deep=True)

        assert (2, 3) == (desk.value(f.BUILDS), desk.value(f.JOBS))
        assert (2, 1) == (
            desk.value(f.JOBS, conclusion="passed"),
            desk.value(f.JOBS, conclusion="failed"),
        )
        assert 40 == desk.seconds(f.BUILD_DURATION)


@live
async def test_a_job_that_is_cancelled_as_its_rerun_begins_is_counted(hub: Hub) -> None:
    begun = int(time.time()) - 3000
    build = hub.begin(ago=3000)
    hub.jobs[build, 1] = [job(1, 1, begun, conclusion="failure")]
    hub.end(build, "failure", after=40)
    hub.again(build, ago=1000)
    at = hub.runs["acme/shop"][build][-1]["run_started_at"]
    instant = dict.fromkeys(("created_at", "started_at", "completed_at"), at)
    hub.jobs[build, 2] = [{**job(11, 2, begun, conclusion="cancelled"), **instant}]
    hub.end(build, "cancelled", after=1)
    async with Desk(hub, jobs=True) as desk:
        await desk.polled()

        assert (2, 2) == (desk.value(f.BUILDS), desk.value(f.JOBS))
        assert 1 == desk.value(f.JOBS, conclusion="cancelled")


@live
async def test_all_pages_of_jobs_are_read(hub: Hub) -> None:
    build = hub.begin(ago=600)
    hub.jobs[build, 1] = [job(n, 1, time.time() - 600) for n in range(250)]
    hub.end(build, after=40)
    async with Desk(hub, jobs=True) as desk:
        requests = await desk.polled()

        assert 3 == len([r for r in requests if "jobs" in r])
        assert 250 == desk.value(f.JOBS)


@live
async def test_without_its_jobs_a_build_is_counted_by_the_run(hub: Hub) -> None:
    hub.end(hub.begin(ago=600), after=40)
    async with Desk(hub, jobs=True) as desk:
        await desk.polled()

        assert (1, 40) == (desk.value(f.BUILDS), desk.seconds(f.BUILD_DURATION))
        assert 0 == desk.value(f.BUILD_QUEUE)
