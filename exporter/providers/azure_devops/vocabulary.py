"""Azure DevOps Pipelines."""

from __future__ import annotations

from exporter.model import Status
from exporter.model.vocabulary import Words, by_word, unchanged

_LATER = "manuallyQueued dependentOnManualQueue"
"""Results of stages that wait for a person to start them, and of those behind them: the build
completes without them and goes on under the same attempt when they are started."""

WORDS = Words(
    status=by_word(
        {
            Status.QUEUED: "none notStarted postponed pending",  # pending: a timeline record
            Status.IN_PROGRESS: "inProgress cancelling",
            Status.COMPLETED: "completed",
        }
    ),
    conclusion=by_word(
        {
            "passed": "succeeded",
            "partial": "partiallySucceeded succeededWithIssues",
            "failed": "failed",
            "cancelled": "canceled",
            "skipped": "skipped",
            "error": "abandoned",  # the agent was lost; a status too
        }
    )
    | unchanged(f"none {_LATER}"),
    trigger=by_word(
        {
            "push": "individualCI batchedCI",
            "merge_request": "pullRequest",
            "cron": "schedule scheduleForced",
            "web": "manual userCreated",  # queueing through the API looks alike
        }
    )
    | unchanged(
        "none validateShelveset checkInShelveset buildCompletion resourceTrigger triggered"
    ),
    awaiting=frozenset(_LATER.lower().split()),
)
"""Build REST API 7.2: BuildStatus, BuildResult, BuildReason; timeline states and results."""

RAN_OUT = frozenset({"abandoned", "canceled", "skipped"})
"""Results of an approval or another check that nobody decided in time; who rejects one makes it
`failed`."""
