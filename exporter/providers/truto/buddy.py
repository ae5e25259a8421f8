"""Buddy behind the unified API: jobs of one pipeline (`workflow`), and no builds."""

from __future__ import annotations

from exporter.model import Build
from exporter.payload import at
from exporter.providers import Site
from exporter.providers import buddy as native
from exporter.providers.truto.integration import Entry, Integration, Pages, named
from exporter.providers.truto.payload import Run
from exporter.providers.truto.vocabulary import unified


def _repo_page(site: Site, entry: str) -> str | None:
    return site.page(entry.rpartition("/")[0], "pipelines")


def _job_page(site: Site, build: Build, item: Run) -> str | None:
    del build
    return site.own(at(item.remote_data, "html_url"))


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
    pages=Pages(host="app.buddy.works", repo=_repo_page, job=_job_page),
    described="job_url",
)
"""Single-job page: `workspace`, `project` and `workflow` are required (the jobs list wants
the project as `repo`); no end and no conclusion. The status is the raw word."""
