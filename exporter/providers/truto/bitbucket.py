"""Bitbucket Pipelines behind the unified API."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from exporter.model import Build, BuildKey, Ref
from exporter.payload import at, text, word
from exporter.providers import Site
from exporter.providers import bitbucket as native
from exporter.providers.truto.integration import (
    BUILD,
    Discovery,
    Entry,
    Integration,
    Pages,
    named,
    owned,
    owner_of,
)
from exporter.providers.truto.payload import Run, look
from exporter.providers.truto.vocabulary import unified


def _refine(build: Build, item: Run, entry: str) -> Build:
    """Read the raw `target`: which part of the file ran, and for what kind of ref."""
    del entry
    target = at(item.remote_data, "target")
    build = replace(build, key=_key(item.native_id), workflow=native.selected(target))
    if look(item, "attempts", INTEGRATION.remote) is None:
        # Where its runs are not numbered, a pipeline that runs again ends once more.
        build = replace(build, changed_at=build.completed_at)
    if native.is_pull_request(target):
        source = build.branch or text(at(target, "source"))
        return replace(build, ref=Ref.PULL_REQUEST, branch=source)
    if word(at(target, "ref_type")) in ("tag", "annotated_tag"):
        return replace(build, ref=Ref.TAG)
    return build


def _key(uuid: str) -> BuildKey:
    """The key of a pipeline, the same for an id with braces and without them."""
    return BuildKey(f"{{{uuid.strip('{}')}}}")


def _origin(item: Run, build: Build) -> dict[str, Any]:
    del build
    return native.origin(at(item.remote_data, "target"), at(item.remote_data, "creator"))


def _page(site: Site, build: Build, item: Run) -> str | None:
    del item
    return native.results(site, build.repo, build.number)


def _job_page(site: Site, build: Build, item: Run) -> str | None:
    step = f"{{{item.native_id.strip('{}')}}}"
    return native.results(site, build.repo, build.number, "steps", step)


INTEGRATION = Integration(
    label="bitbucket",
    entry=Entry(
        "workspace_id/repo",
        r"[^/]+/[^/]+",
        wildcard="workspace_id/*",
        identity=str.casefold,
        names=r"[^/\s]+/(?:(?!\.+\Z)[A-Za-z0-9_.-]+|\{[0-9A-Fa-f-]+\})",
    ),
    words=unified(native.WORDS),
    builds=named("workspace_id", "repo"),
    jobs=named("workspace_id", "repo", build=BUILD),
    job=named("workspace_id", "repo", build=("build",)),
    remote={
        "number": "build_number",
        "attempts": "run_number",
        "branch": "target.ref_name",
        "status": "state.name",
        "conclusion": "state.result.name",
        "trigger": "trigger.name",
        "created_at": "created_on",
        "completed_at": "completed_on",
    },
    job_remote={
        "attempts": "run_number",
        "status": "state.name",
        "conclusion": "state.result.name",
        "started_at": "started_on",
        "completed_at": "completed_on",
    },
    stage="state.stage.name",
    refine=_refine,
    discovery=Discovery(
        "repos",
        scope=lambda pattern: {"workspace_id": owner_of(pattern)},
        entry=owned,
    ),
    origin=_origin,
    pages=Pages(
        host="bitbucket.org",
        repo=lambda site, entry: site.page(native.braced(entry), "pipelines"),
        build=_page,
        job=_job_page,
    ),
    described="commit title triggered_by pull_request url job_url",
)
"""Builds page: no start, end or conclusion. The raw pipeline has the last two; the start
is its first step's (`duration_in_seconds` is not the time between them)."""
