"""Maps CircleCI's pipelines, workflows and jobs to builds and jobs. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from exporter.model import MERGE_QUEUES, Actor, Build, BuildKey, Job, Ref, Status
from exporter.model.summary import earliest, filled_by, summary
from exporter.model.vocabulary import resolve_state, trigger
from exporter.payload import Id, at, moment, subject, text, whole, word
from exporter.providers import Repo, Site
from exporter.providers.circleci.vocabulary import APPS, WORDS

_INTEGRATIONS = frozenset({*APPS.split(), "decoupled ingestion system"})
_PULL = re.compile(r"pull/(\d+)(?:/.*)?")
_SHORT = {"github": "gh", "bitbucket": "bb"}
_LONG = {short: long for long, short in _SHORT.items()}
_NO_PERSON = frozenset({"scheduled", "system"})
"""Actors of scheduled pipelines that nobody is named for."""
_SETUP = "setup"
_PARAMETERS = "trigger_parameters"
_RERUN = "rerun"
"""How the tags of re-runs begin: `rerun-workflow-from-failed`, `rerun-single-job`, ..."""
PATIENCE = 600.0
"""Seconds in which a pipeline that has no workflows, or only its setup, may get some, and a
workflow whose jobs have all ended may say so itself."""
_CLOCK = 1.0
"""Seconds; some of these times have no fraction."""


def _of_apps(*values: str) -> tuple[str, ...]:
    """Where pipelines of the GitHub App and of GitLab tell a value: they have no `vcs`."""
    apps = ("github_app", "gitlab")
    return tuple(f"{_PARAMETERS}.{app}.{value}" for value in values for app in apps)


_ORIGIN = {
    "commit": ("vcs.revision", f"{_PARAMETERS}.git.checkout_sha", *_of_apps("commit_sha")),
    "title": ("vcs.commit.subject", *_of_apps("commit_title", "commit_message")),
    "triggered_by": ("trigger.actor.login", *_of_apps("user_username", "user_name")),
}
_COMMIT_AT = _of_apps("commit_timestamp")
"""Where a pipeline tells of its origin, by the field of a build; the first place counts."""


class Pipeline(msgspec.Struct, frozen=True):
    """A pipeline. Its `updated_at` never changes and equals its creation."""

    id: Id
    number: Any = None
    state: Any = None
    created_at: Any = None
    trigger: Any = None
    trigger_parameters: Any = None
    vcs: Any = None


class Workflow(msgspec.Struct, frozen=True):
    """A workflow of a pipeline."""

    id: Id
    name: Any = None
    status: Any = None
    tag: Any = None
    auto_rerun_number: Any = None
    created_at: Any = None
    stopped_at: Any = None
    started_by: Any = None
    """The id of a user, whose name is not told."""

    @property
    def is_rerun(self) -> bool:
        """Whether it is marked as a re-run of another workflow, or of a part of one."""
        return self.attempt > 1

    @property
    def attempt(self) -> int:
        """The number of the run, 2 for any re-run by hand: CircleCI does not number those."""
        tagged = (word(self.tag) or "").startswith(_RERUN)
        return max(whole(self.auto_rerun_number) or 0, int(tagged), 0) + 1


class Listed(msgspec.Struct, frozen=True):
    """A job of a workflow. `created_at` is left out: CircleCI repeats the start in it."""

    id: Id
    name: Any = None
    type: Any = None
    status: Any = None
    started_at: Any = None
    stopped_at: Any = None
    job_number: Any = None
    """Approvals have none."""


def spelled_short(slug: str) -> str:
    """A project's slug with the short name of its host: `gh/acme/shop` for `github/acme/shop`.

    Owners and repos of these hosts are the same in upper and lower case; the ids that stand
    for them elsewhere (`circleci/ORG/PROJECT`) are not.
    """
    host, _, project = slug.partition("/")
    short = _SHORT.get(host.casefold(), host.casefold())
    return f"{short}/{project.casefold() if short in _SHORT.values() else project}"


def place_of(slug: str) -> str:
    """A project's slug as addresses of pages have it: `github/acme/shop` for `gh/acme/shop`."""
    host, _, project = slug.partition("/")
    return f"{_LONG.get(host, host)}/{project}"


def to_builds(
    item: Pipeline, workflows: Sequence[Workflow], repo: Repo, site: Site
) -> tuple[Build, ...]:
    """Map each workflow of a pipeline. A pipeline that failed before any is one errored build.

    A setup workflow only prepares the configuration of those that do the work. Who began a pipeline
    is known by name; who ran a workflow again only if that is the same user.
    """
    base = to_build(item, repo, site)
    began = {text(workflow.started_by) for workflow in workflows if not workflow.is_rerun}
    builds = []
    for workflow in workflows:
        build = with_workflow(base, workflow)
        if workflow.is_rerun and text(workflow.started_by) not in began - {None}:
            build = replace(build, triggered_by=None, triggered_by_type=None)
        below = f"/workflows/{quote(workflow.id, safe='')}"
        builds.append(replace(build, url=base.url and base.url + below))
    if word(item.state) == "errored" and not any(working(workflows)):
        builds.append(replace(base, status=Status.COMPLETED, conclusion="error"))
    return tuple(builds)


def working(workflows: Sequence[Workflow]) -> Iterator[Workflow]:
    """The workflows without setup workflows and their re-runs, which carry another tag."""
    setups = {text(item.name) for item in workflows if word(item.tag) == _SETUP}
    for item in workflows:
        if word(item.tag) != _SETUP and not (item.is_rerun and text(item.name) in setups):
            yield item


def to_build(item: Pipeline, repo: Repo, site: Site) -> Build:
    """The fields that all workflows of a pipeline share, as a queued build."""
    vcs, git = item.vcs, at(item.trigger_parameters, "git")
    branch = text(at(vcs, "branch")) or text(at(git, "branch"))
    tag = text(at(vcs, "tag")) or text(at(git, "tag"))
    branch, ref = ref_of(vcs, branch, tag)
    why, unknown = trigger(WORDS, _cause(item))
    number = whole(item.number)
    return Build(
        key=BuildKey(item.id),
        repo=repo.entry,
        default_branch=repo.default_branch,
        number=number,
        branch=branch,
        ref=ref,
        trigger=why,
        status=Status.QUEUED,
        created_at=moment(item.created_at),
        url=site.page("pipelines", place_of(repo.entry), number),
        **origin({"vcs": vcs, "trigger": item.trigger, _PARAMETERS: item.trigger_parameters}),
        unmapped=unknown,
    )


def origin(pipeline: Any) -> dict[str, Any]:
    """What a pipeline was for, and who began it, as fields of a build."""
    told = {
        field: next(filter(None, (subject(at(pipeline, path)) for path in paths)), None)
        for field, paths in _ORIGIN.items()
    }
    by = told["triggered_by"]
    is_bot = by is not None and (by.lower() in _NO_PERSON or by.endswith("[bot]"))
    pull = _PULL.fullmatch(text(at(pipeline, "vcs.branch")) or "")
    return {
        **told,
        "commit_at": next(filter(None, (moment(at(pipeline, p)) for p in _COMMIT_AT)), None),
        "triggered_by_type": (Actor.BOT if is_bot else Actor.USER) if by else None,
        "pull_request": whole(at(pipeline, "vcs.review_id") if pull is None else pull[1]),
    }


def ref_of(vcs: Any, branch: str | None, tag: str | None) -> tuple[str | None, Ref]:
    """The branch or tag of a pipeline, and the kind of ref that it is.

    The branch of a fork's pull request is `pull/N`; its origin is another repository.
    """
    if branch is None and tag is not None:
        return tag, Ref.TAG
    if (branch or "").startswith(MERGE_QUEUES):
        return branch, Ref.MERGE_QUEUE
    origin, target = (text(at(vcs, f"{end}_repository_url")) for end in ("origin", "target"))
    fork = origin is not None and target is not None and origin != target
    review = text(at(vcs, "review_id")) is not None or _PULL.fullmatch(branch or "")
    return branch, Ref.PULL_REQUEST if fork or review else Ref.BRANCH


def _cause(item: Pipeline) -> str | None:
    """The trigger word of a pipeline: the event, where the type only names an integration."""
    kind = word(at(item.trigger, "type"))
    if kind is not None and kind not in _INTEGRATIONS:
        return kind
    more = at(item.trigger_parameters, "circleci")
    events = (word(at(more, name)) for name in ("event_type", "trigger_type"))
    return next((event for event in events if event in WORDS.trigger), kind)


def with_workflow(base: Build, item: Workflow) -> Build:
    """Map a workflow onto `base`, the fields of its pipeline. Its start is not known yet.

    What has stopped is over: the status of some re-runs stays `running` or `failing`.
    """
    ended = moment(item.stopped_at)
    state = resolve_state(WORDS, word(item.status), started=None, ended=ended)
    if state.status is Status.IN_PROGRESS and ended is not None:
        state = state._replace(status=Status.COMPLETED, completed_at=ended)
    completed = state.status is Status.COMPLETED
    return replace(
        base,
        key=BuildKey(item.id),
        native_id=item.id,
        workflow=text(item.name) or "",
        created_at=moment(item.created_at),
        partial=completed and state.conclusion != "skipped",
        attempt=item.attempt,
        key_per_attempt=True,
        **state._replace(unmapped=base.unmapped).fields(*state.unmapped),
    )


def with_jobs(build: Build, items: Sequence[Listed], *, now: float) -> Build:
    """Add the jobs of a workflow, and its start, end and conclusion by them."""
    jobs = tuple(to_job(item, build.url) for item in items)
    by_jobs = summary(jobs)
    over = all(job.status is Status.COMPLETED for job in jobs)
    silent = by_jobs.ended is not None and by_jobs.ended < now - PATIENCE
    if over and silent:
        build = replace(build, status=Status.COMPLETED)  # its own status may stay `running`
    build = replace(build, started_at=started(items), jobs=jobs)
    if build.status is not Status.COMPLETED:
        return build
    return filled_by(build, by_jobs._replace(started=None))


def to_job(item: Listed, workflow: str | None) -> Job:
    """Map a job. The list calls some running that have no start: they are still queued.

    `workflow` is the address of its workflow's page.
    """
    begun, ended = moment(item.started_at), moment(item.stopped_at)
    state = resolve_state(WORDS, word(item.status), started=begun, ended=ended)
    if state.status is Status.IN_PROGRESS and begun is None:
        state = state._replace(status=Status.QUEUED)
    number = whole(item.job_number)
    return Job(
        id=item.id,
        name=text(item.name) or "",
        url=None if workflow is None or number is None else f"{workflow}/jobs/{number}",
        **state.fields(),
    )


def is_carried_over(item: Listed, build: Build) -> bool:
    """Whether a job ran in an earlier workflow, of which this one runs the failed part again."""
    begun = moment(item.started_at)
    return begun is not None and build.created_at is not None and begun < build.created_at - _CLOCK


def started(items: Iterable[Listed]) -> float | None:
    """The start of the first job that is no approval; None if none has begun."""
    return earliest(moment(item.started_at) for item in items if word(item.type) != "approval")
