"""Jenkins behind the unified API: builds of one job (`workflow_id`), listed in part."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from exporter.model import Build, BuildKey, Status
from exporter.payload import at, listed, moment, text
from exporter.providers import Site
from exporter.providers import jenkins as native
from exporter.providers.truto.integration import (
    Discovery,
    Entry,
    Integration,
    Pages,
    everything,
    id_of,
    named,
)
from exporter.providers.truto.payload import Run, look
from exporter.providers.truto.vocabulary import unified

_REMOTE = {
    "number": "number",
    "status": "building",
    "conclusion": "result",
    "started_at": "timestamp",
}


def _refine(build: Build, item: Run, entry: str) -> Build:
    """Make the key, and read the raw `duration` and `actions`.

    Numbers start again when a job is made anew, so the start is part of the key; a listed
    build without one has a key that is the beginning of the final one.
    """
    if build.status is Status.COMPLETED and build.completed_at is None:
        started = moment(at(item.remote_data, "timestamp"))
        ended = native.end_of(started, at(item.remote_data, "duration"))
        build = replace(build, completed_at=ended)
    if build.conclusion == "cancelled" and _timed_out(item):
        build = replace(build, conclusion="timeout")
    # As it is spelled: the numbers 007 and 7 are two builds.
    spelled = text(look(item, "number", _REMOTE)) or build.number
    number = item.native_id if build.number is None else spelled
    states = (look(item, field, _REMOTE) for field in ("status", "conclusion", "completed_at"))
    branch, ref = native.of_checkout(native.checkouts(at(item.remote_data, "actions")))
    return replace(
        build,
        branch=branch or build.branch,
        ref=ref if branch else build.ref,
        key=BuildKey.begun(f"{entry}#{number}", build.started_at),
        key_per_attempt=True,
        workflow=entry,
        partial=build.started_at is None or all(value is None for value in states),
    )


def _timed_out(item: Run) -> bool:
    """Whether the step that limits time interrupted it; the result is ABORTED then."""
    return any(
        (text(at(cause, "_class")) or "").endswith("$ExceededTimeout")
        for action in listed(at(item.remote_data, "actions"))
        for cause in listed(at(action, "causes"))
    )


def _origin(item: Run, build: Build) -> dict[str, Any]:
    raw = item.remote_data
    changes = (at(raw, "changeSet"), *listed(at(raw, "changeSets")))
    return native.origin(at(raw, "actions"), changes, build.branch)


def _page(site: Site, build: Build, item: Run) -> str | None:
    """None but where `web_url` names the controller, of which the unified API tells nothing."""
    job = native.page_of_job(site, build.repo)
    made = None if job is None or build.number is None else f"{job}{build.number}/"
    return site.own(at(item.remote_data, "url")) or made


INTEGRATION = Integration(
    label="jenkins",
    entry=Entry("workflow_id", r".+", wildcard="*", names=native.Jenkins.name_pattern),
    words=unified(native.WORDS),
    builds=named("workflow_id"),
    remote=_REMOTE,
    refine=_refine,
    discovery=Discovery("workflow", scope=everything, entry=id_of),
    origin=_origin,
    pages=Pages(repo=native.page_of_job, build=_page),
    described="commit commit_at title triggered_by pull_request url",
)
"""Builds page: "Partial response - use the get endpoint for the full object" is about
Jenkins; no creation time, branch or repo. There are no jobs."""
