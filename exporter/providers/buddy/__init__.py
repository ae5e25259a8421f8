"""Buddy.

A build is one execution of a pipeline, a job one action of it.

Token: the avatar, Security, Personal access tokens, +; the scopes `WORKSPACE` and
`EXECUTION_INFO`, and restricted to the workspace. A workspace can forbid its API to everybody in
its settings.

Requests: one per project and poll (for each 100 pipelines) that lists its pipelines, and one for
each pipeline whose last execution runs, or differs in status or revision from what was last
read. A pipeline that was executed again on the same revision with the same result looks
unchanged; all pipelines are read every `polling.max_interval`, so it is counted by then. With
`jobs: true` each new or unfinished build costs one more.

Limits: told in headers, and kept.

Self-hosted: on-premises at https://HOST/api; the EU region is https://api.eu.buddy.works.

Known: duration (from the request to the end: the time in the queue is part of it, as only that
start is told), trigger, jobs.

Unknown: queue; attempts (an execution that is retried goes on under its id: it is counted once, and
each further end moves the latest conclusion and counts as an anomaly); the page of an execution
whose address is not at the origin of `web_url`, as it holds another id.

Of several pipelines of one name in a project the oldest keeps it, the others are `name (id)`. A
pipeline that cannot be read is shown at its project and tried again; the others count meanwhile.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from exporter.providers import Provider, Repo, Site
from exporter.providers.buddy.mapping import (
    Action,
    Execution,
    Pipeline,
    path_of,
    to_build,
    to_job,
)
from exporter.providers.buddy.source import BuddySource
from exporter.providers.buddy.vocabulary import WORDS

__all__ = [
    "PROVIDER",
    "WORDS",
    "Action",
    "Buddy",
    "Execution",
    "Pipeline",
    "to_build",
    "to_job",
]


class Buddy(Provider):
    """Buddy, in the cloud or on-premises (url: https://HOST/api).

    An entry is a project with all its pipelines, or one pipeline by its name or id.
    """

    name_pattern: ClassVar[str] = r"[^/]+/[\w.-]+"
    entry_form = "workspace/project, workspace/project/pipeline or workspace/*"
    entry_pattern = r"[^/*]+/(?:\*|[^/*]+(?:/.+)?)"
    default_url = "https://api.buddy.works"
    root_path = "/api"
    sites: ClassVar[tuple[str, ...]] = ("buddy.works", "app.buddy.works")
    web_hosts: ClassVar[dict[str, str]] = {
        "api.buddy.works": "app.buddy.works",
        "api.eu.buddy.works": "eu.buddy.works",
        "api.asia.buddy.works": "asia.buddy.works",
    }
    rights = "the scopes `WORKSPACE` and `EXECUTION_INFO`"
    example_values: ClassVar[dict[str, Any]] = {
        "repos": ["acme/shop", "acme/site/deploy", "acme/*"]
    }

    described: ClassVar[dict[str, str]] = {
        "": "commit commit_at title triggered_by pull_request url job_url"
    }

    source = BuddySource

    provider: Literal["buddy"]

    def page_of(self, repo: Repo) -> str | None:
        """The list of the project's pipelines."""
        place = path_of(repo.entry)
        return Site(self.web_root).page(place.workspace, place.project, "pipelines")

    def is_wildcard(self, entry: str) -> bool:
        """Only a whole workspace; a pipeline's name may hold a star."""
        return entry.endswith("/*") and entry.count("/") == 1

    @property
    def reads_below(self) -> bool:
        """A project brings its pipelines."""
        return True


PROVIDER = Buddy
