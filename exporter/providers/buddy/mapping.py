"""Maps executions and actions of Buddy to builds and jobs. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from exporter.model import Actor, Build, BuildKey, Job, Ref, Status
from exporter.model.vocabulary import resolve_state, trigger
from exporter.payload import Id, at, moment, subject, text, whole, word
from exporter.providers import Repo, Site
from exporter.providers.buddy.vocabulary import WORDS

NEVER_RAN = "initial"
"""The state of a pipeline or an action that has not run yet."""


class Envelope(msgspec.Struct, frozen=True):
    """A page of any list; the filled field depends on the resource."""

    projects: list[msgspec.Raw] | None = None
    pipelines: list[msgspec.Raw] | None = None
    executions: list[msgspec.Raw] | None = None
    total_page_count: Any = None


class Project(msgspec.Struct, frozen=True):
    """A project of a workspace."""

    name: str
    status: Any = None


class Pipeline(msgspec.Struct, frozen=True):
    """A pipeline of a project."""

    id: int | Id
    name: Any = None
    last_execution_status: Any = None
    last_execution_revision: Any = None
    label: str | None = None
    """Its `workflow` label, if that is not its name."""

    @property
    def look(self) -> tuple[str | None, str | None]:
        """Status and revision of its last execution, which change with each one."""
        return word(self.last_execution_status), text(self.last_execution_revision)


class Execution(msgspec.Struct, frozen=True):
    """An execution. Newer servers spell one key in camel case."""

    id: int | Id
    status: Any = None
    triggered_on: Any = None
    start_date: Any = None
    finish_date: Any = None
    branch: Any = None
    tag: Any = None
    pull_request: Any = None
    to_revision: Any = None
    comment: Any = None
    creator: Any = None
    html_url: Any = None
    action_executions: Sequence[msgspec.Raw] | None = None
    triggered_on_: Any = msgspec.field(name="triggeredOn", default=None)


class Action(msgspec.Struct, frozen=True):
    """The execution of an action."""

    action_execution_id: Any = None
    action: Any = None
    status: Any = None
    start_date: Any = None
    finish_date: Any = None
    html_url: Any = None


class PipelinePath(NamedTuple):
    """The parts of an entry; `pipeline` is empty for a whole project."""

    workspace: str
    project: str
    pipeline: str

    @property
    def path(self) -> str:
        """The path of the project's pipelines in the API."""
        workspace, project = (quote(part, safe="") for part in self[:2])
        return f"/workspaces/{workspace}/projects/{project}/pipelines"


def to_build(item: Execution, pipeline: Pipeline, repo: Repo, site: Site) -> Build:
    """Map an execution. The id in the address of its page is another one, so none can be made.

    `start_date` is when it was asked for: the creation of what has not begun, and for want
    of another the start of what has.
    """
    place = path_of(repo.entry)
    asked, ended = moment(item.start_date), moment(item.finish_date)
    state = resolve_state(WORDS, word(item.status), started=asked, ended=ended)
    completed = state.status is Status.COMPLETED
    begun = completed or state.status is Status.IN_PROGRESS
    why, unknown = trigger(WORDS, word(item.triggered_on) or word(item.triggered_on_))
    branch, tag = text(at(item.branch, "name")), text(at(item.tag, "name"))
    ref = Ref.PULL_REQUEST if item.pull_request else Ref.BRANCH
    if branch is None and tag is not None:
        branch, ref = tag, Ref.TAG
    by = subject(at(item.creator, "name"))
    return Build(
        key=BuildKey(f"{key_of(place, pipeline.id)}/{item.id}"),
        native_id=f"{pipeline.id}/{item.id}",
        repo=f"{place.workspace}/{place.project}",
        workflow=pipeline.label or text(pipeline.name) or "",
        branch=branch,
        ref=ref,
        default_branch=branch if at(item.branch, "default") is True else repo.default_branch,
        number=whole(item.id),
        trigger=why,
        created_at=None if begun else asked,
        changed_at=state.completed_at,
        partial=completed and ended is None and state.conclusion != "skipped",
        commit=subject(at(item.to_revision, "revision")),
        commit_at=moment(at(item.to_revision, "commit_date")),
        title=subject(at(item.to_revision, "message")) or subject(item.comment),
        triggered_by=by,
        triggered_by_type=Actor.USER if by else None,
        pull_request=whole(at(item.pull_request, "number") or at(item.pull_request, "no")),
        url=site.own(item.html_url),
        **state._replace(started_at=asked if begun else None).fields(*unknown),
    )


def to_job(item: Action, build: Build, site: Site) -> Job | None:
    """Map an action; None if the build ended before it ran."""
    status = word(item.status)
    name = text(at(item.action, "name")) or ""
    own = text(item.action_execution_id) or text(at(item.action, "id")) or name
    if not own or (status == NEVER_RAN and build.status is Status.COMPLETED):
        return None
    begun, ended = moment(item.start_date), moment(item.finish_date)
    state = resolve_state(WORDS, status, started=begun, ended=ended)
    return Job(
        # In an execution that is run again an action keeps its id, and runs once more.
        id=own,
        run=None if begun is None else int(begun),
        name=name,
        url=site.own(item.html_url),
        **state.fields(),
    )


def path_of(entry: str) -> PipelinePath:
    """Split an entry into its parts."""
    workspace, _, rest = entry.partition("/")
    project, _, pipeline = rest.partition("/")
    return PipelinePath(workspace, project, pipeline)


def key_of(place: PipelinePath, pipeline: int | str) -> str:
    """The key of a pipeline, as ids count the executions of each pipeline by itself."""
    return f"{place.workspace}/{place.project}/{pipeline}"


def asked_at(build: Build) -> float:
    """When a build was requested, epoch seconds; infinite if that is not known."""
    return build.started_at or build.created_at or float("inf")


def labels(pipelines: Sequence[Pipeline]) -> dict[str, str]:
    """The `workflow` label by id: of several pipelines of one name the oldest keeps it."""
    by_age = sorted(pipelines, key=lambda pipeline: (whole(pipeline.id) or 0, str(pipeline.id)))
    taken: set[str] = set()
    found: dict[str, str] = {}
    for pipeline in by_age:
        name = text(pipeline.name) or ""
        found[str(pipeline.id)] = f"{name} ({pipeline.id})" if name in taken else name
        taken.add(name)
    return found
