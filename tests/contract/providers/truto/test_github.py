"""Runs of GitHub behind the unified API: what they are called, and what they are of."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.model import Ref
from tests.contract.providers.truto import (
    DAY,
    GITHUB,
    FakeApi,
    at,
    detail,
    listed,
    one,
    page,
    truto,
)

PATH = ".github/workflows/deploy.yml"


@pytest.mark.parametrize(
    ("name", "raw", "workflow"),
    [
        ("CI", {"display_title": "Mend the cart", "event": "push"}, "CI"),
        ("CI", {"display_title": "CI", "event": "schedule"}, "CI"),
        ("CI", {"display_title": "CI", "event": "workflow_dispatch"}, "CI"),
        ("CI", None, "CI"),
        ("to eu, 1.4", {"display_title": "to eu, 1.4", "event": "push"}, "deploy.yml"),
        (
            "to eu by @jane",
            {"display_title": "to eu by @jane", "event": "workflow_dispatch"}
            | {"actor": {"login": "Jane"}},
            "deploy.yml",
        ),
        ("npm in /. - Update #1", {"path": "dynamic/dependabot/updates"}, "updates"),
        (PATH, {"path": f"{PATH}@main"}, "deploy.yml"),
        (None, {}, "deploy.yml"),
        (None, None, ""),
    ],
)
def test_the_title_of_a_run_is_no_name_of_a_workflow(
    name: str | None, raw: dict[str, Any] | None, workflow: str
) -> None:
    remote = None if raw is None else {"path": PATH, **raw}

    assert workflow == one("github", {**GITHUB, "name": name, "remote_data": remote}).workflow


@pytest.mark.parametrize(
    ("fields", "ref", "trigger"),
    [
        ({"trigger": "merge_group"}, Ref.MERGE_QUEUE, "merge_group"),
        ({"branch": "gh-readonly-queue/main/pr-7-3f2a"}, Ref.MERGE_QUEUE, "push"),
        ({"trigger": "merge_request"}, Ref.PULL_REQUEST, "merge_request"),
        ({}, Ref.BRANCH, "push"),
    ],
)
def test_a_merge_queue_is_no_branch(fields: dict[str, Any], ref: Ref, trigger: str) -> None:
    build = one("github", {**GITHUB, **fields})

    assert (ref, trigger) == (build.ref, build.trigger)


def test_a_run_that_was_touched_later_ended_with_its_jobs() -> None:
    job = {**GITHUB, "id": "7", "completed_at": f"{DAY}09:05:40Z"}
    touched = {**GITHUB, "completed_at": f"{DAY}19:00:00Z"}
    api = FakeApi(builds=listed(touched), jobs=listed(job))
    provider = truto("github")
    build = page(provider, api).builds[0]

    assert at("09:05:40") == detail(provider, api, build).completed_at
    assert build.partial
    assert detail(provider, FakeApi(), build).completed_at is None
