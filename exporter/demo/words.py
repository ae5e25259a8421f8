"""How each CI system spells states, triggers and times, and what the unified API makes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from exporter.demo.world import Run, Timed
from exporter.model import TRIGGERS

UNIFIED_STATUSES = ("queued", "in_progress", "completed")
UNIFIED_CONCLUSIONS = ("passed", "failed", "cancelled", "timeout", "skipped", "retried", "partial")
"""The unified API's own words; everything else it passes through as it is."""


class Words:
    """Our words to native ones, and native ones to unified ones.

    Two of ours that share a native word come back as the first of them.
    """

    def __init__(self, unified: Collection[str], native: Mapping[str, str]) -> None:
        self._native = native
        self._unified: dict[str, str] = {}
        for word, spelling in native.items():
            self._unified.setdefault(spelling, word if word in unified else spelling)

    def native(self, word: str) -> str:
        """The CI system's spelling of our word."""
        return self._native.get(word, word)

    def unified(self, native: str) -> str:
        """What the unified API says for a native word."""
        return self._unified.get(native, native)

    def told(self, word: str) -> str:
        """Which of our words can be understood after `word` was said natively."""
        native = self.native(word)
        return next((ours for ours, theirs in self._native.items() if theirs == native), word)


def _statuses(**native: str) -> Words:
    return Words(UNIFIED_STATUSES, native)


def _conclusions(**native: str) -> Words:
    return Words(UNIFIED_CONCLUSIONS, native)


def _triggers(**native: str) -> Words:
    return Words(TRIGGERS, native)


STATUS: dict[str, Words] = {
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

JOB_STATUS: dict[str, Words] = {
    "azuredevops": _statuses(
        queued="pending", in_progress="inProgress", completed="completed", waiting="pending"
    ),
    # A step that waits for somebody to press its button is pending like any other.
    "bitbucket": _statuses(
        queued="PENDING", in_progress="IN_PROGRESS", completed="COMPLETED", waiting="PENDING"
    ),
}

CONCLUSION: dict[str, Words] = {
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

JOB_CONCLUSION: dict[str, Words] = {
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

TRIGGER: dict[str, Words] = {
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


def told_conclusion(integration: str, timed: Timed) -> str:
    """The conclusion that a perfect reader of the API makes of a run or job."""
    return CONCLUSION[integration].told(timed.conclusion)


def told_trigger(integration: str, run: Run) -> str:
    """The trigger that a perfect reader of the API makes of `run`."""
    return TRIGGER[integration].told(run.trigger)


def iso(instant: float | None, digits: int = 0) -> str | None:
    """ISO 8601 in UTC with `digits` of fraction, cut off like the CI systems do it."""
    if instant is None:
        return None
    width = max(digits, 6)  # below a microsecond a float of today is noise
    whole, fraction = divmod(round(instant * 10**width), 10**width)
    text = f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}"
    return f"{text}.{fraction:0{width}d}"[: len(text) + 1 + digits] + "Z" if digits else f"{text}Z"


def iso_trimmed(instant: float | None) -> str | None:
    """Azure's form: up to 7 digits of fraction, without zeros at its end."""
    text = iso(instant, 7)
    return None if text is None else text[:-1].rstrip("0").rstrip(".") + "Z"


def milliseconds(instant: float) -> int:
    """Milliseconds since the epoch, Jenkins' form."""
    return round(instant * 1000)
