"""Bitbucket Pipelines."""

from __future__ import annotations

from exporter.model import Status
from exporter.words import Words, rows

WORDS = Words(
    status=rows(
        {
            Status.QUEUED: "PARSING PENDING READY",
            Status.WAITING: "PAUSED HALTED",  # a manual step; stopped until somebody goes on
            Status.IN_PROGRESS: "IN_PROGRESS BUILDING RUNNING",
            Status.COMPLETED: "COMPLETED",
        }
    ),
    conclusion=rows(
        {
            "passed": "SUCCESSFUL PASSED",
            "failed": "FAILED",
            "error": "ERROR",  # configuration or infrastructure
            "cancelled": "STOPPED",
            "timeout": "EXPIRED",
            "skipped": "NOT_RUN",
        }
    ),
    trigger=rows(
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
