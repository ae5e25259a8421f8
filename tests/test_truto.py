"""The truto provider: what each integration lacks, where it is found, and what it costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from exporter import words as w
from exporter.demo import EmulatorThread, JobRun, Run, World, told_conclusion, told_trigger
from exporter.errors import Gone, Malformed, ProviderError, Refused, TryLater
from exporter.globs import matches
from exporter.http import Api
from exporter.model import OTHER, Build, Job, Ref, Status, Unmapped
from exporter.providers import Query, Repo, catalogue
from exporter.providers.truto import INTEGRATIONS, Truto, payload
from exporter.providers.truto.payload import Envelope, listing
from exporter.times import instant

ACCOUNT = "62f44730-dd91-461e-bd6a-aedd9e0ad79d"
ENTRIES = {
    "github": "acme/shop",
    "azuredevops": "ws",
    "bitbucket": "acme/shop",
    "circleci": "gh/acme/shop",
    "jenkins": "folder/shop",
    "travisci": "15022857",
    "buddy": "acme/shop/deploy",
}
DAY = "2026-11-20T"
DENIED = Refused("no", reason="forbidden")
MISSING = Gone("not there", reason="not_found")
LATER = TryLater("busy", reason="server")
UNAUTHORIZED = Refused("bad token", reason="unauthorized")


def at(clock: str) -> float:
    """Epoch seconds of a time of the day that all samples are from."""
    seconds = instant(f"{DAY}{clock}Z")
    assert seconds is not None
    return seconds


class FakeApi:
    """Answers by path: a body, an error, or a list of them to be given in turn."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {path.replace("__", "/"): answer for path, answer in answers.items()}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]

    async def get(self, path: str, params: Any = None, *, into: Any) -> Any:
        short = path.removeprefix("/unified/ci-cd/")
        self.calls.append((short, dict(params or {})))
        answer = self.answers.get(short, MISSING)
        if isinstance(answer, list) and answer:
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, ProviderError):
            raise answer
        try:
            body = msgspec.json.decode(json.dumps(answer).encode(), type=into)
        except msgspec.ValidationError as error:
            raise Malformed(str(error), reason="bad_shape") from None
        return type("Answer", (), {"body": body})


def truto(integration: str, /, **keys: Any) -> Truto:
    return Truto(
        **{
            "name": "acme",
            "provider": "truto",
            "integration": integration,
            "integrated_account_id": ACCOUNT,
            "repos": [ENTRIES[integration]],
        }
        | keys
    )


def listed(*items: Any, **envelope: Any) -> dict[str, Any]:
    return {"result": list(items), "next_cursor": None} | envelope


def page(provider: Truto, api: Any, entry: str | None = None, token: str | None = None) -> Any:
    repo = Repo(entry or provider.repos[0], default_branch="main")
    return asyncio.run(provider.page(api, repo, Query(since=0.0, size=30, token=token)))


def one(integration: str, item: dict[str, Any], **keys: Any) -> Build:
    """The build that a list with one item gives."""
    builds: tuple[Build, ...]
    builds = page(truto(integration, **keys), FakeApi(builds=listed(item))).builds
    assert len(builds) == 1
    return builds[0]


def detail(provider: Truto, api: Any, build: Build, known: Build | None = None) -> Build:
    return asyncio.run(provider.detail(api, Repo(provider.repos[0]), build, known))


def refresh(provider: Truto, api: Any, known: Build) -> Build:
    return asyncio.run(provider.refresh(api, Repo(provider.repos[0]), known))


# -- sample payloads


# fmt: off
GITHUB = {
    "id": "9001234567", "name": "CI", "number": 412, "repo": "acme/shop", "branch": "main",
    "workflow": "7712345", "build": "9001234567", "attempts": 1, "status": "completed",
    "conclusion": "passed", "trigger": "push", "created_at": DAY + "09:00:00Z",
    "started_at": DAY + "09:00:12Z", "completed_at": DAY + "09:05:42Z",
    "updated_at": DAY + "09:05:42Z",
}
AZURE = {
    "id": "5521", "number": 5521, "repo": "shop", "branch": "refs/heads/main",
    "status": "completed", "conclusion": "partial", "trigger": "push",
    "started_at": DAY + "09:00:12.41Z", "completed_at": DAY + "09:07:02.03Z",
    "remote_data": {
        "id": 5521, "status": "completed", "result": "partiallySucceeded",
        "queueTime": DAY + "08:59:50.1Z", "definition": {"id": 12, "name": "shop-ci"},
    },
}
BITBUCKET = {
    "id": "{1f0e2d3c}", "build": "77", "number": 77, "repo": "shop", "branch": "main",
    "status": "completed", "trigger": "push", "created_at": DAY + "09:00:00.123Z",
    "remote_data": {
        "uuid": "{1f0e2d3c}", "completed_on": DAY + "09:03:20.5Z", "duration_in_seconds": 7,
        "state": {"name": "COMPLETED", "result": {"name": "FAILED"}},
        "target": {"type": "pipeline_ref_target", "ref_name": "main", "ref_type": "branch"},
    },
}
CIRCLECI = {
    "id": "5034460f", "name": "fix: cart", "number": 1023, "repo": "gh/acme/shop", "branch": "main",
    "status": "completed", "conclusion": "created", "trigger": "web",
    "created_at": DAY + "09:00:00.000Z", "updated_at": DAY + "09:00:04.000Z",
    "remote_data": {"state": "created", "vcs": {"branch": "main"}},
}
JENKINS_PARTIAL = {
    "id": "128", "build": "128", "number": 128, "name": "shop #128", "workflow": "shop",
}
JENKINS = {
    "id": "127", "build": "127", "number": 127, "name": "shop #127", "workflow": "shop",
    "status": "completed", "conclusion": "failed", "trigger": "cron",
    "started_at": DAY + "03:00:00.000Z", "completed_at": DAY + "03:11:07.000Z",
    "remote_data": {"number": 127, "result": "FAILURE", "building": False},
}
TRAVIS = {
    "id": "86601346", "number": 57, "name": "Add cart", "repo": "acme/shop", "branch": "main",
    "attempts": 1, "conclusion": "passed", "trigger": "push", "created_at": DAY + "09:00:00Z",
    "completed_at": DAY + "09:06:00Z",
    "remote_data": {
        "id": 86_601_346, "state": "passed", "duration": 99_999, "event_type": "push",
        "started_at": DAY + "09:00:48Z", "finished_at": DAY + "09:06:00Z",
    },
}
# fmt: on
SAMPLES = {
    "github": GITHUB,
    "azuredevops": AZURE,
    "bitbucket": BITBUCKET,
    "circleci": CIRCLECI,
    "jenkins": JENKINS,
    "travisci": TRAVIS,
}


def job(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A passed job from 09:00:15 to 09:03:20."""
    return {
        "id": str(number),
        "name": f"job {number}",
        "status": "completed",
        "conclusion": "passed",
        "created_at": DAY + "09:00:02Z",
        "started_at": DAY + "09:00:15Z",
        "completed_at": DAY + "09:03:20Z",
    } | fields


def remote(sample: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The sample with other fields in its `remote_data`."""
    return sample | {"remote_data": sample.get("remote_data", {}) | fields}


COMPLETED = Status.COMPLETED
START = int(at("03:00:00"))
"""Of the Jenkins sample."""
# fmt: off
BUILDS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "github", "has everything", GITHUB,
        {
            "key": "9001234567", "native_id": "9001234567", "repo": "acme/shop", "workflow": "CI",
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
        {"key": "9001234567", "number": 412, "attempt": 2, "workflow": "7"},
    ),
    (
        "github", "missing keys and nulls are no values",
        {"id": 7, "status": "completed", "branch": None, "name": None, "number": {}, "trigger": []},
        {
            "key": "7", "branch": None, "workflow": "", "number": None, "trigger": OTHER,
            "created_at": None, "started_at": None, "completed_at": None, "partial": True,
        },
    ),
    (
        "azuredevops", "creation and workflow come from the raw build, the repo from the build",
        AZURE,
        {
            "key": "ws/5521", "native_id": "5521", "repo": "ws/shop", "workflow": "shop-ci",
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
            "key": "{1f0e2d3c}", "repo": "acme/shop", "conclusion": "failed", "workflow": "",
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
            "key": "5034460f", "repo": "gh/acme/shop", "workflow": "", "status": Status.QUEUED,
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
            "key": f"folder/shop#127@{START}", "native_id": "127", "workflow": "folder/shop",
            "repo": "folder/shop", "branch": None, "trigger": "cron", "conclusion": "failed",
            "created_at": None, "partial": False,
        },
    ),
    (
        "jenkins", "a partial item has only the beginning of its key", JENKINS_PARTIAL,
        {"key": "folder/shop#128@", "partial": True, "number": 128},
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
            "key": f"folder/shop#128@{START}", "status": COMPLETED, "conclusion": "partial",
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
            "key": "86601346", "repo": "15022857", "workflow": "", "status": COMPLETED,
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


# -- words


DOCUMENTED: dict[str, dict[str, str]] = {
    "github": {
        "status": "queued in_progress completed waiting requested pending",
        "conclusion": (
            "success failure neutral cancelled skipped timed_out action_required stale"
            " startup_failure"
        ),
        "trigger": (
            "push pull_request pull_request_target schedule workflow_dispatch"
            " repository_dispatch merge_group workflow_run release issue_comment dynamic"
        ),
    },
    "azuredevops": {
        "status": "none inProgress completed cancelling postponed abandoned notStarted",
        "conclusion": (
            "none succeeded partiallySucceeded failed canceled succeededWithIssues skipped"
            " abandoned manuallyQueued dependentOnManualQueue"
        ),
        "trigger": (
            "none manual individualCI batchedCI schedule scheduleForced userCreated"
            " validateShelveset checkInShelveset pullRequest buildCompletion resourceTrigger"
            " triggered"
        ),
    },
    "bitbucket": {
        "status": (
            "PARSING PENDING PAUSED HALTED BUILDING IN_PROGRESS COMPLETED READY ERROR PASSED"
            " FAILED STOPPED"
        ),
        "conclusion": "SUCCESSFUL FAILED ERROR STOPPED EXPIRED NOT_RUN",
        "trigger": "PUSH MANUAL SCHEDULED SCHEDULE PARENT_STEP",
    },
    "circleci": {
        "status": "not_running queued blocked on_hold running failing",
        "conclusion": (
            "success failed error canceled unauthorized not_run retried timedout"
            " infrastructure_fail terminated-unknown"
        ),
        "trigger": "explicit api webhook schedule scheduled_pipeline",
    },
    "jenkins": {
        "status": "IN_PROGRESS PAUSED_PENDING_INPUT QUEUED RUNNING PAUSED FINISHED",
        "conclusion": "SUCCESS UNSTABLE FAILURE NOT_BUILT ABORTED NOT_EXECUTED FAILED",
        "trigger": (
            "hudson.model.Cause$UserIdCause hudson.triggers.TimerTrigger$TimerTriggerCause"
            " hudson.model.Cause$UpstreamCause jenkins.branch.BranchIndexingCause"
        ),
    },
    "travisci": {
        "status": "created queued received started passed failed errored canceled",
        "conclusion": "passed failed errored canceled",
        "trigger": "push pull_request cron api",
    },
    "buddy": {
        "status": ("ENQUEUED INPROGRESS INITIAL SUCCESSFUL FAILED TERMINATED SKIPPED NOT_EXECUTED"),
        "conclusion": "SUCCESSFUL FAILED TERMINATED SKIPPED NOT_EXECUTED",
        "trigger": "",
    },
}
MEANINGS = [
    ("github", "waiting", None, Status.WAITING, None),
    ("github", "completed", "timed_out", COMPLETED, "timeout"),
    ("azuredevops", "cancelling", None, Status.IN_PROGRESS, None),
    ("azuredevops", "abandoned", None, COMPLETED, "error"),
    ("bitbucket", "halted", None, Status.WAITING, None),
    ("bitbucket", "completed", "error", COMPLETED, "error"),
    ("bitbucket", "stopped", None, COMPLETED, "cancelled"),
    ("circleci", "on_hold", None, Status.WAITING, None),
    ("circleci", "infrastructure_fail", None, COMPLETED, "error"),
    ("circleci", "not_run", None, COMPLETED, "skipped"),
    ("circleci", "retried", None, COMPLETED, "retried"),
    ("jenkins", "paused_pending_input", None, Status.WAITING, None),
    ("jenkins", "completed", "not_built", COMPLETED, "skipped"),
    ("travisci", "errored", None, COMPLETED, "error"),
    ("travisci", "received", None, Status.QUEUED, None),
    ("buddy", "waiting_for_apply", None, Status.WAITING, None),
    ("buddy", "terminated", None, COMPLETED, "cancelled"),
]


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_every_documented_word_is_in_a_table(integration):
    words = INTEGRATIONS[integration].words
    states, conclusions, triggers = (
        DOCUMENTED[integration][field].lower().split()
        for field in ("status", "conclusion", "trigger")
    )

    said = [
        *(w.standing(words, word, None, started=None, ended=None).unmapped for word in states),
        *(
            w.standing(words, "completed", word, started=None, ended=None).unmapped
            for word in conclusions
        ),
        *(w.trigger(words, word)[1] for word in triggers),
    ]

    assert not [unknown for unknown in said if unknown]


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_the_unified_words_mean_themselves_everywhere(integration):
    words = INTEGRATIONS[integration].words
    named = ["passed", "failed", "cancelled", "timeout", "skipped", "retried", "partial"]

    assert named == [words.conclusion[word] for word in named]
    for status in (Status.QUEUED, Status.IN_PROGRESS, COMPLETED):
        assert status == words.status[status.value]
    for word in ("push", "merge_request", "api", "cron", "web"):
        assert word == words.trigger[word]


@pytest.mark.parametrize(("integration", "status", "conclusion", "stands", "ends"), MEANINGS)
def test_native_words_mean_what_their_system_means(integration, status, conclusion, stands, ends):
    words = INTEGRATIONS[integration].words

    standing = w.standing(words, status, conclusion, started=None, ended=None)

    assert (stands, ends, ()) == standing


def test_all_words_of_the_tables_are_in_lower_case():
    for how in INTEGRATIONS.values():
        for table in (how.words.status, how.words.conclusion, how.words.trigger):
            assert all(word == word.lower() for word in table)


def test_an_unbearably_long_word_is_cut():
    build = one("github", GITHUB | {"trigger": "x" * 5000})

    assert len(build.unmapped[0].word) == 100


# -- pages


@pytest.mark.parametrize(
    ("body", "following"),
    [
        ({"result": [GITHUB], "next_cursor": None}, None),
        ({"result": [GITHUB], "next_cursor": ""}, None),
        ({"result": [GITHUB]}, None),
        ({"results": [GITHUB], "next_cursor": "c/2+=&x"}, "c/2+=&x"),
        ({"result": [GITHUB], "next_cursor": 2}, "2"),
    ],
)
def test_a_list_ends_without_a_cursor(body, following):
    found = page(truto("github"), FakeApi(builds=body))

    assert ("9001234567", following) == (found.builds[0].key, found.next)


def test_an_empty_page_may_have_a_successor():
    found = page(truto("github"), FakeApi(builds=listed(next_cursor="c")))

    assert ((), "c") == (found.builds, found.next)


@pytest.mark.parametrize(
    "body", [{}, {"result": None}, {"result": {"a": GITHUB}}, {"errors": []}, [], None]
)
def test_an_answer_without_a_list_is_not_no_builds(body):
    with pytest.raises(Malformed) as caught:
        page(truto("github"), FakeApi(builds=body))

    assert "bad_shape" == caught.value.reason


def test_an_item_that_cannot_be_understood_is_left_out_and_counted():
    bad: list[Any] = [
        {},
        {"id": None},
        {"id": ""},
        {"id": " "},
        {"id": []},
        {"id": True},
        "text",
        None,
        3,
        GITHUB | {"status": {"name": "completed"}},
        GITHUB | {"conclusion": 5},
        GITHUB | {"started_at": {}},
        GITHUB | {"attempts": "many"},
        GITHUB | {"attempts": []},
    ]
    found = page(truto("github"), FakeApi(builds=listed(*bad, GITHUB)))

    assert (len(bad), 1) == (found.rejected, len(found.builds))


def test_bytes_that_are_no_text_spoil_nothing():
    raw = b'{"result":[{"id":1,"name":"a\xff"},{"id":2,"x":"\xff"},{"id":[],"name":"\xff"}]}'
    found = listing(msgspec.json.decode(raw, type=Envelope), payload.Run)

    assert (["a\ufffd", None], 1) == ([item.name for item in found.items], found.rejected)


def test_times_that_are_none_and_absurd_numbers_are_no_values():
    build = one(
        "github",
        GITHUB | {"started_at": "0001-01-01T00:00:00Z", "created_at": "soon", "number": 10**30},
    )

    assert (None, None, None) == (build.started_at, build.created_at, build.number)


def test_a_page_is_asked_for_with_its_size_and_cursor():
    api = FakeApi(builds=listed())
    page(truto("github"), api, token="c/2+=&x")

    assert [
        (
            "builds",
            {
                "integrated_account_id": ACCOUNT,
                "owner": "acme",
                "repo_id": "shop",
                "limit": 30,
                "next_cursor": "c/2+=&x",
            },
        )
    ] == api.calls


# fmt: off
SCOPES: list[tuple[str, str, str, dict[str, str]]] = [
    ("github", "builds", "acme/shop", {"owner": "acme", "repo_id": "shop"}),
    ("azuredevops", "builds", "ws", {"workspace_id": "ws"}),
    ("azuredevops", "builds", "ws/a/b", {"workspace_id": "ws", "repo": "a/b"}),
    ("bitbucket", "builds", "acme/shop", {"workspace_id": "acme", "repo": "shop"}),
    ("circleci", "builds", "gh/acme/shop", {"repo_id": "gh/acme/shop"}),
    ("jenkins", "builds", "folder/shop", {"workflow_id": "folder/shop"}),
    ("travisci", "builds", "15022857", {"repo_id": "15022857"}),
    (
        "buddy", "jobs", "acme/shop/deploy",
        {"workspace": "acme", "project": "shop", "repo": "shop", "workflow": "deploy"},
    ),
]
# fmt: on


@pytest.mark.parametrize(("integration", "resource", "entry", "scope"), SCOPES)
def test_a_list_is_scoped_as_its_integration_wants(integration, resource, entry, scope):
    api = FakeApi(builds=listed(), jobs=listed())
    page(truto(integration), api, entry)

    ((path, params),) = api.calls
    assert (resource, {"integrated_account_id": ACCOUNT, "limit": 30, **scope}) == (path, params)


# fmt: off
JOB_SCOPES: list[tuple[str, dict[str, str], dict[str, str] | None]] = [
    ("github", {"owner": "acme", "repo_id": "shop"}, {"owner": "acme", "repo_id": "shop"}),
    ("azuredevops", {"workspace_id": "ws"}, None),
    (
        "bitbucket", {"workspace_id": "acme", "repo": "shop"},
        {"workspace_id": "acme", "repo": "shop", "build": "{b 1}"},
    ),
    (
        "circleci", {"project_slug": "gh/acme/shop", "repo_id": "gh/acme/shop"},
        {"project_slug": "gh/acme/shop"},
    ),
    ("travisci", {"repo_id": "15022857"}, {}),
]
# fmt: on


@pytest.mark.parametrize(("integration", "scope", "single"), JOB_SCOPES)
def test_jobs_are_listed_for_a_build_under_both_its_names(integration, scope, single):
    api = FakeApi(
        jobs=[listed(job(1, status="in_progress"), next_cursor="2"), listed(job(2))], jobs__1=job(1)
    )
    provider = truto(integration, jobs=True)
    build = Build(key="k", native_id="{b 1}", repo="r", status=Status.IN_PROGRESS)

    known = detail(provider, api, build)
    detail(provider, api, build, known)

    names = {"build_id": "{b 1}", "build": "{b 1}"}
    bare = {"truto_ignore_remote_data": "true"} if integration == "github" else {}
    first = {"integrated_account_id": ACCOUNT, **scope, **names, **bare, "limit": 100}
    assert [("jobs", first), ("jobs", {**first, "next_cursor": "2"})] == api.calls[:2]
    again = (
        ("jobs", first)
        if single is None
        else ("jobs/1", {"integrated_account_id": ACCOUNT, **single, **bare})
    )
    assert again == api.calls[2]


def test_ids_are_quoted_in_paths():
    api = FakeApi()
    known = Build(key="k", native_id="{b/1}", repo="acme/shop", status=Status.QUEUED)
    with pytest.raises(Gone):
        refresh(truto("bitbucket"), api, known)

    assert ["builds/%7Bb%2F1%7D"] == api.paths


def test_only_the_entrys_own_repo_counts_whatever_the_api_filters():
    mine = AZURE | {"id": 1, "repo": "Shop"}
    by_id = remote(AZURE | {"id": 2, "repo": None}, repository={"id": "shop"})
    other = AZURE | {"id": 3, "repo": "other"}
    unsaid = AZURE | {"id": 4, "repo": None}
    found = page(
        truto("azuredevops"), FakeApi(builds=listed(mine, by_id, other, unsaid)), "ws/shop"
    )

    assert [("ws/1", "ws/Shop"), ("ws/2", "ws/shop"), ("ws/4", "ws/shop")] == [
        (build.key, build.repo) for build in found.builds
    ]
    assert 0 == found.rejected


def test_excluded_repos_are_left_out():
    provider = truto("azuredevops", exclude=["ws/old-*"])
    found = page(
        provider, FakeApi(builds=listed(AZURE | {"repo": "old-shop"}, AZURE | {"repo": "shop"}))
    )

    assert ["ws/shop"] == [build.repo for build in found.builds]


# -- filling gaps


def test_bitbuckets_start_comes_from_the_single_build_or_else_from_the_jobs():
    api = FakeApi(
        builds=listed(BITBUCKET),
        **{"builds/%7B1f0e2d3c%7D": BITBUCKET},
        jobs=listed(
            job(1, started_at=DAY + "09:01:00Z"), job(2, build="77"), job(3, build="{other}")
        ),
    )
    provider = truto("bitbucket")
    (build,) = page(provider, api).builds
    full = detail(provider, api, build)

    assert ["builds", "builds/%7B1f0e2d3c%7D", "jobs"] == api.paths
    assert (at("09:00:15"), at("09:03:20.5"), "failed") == (
        full.started_at,
        full.completed_at,
        full.conclusion,
    )
    assert ((), False) == (full.jobs, full.partial)


def test_what_the_single_build_fills_needs_no_jobs():
    api = FakeApi(**{"builds/1": GITHUB | {"id": "1"}})
    build = one("github", GITHUB | {"id": "1", "completed_at": None, "conclusion": None})
    full = detail(truto("github"), api, build)

    assert ["builds/1"] == api.paths
    assert ("passed", at("09:05:42"), False) == (full.conclusion, full.completed_at, full.partial)


def test_the_list_items_own_values_win():
    api = FakeApi(**{"builds/1": GITHUB | {"id": "1", "conclusion": "failed"}})
    build = one("github", GITHUB | {"id": "1", "completed_at": None})
    full = detail(truto("github"), api, build)

    assert ("passed", at("09:05:42")) == (full.conclusion, full.completed_at)


def test_the_single_build_of_a_later_attempt_fills_nothing():
    api = FakeApi(**{"builds/1": GITHUB | {"id": "1", "attempts": 2}})
    build = one("github", GITHUB | {"id": "1", "completed_at": None})

    assert detail(truto("github"), api, build).completed_at is None


def test_a_conclusion_from_the_single_build_brings_its_unknown_word():
    api = FakeApi(**{"builds/1": GITHUB | {"id": "1", "conclusion": "odd"}})
    full = detail(truto("github"), api, one("github", GITHUB | {"id": "1", "conclusion": ""}))

    assert (OTHER, (Unmapped("conclusion", "odd"),)) == (full.conclusion, full.unmapped)


def test_after_three_fruitless_single_builds_only_every_fiftieth_is_asked_for():
    provider = truto("bitbucket")
    build = one("bitbucket", BITBUCKET)
    api = FakeApi(**{"builds/%7B1f0e2d3c%7D": BITBUCKET}, jobs=listed(job()))
    for _ in range(3 + 100):
        detail(provider, api, build)

    assert 3 + 2 == api.paths.count("builds/%7B1f0e2d3c%7D")
    assert 103 == api.paths.count("jobs")


def test_a_fruitful_single_build_is_always_asked_for():
    provider = truto("bitbucket")
    build = one("bitbucket", BITBUCKET)
    whole = BITBUCKET | {"started_at": DAY + "09:00:10Z"}
    api = FakeApi(**{"builds/%7B1f0e2d3c%7D": whole})
    for _ in range(10):
        detail(provider, api, build)

    assert ["builds/%7B1f0e2d3c%7D"] * 10 == api.paths


@pytest.mark.parametrize("fault", [MISSING, DENIED, Refused("400", reason="bad_shape")])
def test_what_is_gone_or_refused_stays_unknown(fault):
    api = FakeApi(**{"builds/%7B1f0e2d3c%7D": fault}, jobs=fault)
    full = detail(truto("bitbucket"), api, one("bitbucket", BITBUCKET))

    assert (None, "failed", False) == (full.started_at, full.conclusion, full.partial)


@pytest.mark.parametrize("fault", [LATER, UNAUTHORIZED])
@pytest.mark.parametrize("where", ["builds/%7B1f0e2d3c%7D", "jobs"])
def test_what_fails_for_now_fills_nothing_yet(fault, where):
    api = FakeApi(**{where: fault})
    with pytest.raises(type(fault)):
        detail(truto("bitbucket"), api, one("bitbucket", BITBUCKET))


def test_travis_asks_its_jobs_last():
    api = FakeApi(
        jobs=listed(
            {"id": 1, "name": "3.12", "build": 86601346, "status": "passed"}
            | {"started_at": DAY + "09:00:48Z", "completed_at": DAY + "09:06:00Z"},
            {"id": 2, "name": "3.13", "status": "completed", "remote_data": {"state": "errored"}}
            | {"started_at": DAY + "09:00:30Z", "completed_at": DAY + "09:05:00Z"},
        )
    )
    item = TRAVIS | {"remote_data": {}, "conclusion": None}
    full = detail(truto("travisci", jobs=True), api, one("travisci", item))

    assert ["builds/86601346", "jobs"] == api.paths
    assert (at("09:00:30"), at("09:06:00"), "error") == (
        full.started_at,
        full.completed_at,
        full.conclusion,
    )
    assert [("3.12", "passed"), ("3.13", "error")] == [(j.name, j.conclusion) for j in full.jobs]


def test_jenkins_partial_builds_are_read_one_by_one():
    whole = JENKINS | {"id": "128", "number": 128}
    api = FakeApi(**{"builds/128": whole})
    build = one("jenkins", JENKINS_PARTIAL)
    full = detail(truto("jenkins", jobs=True), api, build)

    assert [("builds/128", {"integrated_account_id": ACCOUNT, "workflow_id": "folder/shop"})] == (
        api.calls
    )
    assert f"folder/shop#128@{START}" == full.key
    assert ("failed", 667.0, False, ()) == (full.conclusion, full.duration, full.partial, full.jobs)


@pytest.mark.parametrize("fault", [MISSING, DENIED])
def test_a_jenkins_build_that_cannot_be_read_stays_partial(fault):
    full = detail(
        truto("jenkins"), FakeApi(**{"builds/128": fault}), one("jenkins", JENKINS_PARTIAL)
    )

    assert (True, "folder/shop#128@") == (full.partial, full.key)


def test_a_completed_jenkins_build_gets_its_key_with_its_start():
    api = FakeApi(**{"builds/127": JENKINS})
    build = one("jenkins", JENKINS | {"started_at": None, "remote_data": None})
    full = detail(truto("jenkins"), api, build)

    assert ("folder/shop#127@", f"folder/shop#127@{START}") == (build.key, full.key)


def test_a_skipped_build_needs_no_start():
    build = one("github", GITHUB | {"conclusion": "skipped", "started_at": None})

    assert (False, None) == (build.partial, build.duration)


WORST = [
    ("passed failed timeout error cancelled partial", "failed"),
    ("passed timeout error cancelled partial", "timeout"),
    ("passed error cancelled partial", "error"),
    ("passed cancelled partial", "cancelled"),
    ("passed partial skipped", "partial"),
    ("passed skipped neutral", "passed"),
    ("retried passed", "passed"),
    ("skipped skipped", "skipped"),
    ("retried skipped", "skipped"),
    ("skipped neutral", None),
    ("neutral", None),
    ("gibberish", None),
]


@pytest.mark.parametrize(("conclusions", "worst"), WORST)
def test_the_worst_conclusion_of_the_jobs_is_the_builds(conclusions, worst):
    jobs = [job(i, conclusion=c) for i, c in enumerate(conclusions.split())]
    full = detail(truto("circleci"), FakeApi(jobs=listed(*jobs)), one("circleci", CIRCLECI))

    assert (COMPLETED, worst) == (full.status, full.conclusion)


def test_unknown_words_of_jobs_are_counted_though_the_jobs_are_not_kept():
    api = FakeApi(jobs=listed(job(conclusion="odd")))
    full = detail(truto("circleci"), api, one("circleci", CIRCLECI))

    assert (Unmapped("conclusion", "odd"),) == full.unmapped


def test_jobs_of_an_earlier_attempt_do_not_stretch_a_later_one():
    carried = job(1, started_at=DAY + "08:00:00Z", remote_data={"run_number": 1})
    again = job(2, remote_data={"run_number": 2})
    api = FakeApi(jobs=listed(carried, again))
    provider = truto("bitbucket", jobs=True)
    full = detail(provider, api, one("bitbucket", remote(BITBUCKET, run_number=2)))

    assert at("09:00:15") == full.started_at
    assert [1, 2] == [j.attempt for j in full.jobs]


def test_jobs_of_a_later_attempt_are_not_this_builds():
    api = FakeApi(jobs=listed(job(1, attempts=1), job(2, attempts=2), job(3)))
    full = detail(truto("github", jobs=True), api, one("github", GITHUB))

    assert ["1", "3"] == [j.id for j in full.jobs]


# -- CircleCI


HOLD: dict[str, Any] = {"status": "on_hold", "conclusion": None, "started_at": None}
RUNS: dict[str, Any] = {"status": "in_progress", "conclusion": None, "completed_at": None}
QUEUED: dict[str, Any] = {"status": "queued", "conclusion": None, "started_at": DAY + "09:00:02Z"}
# fmt: off
CIRCLES = [
    ("no jobs", [], Status.QUEUED, None),
    ("all complete", [job(1), job(2, conclusion="failed")], COMPLETED, "failed"),
    ("one runs", [job(1), job(2) | RUNS], Status.IN_PROGRESS, None),
    ("none has started", [job(1) | QUEUED], Status.QUEUED, None),
    ("one has ended, one is queued", [job(1), job(2) | QUEUED], Status.IN_PROGRESS, None),
    ("only an approval is open", [job(1), job(2) | HOLD], Status.WAITING, None),
    ("an approval is first", [job(1) | HOLD], Status.WAITING, None),
    (
        "an approval blocks the rest",
        [job(1), job(2) | HOLD, job(3) | QUEUED | {"status": "blocked"}], Status.WAITING, None,
    ),
    (
        "an approval that is only told natively",
        [job(1), job(2) | QUEUED | {"remote_data": {"status": "on_hold"}}], Status.WAITING, None,
    ),
    (
        "an approval beside a job that wants a machine", [job(1), job(2) | HOLD, job(3) | QUEUED],
        Status.IN_PROGRESS, None,
    ),
    ("a retried job does not count", [job(1, conclusion="retried"), job(2)], COMPLETED, "passed"),
    ("nothing ran", [job(1, conclusion="skipped")], COMPLETED, "skipped"),
]
# fmt: on


@pytest.mark.parametrize(
    ("jobs", "status", "conclusion"), [pytest.param(*row[1:], id=row[0]) for row in CIRCLES]
)
def test_a_circleci_build_is_what_its_jobs_are(jobs, status, conclusion):
    api = FakeApi(jobs=listed(*jobs))
    full = detail(truto("circleci"), api, one("circleci", CIRCLECI))

    assert ["jobs"] == api.paths
    assert (status, conclusion) == (full.status, full.conclusion)
    if status is COMPLETED:
        assert (at("09:00:15"), at("09:03:20")) == (full.started_at, full.completed_at)
        assert 15.0 == full.queue


@pytest.mark.parametrize("fault", [MISSING, DENIED])
def test_without_its_jobs_nothing_is_known_of_a_circleci_build(fault):
    full = detail(truto("circleci"), FakeApi(jobs=fault), one("circleci", CIRCLECI))

    assert (Status.QUEUED, True) == (full.status, full.partial)


def test_a_circleci_build_is_refreshed_by_its_jobs_alone():
    known = detail(truto("circleci"), FakeApi(jobs=listed(job() | RUNS)), one("circleci", CIRCLECI))
    api = FakeApi(jobs=listed(job()))
    full = refresh(truto("circleci"), api, known)

    assert (["jobs"], COMPLETED, "passed") == (api.paths, full.status, full.conclusion)
    with pytest.raises(Gone):
        refresh(truto("circleci"), FakeApi(jobs=MISSING), known)


# -- jobs


def test_a_job_has_the_builds_attempt_and_no_times_to_come():
    api = FakeApi(
        jobs=listed(
            job(1, attempts=None, status="queued", completed_at=None),
            job(2, status="in_progress", completed_at=DAY + "09:09:09Z"),
            {"id": 3, "name": None},
        )
    )
    running = GITHUB | {"attempts": 2, "status": "in_progress"}
    full = detail(truto("github", jobs=True), api, one("github", running))

    assert (
        Job(id="1", name="job 1", status=Status.QUEUED, attempt=2, created_at=at("09:00:02")),
        Job(
            id="2",
            name="job 2",
            status=Status.IN_PROGRESS,
            attempt=2,
            created_at=at("09:00:02"),
            started_at=at("09:00:15"),
        ),
        Job(id="3", name="", status=Status.QUEUED, attempt=2),
    ) == full.jobs


def test_a_job_listed_twice_is_one():
    api = FakeApi(jobs=[listed(job(1), job(2), next_cursor="2"), listed(job(2), job(3))])
    full = detail(truto("github", jobs=True), api, one("github", GITHUB))

    assert ["1", "2", "3"] == [j.id for j in full.jobs]


@pytest.mark.parametrize("cursors", [["a", "b", "a"], ["a", "a"], [str(i) for i in range(200)]])
def test_pages_of_jobs_that_do_not_end_are_malformed(cursors):
    api = FakeApi(jobs=[listed(job(i), next_cursor=c) for i, c in enumerate(cursors)])
    with pytest.raises(Malformed) as caught:
        detail(truto("github", jobs=True), api, one("github", GITHUB))

    assert ("bad_shape", True) == (caught.value.reason, len(api.calls) <= 100)


def three_pages(*third: Any) -> list[Any]:
    return [listed(job(1), next_cursor="2"), listed(job(2) | RUNS, next_cursor="3"), listed(*third)]


def test_few_unfinished_jobs_of_a_long_list_are_read_one_by_one():
    provider = truto("github", jobs=True)
    build = one("github", GITHUB | {"status": "in_progress"})
    api = FakeApi(jobs=three_pages(job(3) | RUNS), jobs__2=job(2), jobs__3=job(3) | RUNS)
    known = detail(provider, api, build)
    again = detail(provider, api, build, known)

    assert ["jobs"] * 3 + ["jobs/2", "jobs/3"] == api.paths
    assert [COMPLETED, COMPLETED, Status.IN_PROGRESS] == [j.status for j in again.jobs]


def test_as_many_unfinished_jobs_as_pages_are_listed():
    provider = truto("github", jobs=True)
    build = one("github", GITHUB | {"status": "in_progress"})
    api = FakeApi(jobs=three_pages(job(3) | RUNS, job(4) | RUNS))
    known = detail(provider, api, build)
    api.answers["jobs"] = listed(job(1))
    detail(provider, api, build, known)

    assert ["jobs"] * 4 == api.paths


def test_the_jobs_of_a_completed_build_are_listed_whatever_is_known():
    provider = truto("github", jobs=True)
    api = FakeApi(jobs=three_pages())
    known = detail(provider, api, one("github", GITHUB | {"status": "in_progress"}))
    api.answers["jobs"] = listed(job(1), job(2))
    detail(provider, api, one("github", GITHUB), known)

    assert ["jobs"] * 4 == api.paths


def test_a_job_that_is_gone_sends_us_back_to_the_list():
    provider = truto("github", jobs=True)
    build = one("github", GITHUB | {"status": "in_progress"})
    api = FakeApi(jobs=three_pages())
    known = detail(provider, api, build)
    api.answers["jobs"] = listed(job(1))
    again = detail(provider, api, build, known)

    assert ["jobs"] * 3 + ["jobs/2", "jobs"] == api.paths
    assert ["1"] == [j.id for j in again.jobs]


def test_a_circleci_build_ends_only_with_its_list():
    provider = truto("circleci", jobs=True)
    build = one("circleci", CIRCLECI)
    api = FakeApi(jobs=three_pages(), jobs__2=job(2))
    known = detail(provider, api, build)
    api.answers["jobs"] = listed(job(1), job(2), job(3) | RUNS)
    again = refresh(provider, api, known)

    assert ["jobs"] * 3 + ["jobs/2", "jobs"] == api.paths
    assert Status.IN_PROGRESS == again.status


def test_azures_jobs_have_no_single_endpoint():
    provider = truto("azuredevops", jobs=True)
    build = one("azuredevops", AZURE | {"status": "inProgress"})
    api = FakeApi(jobs=three_pages())
    known = detail(provider, api, build)
    api.answers["jobs"] = listed(
        {
            "id": "r1",
            "name": "Build",
            "remote_data": {"state": "completed", "result": "succeededWithIssues"}
            | {"startTime": DAY + "09:00:00Z", "finishTime": DAY + "09:01:00Z"},
        }
    )
    again = detail(provider, api, build, known)

    assert ["jobs"] * 4 == api.paths
    assert [("Build", "partial", 60.0)] == [(j.name, j.conclusion, j.duration) for j in again.jobs]


def test_refused_jobs_leave_the_build():
    full = detail(truto("github", jobs=True), FakeApi(jobs=DENIED), one("github", GITHUB))

    assert ("passed", ()) == (full.conclusion, full.jobs)


def test_buddy_has_jobs_and_no_builds():
    api = FakeApi(
        jobs=listed(
            {"id": 3, "name": "deploy", "status": "INPROGRESS", "started_at": DAY + "09:00:00Z"},
            {
                "id": "2",
                "name": "deploy",
                "status": "SUCCESSFUL",
                "started_at": DAY + "08:00:00Z",
                "remote_data": {"finish_date": DAY + "08:01:00.5Z"},
            },
            {
                "id": "1",
                "name": "deploy",
                "status": "completed",
                "remote_data": {"status": "TERMINATED"},
            },
            {"name": "no id"},
            next_cursor="2",
        )
    )
    provider = truto("buddy")
    found = page(provider, api)
    (container,) = found.builds

    assert ("2", 1, True) == (found.next, found.rejected, container.only_jobs)
    assert ("acme/shop/deploy", "acme/shop/deploy", "deploy", Status.IN_PROGRESS) == (
        container.key,
        container.repo,
        container.workflow,
        container.status,
    )
    assert [
        ("3", Status.IN_PROGRESS, None, None),
        ("2", COMPLETED, "passed", 60.5),
        ("1", COMPLETED, "cancelled", None),
    ] == [(j.id, j.status, j.conclusion, j.duration) for j in container.jobs]
    assert container == detail(provider, api, container)
    assert ["jobs"] == api.paths


# -- refreshing


def test_a_refreshed_build_keeps_what_only_its_list_item_said():
    known = one("azuredevops", AZURE | {"status": "inProgress"})
    bare = {key: AZURE[key] for key in ("id", "status", "conclusion", "started_at", "completed_at")}
    full = refresh(truto("azuredevops"), FakeApi(**{"builds/5521": bare}), known)

    assert (COMPLETED, "ws/shop", "shop-ci", "main", 5521, "push") == (
        full.status,
        full.repo,
        full.workflow,
        full.branch,
        full.number,
        full.trigger,
    )


def test_a_refreshed_build_that_completed_is_filled_by_its_jobs():
    known = one("bitbucket", remote(BITBUCKET | {"status": "in_progress"}, completed_on=None))
    api = FakeApi(**{"builds/%7B1f0e2d3c%7D": BITBUCKET}, jobs=listed(job()))
    full = refresh(truto("bitbucket"), api, known)

    assert ["builds/%7B1f0e2d3c%7D", "jobs"] == api.paths
    assert (COMPLETED, at("09:00:15"), ()) == (full.status, full.started_at, full.jobs)


def test_a_refresh_brings_the_jobs_where_they_are_wanted():
    known = one("github", GITHUB | {"status": "in_progress"})
    api = FakeApi(**{"builds/9001234567": GITHUB}, jobs=listed(job()))
    full = refresh(truto("github", jobs=True), api, known)

    assert ["builds/9001234567", "jobs"] == api.paths
    assert (COMPLETED, 1) == (full.status, len(full.jobs))


@pytest.mark.parametrize(
    ("known", "answer", "key"),
    [
        ("folder/shop#127@", JENKINS, f"folder/shop#127@{START}"),
        ("folder/shop#127@17", JENKINS, Gone),
        ("folder/shop#127@17", JENKINS_PARTIAL | {"id": 127, "number": 127}, "folder/shop#127@17"),
        ("folder/shop#12", JENKINS, Gone),
    ],
)
def test_a_jenkins_build_of_another_start_is_another_build(known, answer, key):
    build = Build(key=known, native_id="127", repo="folder/shop", status=Status.IN_PROGRESS)
    api = FakeApi(**{"builds/127": answer})
    if key is Gone:
        with pytest.raises(Gone):
            refresh(truto("jenkins"), api, build)
    else:
        assert key == refresh(truto("jenkins"), api, build).key


# -- discovery


REPO = {"id": 1, "name": "shop", "status": "active", "default_branch": "main"}
# fmt: off
DISCOVERIES: list[tuple[str, str, str, dict[str, str], list[Any], list[Repo]]] = [
    (
        "github", "acme/*", "repos", {"owner": "acme"},
        [
            REPO, REPO | {"name": "acme/api", "default_branch": "refs/heads/dev"},
            REPO | {"name": "old", "status": "inactive"},
            REPO | {"name": "archived", "remote_data": {"archived": True}},
            REPO | {"name": "disabled", "remote_data": {"disabled": True}},
            REPO | {"name": "secret"}, REPO | {"remote_data": {"full_name": "other/shop"}},
            REPO | {"name": "web", "remote_data": {"full_name": "Acme/web"}}, {"name": "no id"},
        ],
        [Repo("acme/shop", "main"), Repo("acme/api", "dev"), Repo("acme/web", "main")],
    ),
    (
        "azuredevops", "*", "workspaces", {}, [{"id": "ws-1", "name": "Shop"}, {"id": "ws-2"}],
        [Repo("ws-1"), Repo("ws-2")],
    ),
    (
        "bitbucket", "acme/*", "repos", {"workspace_id": "acme"},
        [
            {"id": "{u1}", "name": "The Shop", "remote_data": {"slug": "the-shop"}},
            {"id": "{u2}", "name": "api", "default_branch": None},
            {
                "id": "{u3}", "name": "web",
                "remote_data": {"full_name": "team/web", "workspace": {"slug": "acme"}},
            },
            {"id": "{u4}", "name": "web", "remote_data": {"full_name": "other/web"}},
        ],
        [Repo("acme/the-shop"), Repo("acme/api"), Repo("acme/web")],
    ),
    (
        "jenkins", "*", "workflow", {},
        [
            {"id": "folder/shop", "name": "shop"},
            {"id": "off", "remote_data": {"buildable": False}},
            {"id": "grey", "remote_data": {"color": "disabled"}},
        ],
        [Repo("folder/shop")],
    ),
    (
        "travisci", "*", "repos", {},
        [REPO | {"id": 15_022_857}, REPO | {"id": 2, "remote_data": {"active": False}}],
        [Repo("15022857", "main")],
    ),
]
# fmt: on


@pytest.mark.parametrize(
    ("integration", "pattern", "resource", "scope", "items", "expected"), DISCOVERIES
)
def test_a_wildcard_discovers(integration, pattern, resource, scope, items, expected):
    provider = truto(integration, repos=[pattern], exclude=["acme/secret"])
    pages = [listed(*items[:1], next_cursor="2"), listed(next_cursor="3"), listed(*items[1:])]
    api: Any = FakeApi(**{resource: pages})

    assert expected == asyncio.run(provider.discover(api, pattern))
    asked = {"integrated_account_id": ACCOUNT, "limit": 100, **scope}
    assert [asked, asked | {"next_cursor": "2"}, asked | {"next_cursor": "3"}] == [
        params for path, params in api.calls if path == resource
    ]


# -- health


ACTIVE = {"id": ACCOUNT, "status": "active"}
CAPABILITIES = f"/integrated-account/{ACCOUNT}/capabilities"


def health(**answers: Any) -> list[str]:
    spelled = {k.replace("accounts", "/integrated-account"): v for k, v in answers.items()}
    api: Any = FakeApi(**spelled)
    asyncio.run(truto("github").health(api))
    return list(api.paths)


def test_an_active_account_is_well():
    paths = health(
        accounts=[
            listed({"id": "other", "status": "needs_reauth"}, next_cursor="2"),
            listed(ACTIVE),
        ],
        **{CAPABILITIES: {"account": {"status": "active", "is_blocked": False}, "unified": []}},
    )

    assert ["/integrated-account"] * 2 + [CAPABILITIES] == paths


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"accounts": listed({"id": "other", "status": "needs_reauth"}, {}, "x")},
        {"accounts": {"nonsense": 1}},
        {"accounts": DENIED},
        {"accounts": LATER, CAPABILITIES: LATER},
        {"accounts": listed(ACTIVE), CAPABILITIES: {}},
        {"accounts": listed({"id": ACCOUNT})},
    ],
)
def test_an_answer_that_says_nothing_of_the_account_is_no_error(answers):
    health(**answers)


# fmt: off
SICK: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"accounts": listed(ACTIVE | {"status": "needs_reauth", "last_error": "Bad\ncredentials"})},
        ["needs_reauth: Bad credentials", "connect it again"],
    ),
    (
        {
            "accounts": listed(
                ACTIVE | {"status": "validation_error", "last_error": {"message": "no host"}},
            ),
        },
        ["validation_error: no host"],
    ),
    (
        {"accounts": listed(ACTIVE | {"status": "post_install_error", "last_error": {"code": 7}})},
        ["post_install_error: {\"code\":7}"],
    ),
    ({"accounts": listed(ACTIVE | {"status": "connecting"})}, ["is connecting (finish"]),
    ({"accounts": listed(ACTIVE | {"status": "needs_reauth", "last_error": "x" * 5000})}, ["x…"]),
    (
        {"accounts": listed(ACTIVE), CAPABILITIES: {"account": {"is_blocked": True}}},
        ["is blocked", "support"],
    ),
    ({CAPABILITIES: {"account": {"status": "needs_reauth"}}}, ["needs_reauth"]),
]
# fmt: on


@pytest.mark.parametrize(("answers", "said"), SICK)
def test_an_account_that_needs_a_person_is_refused(answers, said):
    with pytest.raises(Refused) as caught:
        health(**answers)

    message = str(caught.value)
    assert ("unauthorized", True) == (caught.value.reason, caught.value.account_wide)
    assert all(part in message for part in [ACCOUNT, *said])
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("fault", [UNAUTHORIZED, TryLater("slow down", reason="rate_limited")])
@pytest.mark.parametrize("where", ["accounts", CAPABILITIES])
def test_trouble_of_the_whole_account_is_not_swallowed(fault, where):
    with pytest.raises(type(fault)):
        health(**{where: fault})


# -- configuration


GOOD = [
    ("github", "acme/shop"),
    ("github", "acme/*"),
    ("azuredevops", "ws"),
    ("azuredevops", "ws/shop"),
    ("azuredevops", "ws/johndoe/shop"),
    ("azuredevops", "*"),
    ("bitbucket", "acme/shop"),
    ("bitbucket", "acme/*"),
    ("circleci", "gh/acme/shop"),
    ("circleci", "circleci/6f2a/77be"),
    ("jenkins", "shop"),
    ("jenkins", "folder/with spaces/shop"),
    ("jenkins", "*"),
    ("travisci", "15022857"),
    ("travisci", "acme/shop"),
    ("travisci", "*"),
    ("buddy", "acme/shop/77"),
]
BAD = [
    ("github", "acme", "owner/name or owner/*"),
    ("github", "acme/shop/x", "owner/name"),
    ("github", "/shop", "owner/name"),
    ("github", "*", "owner/*"),
    ("github", "acme/**", "owner/*"),
    ("github", "acme/sh*", "owner/*"),
    ("github", " acme/shop", "space"),
    ("azuredevops", "/", "workspace_id/repo"),
    ("azuredevops", "ws/", "workspace_id/repo"),
    ("azuredevops", "ws/*", "write workspace_id or workspace_id/repo or *"),
    ("bitbucket", "shop", "workspace_id/repo or workspace_id/*"),
    ("bitbucket", "*", "workspace_id/*"),
    ("circleci", "acme/shop", "vcs/org/repo"),
    ("circleci", "gh/acme/*", "nothing can be discovered here (write each vcs/org/repo)"),
    ("jenkins", "folder/*", "write workflow_id or *"),
    ("travisci", "acme/*", "write repo_id or *"),
    ("buddy", "acme/shop", "workspace/project/workflow"),
    ("buddy", "acme/*", "nothing can be discovered here"),
]


@pytest.mark.parametrize(("integration", "entry"), GOOD)
def test_a_good_entry_has_no_fault(integration, entry):
    assert [] == Truto.faults(dict(truto(integration, repos=[entry])))


@pytest.mark.parametrize(("integration", "entry", "hint"), BAD)
def test_a_bad_entry_says_what_to_write(integration, entry, hint):
    account = dict(truto(integration, repos=[ENTRIES[integration], entry]))
    ((place, fault),) = Truto.faults(account)

    assert ("repos", 1) == place
    assert hint in fault
    assert "\n" not in fault


def test_buddy_has_jobs_by_default_and_nothing_without():
    assert truto("buddy").jobs
    assert not truto("github").jobs
    ((place, fault),) = Truto.faults(dict(truto("buddy", jobs=False)))
    assert ("jobs",) == place
    assert "nothing but jobs" in fault


def test_jenkins_may_ask_for_jobs_it_does_not_have():
    assert [] == Truto.faults(dict(truto("jenkins", jobs=True)))


@pytest.mark.parametrize(
    "keys", [{"integrated_account_id": ""}, {"integration": "gitlab"}, {"provider": "github"}]
)
def test_an_account_that_cannot_be_is_refused(keys):
    with pytest.raises(ValidationError):
        truto("github", **keys)


def test_repos_may_be_numbers():
    assert ["15022857"] == truto("travisci", repos=[15022857]).repos


def test_the_provider_label_is_the_native_providers():
    assert {
        "github": "github",
        "azuredevops": "azure_devops",
        "bitbucket": "bitbucket",
        "circleci": "circleci",
        "jenkins": "jenkins",
        "travisci": "travis",
        "buddy": "buddy",
    } == {integration: truto(integration).label for integration in INTEGRATIONS}


def test_every_integration_can_be_configured_and_the_catalogue_has_the_provider():
    assert set(INTEGRATIONS) == set(get_args(Truto.model_fields["integration"].annotation))
    assert Truto is catalogue()["truto"]
    assert "https://api.truto.one" == truto("github").root


def test_the_token_is_sent_as_bearer():
    provider = truto("github")

    assert {"Authorization": "Bearer t0k", "Accept": "application/json"} == provider.headers("t0k")
    assert {"Accept": "application/json"} == provider.headers(None)


def test_a_workspace_covers_its_repos():
    provider = truto("azuredevops")

    assert provider.covers("ws", "ws/shop")
    assert not provider.covers("ws", "ws-2/shop")
    assert not provider.covers("ws/shop", "ws")
    assert not truto("jenkins").covers("folder", "folder/shop")


def test_only_jenkins_numbers_have_no_holes():
    assert ["jenkins"] == [i for i in INTEGRATIONS if truto(i).consecutive_numbers]


def test_an_account_stays_equal_to_itself_whatever_it_remembers():
    provider = truto("bitbucket")
    detail(provider, FakeApi(), one("bitbucket", BITBUCKET))

    assert truto("bitbucket") == provider


# -- globs


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("release/*", "release/1.0", True),
        ("release/*", "release/1.0/rc", False),
        ("release/**", "release/1.0/rc", True),
        ("*", "main", True),
        ("*", "feat/x", False),
        ("**", "feat/x", True),
        ("a*c", "ac", True),
        ("main", "Main", False),
        ("main", "main2", False),
        ("a.c", "abc", False),
        ("[x]?", "[x]?", True),
        ("**/x", "a/b\n/x", True),
    ],
)
def test_a_star_stops_at_a_slash(pattern, text, expected):
    assert expected == matches(pattern, text)


# -- whatever comes


KEYS = [
    *("state", "name", "result", "target", "type", "selector", "pattern", "vcs", "tag", "branch"),
    *("actions", "causes", "_class", "lastBuiltRevision", "stage", "definition", "repository"),
    *("id", "timestamp", "duration", "building", "queueTime", "head_repository", "full_name"),
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5)
    | st.sampled_from(["completed", "passed", "in_progress", "2026-11-20T09:00:00Z", "refs/tags/v"])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["1", 2]) | ANYTHING},
        optional=dict.fromkeys(payload.Run.__struct_fields__[1:], ANYTHING),
    ),
    max_size=3,
)


@settings(max_examples=60)
@given(integration=st.sampled_from(list(INTEGRATIONS)), builds=ITEMS, jobs=ITEMS)
def test_no_payload_breaks_the_reading(integration, builds, jobs):
    provider = truto(integration, jobs=True)
    api = FakeApi(builds=listed(*builds), jobs=listed(*jobs))
    found = page(provider, api)
    for build in found.builds:
        full = detail(provider, api, build)
        assert full.status in Status
        assert (full.status is COMPLETED) or full.conclusion is None
        assert full.key


# -- against the emulator, over HTTP


NOW = 1_795_000_000.0
E2E_ENTRIES = ENTRIES | {"azuredevops": "ws/shop"}


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorThread]:
    with EmulatorThread(World(lambda: NOW, page_size=2)) as running:
        yield running


def story(integration: str) -> list[Run]:
    """Builds of every kind, the oldest first; only Jenkins' ids are its numbers."""
    form = "{{1f0e-{:02d}}}" if integration == "bitbucket" else "{}"
    kinds: list[dict[str, Any]] = [
        {},
        {"conclusion": "failed", "trigger": "cron"},
        {"conclusion": "error", "branch": "feat/x"},
        {"conclusion": "timeout", "trigger": "web"},
        {"conclusion": "cancelled", "ref": Ref.PULL_REQUEST, "trigger": "merge_request"},
        {"completed_at": None, "branch": "release/1"},
    ]
    runs = []
    for number, kind in enumerate(kinds, 1):
        created = NOW - 3600 + number * 100
        times = {"started_at": created + 10, "completed_at": created + 70} | kind
        ends = {"completed_at": times["completed_at"]}
        conclusion = kind.get("conclusion", "passed")
        jobs = (
            JobRun(
                id=f"{number}1", name="test", started_at=created + 10, conclusion=conclusion, **ends
            ),
            JobRun(id=f"{number}2", name="lint", started_at=created + 20, **ends),
        )
        fields: dict[str, Any] = {"workflow": "default", "created_at": created} | times
        runs.append(Run(id=form.format(number), number=number, jobs=jobs, **fields))
    return runs


async def read(provider: Truto, api: Api) -> list[Build]:
    """All builds of the provider's repo, with their details."""
    repo, token, found = Repo(provider.repos[0]), None, list[Build]()
    while True:
        read_page = await provider.page(api, repo, Query(since=0.0, size=30, token=token))
        assert read_page.rejected == 0
        found += [
            await provider.detail(api, repo, build, None)
            if build.partial or provider.jobs
            else build
            for build in read_page.builds
        ]
        if (token := read_page.next) is None:
            return found


def through_http(emulator: EmulatorThread, provider: Truto, what: Callable[[Api], Any]) -> Any:
    async def run() -> Any:
        api = Api(root=emulator.url, headers=lambda: provider.headers("demo"), timeout=10.0)
        try:
            return await what(api)
        finally:
            await api.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("integration", SAMPLES)
@pytest.mark.parametrize("jobs", [False, True])
def test_the_truth_comes_back(emulator, integration, jobs):
    entry = E2E_ENTRIES[integration]
    runs = story(integration)
    account = f"{integration}-{jobs}"
    emulator.world.open(account, integration, entry)
    emulator.world.add(account, entry, *runs)
    provider = truto(
        integration, integrated_account_id=account, url=emulator.url, repos=[entry], jobs=jobs
    )
    builds = through_http(emulator, provider, lambda api: read(provider, api))

    assert [run.number for run in reversed(runs)] == [build.number for build in builds]
    for run, build in zip(reversed(runs), builds, strict=True):
        ended = run.completed_at is not None
        assert (told_conclusion(integration, run) if ended else None) == build.conclusion
        assert told_trigger(integration, run) == build.trigger
        assert (run.status(NOW), run.ref, ()) == (build.status, build.ref, build.unmapped)
        assert run.completed_at == build.completed_at
        if ended or integration != "bitbucket":  # there the start is worth no request before
            assert run.started_at == build.started_at
        if run.ref is Ref.BRANCH:
            assert run.branch == build.branch
        told = {j.name: (j.started_at, j.completed_at) for j in build.jobs}
        want = {j.name: (j.started_at, j.completed_at) for j in run.jobs}
        assert (want if jobs and integration != "jenkins" else {}) == told


@pytest.mark.parametrize("integration", SAMPLES)
def test_a_build_that_ends_between_two_polls_is_refreshed(integration):
    clock = [NOW - 3550.0]
    run = story(integration)[0]
    entry = E2E_ENTRIES[integration]
    clock[0] = run.created_at + 30
    world = World(lambda: clock[0])
    world.open("acc", integration, entry)
    world.add("acc", entry, run)
    provider = truto(integration, integrated_account_id="acc", repos=[entry])

    async def play(api: Api) -> tuple[Build, Build]:
        (known,) = await read(provider, api)
        clock[0] = NOW
        return known, await provider.refresh(api, Repo(entry), known)

    with EmulatorThread(world) as emulator:
        known, ended = through_http(emulator, provider, play)

    assert (Status.IN_PROGRESS, COMPLETED) == (known.status, ended.status)
    assert (known.key, "passed", 60.0) == (ended.key, ended.conclusion, ended.duration)


def test_a_blocked_account_is_found_out(emulator):
    emulator.world.open("blocked", "github", "acme/shop", is_blocked=True)
    provider = truto("github", integrated_account_id="blocked")
    with pytest.raises(Refused, match="blocked"):
        through_http(emulator, provider, provider.health)


def test_discovery_finds_what_there_is(emulator):
    emulator.world.open("found", "bitbucket", "acme/shop", "acme/api", "acme/web", "other/x")
    provider = truto("bitbucket", integrated_account_id="found", repos=["acme/*"])
    repos = through_http(emulator, provider, lambda api: provider.discover(api, "acme/*"))

    assert ["acme/api", "acme/shop", "acme/web"] == sorted(repo.entry for repo in repos)
