"""Azure DevOps Pipelines."""

from __future__ import annotations

from exporter.model import Status
from exporter.words import Words, own, rows

WORDS = Words(
    status=rows(
        {
            Status.QUEUED: "none notStarted postponed pending",  # pending: a timeline record
            Status.IN_PROGRESS: "inProgress cancelling",
            Status.COMPLETED: "completed",
        }
    ),
    conclusion=rows(
        {
            "passed": "succeeded",
            "partial": "partiallySucceeded succeededWithIssues",
            "failed": "failed",
            "cancelled": "canceled",
            "skipped": "skipped",
            "error": "abandoned",  # the agent was lost; a status too
        }
    )
    | own("none manuallyQueued dependentOnManualQueue"),
    trigger=rows(
        {
            "push": "individualCI batchedCI",
            "merge_request": "pullRequest",
            "cron": "schedule scheduleForced",
            "web": "manual userCreated",  # queueing through the API looks alike
        }
    )
    | own("none validateShelveset checkInShelveset buildCompletion resourceTrigger triggered"),
)
"""Build REST API 7.2: BuildStatus, BuildResult, BuildReason; timeline states and results."""
