"""GitHub Actions behind the unified API: a build is one attempt of a workflow run."""

from __future__ import annotations

from msgspec.structs import replace

from exporter.model import Build, Ref, Status
from exporter.payload import at, text
from exporter.providers import github as native
from exporter.providers.truto.integration import (
    BUILD,
    Discovery,
    Entry,
    Integration,
    named,
    owned,
    owner_of,
)
from exporter.providers.truto.payload import Run
from exporter.providers.truto.words import unified


def _refine(build: Build, item: Run, entry: str) -> Build:
    """Name the workflow, tell forks, and drop a start that is none.

    A run's start is its attempt's creation, also while it is queued. So a first attempt
    whose start equals its creation says nothing of its queue: once completed its
    creation is left out, for the queue is start minus creation; before that its start.
    A run whose head repository is another one is a pull request's, whatever its event
    (a `workflow_run` after a fork's pull request); only the raw run tells.
    """
    del entry
    head = text(at(item.remote_data, "head_repository.full_name"))
    own = text(at(item.remote_data, "repository.full_name"))
    build = replace(build, workflow=text(item.name) or "")
    if head is not None and own is not None and head.lower() != own.lower():
        build = replace(build, ref=Ref.PULL_REQUEST)
    if build.attempt == 1 and build.started_at == build.created_at:
        if build.status is Status.COMPLETED:
            return replace(build, created_at=None)
        return replace(build, started_at=None)
    return build


INTEGRATION = Integration(
    label="github",
    entry=Entry("owner/name", r"[^/]+/[^/]+", wildcard="owner/*"),
    words=unified(native.WORDS),
    builds=named("owner", "repo_id"),
    jobs=named("owner", "repo_id", build=BUILD),
    job=named("owner", "repo_id"),
    bare=frozenset({"jobs"}),
    refine=_refine,
    discovery=Discovery(
        "repos",
        scope=lambda pattern: {"owner": owner_of(pattern)},
        entry=owned,
    ),
)
"""Builds page: `owner` and `repo_id`, both bare slugs, are required. Nothing is missing from
its list but whose branch it is: only the large raw run names the head repository."""
