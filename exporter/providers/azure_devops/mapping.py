"""Maps listed builds of Azure DevOps. No I/O."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from exporter.model import MERGE_QUEUES, Actor, Build, BuildKey, Ref, Status
from exporter.model.vocabulary import resolve_state, trigger
from exporter.payload import at, moment, subject, text, whole, word
from exporter.providers import Site
from exporter.providers.azure_devops.names import Definition, Names
from exporter.providers.azure_devops.vocabulary import WORDS

_QUEUE = f"refs/heads/{MERGE_QUEUES}"
"""The prefix of the branches of GitHub's merge queue."""
_PULL, _TAG, _HEAD = "refs/pull/", "refs/tags/", "refs/heads/"
_NUMBER = re.compile(r"refs/pull/(\d+)/")
_SERVICE = re.compile(r"Microsoft\.VisualStudio\.Services\.|.* Build Service(?: \(|\Z)|.*\[bot\]\Z")
"""How the names of Azure's own accounts begin, which begin builds in place of a person."""
_SERVICES = ("svc.", "s2s.")
"""How the descriptors of services begin; an App of GitHub is one."""
PROJECT = (
    r"(?![_.\s])[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
    r"/:\\~&%;@'\"?<>|#$*}{,+=\[\]]{1,64}(?<![.\s])"
)
"""Names that Microsoft allows for projects, with spaces and letters of any language."""


class ProjectPath(NamedTuple):
    """The parts of an entry; `repository` is empty for a whole project."""

    organization: str
    project: str
    repository: str

    @classmethod
    def of(cls, entry: str) -> ProjectPath:
        """Split an entry, which may be percent-encoded as in a web address (`my%20tools`).

        A GitHub repository's name has a slash in it. No name has a percent sign.
        """
        organization, project, repository = (*map(unquote, entry.split("/", 2)), "")[:3]
        return cls(organization, project, repository)


class Run(msgspec.Struct, frozen=True, rename="camel"):
    """A listed build. Only its timeline shows the attempt."""

    id: int
    status: Any = None
    result: Any = None
    reason: Any = None
    source_branch: Any = None
    queue_time: Any = None
    start_time: Any = None
    finish_time: Any = None
    last_changed_date: Any = None
    definition: Any = None
    repository: Any = None
    deleted: Any = None
    source_version: Any = None
    trigger_info: Any = None
    requested_for: Any = None
    links: Any = msgspec.field(name="_links", default=None)

    @property
    def pipeline(self) -> Definition:
        """Its pipeline; fields of another shape are left empty."""
        return Definition(
            id=whole(at(self.definition, "id")) or 0,
            name=text(at(self.definition, "name")) or "",
            path=text(at(self.definition, "path")) or "",
        )


def to_build(run: Run, place: ProjectPath, names: Names, site: Site) -> Build:
    """Map a listed build as its first attempt."""
    started, finished = moment(run.start_time), moment(run.finish_time)
    state = resolve_state(
        WORDS, word(run.status), word(run.result), started=started, ended=finished
    )
    why, unmapped = trigger(WORDS, word(run.reason))
    source = text(run.source_branch)
    branch, ref = _branch(source, why)
    is_over = state.status is Status.COMPLETED
    repository = place.repository or next(map(names.repository, repositories(run)), "")
    default = text(at(run.repository, "defaultBranch"))
    return Build(
        key=BuildKey(f"{place.organization.casefold()}/{run.id}"),
        native_id=str(run.id),
        number=whole(run.id),
        repo="/".join(filter(None, (place.organization, place.project, repository))),
        workflow=names.pipeline(run.pipeline),
        branch=branch,
        ref=ref,
        default_branch=default and default.removeprefix(_HEAD),
        trigger=why,
        created_at=moment(run.queue_time),
        # A completed build is touched by tags and retention too, without having gone on.
        changed_at=finished if is_over else moment(run.last_changed_date),
        commit=subject(run.source_version),
        **origin(run.requested_for, run.trigger_info, source),
        url=site.own(at(run.links, "web.href")) or results(site, place, run.id),
        **state.fields(*unmapped),
    )


def origin(requested_for: Any, trigger_info: Any, source: str | None) -> dict[str, Any]:
    """What a build was for, and who began it, as fields of a build.

    `source` is the full name of its ref. Where a service asked for the build of a pull request it
    is the person's who sent that.
    """
    told = trigger_info if isinstance(trigger_info, dict) else {}
    by, kind = _actor(requested_for)
    sender = subject(told.get("pr.sender.name"))
    if sender is not None and kind is not Actor.USER:
        by, kind = sender, Actor.BOT if _SERVICE.match(sender) else Actor.USER
    queued = _NUMBER.match(source or "")
    return {
        "title": subject(told.get("ci.message")) or subject(told.get("pr.title")),
        "triggered_by": by,
        "triggered_by_type": kind,
        "pull_request": whole(told.get("pr.number")) or (whole(queued[1]) if queued else None),
    }


def _actor(person: Any) -> tuple[str | None, Actor | None]:
    by = subject(at(person, "displayName"))
    if by is None:
        return None, None
    described = text(at(person, "descriptor")) or ""
    is_service = _SERVICE.match(by) is not None or described.startswith(_SERVICES)
    return by, Actor.BOT if is_service else Actor.USER


def results(site: Site, place: ProjectPath, number: int) -> str | None:
    """The address of the page of a build."""
    return site.page(place.organization, place.project, "_build/results", query=f"buildId={number}")


def _branch(name: str | None, why: str) -> tuple[str | None, Ref]:
    if name is None:
        return None, Ref.PULL_REQUEST if why == "merge_request" else Ref.BRANCH
    if name.startswith(_TAG):
        return name.removeprefix(_TAG), Ref.TAG
    if name.startswith(_QUEUE):
        return name.removeprefix(_HEAD), Ref.MERGE_QUEUE
    if name.startswith(_PULL) or why == "merge_request":
        return name.removeprefix(_PULL).removeprefix(_HEAD), Ref.PULL_REQUEST
    return name.removeprefix(_HEAD), Ref.BRANCH


def repositories(run: Run) -> list[str]:
    """The names of a build's repository; GitHub's are its id."""
    names = (text(at(run.repository, "name")), text(at(run.repository, "id")))
    return [name for name in names if name is not None]


def belongs(run: Run, place: ProjectPath) -> bool:
    """Whether a build of the project is of the entry's repository, in any case of letters."""
    names = {name.casefold() for name in repositories(run)}
    return not place.repository or place.repository.casefold() in names
