"""CircleCI behind the unified API: a build is a pipeline, and its jobs tell how it went."""

from __future__ import annotations

import re

from msgspec.structs import replace

from exporter.model import Build, Ref, Status
from exporter.payload import at, text
from exporter.providers import circleci as native
from exporter.providers.truto.integration import BUILD, Entry, Integration, named
from exporter.providers.truto.payload import Run
from exporter.providers.truto.words import unified


def _refine(build: Build, item: Run, entry: str) -> Build:
    """Forget what the pipeline says of its state, and read the raw `vcs`.

    The branch of a fork's pull request is `pull/N`; its origin is another repository.
    """
    del entry
    vcs = at(item.remote_data, "vcs")
    tag = text(at(vcs, "tag"))
    origin, target = (text(at(vcs, f"{end}_repository_url")) for end in ("origin", "target"))
    fork = origin is not None and target is not None and origin != target
    build = replace(
        build,
        status=Status.QUEUED,
        conclusion=None,
        started_at=None,
        completed_at=None,
        unmapped=tuple(u for u in build.unmapped if u.field == "trigger"),
        partial=True,
    )
    if build.branch is None and tag is not None:
        return replace(build, branch=tag, ref=Ref.TAG)
    if fork or re.fullmatch(r"pull/\d+", build.branch or ""):
        return replace(build, ref=Ref.PULL_REQUEST)
    return build


INTEGRATION = Integration(
    label="circleci",
    entry=Entry("vcs/org/repo", r"[^/]+/[^/]+/[^/]+"),
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
)
"""Builds page: `repo_id` is the project slug, which the single-job page calls
`project_slug`; no start and no end. Projects cannot be listed."""
