"""GitHub Actions behind the unified API: a build is one attempt of a workflow run."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from exporter.model import Build, Status
from exporter.model.vocabulary import unchanged
from exporter.payload import at, text, word
from exporter.providers import Site
from exporter.providers import github as native
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
from exporter.providers.truto.payload import Run
from exporter.providers.truto.vocabulary import unified

_OF_CONTENT = unchanged(
    "push pull_request pull_request_target pull_request_review pull_request_review_comment"
    " issues issue_comment"
)
"""Events whose runs have the title of a commit, a pull request or an issue where the workflow
sets none; those of others have the workflow's name."""
_UPDATES = "dynamic/dependabot/"
_HELD = native.WORDS.awaiting
"""Conclusions of a run that is held for an approval: it then goes on as its next attempt."""


def _refine(build: Build, item: Run, entry: str) -> Build:
    """Name the workflow, tell forks and merge queues, and drop times that are none.

    A run's start is its attempt's creation, also while it is queued. So a first attempt
    whose start equals its creation says nothing of its queue: once completed its
    creation is left out, for the queue is start minus creation; before that its start.
    Its end is its last change, also when it was touched later: where that may be so, its
    jobs tell. Whose branch it is only the raw run knows.
    """
    del entry
    head = text(at(item.remote_data, "head_repository.full_name"))
    base = text(at(item.remote_data, "repository.full_name"))
    build = replace(
        build,
        goes_on_as_next=build.status is Status.WAITING and word(item.conclusion) in _HELD,
        workflow=_workflow(item),
        ref=native.ref_of(build.trigger, build.branch, head, base),
    )
    if build.status is Status.COMPLETED and not native.is_vouched(
        build.started_at, build.completed_at
    ):
        build = replace(build, completed_at=None)
    if build.attempt == 1 and build.started_at == build.created_at:
        if build.status is Status.COMPLETED:
            return replace(build, created_at=None)
        return replace(build, started_at=None)
    return build


def _workflow(item: Run) -> str:
    """The run's name, or the file's where that is a title of its own or there is none."""
    name, path = text(item.name) or "", text(at(item.remote_data, "path")) or ""
    if path and (not name or name == path.partition("@")[0] or _is_titled(item, name, path)):
        return native.file_of(path)
    return name


def _is_titled(item: Run, name: str, path: str) -> bool:
    """Whether `name` is no workflow's but this run's, as far as a run can tell."""
    if path.startswith(_UPDATES):
        return True
    if name != text(at(item.remote_data, "display_title")):
        return False
    people = (text(at(item.remote_data, f"{role}.login")) for role in ("actor", "triggering_actor"))
    return word(at(item.remote_data, "event")) in _OF_CONTENT or any(
        login is not None and login.lower() in name.lower() for login in people
    )


def _origin(item: Run, build: Build) -> dict[str, Any]:
    raw = item.remote_data
    told = msgspec.convert(raw, native.Origin) if isinstance(raw, dict) else native.Origin()
    return native.origin(told, build.branch, build.ref)


def _page(site: Site, build: Build, item: Run) -> str | None:
    own = site.own(at(item.remote_data, "html_url"))
    return own or site.page(build.repo, "actions/runs", item.native_id)


def _job_page(site: Site, build: Build, item: Run) -> str | None:
    return site.page(build.repo, "actions/runs", build.native_id, "job", item.native_id)


INTEGRATION = Integration(
    label="github",
    entry=Entry(
        "owner/name",
        r"[^/]+/[^/]+",
        wildcard="owner/*",
        identity=str.casefold,
        names=r"[A-Za-z0-9_-]+/(?!\.+\Z)[A-Za-z0-9_.-]+",
    ),
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
    origin=_origin,
    pages=Pages(
        host="github.com",
        repo=lambda site, entry: site.page(entry, "actions"),
        build=_page,
        job=_job_page,
    ),
    described="commit commit_at title triggered_by pull_request url job_url",
)
"""Builds page: `owner` and `repo_id`, both bare slugs, are required. Nothing is missing from
its list but whose branch it is: only the large raw run names the head repository."""
