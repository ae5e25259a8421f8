"""The words of GitHub Actions."""

from __future__ import annotations

from exporter.model import Status
from exporter.model.vocabulary import Words, by_word, unchanged

WORDS = Words(
    status=by_word(
        {
            Status.QUEUED: "queued requested",
            # For a deployment protection rule; for another run of its concurrency group.
            Status.WAITING: "waiting pending",
            Status.IN_PROGRESS: "in_progress",
            Status.COMPLETED: "completed",
        }
    ),
    conclusion=by_word(
        {
            "passed": "success",
            "failed": "failure",
            "timeout": "timed_out",
            "cancelled": "cancelled",
            "skipped": "skipped",
            "error": "startup_failure",
        }
    )
    | unchanged("neutral stale"),
    # A completed run of a fork's pull request that somebody must approve.
    awaiting=frozenset({"action_required"}),
    trigger=by_word(
        {
            "push": "push",
            "merge_request": "pull_request pull_request_target pull_request_review"
            " pull_request_review_comment",
            "cron": "schedule",
            "web": "workflow_dispatch",  # the button and the API look alike
            "api": "repository_dispatch",
        }
    )
    | unchanged(
        "merge_group workflow_run workflow_call dynamic release create delete"
        " deployment deployment_status check_run check_suite status"
        " issues issue_comment discussion discussion_comment fork"
        " gollum label milestone page_build project project_card project_column public"
        " registry_package watch branch_protection_rule image_version pull_request_comment"
    ),
)
"""REST API, workflow runs and jobs; "Events that trigger workflows"."""
