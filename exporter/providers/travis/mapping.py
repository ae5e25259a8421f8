"""Maps builds and jobs of Travis CI. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from exporter.model import MERGE_QUEUES, Actor, Build, BuildKey, Job, Ref, Status
from exporter.model.summary import earliest, filled_by, latest, summary
from exporter.model.vocabulary import resolve_state, trigger
from exporter.payload import Id, at, each, moment, subject, text, whole, word
from exporter.providers import Repo, Site
from exporter.providers.travis.stages import queued_by_stage
from exporter.providers.travis.vocabulary import WORDS

_FORGES = {"https://bitbucket.org/": "bitbucket", "https://gitlab.com/": "gitlab"}
"""Where the code is, as the addresses of pages have it, by how those of its commits begin."""
_FORGE = "github"
"""Where it is else."""


class BuildItem(msgspec.Struct, frozen=True):
    """A build. Its `duration` is left out: it is the sum of those of its jobs."""

    id: int | Id
    number: Any = None
    state: Any = None
    event_type: Any = None
    started_at: Any = None
    finished_at: Any = None
    updated_at: Any = None
    branch: Any = None
    tag: Any = None
    commit: Any = None
    created_by: Any = None
    pull_request_title: Any = None
    pull_request_number: Any = None
    jobs: list[msgspec.Raw] | None = None


class JobItem(msgspec.Struct, frozen=True):
    """A job. Its number is that of the build, a dot and its position."""

    id: int | Id
    number: Any = None
    state: Any = None
    stage: Any = None
    created_at: Any = None
    updated_at: Any = None
    started_at: Any = None
    finished_at: Any = None
    restarted_at: Any = None


def to_build(item: BuildItem, repo: Repo, site: Site) -> Build:
    """Map one run of a build, with its jobs.

    The jobs of an earlier run that were not restarted are left out, and of a run that
    has not started those that have ended already: none is a second time in another run.
    """
    begun, ended = moment(item.started_at), moment(item.finished_at)
    state = resolve_state(WORDS, word(item.state), started=begun, ended=ended)
    completed = state.status is Status.COMPLETED
    items = each(item.jobs or (), JobItem)[0]
    restarted = _restarted(items, ended if begun is None and completed else begun)
    place = place_of(repo.entry, item.commit)
    jobs = queued_by_stage(
        (to_job(job, site, place), job.stage) for job in items if word(job.state) is not None
    )
    if completed or begun is not None:
        since = restarted if begun is None else begun
        jobs = [job for job in jobs if not _is_earlier(job, since)]
    else:
        jobs = [job for job in jobs if job.status is not Status.COMPLETED]
    why, unknown = trigger(WORDS, word(item.event_type))
    tag = text(at(item.tag, "name")) or text(item.tag)
    branch = text(at(item.branch, "name"))
    created = earliest(moment(job.created_at) for job in items)
    updated = moment(item.updated_at)
    if completed and begun is None:
        ended = _ended(item, items) if ended is None else ended
    elif not completed and begun is None and created is None:
        created = updated  # a build that has no jobs yet, and may never have any
    build = Build(
        key=BuildKey.begun(str(item.id), _mark(item, jobs, restarted, completed=completed)),
        key_per_attempt=True,
        native_id=str(item.id),
        repo=repo.entry,
        branch=branch or tag,
        ref=_ref(branch, tag, why),
        default_branch=repo.default_branch,
        number=whole(item.number),
        attempt=1 if restarted is None else 2,
        trigger=why,
        created_at=created if restarted is None else restarted,
        changed_at=None if completed or begun is not None else updated,
        jobs=tuple(jobs),
        url=site.page(place, "builds", item.id),
        **origin(item.commit, item.created_by),
        pull_request=whole(item.pull_request_number),
        **state._replace(completed_at=ended if completed else None).fields(*unknown),
    )
    if build.title is None:
        build = replace(build, title=subject(item.pull_request_title))
    by_jobs = summary(build.jobs)._replace(conclusion=None)
    return filled_by(build, by_jobs) if completed else build


def origin(commit: Any, creator: Any) -> dict[str, Any]:
    """What was built, and who began it, as fields of a build. A cron build is the committer's."""
    login = subject(at(creator, "login"))
    is_bot = login is not None and login.endswith("[bot]")
    return {
        "commit": subject(at(commit, "sha")),
        "commit_at": moment(at(commit, "committed_at")),
        "title": subject(at(commit, "message")),
        "triggered_by": login,
        "triggered_by_type": (Actor.BOT if is_bot else Actor.USER) if login else None,
    }


def place_of(slug: str, commit: Any) -> str:
    """The path of a repo's page, which begins with where its code is."""
    address = text(at(commit, "compare_url")) or ""
    forge = next((name for begin, name in _FORGES.items() if address.startswith(begin)), _FORGE)
    return f"{forge}/{slug}"


def _ref(branch: str | None, tag: str | None, why: str) -> Ref:
    """The kind of ref. The branch of a pull request's build is the target branch."""
    if why == "merge_request":
        return Ref.PULL_REQUEST
    if tag is not None:
        return Ref.TAG
    return Ref.MERGE_QUEUE if (branch or "").startswith(MERGE_QUEUES) else Ref.BRANCH


def _mark(
    item: BuildItem, jobs: Sequence[Job], restarted: float | None, *, completed: bool
) -> float | None:
    """The start by which a run is told from other runs of its build; None for a first run.

    Of a restart without one it is what is next to it; of a first run it is nothing, so that
    the run is the one that is known of this build.
    """
    begun = moment(item.started_at)
    if begun is None and restarted is not None:
        known = (earliest(job.started_at for job in jobs), moment(item.finished_at))
        begun = next((time for time in known if completed and time is not None), restarted)
    return begun


def _ended(item: BuildItem, items: Sequence[JobItem]) -> float | None:
    """The end of a build that never began, by the end or last change of its jobs."""
    ended = latest(moment(job.finished_at) for job in items)
    changed = latest(moment(job.updated_at) for job in items)
    return earliest((changed, moment(item.updated_at))) if ended is None else ended


def to_job(item: JobItem, site: Site, place: str) -> Job:
    """Map a job in its latest run; the key of the build says which one that is.

    `place` is the path of the repo's page.
    """
    begun, ended = moment(item.started_at), moment(item.finished_at)
    state = resolve_state(WORDS, word(item.state), started=begun, ended=ended)
    number = (text(item.number) or "").rpartition(".")[2]
    again = moment(item.restarted_at)
    return Job(
        id=str(item.id),
        name=" ".join(filter(None, (text(at(item.stage, "name")), number))),
        created_at=moment(item.created_at) if again is None else again,
        url=site.page(place, "jobs", item.id),
        **state.fields(),
    )


def _restarted(items: list[JobItem], mark: float | None) -> float | None:
    """When the run that began at `mark` was ordered, if it is a restart.

    A later time belongs to a run that this answer does not show yet. Starts are cut to
    the second, so within one they count as simultaneous.
    """
    times = (moment(job.restarted_at) for job in items)
    return latest(t for t in times if t is not None and (mark is None or t < mark + 1))


def _is_earlier(job: Job, begun: float | None) -> bool:
    """Whether a job ended before its build began, so that it was not run again."""
    if begun is None or job.completed_at is None or job.started_at is None:
        return False
    return job.completed_at < begun
