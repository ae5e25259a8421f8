"""CircleCI, API v2.

A build is one workflow: it has a name, a status and an end, which a pipeline has not. The
number, branch and trigger are those of its pipeline. A workflow that is run again is a new
workflow in the old pipeline, so a build of its own. A pipeline that could not be configured and
so has no workflows is an `error` build of its own.

Token: User settings, Personal API tokens, Create new token. It has no scopes and reads what its
user can read, so make a user for it who can see nothing else. Tokens of projects are not
supported by v2.

Requests: one per project and poll (20 pipelines each). A pipeline younger than the overlap of
two polls costs one more until all its workflows have ended, an older workflow one whenever it is
due; each completed workflow one for its jobs (per page of them). To see what was run again,
every `polling.max_interval` the workflows of all pipelines of `polling.rerun_window` are read,
with one request each.

Limits: not published; 429 is heeded.

Self-hosted: CircleCI Server at https://HOST/api/v2.

Known: duration and queue (creation of the workflow to the start of its first job), trigger,
attempts (always 1), jobs.

Unknown: queue times of jobs; which projects there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import Gone, Malformed, Refused
from exporter.http import Api
from exporter.model import Build, Job, Ref, Status
from exporter.payload import Id, at, each, moment, reached, text, whole, word
from exporter.providers import Incidental, Page, Provider, Query, Repo, together
from exporter.words import Words, own, rows, standing, trigger

T = TypeVar("T")

WORDS = Words(
    status=rows(
        {
            Status.QUEUED: "created queued blocked not_running scheduled",
            Status.WAITING: "on_hold",  # an approval job
            Status.IN_PROGRESS: "running failing started",
            Status.COMPLETED: "ended finished",
        }
    ),
    conclusion=rows(
        {
            "passed": "success succeeded fixed",
            "failed": "failed",
            "error": "error errored infrastructure_fail",
            "timeout": "timedout",
            "cancelled": "canceled",
            "skipped": "not_run",
            "retried": "retried",
        }
    )
    | own("unauthorized terminated-unknown no_tests"),
    blocked=frozenset({"blocked"}),
    trigger=rows(
        {
            "push": "webhook",
            "merge_request": "pull_request",
            "api": "api",
            "web": "explicit",
            "cron": "schedule scheduled_pipeline",
        }
    )
    | {"decoupled ingestion system": "decoupled ingestion system"},
)
"""API v2 jobs and workflows, v1.1 outcomes, v3 phases; v2 pipeline trigger types."""

_PULL = re.compile(r"pull/\d+(?:/.*)?")
_SHORT = {"github": "gh", "bitbucket": "bb"}
_SETUP = "setup"
_LONG = 6 * 3600.0
"""Seconds that a build may take and still be found by the first walk when it ends in time."""
_PATIENCE = 600.0
"""Seconds in which a pipeline that has no workflows, or only its setup, may get some."""
_TOGETHER = 60.0
"""Seconds in which all workflows of a configuration are created for sure."""
_CLOCK = 1.0
"""Seconds; some of these times have no fraction."""
_MOST_REMEMBERED = 10_000
_MOST_PAGES = 100


class Envelope(msgspec.Struct, frozen=True):
    """A page of any list."""

    items: list[msgspec.Raw]
    next_page_token: Any = None


class Pipeline(msgspec.Struct, frozen=True):
    """What is read of a pipeline. `updated_at` is its creation, whatever happens."""

    id: Id
    number: Any = None
    state: Any = None
    created_at: Any = None
    trigger: Any = None
    trigger_parameters: Any = None
    vcs: Any = None


class Workflow(msgspec.Struct, frozen=True):
    """What is read of a workflow."""

    id: Id
    name: Any = None
    status: Any = None
    tag: Any = None
    created_at: Any = None
    stopped_at: Any = None


class Listed(msgspec.Struct, frozen=True):
    """What is read of a job. Its `created_at` is its start again, where there is one."""

    id: Id
    name: Any = None
    type: Any = None
    status: Any = None
    started_at: Any = None
    stopped_at: Any = None


class Memo(Incidental):
    """The pipelines that have ended: only a re-run changes them, and that is looked for."""

    def __init__(self) -> None:
        self._done: dict[str, None] = {}

    def __contains__(self, pipeline: str) -> bool:
        return pipeline in self._done

    def note(self, pipeline: str, *, done: bool) -> None:
        """Remember how a pipeline was met; the longest unmet is forgotten first."""
        self._done.pop(pipeline, None)
        if done:
            self._done[pipeline] = None
            if len(self._done) > _MOST_REMEMBERED:
                del self._done[next(iter(self._done))]


class CircleCI(Provider):
    """CircleCI, in the cloud or a Server of your own (url: https://HOST/api/v2).

    Projects are named by their slug, such as gh/acme/shop; there are no wildcards.
    """

    entry_form = "vcs/org/repo, such as gh/acme/shop; nothing can be discovered here"
    entry_pattern = r"[^/*]+/[^/*]+/[^/*]+"
    default_url = "https://circleci.com/api/v2"
    sites: ClassVar[tuple[str, ...]] = ("circleci.com", "app.circleci.com")
    rights = "a personal API token of somebody who may see the project"
    example_values: ClassVar[dict[str, Any]] = {"repos": ["gh/acme/shop"]}

    provider: Literal["circleci"]

    _memo: Memo = PrivateAttr(default_factory=Memo)

    @property
    def consecutive_numbers(self) -> bool:
        """A pipeline may run no workflow, so the numbers of workflows have holes."""
        return False

    def headers(self, token: str | None) -> dict[str, str]:
        """A header of CircleCI's own."""
        return {} if token is None else {"Circle-Token": token}

    def identity(self, entry: str) -> str:
        """`github/acme/shop` is `gh/acme/shop` spelled out."""
        vcs, _, project = entry.partition("/")
        return f"{_SHORT.get(vcs, vcs)}/{project}"

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """The workflows of a page of pipelines, newest pipeline first.

        Left out are those of pipelines that had ended when they were last read, unless
        their window is read again, and of pipelines older than what is wanted.
        """
        params = {} if query.token is None else {"page-token": query.token}
        path = f"/project/{quote(repo.entry, safe='')}/pipeline"
        body = (await api.get(path, params, into=Envelope)).body
        pipelines, rejected = each(body.items, Pipeline)
        deep = query.deep
        # Only a walk through a window may be the first one, which knows nothing yet.
        edge = query.since - (_LONG if deep else 0.0)
        asked = [p for p in pipelines if self._is_wanted(p, query.since, edge, deep=deep)]
        found = await together(self._workflows(api, repo, p) for p in asked)
        builds = tuple(build for page in found for build in page.builds)
        oldest = reached((moment(p.created_at) for p in pipelines), default=edge)
        more = bool(pipelines) and oldest >= edge
        odd = rejected + sum(page.rejected for page in found)
        return Page(builds, text(body.next_page_token) if more else None, odd)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """The start, which only the jobs tell, and the jobs themselves."""
        build = replace(build, partial=False)
        if not build.native_id:
            return build
        path = f"/workflow/{quote(build.native_id, safe='')}/job"
        try:
            items, _ = await _all(api, path, Listed)
        except (Gone, Refused) as error:
            if error.account_wide:
                raise
            return build
        mine = [item for item in items if not is_carried_over(item, build)]
        build = replace(build, started_at=started(mine))
        return replace(build, jobs=tuple(map(to_job, mine))) if self.jobs else build

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The single workflow, and its jobs if they are wanted or needed."""
        path = f"/workflow/{quote(known.native_id, safe='')}"
        item = (await api.get(path, into=Workflow)).body
        words = tuple(unknown for unknown in known.unmapped if unknown.field == "trigger")
        build = with_workflow(replace(known, unmapped=words, jobs=()), item)
        wants = build.partial or self.jobs
        return await self.detail(api, repo, build, known) if wants else build

    def _is_wanted(self, item: Pipeline, since: float, edge: float, *, deep: bool) -> bool:
        """Whether a pipeline may have workflows that are news."""
        created = moment(item.created_at)
        if created is None or created >= since:
            return deep or item.id not in self._memo
        return created >= edge and item.id not in self._memo

    async def _workflows(self, api: Api, repo: Repo, item: Pipeline) -> Page:
        """The workflows of one pipeline; itself, if it came to nothing."""
        path = f"/pipeline/{quote(item.id, safe='')}/workflow"
        try:
            workflows, rejected = await _all(api, path, Workflow)
        except Gone:
            workflows, rejected = [], 0  # deleted between two requests
        builds = to_builds(item, workflows, repo)
        age = api.now() - (moment(item.created_at) or 0.0)
        begun = word(item.state) == "errored" or any(word(w.tag) != _SETUP for w in workflows)
        settled = age > (_TOGETHER if begun else _PATIENCE)
        ended = all(build.status is Status.COMPLETED for build in builds)
        self._memo.note(item.id, done=settled and ended and not rejected)
        return Page(builds, rejected=rejected)


def to_builds(item: Pipeline, workflows: Sequence[Workflow], repo: Repo) -> tuple[Build, ...]:
    """The workflows of a pipeline as builds; if it came to none, the error that it is.

    A setup workflow only prepares the configuration of those that do the work.
    """
    base = to_build(item, repo)
    builds = [with_workflow(base, workflow) for workflow in workflows]
    if word(item.state) == "errored" and all(word(w.tag) == _SETUP for w in workflows):
        builds.append(replace(base, status=Status.COMPLETED, conclusion="error"))
    return tuple(builds)


def to_build(item: Pipeline, repo: Repo) -> Build:
    """What all workflows of a pipeline have in common, as a build that is queued."""
    vcs, git = item.vcs, at(item.trigger_parameters, "git")
    branch = text(at(vcs, "branch")) or text(at(git, "branch"))
    tag = text(at(vcs, "tag")) or text(at(git, "tag"))
    origin, target = (text(at(vcs, f"{end}_repository_url")) for end in ("origin", "target"))
    fork = origin is not None and target is not None and origin != target
    review = text(at(vcs, "review_id")) is not None or _PULL.fullmatch(branch or "")
    ref = Ref.PULL_REQUEST if fork or review else Ref.BRANCH
    if branch is None and tag is not None:
        branch, ref = tag, Ref.TAG
    why, unknown = trigger(WORDS, word(at(item.trigger, "type")))
    return Build(
        key=item.id,
        repo=repo.entry,
        default_branch=repo.default_branch,
        number=whole(item.number),
        branch=branch,
        ref=ref,
        trigger="merge_request" if ref is Ref.PULL_REQUEST and why == "push" else why,
        status=Status.QUEUED,
        created_at=moment(item.created_at),
        unmapped=unknown,
    )


def with_workflow(base: Build, item: Workflow) -> Build:
    """A workflow as a build, `base` being what its pipeline tells; the start is not known."""
    ended = moment(item.stopped_at)
    found = standing(WORDS, word(item.status), None, started=None, ended=ended)
    completed = found.status is Status.COMPLETED
    return replace(
        base,
        key=item.id,
        native_id=item.id,
        workflow=text(item.name) or "",
        status=found.status,
        conclusion=found.conclusion,
        created_at=moment(item.created_at),
        started_at=None,
        completed_at=ended if completed else None,
        unmapped=(*base.unmapped, *found.unmapped),
        partial=completed and found.conclusion != "skipped",
    )


def to_job(item: Listed) -> Job:
    """A job. The list calls one running that has no start: it is still queued."""
    begun, ended = moment(item.started_at), moment(item.stopped_at)
    found = standing(WORDS, word(item.status), None, started=begun, ended=ended)
    waits = found.status is Status.IN_PROGRESS and begun is None
    status = Status.QUEUED if waits else found.status
    return Job(
        id=item.id,
        name=text(item.name) or "",
        status=status,
        conclusion=found.conclusion,
        started_at=None if status is Status.QUEUED else begun,
        completed_at=ended if status is Status.COMPLETED else None,
        unmapped=found.unmapped,
    )


def is_carried_over(item: Listed, build: Build) -> bool:
    """Whether a job ran in an earlier workflow, of which this one runs the failed part again."""
    begun = moment(item.started_at)
    return begun is not None and build.created_at is not None and begun < build.created_at - _CLOCK


def started(items: Iterable[Listed]) -> float | None:
    """When the first job began; None if none did. An approval is no work."""
    times = (moment(item.started_at) for item in items if word(item.type) != "approval")
    return min((time for time in times if time is not None), default=None)


async def _all(api: Api, path: str, into: type[T]) -> tuple[list[T], int]:
    """The items of all pages of a list, and how many could not be understood."""
    found: list[T] = []
    rejected = 0
    params: dict[str, str] = {}
    last: list[bytes] = []
    for _ in range(_MOST_PAGES):
        body = (await api.get(path, params, into=Envelope)).body
        raws = [bytes(raw) for raw in body.items]
        token = text(body.next_page_token)
        if raws != last:  # else pages are not told apart here
            items, odd = each(body.items, into)
            found += items
            rejected += odd
        if raws == last or token is None:
            return found, rejected
        params, last = {"page-token": token}, raws
    raise Malformed(f"{path}: the list does not end", reason="bad_shape")


PROVIDER = CircleCI
