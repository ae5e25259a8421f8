"""Every run, recorded or odd, becomes the build that it tells of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.model import Build, BuildKey, Ref, Status
from exporter.providers.github import WORDS
from exporter.providers.github.mapping import Run, Runs, Task, to_build, to_job, without_jobs
from tests.contract.providers.github import (
    BEGUN,
    CREATED,
    ENDED,
    FORK,
    NAMES,
    SHOP,
    SITE,
    at,
    build,
)
from tests.tools import golden

# -- recorded answers


def test_every_recorded_run_and_job_is_understood(shared: Path) -> None:
    folder = shared / "recordings" / "github"
    runs = dict(golden.lines(folder, "workflow_runs.jsonl")) | sent(folder, "workflow_run")
    jobs = dict(golden.lines(folder, "jobs.jsonl")) | sent(folder, "workflow_job")
    page = msgspec.json.decode(b'{"workflow_runs":[' + b",".join(runs.values()) + b"]}", type=Runs)
    builds = [to_build(item, SHOP, SITE, NAMES) for item in page.items]
    tasks = [msgspec.json.decode(line, type=Task) for line in jobs.values()]

    assert page.rejected == 0
    golden.check(
        "github",
        {key: golden.told(without_jobs(build)) for key, build in zip(runs, builds, strict=True)}
        | {
            key: golden.told(to_job(task, build_of(task), SITE))
            for key, task in zip(jobs, tasks, strict=True)
        },
    )


def sent(folder: Path, kind: str) -> dict[str, bytes]:
    """The objects that webhooks carried: those of the REST API, by the line's key."""
    return {
        key: bytes(msgspec.json.decode(line, type=dict[str, msgspec.Raw])[kind])
        for key, line in golden.lines(folder, f"webhook_{kind}.jsonl")
    }


def build_of(task: Task) -> Build:
    return build(run_attempt=task.run_attempt)


def test_no_recorded_word_is_unknown(shared: Path) -> None:
    folder = shared / "recordings" / "github"
    for name, into, read in (
        ("workflow_runs.jsonl", Run, lambda item: to_build(item, SHOP, SITE, NAMES)),
        ("jobs.jsonl", Task, lambda item: to_job(item, build(), SITE)),
    ):
        for _, line in golden.lines(folder, name):
            assert () == read(msgspec.json.decode(line, type=into)).unmapped


def test_every_documented_word_has_its_meaning(shared: Path) -> None:
    folder = shared / "openapi" / "github"
    for name in ("api.github.com.actions.json", "ghes-3.19.actions.json"):
        described = json.loads((folder / name).read_text())
        job = described["components"]["schemas"]["job"]["properties"]
        states = described["components"]["parameters"]["workflow-run-status"]["schema"]["enum"]
        conclusions = {*WORDS.conclusion, *WORDS.awaiting}

        assert set(job["status"]["enum"]) <= WORDS.status.keys()
        assert {word for word in job["conclusion"]["enum"] if word} <= conclusions
        assert set(states) <= WORDS.status.keys() | conclusions


EVENTS = (  # "Events that trigger workflows"; `dynamic` is what Pages and Dependabot run by
    "branch_protection_rule check_run check_suite create delete deployment deployment_status"
    " discussion discussion_comment dynamic fork gollum image_version issue_comment issues label"
    " merge_group milestone page_build public pull_request pull_request_comment"
    " pull_request_review pull_request_review_comment pull_request_target push registry_package"
    " release repository_dispatch schedule status watch workflow_call workflow_dispatch"
    " workflow_run"
)


@pytest.mark.parametrize("event", EVENTS.split())
def test_every_documented_event_is_known(event: str) -> None:
    assert () == build(event=event).unmapped


# -- runs


def test_a_run_becomes_a_build() -> None:
    assert build(run_started_at=BEGUN) == Build(
        key=BuildKey("9001234567"),
        native_id="9001234567",
        repo="acme/shop",
        default_branch="main",
        workflow="CI",
        branch="main",
        number=412,
        trigger="push",
        status=Status.COMPLETED,
        conclusion="passed",
        created_at=at(CREATED),
        started_at=at(BEGUN),
        completed_at=at(ENDED),
        url="https://github.com/acme/shop/actions/runs/9001234567",
    )


@pytest.mark.parametrize(
    ("native", "status", "conclusion"),
    [
        (("queued", None), Status.QUEUED, None),
        (("requested", None), Status.QUEUED, None),
        (("pending", None), Status.WAITING, None),
        (("waiting", None), Status.WAITING, None),
        (("in_progress", None), Status.IN_PROGRESS, None),
        (("in_progress", "success"), Status.IN_PROGRESS, None),
        (("completed", "success"), Status.COMPLETED, "passed"),
        (("completed", "failure"), Status.COMPLETED, "failed"),
        (("completed", "timed_out"), Status.COMPLETED, "timeout"),
        (("completed", "cancelled"), Status.COMPLETED, "cancelled"),
        (("completed", "skipped"), Status.COMPLETED, "skipped"),
        (("completed", "startup_failure"), Status.COMPLETED, "error"),
        (("completed", "neutral"), Status.COMPLETED, "neutral"),
        (("completed", "stale"), Status.COMPLETED, "stale"),
        (("completed", "action_required"), Status.WAITING, None),
        (("completed", "exploded"), Status.COMPLETED, "other"),
        (("completed", None), Status.COMPLETED, None),
        (("paused", None), Status.IN_PROGRESS, None),
        (("paused", "success"), Status.COMPLETED, "passed"),
    ],
)
def test_where_a_run_stands(
    native: tuple[str, str | None], status: Status, conclusion: str | None
) -> None:
    found = build(status=native[0], conclusion=native[1])

    assert (status, conclusion) == (found.status, found.conclusion)
    assert (found.completed_at is None) == (status is not Status.COMPLETED)


@pytest.mark.parametrize(
    ("fields", "ref", "trigger"),
    [
        ({}, Ref.BRANCH, "push"),
        ({"event": "schedule"}, Ref.BRANCH, "cron"),
        ({"event": "workflow_dispatch"}, Ref.BRANCH, "web"),
        ({"event": "repository_dispatch"}, Ref.BRANCH, "api"),
        ({"event": "workflow_run"}, Ref.BRANCH, "workflow_run"),
        ({"event": "pull_request"}, Ref.PULL_REQUEST, "merge_request"),
        ({"event": "pull_request_target", **FORK}, Ref.PULL_REQUEST, "merge_request"),
        ({"event": "merge_group"}, Ref.MERGE_QUEUE, "merge_group"),
        ({"head_branch": "gh-readonly-queue/main/pr-7-3f2a"}, Ref.MERGE_QUEUE, "push"),
        ({"event": "workflow_run", **FORK}, Ref.PULL_REQUEST, "workflow_run"),
        ({"event": "push", **FORK}, Ref.PULL_REQUEST, "merge_request"),
        ({"head_repository": None}, Ref.BRANCH, "push"),
        ({"head_repository": {"full_name": "Acme/Shop"}}, Ref.BRANCH, "push"),
        ({"event": "hatched"}, Ref.BRANCH, "other"),
        ({"event": None}, Ref.BRANCH, "other"),
    ],
)
def test_what_a_run_is_of(fields: dict[str, Any], ref: Ref, trigger: str) -> None:
    assert (ref, trigger) == (build(**fields).ref, build(**fields).trigger)


def test_a_start_that_is_the_creation_tells_nothing_of_the_queue() -> None:
    done = without_jobs(build())
    running = without_jobs(build(status="in_progress", conclusion=None))
    second = without_jobs(build(run_attempt=2, run_started_at=BEGUN))

    assert (None, 342.0) == (done.queue, done.duration)
    assert (at(CREATED), None) == (running.created_at, running.started_at)
    assert (None, 330.0) == (second.queue, second.duration)


def test_a_queued_run_has_not_started() -> None:
    assert build(status="queued", run_attempt=2, run_started_at=BEGUN).started_at is None


def test_a_run_that_was_touched_after_more_than_it_may_last_has_no_known_end() -> None:
    touched = build(updated_at="2027-01-20T09:05:42Z")

    assert (Status.COMPLETED, None) == (touched.status, touched.completed_at)
    assert touched.time == at(CREATED)


@pytest.mark.parametrize(
    "odd",
    [
        {"name": 5, "path": [], "head_branch": {}, "event": 1.5},
        {"repository": "x", "head_repository": [1]},
        {"repository": {"full_name": 7}, "head_repository": True},
        {"run_number": "x", "run_attempt": -3, "created_at": {}, "updated_at": False},
        {"run_attempt": None, "run_started_at": None, "run_number": None},
    ],
)
def test_an_odd_field_spoils_no_run(odd: dict[str, Any]) -> None:
    assert (Status.COMPLETED, 1) == (build(**odd).status, build(**odd).attempt)


def test_an_odd_item_spoils_no_page() -> None:
    sound = json.dumps({"id": 7, "status": "queued"})
    raw = f'{{"total_count":5,"workflow_runs":[3,null,{{"id":"x"}},{{}},{sound}]}}'
    page = msgspec.json.decode(raw, type=Runs)

    assert [7] == [item.id for item in page.items]
    assert (4, 5) == (page.rejected, page.listed)
    assert page == msgspec.json.decode(msgspec.json.encode(page), type=Runs)
