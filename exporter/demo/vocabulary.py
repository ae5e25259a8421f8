"""How each CI system names states and triggers, and what the unified API makes of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from exporter.model import TRIGGERS

UNIFIED_STATUSES = ("queued", "in_progress", "completed")
UNIFIED_CONCLUSIONS = ("passed", "failed", "cancelled", "timeout", "skipped", "retried", "partial")
"""The unified API's own words; everything else it passes through as it is."""


class Vocabulary:
    """The exporter's words to native ones, and native ones to unified ones.

    Where two of the exporter's words share a native one, the first is its unified word.
    """

    def __init__(self, unified: Collection[str], native: Mapping[str, str]) -> None:
        self.natives = native
        """Native words by the exporter's."""
        self._unified: dict[str, str] = {}
        for word, spelling in native.items():
            self._unified.setdefault(spelling, word if word in unified else spelling)

    def native(self, word: str) -> str:
        """The CI system's word for one of the exporter's."""
        return self.natives.get(word, word)

    def unified(self, native: str) -> str:
        """The unified API's word for a native one."""
        return self._unified.get(native, native)


def _statuses(**native: str) -> Vocabulary:
    return Vocabulary(UNIFIED_STATUSES, native)


def _conclusions(**native: str) -> Vocabulary:
    return Vocabulary(UNIFIED_CONCLUSIONS, native)


def _triggers(**native: str) -> Vocabulary:
    return Vocabulary(TRIGGERS, native)


STATUS: dict[str, Vocabulary] = {
    "github": _statuses(
        queued="queued", in_progress="in_progress", completed="completed", waiting="waiting"
    ),
    "azuredevops": _statuses(
        queued="notStarted", in_progress="inProgress", completed="completed", waiting="inProgress"
    ),
    # A paused pipeline is in progress; its stage says PAUSED.
    "bitbucket": _statuses(
        queued="PENDING", in_progress="IN_PROGRESS", completed="COMPLETED", waiting="IN_PROGRESS"
    ),
    "circleci": _statuses(queued="queued", in_progress="running", waiting="on_hold"),
    # It knows nothing but `building`.
    "jenkins": _statuses(
        queued="in_progress",
        in_progress="in_progress",
        completed="completed",
        waiting="in_progress",
    ),
    "travisci": _statuses(queued="created", in_progress="started", waiting="created"),
    "buddy": _statuses(queued="ENQUEUED", in_progress="INPROGRESS", waiting="WAITING_FOR_APPLY"),
}
"""Of builds; of jobs too, where `JOB_STATUS` has no row."""

JOB_STATUS: dict[str, Vocabulary] = {
    "azuredevops": _statuses(
        queued="pending", in_progress="inProgress", completed="completed", waiting="pending"
    ),
    # A step that waits for somebody to press its button is pending like any other.
    "bitbucket": _statuses(
        queued="PENDING", in_progress="IN_PROGRESS", completed="COMPLETED", waiting="PENDING"
    ),
}

CONCLUSION: dict[str, Vocabulary] = {
    "github": _conclusions(
        passed="success",
        failed="failure",
        cancelled="cancelled",
        timeout="timed_out",
        skipped="skipped",
        error="startup_failure",
    ),
    "azuredevops": _conclusions(
        passed="succeeded",
        failed="failed",
        cancelled="canceled",
        partial="partiallySucceeded",
        timeout="canceled",
        error="failed",
    ),
    "bitbucket": _conclusions(
        passed="SUCCESSFUL",
        failed="FAILED",
        cancelled="STOPPED",
        error="ERROR",
        timeout="EXPIRED",
        skipped="NOT_RUN",
    ),
    "circleci": _conclusions(
        passed="success",
        failed="failed",
        cancelled="canceled",
        skipped="not_run",
        retried="retried",
        timeout="timedout",
        error="infrastructure_fail",
    ),
    "jenkins": _conclusions(
        passed="SUCCESS",
        partial="UNSTABLE",
        failed="FAILURE",
        cancelled="ABORTED",
        skipped="NOT_BUILT",
        timeout="ABORTED",
        error="FAILURE",
    ),
    "travisci": _conclusions(
        passed="passed", failed="failed", error="errored", cancelled="canceled", timeout="errored"
    ),
    "buddy": _conclusions(
        passed="SUCCESSFUL",
        failed="FAILED",
        cancelled="TERMINATED",
        skipped="SKIPPED",
        error="FAILED",
        timeout="FAILED",
    ),
}
"""Of builds and jobs; Azure's job records have a word of their own for `partial`."""

JOB_CONCLUSION: dict[str, Vocabulary] = {
    "azuredevops": _conclusions(
        passed="succeeded",
        failed="failed",
        cancelled="canceled",
        partial="succeededWithIssues",
        skipped="skipped",
        timeout="canceled",
        error="failed",
    ),
}

TRIGGER: dict[str, Vocabulary] = {
    "github": _triggers(
        push="push",
        merge_request="pull_request",
        cron="schedule",
        web="workflow_dispatch",
        api="repository_dispatch",
    ),
    "azuredevops": _triggers(
        push="individualCI",
        merge_request="pullRequest",
        cron="schedule",
        web="manual",
        api="manual",
    ),
    # A pull request's pipeline is a push to another kind of target.
    "bitbucket": _triggers(
        push="PUSH", merge_request="PULL_REQUEST", cron="SCHEDULE", web="MANUAL", api="MANUAL"
    ),
    "circleci": _triggers(
        push="webhook", merge_request="pull_request", cron="scheduled_pipeline", web="explicit"
    ),
    "jenkins": _triggers(
        push="jenkins.branch.BranchEventCause",
        merge_request="com.cloudbees.jenkins.GitHubPullRequestCause",
        cron="hudson.triggers.TimerTrigger$TimerTriggerCause",
        web="hudson.model.Cause$UserIdCause",
        api="hudson.model.Cause$RemoteCause",
    ),
    "travisci": _triggers(
        push="push", merge_request="pull_request", cron="cron", api="api", web="api"
    ),
    "buddy": _triggers(push="EVENT", cron="SCHEDULE", web="CLICK"),
}
