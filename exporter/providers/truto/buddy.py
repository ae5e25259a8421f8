"""Buddy behind the unified API: jobs of one pipeline (`workflow`), and no builds."""

from __future__ import annotations

from exporter.providers import buddy as native
from exporter.providers.truto.integration import Entry, Integration, named
from exporter.providers.truto.vocabulary import unified

INTEGRATION = Integration(
    label="buddy",
    entry=Entry("workspace/project/workflow", r"[^/]+/[^/]+/[^/]+"),
    words=unified(native.WORDS),
    jobs=named("workspace", "project repo", "workflow"),
    job=named("workspace", "project", "workflow"),
    job_remote={
        "status": "status",
        "conclusion": "status",
        "started_at": "start_date",
        "completed_at": "finish_date",
    },
)
"""Single-job page: `workspace`, `project` and `workflow` are required (the jobs list wants
the project as `repo`); no end and no conclusion. The status is the raw word."""
