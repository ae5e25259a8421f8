"""What each integration's list says of a build, and what it does not say."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.model import OTHER, BuildKey, Ref, Status, Unmapped
from exporter.providers import Repo, Site
from exporter.providers.truto import INTEGRATIONS
from exporter.providers.truto.mapping import to_build
from exporter.providers.truto.payload import Run
from tests.contract.providers.truto import (
    AZURE,
    BITBUCKET,
    CIRCLECI,
    COMPLETED,
    DAY,
    GITHUB,
    JENKINS,
    JENKINS_PARTIAL,
    START,
    TRAVIS,
    at,
    one,
    remote,
)

# fmt: off
BUILDS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "github", "has everything", GITHUB,
        {
            "key": BuildKey("9001234567"), "native_id": "9001234567",
            "repo": "acme/shop", "workflow": "CI",
            "branch": "main", "ref": Ref.BRANCH, "default_branch": "main", "number": 412,
            "attempt": 1, "trigger": "push", "status": COMPLETED, "conclusion": "passed",
            "created_at": at("09:00:00"), "started_at": at("09:00:12"),
            "completed_at": at("09:05:42"), "partial": False, "unmapped": (),
        },
    ),
    (
        "github", "a re-run in progress keeps its attempt and has no end yet",
        GITHUB | {"attempts": 2, "status": "in_progress", "trigger": "merge_request"},
        {
            "status": Status.IN_PROGRESS, "attempt": 2, "conclusion": None, "completed_at": None,
            "ref": Ref.PULL_REQUEST, "trigger": "merge_request", "partial": False,
        },
    ),
    (
        "github", "a start equal to the creation says nothing of the queue, and the duration stays",
        GITHUB | {"started_at": GITHUB["created_at"]},
        {"created_at": None, "started_at": at("09:00:00"), "queue": None, "duration": 342.0},
    ),
    (
        "github", "an unfinished run whose start equals its creation has not started yet",
        GITHUB | {"started_at": GITHUB["created_at"], "status": "queued", "conclusion": None},
        {"created_at": at("09:00:00"), "started_at": None, "status": Status.QUEUED},
    ),
    (
        "github", "the same of a run that is said to be in progress",
        GITHUB | {"started_at": GITHUB["created_at"], "status": "in_progress"},
        {"created_at": at("09:00:00"), "started_at": None, "status": Status.IN_PROGRESS},
    ),
    (
        "github", "a completed run that wants an approval waits",
        GITHUB | {"conclusion": "action_required"},
        {"status": Status.WAITING, "conclusion": None, "completed_at": None, "unmapped": ()},
    ),
    (
        "github", "a startup failure is the CI system's",
        GITHUB | {"conclusion": "startup_failure"}, {"conclusion": "error"},
    ),
    (
        "github", "a documented word without a named meaning keeps its name",
        GITHUB | {"conclusion": "Neutral"}, {"conclusion": "neutral", "unmapped": ()},
    ),
    (
        "github", "a word of no table is other, and counted",
        GITHUB | {"conclusion": "exploded", "trigger": "telepathy"},
        {
            "conclusion": OTHER, "trigger": OTHER,
            "unmapped": (Unmapped("conclusion", "exploded"), Unmapped("trigger", "telepathy")),
        },
    ),
    (
        "github", "an unknown status with an end is completed, and counted",
        GITHUB | {"status": "Wrapped-Up"},
        {"status": COMPLETED, "unmapped": (Unmapped("status", "wrapped-up"),)},
    ),
    (
        "github", "an unknown status with a start is in progress",
        GITHUB | {"status": "warming", "completed_at": None, "conclusion": "passed"},
        {"status": Status.IN_PROGRESS, "conclusion": None},
    ),
    (
        "github", "an unknown status without times is queued",
        GITHUB | {"status": "dreaming", "completed_at": None, "started_at": None},
        {"status": Status.QUEUED},
    ),
    (
        "github", "a missing conclusion is nobody's guess, and worth another request",
        GITHUB | {"conclusion": None}, {"conclusion": None, "partial": True, "unmapped": ()},
    ),
    (
        "github", "a run from a fork is a pull request's, where the raw run tells",
        GITHUB | {
            "trigger": "workflow_run",
            "remote_data": {
                "head_repository": {"full_name": "fork/shop"},
                "repository": {"full_name": "acme/shop"},
            },
        },
        {"ref": Ref.PULL_REQUEST, "trigger": "workflow_run"},
    ),
    (
        "github", "numbers as text and ids as numbers are understood",
        GITHUB | {"id": 9_001_234_567, "number": "412", "attempts": "2", "name": 7},
        {"key": BuildKey("9001234567"), "number": 412, "attempt": 2, "workflow": "7"},
    ),
    (
        "github", "missing keys and nulls are no values",
        {"id": 7, "status": "completed", "branch": None, "name": None, "number": {}, "trigger": []},
        {
            "key": BuildKey("7"), "branch": None, "workflow": "", "number": None, "trigger": OTHER,
            "created_at": None, "started_at": None, "completed_at": None, "partial": True,
        },
    ),
    (
        "azuredevops", "creation and workflow come from the raw build, the repo from the build",
        AZURE,
        {
            "key": BuildKey("ws/5521"), "native_id": "5521",
            "repo": "ws/shop", "workflow": "shop-ci",
            "branch": "main", "conclusion": "partial", "created_at": at("08:59:50.1"),
            "started_at": at("09:00:12.41"), "partial": False, "trigger": "push",
        },
    ),
    (
        "azuredevops", "a tag is told by its ref", AZURE | {"branch": "refs/tags/v1"},
        {"branch": "v1", "ref": Ref.TAG},
    ),
    (
        "azuredevops", "a pull request is told by its ref, whatever the reason",
        AZURE | {"branch": "refs/pull/12/merge"},
        {"ref": Ref.PULL_REQUEST, "trigger": "merge_request"},
    ),
    (
        "azuredevops", "raw words are understood in any case",
        AZURE | {
            "conclusion": "partiallySucceeded", "trigger": "individualCI", "status": "Completed",
        },
        {"conclusion": "partial", "trigger": "push", "unmapped": ()},
    ),
    (
        "azuredevops", "a build cancelled in the queue lacks its start",
        AZURE | {"started_at": None, "conclusion": "cancelled"},
        {"partial": True, "started_at": None},
    ),
    (
        "bitbucket", "end and conclusion come from the raw pipeline, the start is still missing",
        BITBUCKET,
        {
            "key": BuildKey("{1f0e2d3c}"), "repo": "acme/shop",
            "conclusion": "failed", "workflow": "",
            "created_at": at("09:00:00.123"), "started_at": None, "completed_at": at("09:03:20.5"),
            "partial": True,
        },
    ),
    (
        "bitbucket", "a rerun is told by the raw run number", remote(BITBUCKET, run_number=2),
        {"attempt": 2},
    ),
    (
        "bitbucket", "a custom pipeline is named by its pattern",
        remote(BITBUCKET, target={"selector": {"type": "custom", "pattern": "nightly"}}),
        {"workflow": "nightly"},
    ),
    (
        "bitbucket", "a section is named by its type",
        remote(BITBUCKET, target={"selector": {"type": "branches", "pattern": "feature/*"}}),
        {"workflow": "branches"},
    ),
    (
        "bitbucket", "a pull request's push is a merge request",
        remote(
            BITBUCKET | {"branch": None},
            target={
                "type": "pipeline_pullrequest_target", "source": "feat/x",
                "selector": {"type": "pull-requests", "pattern": "**"},
            },
        ),
        {
            "ref": Ref.PULL_REQUEST, "branch": "feat/x", "trigger": "merge_request",
            "workflow": "pull-requests",
        },
    ),
    (
        "bitbucket", "a pull request is told by the section that ran for it",
        remote(BITBUCKET, target={"selector": {"type": "PULLREQUESTS"}}),
        {"ref": Ref.PULL_REQUEST, "workflow": "pull-requests"},
    ),
    (
        "bitbucket", "where no run is numbered, another end is a change",
        BITBUCKET, {"changed_at": at("09:03:20.5")},
    ),
    (
        "bitbucket", "where runs are numbered, each has one end",
        remote(BITBUCKET, run_number=1), {"changed_at": None},
    ),
    (
        "bitbucket", "an id without its braces is the same pipeline's",
        BITBUCKET | {"id": "1f0e2d3c"}, {"key": BuildKey("{1f0e2d3c}")},
    ),
    (
        "bitbucket", "a tag is told by its target",
        remote(BITBUCKET | {"branch": None}, target={"ref_type": "tag", "ref_name": "v1"}),
        {"ref": Ref.TAG, "branch": "v1"},
    ),
    (
        "bitbucket", "a paused pipeline waits, though it is said to be in progress",
        remote(
            BITBUCKET | {"status": "in_progress"},
            state={"name": "IN_PROGRESS", "stage": {"name": "PAUSED"}}, completed_on=None,
        ),
        {"status": Status.WAITING, "partial": False},
    ),
    (
        "bitbucket", "words that mean infrastructure, a person and the clock are told apart",
        remote(BITBUCKET, state={"name": "COMPLETED", "result": {"name": "EXPIRED"}}),
        {"conclusion": "timeout"},
    ),
    (
        "circleci", "a pipeline's own state means nothing", CIRCLECI,
        {
            "key": BuildKey("5034460f"), "repo": "gh/acme/shop", "workflow": "",
            "status": Status.QUEUED,
            "conclusion": None, "completed_at": None, "partial": True, "trigger": "web",
            "created_at": at("09:00:00"), "unmapped": (),
        },
    ),
    (
        "circleci", "a tag has no branch", remote(CIRCLECI | {"branch": None}, vcs={"tag": "v1"}),
        {"ref": Ref.TAG, "branch": "v1"},
    ),
    (
        "circleci", "a fork's pull request is told by its branch",
        CIRCLECI | {"branch": "pull/12", "trigger": "webhook"},
        {"ref": Ref.PULL_REQUEST, "trigger": "merge_request"},
    ),
    (
        "circleci", "a fork is told by its origin",
        remote(
            CIRCLECI,
            vcs={"origin_repository_url": "https://h/f", "target_repository_url": "https://h/a"},
        ),
        {"ref": Ref.PULL_REQUEST},
    ),
    (
        "jenkins", "the start is part of the key", JENKINS,
        {
            "key": BuildKey("folder/shop#127", START), "native_id": "127",
            "workflow": "folder/shop",
            "repo": "folder/shop", "branch": None, "trigger": "cron", "conclusion": "failed",
            "created_at": None, "partial": False,
        },
    ),
    (
        "jenkins", "a partial item has only the beginning of its key", JENKINS_PARTIAL,
        {"key": BuildKey("folder/shop#128"), "partial": True, "number": 128},
    ),
    (
        "jenkins", "an item with a start but no state is partial too",
        JENKINS_PARTIAL | {"started_at": DAY + "03:00:00Z"},
        {"partial": True, "status": Status.IN_PROGRESS},
    ),
    (
        "jenkins", "the raw build has it all: timestamp, duration, result",
        JENKINS_PARTIAL | {
            "remote_data": {
                "timestamp": START * 1000 + 250, "duration": 667_000, "building": False,
                "result": "UNSTABLE",
            },
        },
        {
            "key": BuildKey("folder/shop#128", START), "status": COMPLETED, "conclusion": "partial",
            "partial": False, "duration": 667.0,
        },
    ),
    (
        "jenkins", "a result while building is none",
        JENKINS_PARTIAL | {
            "remote_data": {
                "timestamp": START * 1000, "duration": 0, "building": True, "result": "SUCCESS",
            },
        },
        {"status": Status.IN_PROGRESS, "conclusion": None, "completed_at": None, "partial": False},
    ),
    (
        "jenkins", "the branch of the last checkout counts, not the library's",
        remote(
            JENKINS,
            actions=[
                {}, {"lastBuiltRevision": {"branch": [{"name": "refs/remotes/origin/lib"}]}},
                {"lastBuiltRevision": {"branch": [{"name": "refs/remotes/origin/main"}]}},
            ],
        ),
        {"branch": "main", "ref": Ref.BRANCH},
    ),
    (
        "jenkins", "a multibranch job's PR-7 is a pull request",
        remote(
            JENKINS | {"trigger": "jenkins.branch.BranchEventCause"},
            actions=[{"lastBuiltRevision": {"branch": [{"name": "PR-7"}]}}],
        ),
        {"branch": "PR-7", "ref": Ref.PULL_REQUEST, "trigger": "merge_request"},
    ),
    (
        "jenkins", "an abortion by the time limit is a timeout",
        remote(
            JENKINS | {"conclusion": "cancelled"},
            actions=[
                {
                    "causes": [
                        {
                            "_class": "org.jenkinsci.plugins.workflow.steps."
                            "TimeoutStepExecution$ExceededTimeout",
                        },
                    ],
                },
            ],
        ),
        {"conclusion": "timeout"},
    ),
    (
        "travisci", "status and start come from the raw build, the sum of the jobs is no duration",
        TRAVIS,
        {
            "key": BuildKey("86601346"), "repo": "15022857", "workflow": "", "status": COMPLETED,
            "conclusion": "passed", "started_at": at("09:00:48"), "completed_at": at("09:06:00"),
            "duration": 312.0, "partial": False,
        },
    ),
    (
        "travisci", "without the raw build a conclusion means completed, and the start is missing",
        TRAVIS | {"remote_data": None}, {"status": COMPLETED, "started_at": None, "partial": True},
    ),
    (
        "travisci", "a state in the place of the conclusion is a state",
        TRAVIS | {"remote_data": None, "conclusion": "started", "completed_at": None},
        {"status": Status.IN_PROGRESS, "conclusion": None, "partial": False},
    ),
    (
        "travisci", "errored is the CI system's", TRAVIS | {"conclusion": "errored"},
        {"conclusion": "error"},
    ),
    (
        "travisci", "a tag's build has the raw tag", remote(TRAVIS, tag={"name": "v1"}),
        {"ref": Ref.TAG},
    ),
    (
        "travisci", "a restarted build runs again",
        remote(
            TRAVIS | {"conclusion": None, "completed_at": None}, state="created", started_at=None,
            finished_at=None,
        ),
        {"status": Status.QUEUED, "started_at": None, "partial": False},
    ),
]
# fmt: on


@pytest.mark.parametrize(
    ("integration", "item", "expected"),
    [pytest.param(i, item, want, id=f"{i}: {name}") for i, name, item, want in BUILDS],
)
def test_a_listed_build(integration, item, expected):
    build = one(integration, item)

    assert expected == {field: getattr(build, field) for field in expected}


def test_numbers_that_look_alike_are_different_builds_at_jenkins() -> None:
    how = INTEGRATIONS["jenkins"]

    def key(number: str | int | float) -> BuildKey:
        item = Run(id="1", number=number, status="completed", conclusion="passed")
        return to_build(how, item, Repo("shop"), Site(None)).key

    assert key("007") != key("7")
    assert key("7") == key(7) == key(7.0)
