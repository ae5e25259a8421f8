"""Travis CI behind the unified API."""

from __future__ import annotations

from msgspec.structs import replace

from exporter.model import Build, Job, Ref
from exporter.payload import at, moment
from exporter.providers import travis as native
from exporter.providers.truto.integration import (
    BUILD,
    Discovery,
    Entry,
    Integration,
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
)
"""Builds page: no start and no status; the raw build has both (`duration` is the sum of
its jobs'). Jobs have no conclusion: their `status` may be the raw state."""
