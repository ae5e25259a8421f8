"""The words of Travis CI, and what its repos may be called."""

from __future__ import annotations

from exporter.model import Status
from exporter.model.vocabulary import Words, by_word

WORDS = Words(
    status=by_word(
        {
            Status.QUEUED: "created queued received",
            Status.IN_PROGRESS: "started booting",
            Status.COMPLETED: "finished",
        }
    ),
    conclusion=by_word(
        {
            "passed": "passed",
            "failed": "failed",
            "error": "errored",  # the machine, or a phase before the script
            "cancelled": "canceled",
        }
    ),
    trigger=by_word(
        {"push": "push", "merge_request": "pull_request", "cron": "cron", "api": "api"}
    ),
)
"""API v3: build and job `state`, build `event_type`."""

NAME = r"(?!\.+/)[A-Za-z0-9_.-]+/(?!\.+\Z)[A-Za-z0-9_.-]+"
"""What a repo is called, owner and all, as a regular expression."""
