"""The words of CircleCI: workflows, jobs, triggers and events."""

from __future__ import annotations

from exporter.model import Status
from exporter.model.vocabulary import Words, by_word, unchanged

APPS = "github_app github_oauth github gitlab bitbucket bitbucket_dc bitbucket_data_center"

WORDS = Words(
    status=by_word(
        {
            Status.QUEUED: "created queued blocked not_running scheduled",
            Status.WAITING: "on_hold",  # an approval job
            Status.IN_PROGRESS: "running failing started",
            Status.COMPLETED: "ended finished",
        }
    ),
    conclusion=by_word(
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
    | unchanged("unauthorized terminated-unknown no_tests"),
    blocked=frozenset({"blocked"}),
    trigger=by_word(
        {
            "push": f"webhook push {APPS}",
            "merge_request": "pull_request merge_request",
            "api": "api",
            "web": "explicit",
            "cron": "schedule scheduled scheduled_pipeline",
        }
    )
    | {"decoupled ingestion system": "decoupled ingestion system"},
)
"""API v2 jobs and workflows, v1.1 outcomes, v3 phases; v2 pipeline trigger types, the types and
integrations of the pipeline values, and the event types of the GitHub App's parameters."""
