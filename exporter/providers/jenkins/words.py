"""The words of Jenkins: results, states of the stage view and Blue Ocean, causes."""

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
            " com.cloudbees.jenkins.plugins.BitBucketPushCause"
            " com.dabsquared.gitlabjenkins.cause.GitLabWebHookCause"
            " jenkins.branch.BranchEventCause jenkins.branch.BranchIndexingCause",
            "merge_request": "com.cloudbees.jenkins.GitHubPullRequestCause"
            " org.jenkinsci.plugins.ghprb.GhprbCause"
            " org.jenkinsci.plugins.github.pullrequest.GitHubPRCause"
            " com.sonyericsson.hudson.plugins.gerrit.trigger.hudsontrigger.GerritCause",
            "cron": "hudson.triggers.TimerTrigger$TimerTriggerCause"
            " org.jenkinsci.plugins.parameterizedscheduler.ParameterizedTimerTriggerCause",
            "api": "hudson.model.Cause$RemoteCause org.jenkinsci.plugins.gwt.GenericCause",
            "web": "hudson.model.Cause$UserIdCause hudson.model.Cause$UserCause",
            "upstream": "hudson.model.Cause$UpstreamCause upstream"
            " org.jenkinsci.plugins.workflow.support.steps.build.BuildUpstreamCause",
            "replay": "org.jenkinsci.plugins.workflow.cps.replay.ReplayCause replay",
            "rebuild": "com.sonyericsson.rebuild.RebuildCause rebuild",
            "restart": "org.jenkinsci.plugins.pipeline.modeldefinition.causes"
            ".RestartDeclarativePipelineCause restart",
        }
    ),
)
"""Remote access API: Result, causes; the stage view's and Blue Ocean's run states."""

PRIORITY = (
    "replay",  # these three come with the user who asked for them
    "rebuild",
    "restart",
    "merge_request",
    "push",
    "cron",
    "api",
    "web",
    "upstream",
)
"""Which of several causes is the trigger: the most telling one."""

BY_DESCRIPTION = {
    "started by an scm change": "push",
    "started by github push": "push",
    "started by timer": "cron",
    "started by remote host": "api",
    "started by user": "web",
    "started by upstream project": "upstream",
}
"""Beginnings of `shortDescription`, for controllers before 2.0, which tell no class."""
