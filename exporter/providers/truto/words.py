"""What the native words of each CI system mean, and the reading of them.

One table a system and field. The unified API promises its own few words "or the raw
response from the API" (`status`, `conclusion` and `trigger` of the builds page), so
every system's own words are expected too. Words are compared in lower case. A
documented word without a named meaning maps to itself; a word of no table is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import msgspec

from exporter.model import CONCLUSIONS, OTHER, TRIGGERS, Status, Unmapped

T = TypeVar("T")

_QUEUED, _WAITING = Status.QUEUED, Status.WAITING
_RUNNING, _COMPLETED = Status.IN_PROGRESS, Status.COMPLETED


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """The vocabulary of one CI system, by lower-case word."""

    status: Mapping[str, Status]
    conclusion: Mapping[str, str]
    trigger: Mapping[str, str] = {}
    holds: frozenset[str] = frozenset()
    """Conclusions after which the same build goes on, once a person has acted."""
    blocked: frozenset[str] = frozenset()
    """Words for queued jobs that wait for other jobs, not for a machine."""


def _rows(table: Mapping[T, str]) -> dict[str, T]:
    """Turns `{meaning: "word word"}` into `{word: meaning}`."""
    return {word.lower(): meaning for meaning, words in table.items() for word in words.split()}


def _own(words: str) -> dict[str, str]:
    """Documented words without a named meaning: each keeps its own name."""
    return {word: word for word in words.lower().split()}


UNIFIED = Words(
    status=_rows({_QUEUED: "queued", _RUNNING: "in_progress", _COMPLETED: "completed"}),
    conclusion=_own(" ".join(word for word in CONCLUSIONS if word != "error")),
    trigger=_own(" ".join(TRIGGERS)),
)
"""The words that the builds and jobs pages name; `error` is ours, not the API's."""

GITHUB = Words(
    status=_rows(
        {
            _QUEUED: "queued requested pending",  # pending: held by a concurrency group
            _WAITING: "waiting",  # a deployment protection rule
            _RUNNING: "in_progress",
            _COMPLETED: "completed",
        }
    ),
    conclusion=_rows(
        {
            "passed": "success",
            "failed": "failure",
            "timeout": "timed_out",
            "cancelled": "cancelled",
            "skipped": "skipped",
            "error": "startup_failure",
        }
    )
    | _own("neutral stale"),
    # A completed run of a fork's pull request that somebody must approve.
    holds=frozenset({"action_required"}),
    trigger=_rows(
        {
            "push": "push",
            "merge_request": "pull_request pull_request_target pull_request_review"
            " pull_request_review_comment merge_group",
            "cron": "schedule",
            "web": "workflow_dispatch",  # the button and the API look alike
            "api": "repository_dispatch",
        }
    )
    | _own(
        "workflow_run workflow_call dynamic release create delete deployment deployment_status"
        " check_run check_suite status issues issue_comment discussion discussion_comment fork"
        " gollum label milestone page_build project project_card project_column public"
        " registry_package watch branch_protection_rule"
    ),
)
"""REST API, workflow runs and jobs; "Events that trigger workflows"."""

AZURE_DEVOPS = Words(
    status=_rows(
        {
            _QUEUED: "none notStarted postponed pending",  # pending: a timeline record
            _RUNNING: "inProgress cancelling",
            _COMPLETED: "completed",
        }
    ),
    conclusion=_rows(
        {
            "passed": "succeeded",
            "partial": "partiallySucceeded succeededWithIssues",
            "failed": "failed",
            "cancelled": "canceled",
            "skipped": "skipped",
            "error": "abandoned",  # the agent was lost; a status too
        }
    )
    | _own("none manuallyQueued dependentOnManualQueue"),
    trigger=_rows(
        {
            "push": "individualCI batchedCI",
            "merge_request": "pullRequest",
            "cron": "schedule scheduleForced",
            "web": "manual userCreated",  # queueing through the API looks alike
        }
    )
    | _own("none validateShelveset checkInShelveset buildCompletion resourceTrigger triggered"),
)
"""Build REST API 7.2: BuildStatus, BuildResult, BuildReason; timeline states and results."""

BITBUCKET = Words(
    status=_rows(
        {
            _QUEUED: "PARSING PENDING READY",
            _WAITING: "PAUSED HALTED",  # a manual step; stopped until somebody goes on
            _RUNNING: "IN_PROGRESS BUILDING RUNNING",
            _COMPLETED: "COMPLETED",
        }
    ),
    conclusion=_rows(
        {
            "passed": "SUCCESSFUL PASSED",
            "failed": "FAILED",
            "error": "ERROR",  # configuration or infrastructure
            "cancelled": "STOPPED",
            "timeout": "EXPIRED",
            "skipped": "NOT_RUN",
        }
    ),
    trigger=_rows(
        {
            "push": "PUSH pipeline_trigger_push",
            "merge_request": "PULL_REQUEST PULLREQUEST pipeline_trigger_pull_request",
            "web": "MANUAL pipeline_trigger_manual",  # runs by the API look alike
            "cron": "SCHEDULE SCHEDULED pipeline_trigger_schedule pipeline_trigger_scheduled",
            "parent_step": "PARENT_STEP pipeline_trigger_parent_step",
            "parent_pipeline": "PARENT_PIPELINE pipeline_trigger_parent_pipeline",
        }
    ),
)
"""REST API 2.0: pipeline and step states with their stages and results, trigger types."""

CIRCLECI = Words(
    status=_rows(
        {
            _QUEUED: "created queued blocked not_running scheduled",
            _WAITING: "on_hold",  # an approval job
            _RUNNING: "running failing started",
            _COMPLETED: "ended finished",
        }
    ),
    conclusion=_rows(
        {
            "passed": "success succeeded fixed",
            "failed": "failed",
            "error": "error errored infrastructure_fail",
            "timeout": "timedout",
            "cancelled": "canceled",
            "skipped": "not_run",
            "retried": "retried",
        }
    )
    | _own("unauthorized terminated-unknown no_tests"),
    blocked=frozenset({"blocked"}),
    trigger=_rows(
        {
            "push": "webhook",
            "merge_request": "pull_request",
            "api": "api",
            "web": "explicit",
            "cron": "schedule scheduled_pipeline",
        }
    ),
)
"""API v2 jobs and workflows, v1.1 outcomes, v3 phases; v2 pipeline trigger types."""

JENKINS = Words(
    status=_rows(
        {
            _QUEUED: "queued",
            _WAITING: "paused paused_pending_input",  # an input step
            _RUNNING: "in_progress running building true",  # true: the raw `building`
            _COMPLETED: "finished false",
        }
    ),
    conclusion=_rows(
        {
            "passed": "SUCCESS",
            "partial": "UNSTABLE",
            "failed": "FAILURE FAILED",
            "cancelled": "ABORTED",
            "skipped": "NOT_BUILT NOT_EXECUTED",
        }
    ),
    trigger=_rows(
        {
            "push": "hudson.triggers.SCMTrigger$SCMTriggerCause"
            " com.cloudbees.jenkins.GitHubPushCause"
            " jenkins.branch.BranchEventCause jenkins.branch.BranchIndexingCause",
            "merge_request": "com.cloudbees.jenkins.GitHubPullRequestCause"
            " org.jenkinsci.plugins.ghprb.GhprbCause"
            " org.jenkinsci.plugins.github.pullrequest.GitHubPRCause",
            "cron": "hudson.triggers.TimerTrigger$TimerTriggerCause"
            " org.jenkinsci.plugins.parameterizedscheduler.ParameterizedTimerTriggerCause",
            "api": "hudson.model.Cause$RemoteCause",
            "web": "hudson.model.Cause$UserIdCause",
            "upstream": "hudson.model.Cause$UpstreamCause upstream",
            "replay": "org.jenkinsci.plugins.workflow.cps.replay.ReplayCause replay",
            "rebuild": "com.sonyericsson.rebuild.RebuildCause rebuild",
        }
    ),
)
"""Remote access API: Result, causes; the stage view's and Blue Ocean's run states."""

TRAVIS = Words(
    status=_rows(
        {
            _QUEUED: "created queued received",
            _RUNNING: "started booting",
            _COMPLETED: "finished",
        }
    ),
    conclusion=_rows(
        {
            "passed": "passed",
            "failed": "failed",
            "error": "errored",  # the machine, or a phase before the script
            "cancelled": "canceled",
        }
    ),
    trigger=_rows({"push": "push", "merge_request": "pull_request", "cron": "cron", "api": "api"}),
)
"""API v3: build and job `state`, build `event_type`."""

BUDDY = Words(
    status=_rows(
        {
            _QUEUED: "ENQUEUED INITIAL",
            _WAITING: "WAITING_FOR_APPLY WAITING_FOR_VARIABLES WAITING_FOR_SETTABLE_VARIABLES",
            _RUNNING: "INPROGRESS TERMINATING",
        }
    ),
    conclusion=_rows(
        {
            "passed": "SUCCESSFUL",
            "failed": "FAILED",
            "cancelled": "TERMINATED",
            "skipped": "SKIPPED NOT_EXECUTED",
        }
    ),
)
"""REST API: execution and action execution `status`."""


def unified(native: Words) -> Words:
    """`native` with the unified API's own words beside it."""
    return Words(
        status={**native.status, **UNIFIED.status},
        conclusion={**native.conclusion, **UNIFIED.conclusion},
        trigger={**native.trigger, **UNIFIED.trigger},
        holds=native.holds,
        blocked=native.blocked,
    )


class Standing(NamedTuple):
    """Where a build or job stands."""

    status: Status
    conclusion: str | None
    unmapped: tuple[Unmapped, ...]


def standing(
    words: Words,
    status: str | None,
    conclusion: str | None,
    *,
    started: float | None,
    ended: float | None,
) -> Standing:
    """What a status and a conclusion word say together; either may be missing.

    A result in place of the status (Travis, Buddy) means completed. Without a status a
    conclusion or an end means completed too. An unknown status is judged by the times.
    """
    at = words.status.get(status) if status else None
    if at is None and status in words.conclusion:
        at, conclusion = _COMPLETED, conclusion or status
    if at is None and status is None and conclusion is not None:
        at = words.status.get(conclusion, _COMPLETED)
    unmapped: tuple[Unmapped, ...] = ()
    if at is None:
        unmapped = (Unmapped("status", status),) if status else ()
        at = _COMPLETED if ended is not None else _RUNNING if started is not None else _QUEUED
    if at is _COMPLETED and conclusion in words.holds:
        at = _WAITING
    if at is not _COMPLETED or conclusion is None:
        return Standing(at, None, unmapped)
    known = words.conclusion.get(conclusion)
    if known is None:
        return Standing(at, OTHER, (*unmapped, Unmapped("conclusion", conclusion)))
    return Standing(at, known, unmapped)


def trigger(words: Words, word: str | None) -> tuple[str, tuple[Unmapped, ...]]:
    """The label of a trigger word, and the word itself if no table has it."""
    if word is None:
        return OTHER, ()
    known = words.trigger.get(word)
    return (OTHER, (Unmapped("trigger", word),)) if known is None else (known, ())
