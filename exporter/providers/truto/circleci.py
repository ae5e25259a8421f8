"""CircleCI behind the unified API: a build is a pipeline, and its jobs tell how it went."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from exporter.model import Build, Job, Ref, Status
from exporter.payload import at, subject, text, whole, word
from exporter.providers import Site
from exporter.providers import circleci as native
from exporter.providers.truto.integration import BUILD, Entry, Integration, Pages, named
from exporter.providers.truto.payload import Run
from exporter.providers.truto.vocabulary import unified

_ERRORED = "errored"
_SETTING_UP = frozenset({"pending", "setup", "setup-pending"})


def _refine(build: Build, item: Run, entry: str) -> Build:
    """Read the raw `vcs`, and of the state only what no job tells.

    That is an error in the configuration, and that the pipeline is still set up. Either may be
    in place of the result.
    """
    del entry
    states = {word(at(item.remote_data, "state")), word(item.status), word(item.conclusion)}
    status = Status.IN_PROGRESS if states & _SETTING_UP else Status.QUEUED
    status = Status.COMPLETED if _ERRORED in states else status
    vcs = at(item.remote_data, "vcs")
    branch, ref = native.ref_of(vcs, build.branch, text(at(vcs, "tag")))
    return replace(
        build,
        branch=branch,
        ref=build.ref if ref is Ref.BRANCH else ref,
        status=status,
        conclusion="error" if status is Status.COMPLETED else None,
        started_at=None,
        completed_at=None,
        unmapped=tuple(u for u in build.unmapped if u.field == "trigger"),
        partial=True,
    )


def _refine_jobs(jobs: list[tuple[Run, Job]]) -> list[Job]:
    """The creation time that the list tells of a job is its start again."""
    return [
        replace(job, created_at=None) if job.created_at == job.started_at else job
        for _, job in jobs
    ]


def _origin(item: Run, build: Build) -> dict[str, Any]:
    del build
    raw = item.remote_data
    known = native.origin(raw)
    return {**known, "title": known["title"] or subject(item.name)}


def _page(site: Site, build: Build, item: Run) -> str | None:
    del item
    return site.page("pipelines", native.place_of(build.repo), build.number)


def _job_page(site: Site, build: Build, item: Run) -> str | None:
    number = whole(at(item.remote_data, "job_number"))
    return site.page("jobs", native.place_of(build.repo), number)


INTEGRATION = Integration(
    label="circleci",
    entry=Entry("vcs/org/repo", r"[^/]+/[^/]+/[^/]+", identity=native.spelled_short),
    words=unified(native.WORDS),
    builds=named("repo_id"),
    jobs=named("project_slug repo_id", build=BUILD),
    job=named("project_slug"),
    remote={
        "number": "number",
        "branch": "vcs.branch",
        "trigger": "trigger.type",
        "created_at": "created_at",
    },
    job_remote={
        "status": "status",
        "started_at": "started_at",
        "completed_at": "stopped_at",
    },
    stage="status",
    judged_by_jobs=True,
    refine=_refine,
    refine_jobs=_refine_jobs,
    origin=_origin,
    pages=Pages(
        host="app.circleci.com",
        repo=lambda site, entry: site.page("pipelines", native.place_of(entry)),
        build=_page,
        job=_job_page,
    ),
    described="commit title triggered_by pull_request url job_url",
)
"""Builds page: `repo_id` is the project slug, which the single-job page calls
`project_slug`; no start and no end. Projects cannot be listed."""
