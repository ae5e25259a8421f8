"""What timelines of Azure DevOps tell of approvals, locks, stages and jobs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exporter.model import Build, Status
from exporter.providers.azure_devops.mapping import Run, to_build
from exporter.providers.azure_devops.names import Names
from exporter.providers.azure_devops.timeline import Timeline, read_timeline, with_reading
from tests.tools.azure_devops_station import PLACE, SITE
from tests.tools.emulators.azure_devops import stamp

BEGAN = 1_790_000_000.0


def record(kind: str, name: str, result: str | None = "succeeded", **values: Any) -> dict[str, Any]:
    """A record that has completed, unless its result is None."""
    state = "inProgress" if result is None else "completed"
    return {"id": name, "type": kind, "name": name, "state": state, "result": result, **values}


def read(*records: dict[str, Any], jobs: bool = True, **values: Any) -> Build:
    """A build as it is listed, with what its timeline adds."""
    run = {
        "id": 7,
        "status": "completed",
        "result": "failed",
        "queueTime": stamp(BEGAN - 10),
        "startTime": stamp(BEGAN),
        "finishTime": stamp(BEGAN + 600),
    } | values
    build = to_build(msgspec.convert(run, Run), PLACE, Names(), SITE)
    timeline = Timeline([msgspec.Raw(msgspec.json.encode(record)) for record in records])
    return with_reading(build, read_timeline(timeline.read(), build, now=BEGAN), jobs=jobs)


BUILT = (record("Stage", "build"), record("Job", "compile", parentId="build"))
SKIPPED = record("Stage", "deploy", "skipped")
FAILED = record("Stage", "deploy", "failed")


def check(result: str | None, kind: str = "Approval", **values: Any) -> dict[str, Any]:
    return record(f"Checkpoint.{kind}", "check", result, **{"parentId": "deploy", **values})


@pytest.mark.parametrize("result", ["abandoned", "skipped", "canceled", None])
@pytest.mark.parametrize("kind", ["Approval", "ExclusiveLock", "TaskCheck", "Authorization"])
@pytest.mark.parametrize("stage", [SKIPPED, FAILED])
def test_a_wait_that_ran_out_is_no_failure(
    kind: str, stage: dict[str, Any], result: str | None
) -> None:
    assert "cancelled" == read(*BUILT, stage, check(result, kind)).conclusion


def test_a_check_below_a_checkpoint_that_failed_with_it_has_run_out() -> None:
    gate = record("Checkpoint", "gate", "failed", parentId="deploy")

    assert "cancelled" == read(*BUILT, FAILED, gate, check("abandoned", parentId="gate")).conclusion
    assert "failed" == read(*BUILT, FAILED, gate).conclusion


@pytest.mark.parametrize("message", ["The check timed out.", "Timeout reached", "It has expired"])
def test_a_check_that_says_that_its_time_is_up_has_run_out(message: str) -> None:
    late = check("failed", "TaskCheck", issues=[{"message": message}])

    assert "cancelled" == read(*BUILT, FAILED, late).conclusion


@pytest.mark.parametrize(
    "records",
    [
        (FAILED, check("failed")),
        (FAILED, check("failed"), check("canceled", id="other")),
        (SKIPPED, check("abandoned"), record("Stage", "test", "failed")),
        (SKIPPED, check("abandoned"), record("Job", "test", "failed", parentId="build")),
        (FAILED, check("abandoned"), record("Job", "roll out", "failed", parentId="deploy")),
        (SKIPPED, check("abandoned"), record("Job", "lost", "abandoned", parentId="build")),
        (SKIPPED, check("succeeded")),
        (),
    ],
    ids=[
        "a person has rejected it",
        "one has rejected it, so that the other one was not asked",
        "another stage has failed",
        "a job has failed",
        "a job of that stage has failed",
        "an agent was lost",
        "it was approved",
        "nothing is known",
    ],
)
def test_what_failed_by_itself_has_failed(records: tuple[dict[str, Any], ...]) -> None:
    assert "failed" == read(*BUILT, *records).conclusion


@pytest.mark.parametrize("result", ["succeeded", "partiallySucceeded", "canceled"])
def test_only_a_failure_is_doubted(result: str) -> None:
    words = {"succeeded": "passed", "partiallySucceeded": "partial", "canceled": "cancelled"}

    assert words[result] == read(*BUILT, SKIPPED, check("abandoned"), result=result).conclusion


def test_a_validation_by_hand_that_ran_out_is_cancelled_and_so_is_its_job() -> None:
    task = record(
        "Task",
        "ask",
        "failed",
        parentId="wait",
        task={"name": "ManualValidation"},
        issues=[{"message": "The manual validation has timed out."}],
    )
    late = (FAILED, record("Job", "wait", "failed", parentId="deploy"), task)

    build = read(*BUILT, *late)
    rejected = read(*BUILT, *late[:2], {**task, "issues": None})

    assert ("cancelled", "cancelled") == (build.conclusion, build.jobs[1].conclusion)
    assert ("failed", "failed") == (rejected.conclusion, rejected.jobs[1].conclusion)


@pytest.mark.parametrize("kind", ["Approval", "ExclusiveLock", "TaskCheck", "Authorization"])
def test_a_build_that_is_held_by_any_check_waits(kind: str) -> None:
    pending = record("Job", "roll out", None, parentId="deploy", state="pending")
    records = (*BUILT, record("Stage", "deploy", None, state="pending"), check(None, kind), pending)

    build = read(*records, status="inProgress", result=None, finishTime=None)

    assert (Status.WAITING, Status.WAITING) == (build.status, build.jobs[1].status)


def test_a_stage_that_waits_to_be_started_by_hand_is_no_end_of_its_jobs() -> None:
    later = record("Job", "roll out", "manuallyQueued", parentId="deploy")
    last = record("Job", "clean up", "dependentOnManualQueue", parentId="deploy")

    build = read(*BUILT, later, last, result="succeeded")

    assert "passed" == build.conclusion
    assert ["passed", None, None] == [job.conclusion for job in build.jobs]
    assert [Status.WAITING] * 2 == [job.status for job in build.jobs[1:]]


def test_what_the_build_does_not_say_of_its_end_its_jobs_do() -> None:
    span = {"startTime": stamp(BEGAN + 5), "finishTime": stamp(BEGAN + 65)}
    job = record("Job", "compile", "failed", **span)

    build = read(job, result=None, startTime="0001-01-01T00:00:00", finishTime=None)

    assert (BEGAN + 5, BEGAN + 65, "failed") == (
        build.started_at,
        build.completed_at,
        build.conclusion,
    )


def test_zero_dates_are_no_times() -> None:
    zero = "0001-01-01T00:00:00"

    build = read(record("Job", "compile", startTime=zero, finishTime=zero), queueTime=zero)

    assert (None, None, None) == (build.created_at, build.jobs[0].started_at, build.queue)


def test_a_rerun_that_no_agent_has_taken_yet_is_queued() -> None:
    again = record("Stage", "build", None, attempt=2, state="pending")

    build = read(again, status="inProgress", result=None, finishTime=None)

    assert (2, Status.QUEUED) == (build.attempt, build.status)


@pytest.mark.parametrize(
    ("later", "attempt"),
    [
        ([], 2),
        ([record("Stage", "c", None, attempt=2, startTime=stamp(BEGAN + 700))], 2),
        ([record("Stage", "c", None, attempt=3, startTime=stamp(BEGAN + 700))], 2),
        ([record("Stage", "c", None, attempt=3, state="pending")], 2),
    ],
)
def test_what_began_after_the_listed_end_is_of_a_later_one(
    later: list[dict[str, Any]], attempt: int
) -> None:
    own = record("Stage", "b", attempt=2, startTime=stamp(BEGAN + 300))

    assert attempt == read(*BUILT, own, *later).attempt
