"""Buddy.

A build is one execution of a pipeline, a job one action of it.

Token: the avatar, Security, Personal access tokens, +; the scopes `WORKSPACE` and
`EXECUTION_INFO`, and restricted to the workspace. A workspace can forbid its API to everybody in
its settings.

Requests: one per project and poll (for each 100 pipelines) that lists its pipelines, and one for
each pipeline whose last execution runs, or differs in status or revision from what was last
read. A pipeline that was executed again on the same revision with the same result looks
unchanged; all pipelines are read every `polling.max_interval`, so it is counted by then. With
`jobs: true` each new or unfinished build costs one more.

Limits: told in headers, and kept.

Self-hosted: on-premises at https://HOST/api; the EU region is https://api.eu.buddy.works.

Known: duration (from the request to the end: the time in the queue is part of it, as only that
start is told), trigger, jobs.

Unknown: queue; attempts (an execution that is retried goes on under its id and is counted as it
first ended).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import Gone, Malformed, Refused
from exporter.http import Api
from exporter.model import Build, Job, Ref, Status
from exporter.payload import Id, at, each, moment, reached, text, whole, word
from exporter.providers import Incidental, Page, Provider, Query, Repo, together
from exporter.words import Words, rows, standing, trigger

T = TypeVar("T")

WORDS = Words(
    status=rows(
        {
            Status.QUEUED: "ENQUEUED INITIAL",
            Status.WAITING: "WAITING_FOR_APPLY WAITING_FOR_VARIABLES WAITING_FOR_SETTABLE_VARIABLES"
            " WAITING_FOR_VT_SESSION",
            Status.IN_PROGRESS: "INPROGRESS TERMINATING",
        }
    ),
    conclusion=rows(
        {
            "passed": "SUCCESSFUL",
            "failed": "FAILED",
            "cancelled": "TERMINATED",
            "skipped": "SKIPPED NOT_EXECUTED",
        }
    ),
    trigger=rows(
        {
            "push": "EVENT ON_EVENT ON_EVERY_PUSH PUSH",
            "web": "CLICK MANUAL",
            "cron": "SCHEDULE SCHEDULED",
            "api": "API",
        }
    ),
)
"""REST API: execution and action execution `status`; `triggered_on`, before it trigger modes."""

_TOKEN = re.compile(r"([1-9]\d{0,8})x([1-9]\d{0,2}):([^:,/]+(?:,[^:,/]+)*)")
_NEVER_RAN = "initial"
_PAGE = 100
_SMALLEST = 20
"""Items of a page by default: a shorter one is the last, where none says how many there are."""
_LONG = 6 * 3600.0
"""Seconds that a build may take and still be found by the first walk when it ends in time."""
_MOST_PAGES = 100


class Envelope(msgspec.Struct, frozen=True):
    """A page of any list; which one depends on the resource."""

    projects: list[msgspec.Raw] | None = None
    pipelines: list[msgspec.Raw] | None = None
    executions: list[msgspec.Raw] | None = None
    total_page_count: Any = None


class Project(msgspec.Struct, frozen=True):
    """What is read of a project."""

    name: str
    status: Any = None


class Pipeline(msgspec.Struct, frozen=True):
    """What is read of a pipeline."""

    id: int | Id
    name: Any = None
    last_execution_status: Any = None
    last_execution_revision: Any = None

    @property
    def look(self) -> tuple[str | None, str | None]:
        """What is told of its last execution."""
        return word(self.last_execution_status), text(self.last_execution_revision)


class Execution(msgspec.Struct, frozen=True):
    """What is read of an execution. Newer answers spell one key in camel case."""

    id: int | Id
    status: Any = None
    triggered_on: Any = None
    start_date: Any = None
    finish_date: Any = None
    branch: Any = None
    tag: Any = None
    pull_request: Any = None
    action_executions: Sequence[msgspec.Raw] | None = None
    triggered_on_: Any = msgspec.field(name="triggeredOn", default=None)


class Action(msgspec.Struct, frozen=True):
    """What is read of the execution of an action."""

    action_execution_id: Any = None
    action: Any = None
    status: Any = None
    start_date: Any = None
    finish_date: Any = None


class Place(NamedTuple):
    """Where an entry points; without a pipeline to all of the project."""

    workspace: str
    project: str
    pipeline: str

    @property
    def path(self) -> str:
        """The resource of the project's pipelines."""
        workspace, project = (quote(part, safe="") for part in self[:2])
        return f"/workspaces/{workspace}/projects/{project}/pipelines"


class Memo(Incidental):
    """The pipelines as last listed, and as they looked when all of their news had been read."""

    def __init__(self) -> None:
        self.listed: dict[str, list[Pipeline]] = {}
        self.seen: dict[str, tuple[str | None, str | None]] = {}


class Buddy(Provider):
    """Buddy, in the cloud or on-premises (url: https://HOST/api).

    An entry is a project with all its pipelines, or one pipeline by its name or id.
    """

    entry_form = "workspace/project, workspace/project/pipeline or workspace/*"
    entry_pattern = r"[^/*]+/(?:\*|[^/*]+(?:/.+)?)"
    default_url = "https://api.buddy.works"
    rights = "the scopes `WORKSPACE` and `EXECUTION_INFO`"
    example_values: ClassVar[dict[str, Any]] = {
        "repos": ["acme/shop", "acme/site/deploy", "acme/*"]
    }

    provider: Literal["buddy"]

    _memo: Memo = PrivateAttr(default_factory=Memo)

    def headers(self, token: str | None) -> dict[str, str]:
        """A bearer token."""
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def is_wildcard(self, entry: str) -> bool:
        """Only a whole workspace; a pipeline's name may hold a star."""
        return entry.endswith("/*") and entry.count("/") == 1

    @property
    def reads_below(self) -> bool:
        """A project brings its pipelines."""
        return True

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        """The active projects of a workspace."""
        workspace = _place(pattern).workspace
        path = f"/workspaces/{quote(workspace, safe='')}/projects"
        projects = await _all(api, path, "projects", Project)
        active = (p.name for p in projects if word(p.status) in (None, "active"))
        entries = (f"{workspace}/{name}" for name in active)
        return [Repo(e) for e in entries if not self.excludes(e)]

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """The page of that number of each pipeline that may have so many news.

        Only the first page asks which pipelines there are; the token names those that go on.
        """
        place = _place(repo.entry)
        pipelines = self._memo.listed.get(repo.entry)
        if query.token is None or pipelines is None:
            pipelines = await self._pipelines(api, place)
            self._memo.listed[repo.entry] = pipelines
        if query.token is None:
            number, size = 1, min(query.size, _PAGE)
            wanted = [p for p in pipelines if self._is_wanted(place, p, query)]
        else:
            token = _TOKEN.fullmatch(query.token)
            if token is None:
                raise Malformed(f"{query.token!r} is no page of Buddy", reason="bad_shape")
            number, size, ids = int(token[1]), int(token[2]), set(token[3].split(","))
            wanted = [p for p in pipelines if str(p.id) in ids]
        edge = query.since - (_LONG if query.deep else 0.0)
        params = {"page": number, "per_page": size}
        read = await together(self._executions(api, repo, p, params, edge) for p in wanted)
        more = [str(p.id) for p, page in zip(wanted, read, strict=True) if page.next is not None]
        for item in wanted:
            if str(item.id) not in more:
                self._memo.seen[_key(place, item.id)] = item.look
        builds = sorted((b for page in read for b in page.builds), key=_asked, reverse=True)
        after = f"{number + 1}x{size}:{','.join(more)}" if more else None
        return Page(tuple(builds), after, sum(page.rejected for page in read))

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """The actions, and an end that the list lacks."""
        try:
            return await self._single(api, repo, build)
        except (Gone, Refused) as error:
            if error.account_wide:
                raise
            return replace(build, partial=False)

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The single execution, which lists its actions."""
        return await self._single(api, repo, known)

    async def _single(self, api: Api, repo: Repo, known: Build) -> Build:
        pipeline, _, execution = known.native_id.partition("/")
        path = f"{_place(repo.entry).path}/{quote(pipeline, safe='')}/executions"
        item = (await api.get(f"{path}/{quote(execution, safe='')}", into=Execution)).body
        build = to_build(item, Pipeline(pipeline, name=known.workflow), repo)
        actions = each(item.action_executions or (), Action)[0] if self.jobs else []
        jobs = tuple(job for a in actions if (job := to_job(a, build)) is not None)
        return replace(build, jobs=jobs, partial=False)

    async def _pipelines(self, api: Api, place: Place) -> list[Pipeline]:
        """The pipelines of a project, or the one that the entry names."""
        listed = await _all(api, place.path, "pipelines", Pipeline)
        if not place.pipeline:
            return listed
        named = [p for p in listed if place.pipeline in (text(p.name), str(p.id))]
        if not named:
            what = f"{place.workspace}/{place.project}: no pipeline is named {place.pipeline!r}"
            raise Gone(what, reason="not_found")
        return named

    def _is_wanted(self, place: Place, item: Pipeline, query: Query) -> bool:
        """Whether the pipeline runs, looks different, or is read again whatever it looks like."""
        last, _ = item.look
        same = self._memo.seen.get(_key(place, item.id)) == item.look
        return last != _NEVER_RAN and (query.deep or last in WORDS.status or not same)

    async def _executions(
        self, api: Api, repo: Repo, item: Pipeline, params: dict[str, int], edge: float
    ) -> Page:
        """One page of the executions of one pipeline; `next` only says that there is one."""
        path = f"{_place(repo.entry).path}/{quote(str(item.id), safe='')}/executions"
        body = (await api.get(path, params, into=Envelope)).body
        items, rejected = each(_listed(body, "executions", path), Execution)
        builds = tuple(to_build(execution, item, repo) for execution in items)
        more = _continues(body, params["page"], len(items))
        known = more and reached(map(_asked, builds), default=edge) < edge
        return Page(builds, "more" if more and not known else None, rejected)


def to_build(item: Execution, pipeline: Pipeline, repo: Repo) -> Build:
    """An execution as a build.

    `start_date` is when it was asked for: the creation of what has not begun, and for want
    of another the start of what has.
    """
    place = _place(repo.entry)
    asked, ended = moment(item.start_date), moment(item.finish_date)
    found = standing(WORDS, word(item.status), None, started=asked, ended=ended)
    completed = found.status is Status.COMPLETED
    begun = completed or found.status is Status.IN_PROGRESS
    why, unknown = trigger(WORDS, word(item.triggered_on) or word(item.triggered_on_))
    branch, tag = text(at(item.branch, "name")), text(at(item.tag, "name"))
    ref = Ref.PULL_REQUEST if item.pull_request else Ref.BRANCH
    if branch is None and tag is not None:
        branch, ref = tag, Ref.TAG
    return Build(
        key=f"{_key(place, pipeline.id)}/{item.id}",
        native_id=f"{pipeline.id}/{item.id}",
        repo=f"{place.workspace}/{place.project}",
        workflow=text(pipeline.name) or "",
        branch=branch,
        ref=ref,
        default_branch=branch if at(item.branch, "default") is True else repo.default_branch,
        number=whole(item.id),
        trigger="merge_request" if ref is Ref.PULL_REQUEST and why == "push" else why,
        status=found.status,
        conclusion=found.conclusion,
        created_at=None if begun else asked,
        started_at=asked if begun else None,
        completed_at=ended if completed else None,
        unmapped=found.unmapped + unknown,
        partial=completed and ended is None and found.conclusion != "skipped",
    )


def to_job(item: Action, build: Build) -> Job | None:
    """An action, unless the build ended without its turn having come."""
    status = word(item.status)
    name = text(at(item.action, "name")) or ""
    own = text(item.action_execution_id) or text(at(item.action, "id")) or name
    if not own or (status == _NEVER_RAN and build.status is Status.COMPLETED):
        return None
    begun, ended = moment(item.start_date), moment(item.finish_date)
    found = standing(WORDS, status, None, started=begun, ended=ended)
    return Job(
        id=own,
        name=name,
        status=found.status,
        conclusion=found.conclusion,
        started_at=None if found.status is Status.QUEUED else begun,
        completed_at=ended if found.status is Status.COMPLETED else None,
        unmapped=found.unmapped,
    )


def _place(entry: str) -> Place:
    workspace, _, rest = entry.partition("/")
    project, _, pipeline = rest.partition("/")
    return Place(workspace, project, pipeline)


def _key(place: Place, pipeline: int | str) -> str:
    """Ids count the executions of a pipeline only."""
    return f"{place.workspace}/{place.project}/{pipeline}"


def _asked(build: Build) -> float:
    return build.started_at or build.created_at or float("inf")


def _listed(body: Envelope, field: str, path: str) -> list[msgspec.Raw]:
    found: list[msgspec.Raw] | None = getattr(body, field)
    if found is None:
        raise Malformed(f"{path}: the answer holds no {field}", reason="bad_shape")
    return found


def _continues(body: Envelope, number: int, items: int) -> bool:
    pages = whole(body.total_page_count)
    return items >= _SMALLEST if pages is None else number < pages


async def _all(api: Api, path: str, field: str, into: type[T]) -> list[T]:
    """The items of all pages of a list, without those that cannot be understood."""
    found: list[T] = []
    last: list[bytes] = []
    for number in range(1, _MOST_PAGES + 1):
        body = (await api.get(path, {"page": number, "per_page": _PAGE}, into=Envelope)).body
        raws = [bytes(raw) for raw in _listed(body, field, path)]
        if raws != last:  # else pages are not told apart here
            found += each(map(msgspec.Raw, raws), into)[0]
        if raws == last or not _continues(body, number, len(raws)):
            return found
        last = raws
    raise Malformed(f"{path}: the list does not end", reason="bad_shape")


PROVIDER = Buddy
