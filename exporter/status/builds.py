"""The shape of `/builds.json`, which `cicd-exporter builds --format=json` prints too."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from exporter.ledger.build_log import LoggedBuild, LoggedJob
from exporter.status.document import Time
from exporter.status.report import iso

Address = Annotated[
    str | None,
    Meta(description="Its page at the provider; null unless that is of the account's web site."),
]


class JobEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job that did not pass."""

    name: str
    conclusion: str
    started_at: Time | None
    completed_at: Time | None
    url: Address


class BuildEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt of a build. What is not known is null."""

    provider: Annotated[str, Meta(description="This and the next four are labels of metrics.")]
    account: str
    repo: str
    workflow: str
    branch: Annotated[str, Meta(description="The label, as `metrics.branches` says.")]
    number: int | None
    attempt: Annotated[int, Meta(description="From 1.")]
    status: Annotated[str, Meta(description="`completed`.")]
    conclusion: str | None
    trigger: str
    commit: str | None
    title: Annotated[str | None, Meta(description="Subject of the commit, or title of the run.")]
    triggered_by: str | None
    created_at: Time | None
    started_at: Time | None
    completed_at: Time | None
    duration_seconds: Annotated[float | None, Meta(description="From its start to its end.")]
    queue_seconds: Annotated[float | None, Meta(description="From its creation to its start.")]
    url: Address
    ref: Annotated[str | None, Meta(description="Branch or tag as the provider names it.")]
    commit_at: Time | None
    triggered_by_type: Annotated[str | None, Meta(description="`user` or `bot`.")]
    pull_request: int | None
    environment: str | None
    jobs: Annotated[list[JobEntry], Meta(description="Known jobs that did not pass, at most 20.")]


class BuildsReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer of `/builds.json`. Keys may be added in any version."""

    builds: Annotated[list[BuildEntry], Meta(description="The newest first.")]
    next_cursor: Annotated[
        str | None, Meta(description="`cursor` for the builds after these; null at the end.")
    ]


def entry(build: LoggedBuild) -> BuildEntry:
    """A logged build, whose addresses have been checked."""
    return BuildEntry(
        provider=build.provider,
        account=build.account,
        repo=build.repo,
        workflow=build.workflow,
        branch=build.branch,
        number=build.number,
        attempt=build.attempt,
        status=build.status,
        conclusion=build.conclusion,
        trigger=build.trigger,
        commit=build.commit,
        title=build.title,
        triggered_by=build.triggered_by,
        created_at=_iso(build.created_at),
        started_at=_iso(build.started_at),
        completed_at=_iso(build.completed_at),
        duration_seconds=build.duration_seconds,
        queue_seconds=build.queue_seconds,
        url=build.url,
        ref=build.ref,
        commit_at=_iso(build.commit_at),
        triggered_by_type=build.triggered_by_type,
        pull_request=build.pull_request,
        environment=build.environment,
        jobs=[_job(job) for job in build.jobs],
    )


def _job(job: LoggedJob) -> JobEntry:
    return JobEntry(
        name=job.name,
        conclusion=job.conclusion,
        started_at=_iso(job.started_at),
        completed_at=_iso(job.completed_at),
        url=job.url,
    )


def _iso(at: float | None) -> str | None:
    return None if at is None else iso(at)
