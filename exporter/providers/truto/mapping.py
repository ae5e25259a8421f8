"""Maps items of the unified API to builds and jobs. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from exporter.model import MERGE_QUEUES, OTHER, Build, BuildKey, Job, Ref, Status
from exporter.model.summary import Summary, filled_by, summary
from exporter.model.vocabulary import State, resolve_state, trigger
from exporter.payload import at, text, whole, word
from exporter.providers import Repo, Site
from exporter.providers.truto.description import described, described_by
from exporter.providers.truto.integration import Integration
from exporter.providers.truto.payload import Run, look, when

PATIENCE = 600.0
"""Seconds in which a pipeline may get its first job, or its next ones after it was set up."""
_PULL_REQUEST = ("refs/pull/", "refs/pull-requests/")
_BRANCH = ("refs/heads/", "refs/remotes/origin/")


class Jobs(NamedTuple):
    """The jobs of one build attempt."""

    all: tuple[Job, ...] = ()
    blocked: frozenset[str] = frozenset()
    """Ids of those that wait for other jobs, not for a machine."""


def to_build(how: Integration, item: Run, repo: Repo, site: Site) -> Build:
    """Map a build by its list item and the raw object in it.

    Times are taken as they are: no end while it is unfinished, no start while it is
    queued (some providers send their creation time there).
    """
    created, state = _state(how, how.remote, item)
    why, unknown = trigger(how.words, word(look(item, "trigger", how.remote)))
    branch, ref = _ref(text(look(item, "branch", how.remote)))
    build = Build(
        key=BuildKey(item.native_id),
        native_id=item.native_id,
        repo=repo.entry,
        default_branch=repo.default_branch,
        number=whole(look(item, "number", how.remote)),
        attempt=max(1, whole(look(item, "attempts", how.remote)) or 1),
        created_at=created,
        branch=branch,
        ref=ref,
        trigger=why,
        **state.fields(*unknown),
    )
    build = how.refine(build, item, repo.entry)
    if build.ref is Ref.BRANCH and build.trigger == "merge_request":
        build = replace(build, ref=Ref.PULL_REQUEST)
    build = replace(build, partial=build.partial or lacks(build))
    return described(how, item, build, site)


def to_jobs(how: Integration, items: Iterable[Run], build: Build, site: Site) -> Jobs:
    """Map the jobs of `build`, without those of other builds and of later attempts.

    A job that does not say which attempt it is of is of the build's.
    """
    jobs: dict[tuple[str, int], tuple[Run, Job]] = {}
    blocked: set[str] = set()
    for item in items:
        if (whole(item.attempts) or 1) > build.attempt or not _is_of(item, build):
            continue
        job = _to_job(how, item, build.attempt)
        job = replace(job, url=how.pages.job(site, build, item))
        jobs[job.id, job.attempt] = (item, job)
        if {word(item.status), _stage(how, item)} & how.words.blocked:
            blocked.add(job.id)
    return Jobs(tuple(how.refine_jobs(list(jobs.values()))), frozenset(blocked))


def to_loose_jobs(
    how: Integration, items: Iterable[Run], build: Build, site: Site
) -> tuple[Job, ...]:
    """Map jobs that are listed without a build; `build` takes its place."""
    return tuple(
        replace(_to_job(how, item, None), url=how.pages.job(site, build, item)) for item in items
    )


def lacks(build: Build) -> bool:
    """Whether a completed build lacks its end, its conclusion or its start.

    A skipped one needs no start: it has no duration.
    """
    if build.status is not Status.COMPLETED:
        return False
    if build.completed_at is None or build.conclusion is None:
        return True
    return build.started_at is None and build.conclusion != "skipped"


def joined(build: Build, single: Build) -> Build:
    """`build` with its gaps filled from the single build, if that is the same attempt."""
    if single.attempt != build.attempt or single.status is not Status.COMPLETED:
        return build
    by_single = Summary(single.started_at, single.completed_at, single.conclusion)
    unknown = () if build.conclusion is not None else single.unmapped
    return replace(
        filled_by(build, by_single),
        key=single.key if build.key.is_beginning_of(single.key) else build.key,
        unmapped=tuple(dict.fromkeys(build.unmapped + unknown)),
    )


def with_words_of(build: Build, jobs: Jobs) -> Build:
    """`build` with the unknown words of jobs that filled it and are not kept."""
    words = (unknown for job in jobs.all for unknown in job.unmapped)
    return replace(build, unmapped=tuple(dict.fromkeys((*build.unmapped, *words))))


def filled_by_jobs(build: Build, jobs: Jobs) -> Build:
    """A completed build with its gaps filled from its jobs."""
    return filled_by(build, _summary(build, jobs)) if lacks(build) else build


def judged_by_jobs(build: Build, jobs: Jobs, *, now: float) -> Build:
    """Derive the state of a build from its jobs: complete when it has one and all are.

    It waits when all that keeps it open is a person. A CircleCI pipeline's own state is
    `created` or `errored`, not a result, and its `updated_at` is its creation. It counts only
    where there are no jobs (`build` is then completed if that is its end), and while the
    pipeline is set up (`build` is in progress), as more jobs follow then.
    """
    by_jobs = _summary(build, jobs)
    unfinished = [job for job in jobs.all if job.status is not Status.COMPLETED]
    if not jobs.all and build.status is Status.COMPLETED:
        return build
    is_set_up = build.status is Status.IN_PROGRESS and (by_jobs.ended or now) > now - PATIENCE
    if jobs.all and not unfinished and not is_set_up:
        return replace(
            build,
            status=Status.COMPLETED,
            started_at=by_jobs.started,
            completed_at=by_jobs.ended,
            conclusion=by_jobs.conclusion,
        )
    held = {job.id for job in unfinished if job.status is Status.WAITING}
    begun = by_jobs.started is not None or any(j.status is Status.IN_PROGRESS for j in jobs.all)
    if held and all(job.id in held | jobs.blocked for job in unfinished):
        status = Status.WAITING
    else:
        status = Status.IN_PROGRESS if begun else Status.QUEUED
    return replace(
        build, status=status, started_at=by_jobs.started, completed_at=None, conclusion=None
    )


def inherited(build: Build, known: Build, entry: str) -> Build:
    """`build`, requested by itself, with the fields that only its list item has."""
    unnamed = build.branch is None and build.ref is Ref.BRANCH
    if build.attempt == known.attempt:
        build = described_by(build, known)
    return replace(
        build,
        repo=known.repo if build.repo == entry else build.repo,
        workflow=build.workflow or known.workflow,
        branch=known.branch if unnamed else build.branch,
        ref=known.ref if unnamed else build.ref,
        number=known.number if build.number is None else build.number,
        trigger=known.trigger if build.trigger == OTHER else build.trigger,
    )


def _state(how: Integration, paths: Mapping[str, str], item: Run) -> tuple[float | None, State]:
    """When a build or job was created, and where it stands."""
    created, started, ended = (
        when(item, field, paths) for field in ("created_at", "started_at", "completed_at")
    )
    state = resolve_state(
        how.words,
        word(look(item, "status", paths)),
        word(look(item, "conclusion", paths)),
        started=started,
        ended=ended,
    )
    waits = how.words.status.get(_stage(how, item) or "") is Status.WAITING
    if waits and state.status is not Status.COMPLETED:
        state = state._replace(status=Status.WAITING, started_at=started)
    return created, state


def _stage(how: Integration, item: Run) -> str | None:
    return None if how.stage is None else word(at(item.remote_data, how.stage))


def _to_job(how: Integration, item: Run, attempt: int | None) -> Job:
    created, state = _state(how, how.job_remote, item)
    own = max(1, whole(look(item, "attempts", how.job_remote)) or attempt or 1)
    return Job(
        id=item.native_id,
        name=text(look(item, "name", how.job_remote)) or "",
        attempt=own if attempt is None else min(own, attempt),
        created_at=created,
        **state.fields(),
    )


def _is_of(item: Run, build: Build) -> bool:
    named = text(item.build)
    return named is None or named.strip("{}") in (
        build.native_id.strip("{}"),
        str(build.number),
    )


def _ref(branch: str | None) -> tuple[str | None, Ref]:
    if branch is None:
        return None, Ref.BRANCH
    if branch.startswith("refs/tags/"):
        return branch.removeprefix("refs/tags/"), Ref.TAG
    if branch.startswith(_PULL_REQUEST):
        return branch, Ref.PULL_REQUEST
    for prefix in _BRANCH:
        branch = branch.removeprefix(prefix)
    return branch, Ref.MERGE_QUEUE if branch.startswith(MERGE_QUEUES) else Ref.BRANCH


def _summary(build: Build, jobs: Jobs) -> Summary:
    """The summary of the jobs of a build.

    Jobs carried over from an earlier attempt are left out if there are others.
    """
    return summary([job for job in jobs.all if job.attempt == build.attempt] or jobs.all)
