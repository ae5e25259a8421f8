"""Buddy."""

from __future__ import annotations

from exporter.model import Status
from exporter.words import Words, rows

WORDS = Words(
    status=rows(
        {
            Status.QUEUED: "ENQUEUED INITIAL",
            Status.WAITING: "WAITING_FOR_APPLY WAITING_FOR_VARIABLES WAITING_FOR_SETTABLE_VARIABLES",
            Status.IN_PROGRESS: "INPROGRESS TERMINATING",
        }
    ),
    conclusion=rows(
        {
            "passed": "SUCCESSFUL",
            "failed": "FAILED",
            "cancelled": "TERMINATED",
            "skipped": "SKIPPED NOT_EXECUTED",
        }
    ),
)
"""REST API: execution and action execution `status`."""
