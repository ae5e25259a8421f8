"""CircleCI."""

from __future__ import annotations

from exporter.model import Status
from exporter.words import Words, own, rows

WORDS = Words(
    status=rows(
        {
            Status.QUEUED: "created queued blocked not_running scheduled",
            Status.WAITING: "on_hold",  # an approval job
            Status.IN_PROGRESS: "running failing started",
            Status.COMPLETED: "ended finished",
        }
    ),
    conclusion=rows(
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
    | own("unauthorized terminated-unknown no_tests"),
    blocked=frozenset({"blocked"}),
    trigger=rows(
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
