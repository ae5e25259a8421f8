"""The words of Buddy: states of executions and actions, and what started them."""

from __future__ import annotations

from exporter.model import Status
from exporter.model.vocabulary import Words, by_word

WORDS = Words(
    status=by_word(
        {
            Status.QUEUED: "ENQUEUED INITIAL",
            Status.WAITING: "WAITING_FOR_APPLY WAITING_FOR_APPROVE WAITING_FOR_APPROVAL"
            " WAITING_FOR_VARIABLES WAITING_FOR_SETTABLE_VARIABLES WAITING_FOR_VT_SESSION",
            Status.IN_PROGRESS: "INPROGRESS TERMINATING",
        }
    ),
    conclusion=by_word(
        {
            "passed": "SUCCESSFUL",
            "failed": "FAILED",
            "cancelled": "TERMINATED",
            "skipped": "SKIPPED NOT_EXECUTED",
        }
    ),
    trigger=by_word(
        {
            "push": "EVENT ON_EVENT ON_EVERY_PUSH PUSH",
            "web": "CLICK MANUAL",
            "cron": "SCHEDULE SCHEDULED",
            "api": "API",
        }
    ),
)
"""REST API: execution and action execution `status`; `triggered_on`, before it trigger modes."""
