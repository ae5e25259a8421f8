"""Azure DevOps Pipelines behind the unified API: builds of one project (`workspace_id`)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from exporter.model import MERGE_QUEUES, Build, BuildKey, Ref, Status
from exporter.payload import at, moment, subject, text
from exporter.providers import Site
from exporter.providers import azure_devops as native
from exporter.providers.truto.integration import (
    BUILD,
    Discovery,
    Entry,
    Integration,
    Pages,
    everything,
    id_of,
    named,
)
from exporter.providers.truto.payload import Run
from exporter.providers.truto.vocabulary import unified

_HOST = "dev.azure.com"


def _refine(build: Build, item: Run, entry: str) -> Build:
    """Build ids are unique in an organization; the repo is the build's own.

    A build whose stages are run again goes on under its id, and the answer has no attempts.
    """
    workspace, _, wanted = entry.partition("/")
    repo = next(iter(_repos(item)), wanted)
    is_queued = build.ref is Ref.BRANCH and (build.branch or "").startswith(MERGE_QUEUES)
    is_over = build.status is Status.COMPLETED
    touched = moment(at(item.remote_data, "lastChangedDate"))
    return replace(
        build,
        ref=Ref.MERGE_QUEUE if is_queued else build.ref,
        changed_at=build.completed_at if is_over else touched,
        key=BuildKey(f"{workspace}/{item.native_id}"),
        repo=f"{workspace}/{repo}" if repo else workspace,
        workflow=text(at(item.remote_data, "definition.name")) or "",
    )


def _belongs(item: Run, entry: str) -> bool:
    """The list's `repo` is only a hint to the API; names are the same in any case."""
    wanted = entry.partition("/")[2].casefold()
    own = {repo.casefold() for repo in _repos(item)}
    return not wanted or not own or wanted in own


def _repos(item: Run) -> list[str]:
    names = (
        item.repo,
        at(item.remote_data, "repository.name"),
        at(item.remote_data, "repository.id"),
    )
    return [name for name in map(text, names) if name is not None]


def _origin(item: Run, build: Build) -> dict[str, Any]:
    raw = item.remote_data
    known = native.origin(at(raw, "requestedFor"), at(raw, "triggerInfo"), build.branch)
    return {**known, "commit": subject(at(raw, "sourceVersion"))}


def _page(site: Site, build: Build, item: Run) -> str | None:
    """By the raw object, which alone names the organization where the site's root does not."""
    links = site.own(at(item.remote_data, "_links.web.href"))
    below, is_api, _ = (text(at(item.remote_data, "url")) or "").partition("/_apis/")
    query = f"buildId={quote(item.native_id, safe='')}"
    made = site.own(f"{below}/_build/results?{query}") if is_api else None
    return links or made or _in_project(site, build.repo, "_build/results", query=query)


def _job_page(site: Site, build: Build, item: Run) -> str | None:
    del site
    return native.job_page(build, item.native_id)


def _in_project(site: Site, entry: str, page: str, *, query: str = "") -> str | None:
    is_known = site.root != f"https://{_HOST}"  # else the organization is missing
    return site.page(entry.partition("/")[0], page, query=query) if is_known else None


INTEGRATION = Integration(
    label="azure_devops",
    entry=Entry(
        "workspace_id or workspace_id/repo",
        r"[^/]+(/.*[^/])?",
        wildcard="*",
        nested=True,
        identity=str.casefold,
        names=r"(?!\.+\Z)[^/\\\x00-\x1f\x7f\ud800-\udfff]{1,1000}",
    ),
    words=unified(native.WORDS),
    builds=named("workspace_id", "repo"),
    jobs=named("workspace_id", "repo", build=BUILD),
    remote={
        "branch": "sourceBranch",
        "status": "status",
        "conclusion": "result",
        "trigger": "reason",
        "created_at": "queueTime",
        "started_at": "startTime",
        "completed_at": "finishTime",
    },
    job_remote={
        "status": "state",
        "conclusion": "result",
        "started_at": "startTime",
        "completed_at": "finishTime",
    },
    in_order=False,
    refine=_refine,
    belongs=_belongs,
    discovery=Discovery("workspaces", scope=everything, entry=id_of),
    origin=_origin,
    pages=Pages(
        host=_HOST,
        repo=lambda site, entry: _in_project(site, entry, "_build"),
        build=_page,
        job=_job_page,
    ),
    described="commit title triggered_by pull_request url job_url",
)
"""Builds page: `workspace_id` is required, `repo` supported; there is no `created_at` and
no workflow. Jobs are only listed, and the fields of that list are documented nowhere."""
