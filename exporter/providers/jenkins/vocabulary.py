"""The words of Jenkins: results, states of the stage view and Blue Ocean, causes."""

from __future__ import annotations

from exporter.model import OTHER, Status
from exporter.model.vocabulary import Words, by_word

_GERRIT = "com.sonyericsson.hudson.plugins.gerrit.trigger.hudsontrigger"
_PPR = "io.jenkins.plugins.bitbucketpushandpullrequest.cause"
_PPR_CHANGES = {
    "cloud.BitBucketPPRPullRequest": "Approved CommentCreated CommentDeleted CommentUpdated Created"
    " Declined Merged Updated",
    "server.BitBucketPPRPullRequestServer": "Approved CommentCreated Created Declined Merged"
    " SourceUpdated Updated",
}

WORDS = Words(
    status=by_word(
        {
            Status.QUEUED: "queued",
            Status.WAITING: "paused paused_pending_input",  # an input step
            Status.IN_PROGRESS: "in_progress running building true",  # true: the raw `building`
            Status.COMPLETED: "finished false",
        }
    ),
    conclusion=by_word(
        {
            "passed": "SUCCESS",
            "partial": "UNSTABLE",
            "failed": "FAILURE FAILED",
            "cancelled": "ABORTED",
            "skipped": "NOT_BUILT NOT_EXECUTED",
        }
    ),
    trigger=by_word(
        {
            "push": "hudson.triggers.SCMTrigger$SCMTriggerCause"
            " hudson.plugins.git.GitStatus$CommitHookCause"
            " com.cloudbees.jenkins.GitHubPushCause"
            " com.cloudbees.jenkins.plugins.BitBucketPushCause"
            " com.dabsquared.gitlabjenkins.GitLabPushCause"
            " com.dabsquared.gitlabjenkins.cause.GitLabWebHookCause"
            " io.jenkins.plugins.gitlabbranchsource.GitLabWebHookCause"
            " com.atlassian.bitbucket.jenkins.internal.trigger.BitbucketWebhookTriggerCause"
            f" {_PPR}.repository.BitBucketPPRRepositoryCause"
            f" {_PPR}.repository.BitBucketPPRServerRepositoryCause"
            " com.github.kostyasha.github.integration.branch.GitHubBranchCause"
            " com.github.kostyasha.github.integration.tag.GitHubTagCause"
            " hudson.plugins.tfs.TeamPushCause hudson.plugins.tfs.TeamHookCause"
            " org.jenkinsci.plugins.gitbucket.GitBucketPushTrigger$GitBucketPushCause"
            " org.jenkinsci.plugins.gogs.GogsCause"
            " org.jetbrains.space.jenkins.trigger.SpaceWebhookTriggerCause"
            " jenkins.branch.BranchEventCause jenkins.branch.BranchIndexingCause",
            "merge_request": "com.cloudbees.jenkins.GitHubPullRequestCause"
            " org.jenkinsci.plugins.ghprb.GhprbCause"
            " org.jenkinsci.plugins.github.pullrequest.GitHubPRCause"
            " com.adobe.jenkins.github_pr_comment_build.GitHubPullRequestCommentCause"
            " com.adobe.jenkins.github_pr_comment_build.GitHubPullRequestReviewCause"
            " com.adobe.jenkins.github_pr_comment_build.GitHubPullRequestLabelCause"
            " com.adobe.jenkins.github_pr_comment_build.GitHubPullRequestUpdateCause"
            " org.jenkinsci.plugins.pipeline.github.trigger.IssueCommentCause"
            " com.dabsquared.gitlabjenkins.GitLabMergeCause"
            " io.jenkins.plugins.gitlabbranchsource.GitLabMergeRequestCommentCause"
            " bitbucketpullrequestbuilder.bitbucketpullrequestbuilder.BitbucketCause"
            " stashpullrequestbuilder.stashpullrequestbuilder.StashCause"
            " org.jenkinsci.plugins.bbprb.BitbucketCause"
            f" {_GERRIT}.GerritCause {_GERRIT}.GerritManualCause {_GERRIT}.GerritUserCause "
            + " ".join(
                f"{_PPR}.pullrequest.{place}{event}Cause"
                for place, events in _PPR_CHANGES.items()
                for event in events.split()
            ),
            "cron": "hudson.triggers.TimerTrigger$TimerTriggerCause"
            " org.jenkinsci.plugins.parameterizedscheduler.ParameterizedTimerTriggerCause",
            "api": "hudson.model.Cause$RemoteCause org.jenkinsci.plugins.gwt.GenericCause"
            " hudson.cli.BuildCommand$CLICause"
            " org.jenkinsci.plugins.rabbitmqbuildtrigger.RemoteBuildCause"
            " org.jenkinsci.plugins.rundeck.RundeckCause"
            " org.jenkinsci.plugins.registry.notification.webhook.dockerhub.DockerHubWebHookCause"
            " org.jenkinsci.plugins.registry.notification.webhook.dockerregistry"
            ".DockerRegistryWebHookCause",
            "web": "hudson.model.Cause$UserIdCause hudson.model.Cause$UserCause"
            " org.jenkinsci.plugins.schedulebuild.ScheduledBuildCause",
            "upstream": "hudson.model.Cause$UpstreamCause upstream"
            " hudson.model.Cause$UpstreamCause$DeeplyNestedUpstreamCause"
            " org.jenkinsci.plugins.workflow.support.steps.build.BuildUpstreamCause"
            " org.jvnet.jenkins.plugins.nodelabelparameter.NextLabelCause",
            "replay": "org.jenkinsci.plugins.workflow.cps.replay.ReplayCause replay",
            "rebuild": "com.sonyericsson.rebuild.RebuildCause rebuild"
            " com.chikli.hudson.plugin.naginator.NaginatorCause",
            "restart": "org.jenkinsci.plugins.pipeline.modeldefinition.causes"
            ".RestartDeclarativePipelineCause restart",
            "startup": "org.jvnet.hudson.plugins.triggers.startup.HudsonStartupCause",
            "xtrigger": "org.jenkinsci.lib.xtrigger.XTriggerCause",
            OTHER: "hudson.model.Cause$LegacyCodeCause",  # says that nobody knows the cause
        }
    ),
)
"""Remote access API: Result, and the causes of the core and of common plugins; the stage view's
and Blue Ocean's run states."""

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
    "startup",
    "xtrigger",
    OTHER,
)
"""Which of several causes is the trigger: the most telling one."""

BY_DESCRIPTION = {
    "started by an scm change": "push",
    "started by github push": "push",
    "started by timer": "cron",
    "started by remote host": "api",
    "started by user": "web",
    "started by upstream project": "upstream",
    "started by command line": "api",
    "commit notification": "push",
    "started by gitlab push": "push",
    "branch indexing": "push",
    "push event to branch": "push",
}
"""Beginnings of `shortDescription`, for controllers before 2.0, which tell no class."""
