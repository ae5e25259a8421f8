"""Travis CI behind the unified API."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from exporter.model import Build, Job, Ref
from exporter.payload import at, moment, subject, text, whole
from exporter.providers import Site
from exporter.providers import travis as native
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


def _refine(build: Build, item: Run, entry: str) -> Build:
    """A tag's build has the raw `tag`; its branch is then the tag's name.

    A restart uses the id again, so without attempts in the answer the build goes on after its end.
    """
    del entry
    if at(item.remote_data, "tag"):
        build = replace(build, ref=Ref.TAG)
    if item.attempts in (None, ""):
        changed = moment(item.updated_at) or moment(at(item.remote_data, "updated_at"))
        build = replace(build, changed_at=changed)
    return build


def _refine_jobs(jobs: list[tuple[Run, Job]]) -> list[Job]:
    """All jobs are created with their build, but those of a later stage are not queued yet."""
    return native.queued_by_stage((job, at(item.remote_data, "stage")) for item, job in jobs)


def _origin(item: Run, build: Build) -> dict[str, Any]:
    del build
    raw = item.remote_data
    told = native.origin(at(raw, "commit"), at(raw, "created_by"))
    titles = (told["title"], item.name, at(raw, "pull_request_title"))
    return told | {
        "title": next(filter(None, map(subject, titles)), None),
        "pull_request": whole(at(raw, "pull_request_number")),
    }


def _repo_page(site: Site, slug: str, commit: Any = None) -> str | None:
    """None for a repo that only its number is known of."""
    return site.page(native.place_of(slug, commit)) if "/" in slug else None


def _page(site: Site, build: Build, item: Run) -> str | None:
    raw = item.remote_data
    names = (text(item.repo), text(at(raw, "repository.slug")), build.repo)
    slug = next((name for name in names if name is not None and "/" in name), "")
    repo = _repo_page(site, slug, at(raw, "commit"))
    return repo and f"{repo}/builds/{quote(item.native_id, safe='')}"


def _job_page(site: Site, build: Build, item: Run) -> str | None:
    del site
    repo = (build.url or "").rpartition("/builds/")[0]
    return f"{repo}/jobs/{quote(item.native_id, safe='')}" if repo else None


INTEGRATION = Integration(
    label="travis",
    entry=Entry("repo_id", r".+", wildcard="*", identity=str.casefold, names=rf"\d+|{native.NAME}"),
    words=unified(native.WORDS),
    builds=named("repo_id"),
    jobs=named("repo_id", build=BUILD),
    job=named(),
    remote={
        "branch": "branch.name",
        "status": "state",
        "conclusion": "state",
        "trigger": "event_type",
        "started_at": "started_at",
        "completed_at": "finished_at",
    },
    job_remote={
        "conclusion": "state",
        "created_at": "created_at",
        "started_at": "started_at",
        "completed_at": "finished_at",
    },
    refine=_refine,
    refine_jobs=_refine_jobs,
    discovery=Discovery("repos", scope=everything, entry=id_of),
    origin=_origin,
    pages=Pages(host="app.travis-ci.com", repo=_repo_page, build=_page, job=_job_page),
    described="commit commit_at title triggered_by pull_request url job_url",
)
"""Builds page: no start and no status; the raw build has both (`duration` is the sum of
its jobs'). Jobs have no conclusion: their `status` may be the raw state."""
