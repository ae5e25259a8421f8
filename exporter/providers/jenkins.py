"""Jenkins."""

from __future__ import annotations

from exporter.model import Status
from exporter.words import Words, rows

WORDS = Words(
    status=rows(
        {
            Status.QUEUED: "queued",
            Status.WAITING: "paused paused_pending_input",  # an input step
            Status.IN_PROGRESS: "in_progress running building true",  # true: the raw `building`
            Status.COMPLETED: "finished false",
        }
    ),
    conclusion=rows(
        {
            "passed": "SUCCESS",
            "partial": "UNSTABLE",
            "failed": "FAILURE FAILED",
            "cancelled": "ABORTED",
            "skipped": "NOT_BUILT NOT_EXECUTED",
        }
    ),
    trigger=rows(
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
