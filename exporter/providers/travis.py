"""Travis CI.

Token: Settings, API authentication, Copy token, or `travis token` of the command line client. It
has no scopes and may do what its user may, so make a user for it who can only see these repos.
Public repos need none.

Requests: one per repo and poll, jobs included; a new build costs none besides. A build that is
older than the first page and still runs costs one each poll. Discovery costs one for each 100
repos.

Limits: 2000 requests a minute, 500 without a token.

Self-hosted: Travis CI Enterprise, with `url: https://HOST/api`.

Known: duration, queue (the build itself has no creation time: it is that of its first job),
trigger, jobs. A job is named by its stage and its place in the build.

Unknown: the names that people gave jobs, which only the configuration has; whether the button or
the API started a build; how many restarts there were.

A restart uses the same id again, wipes start and end and is numbered nowhere. So a run is known
by its id and its start: `1234@1600000000` is a key that each restart has of its own and that
every later reading finds again, also in another process. A run that has not started is `1234@`,
as long. That a run is a restart (attempt 2, no queue time) is told by `restarted_at` of a job
or, where an older API has none, by an earlier start that this process has seen; which restart it
is nobody tells. Of a restart that came and went between two polls only the last run is left to
see.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import Malformed
from exporter.http import Allowance, Api
from exporter.model import Build, Job, Ref, Status
from exporter.payload import Id, at, each, moment, text, whole, word
from exporter.providers import Incidental, Page, Provider, Query, Repo
from exporter.words import Words, rows, standing, trigger

T = TypeVar("T")

WORDS = Words(
    status=rows(
        {
            Status.QUEUED: "created queued received",
            Status.IN_PROGRESS: "started booting",
            Status.COMPLETED: "finished",
        }
    ),
    conclusion=rows(
        {
            "passed": "passed",
            "failed": "failed",
            "error": "errored",  # the machine, or a phase before the script
            "cancelled": "canceled",
        }
    ),
    trigger=rows({"push": "push", "merge_request": "pull_request", "cron": "cron", "api": "api"}),
)
"""API v3: build and job `state`, build `event_type`."""

_LIMIT = 100
_MOST_PAGES = 100
_MOST_BUILDS = 20_000


class BuildItem(msgspec.Struct, frozen=True):
    """What is read of a build. Its `duration` is the sum of its jobs' and no use."""

    id: int | Id
    number: Any = None
    state: Any = None
    event_type: Any = None
    started_at: Any = None
    finished_at: Any = None
    branch: Any = None
    tag: Any = None
    jobs: list[msgspec.Raw] | None = None


class JobItem(msgspec.Struct, frozen=True):
    """What is read of a job; its number is the build's, a dot and its place in it."""

    id: int | Id
    number: Any = None
    state: Any = None
    stage: Any = None
    created_at: Any = None
    started_at: Any = None
    finished_at: Any = None
    restarted_at: Any = None


class RepoItem(msgspec.Struct, frozen=True):
    """What is read of a repository."""

    slug: str
    active: Any = None
    default_branch: Any = None


class Listing(msgspec.Struct, frozen=True):
    """A list answer: builds or repositories, and where the list goes on."""

    builds: list[msgspec.Raw] | None = None
    repositories: list[msgspec.Raw] | None = None
    pagination: Any = msgspec.field(name="@pagination", default=None)

    def next(self, offset: int, count: int, limit: int) -> int | None:
        """The offset of the page after this one, which has `count` of at most `limit` items.

        The API names it: some installations count from the last id instead of the first item.
        """
        if not isinstance(self.pagination, dict):
            return offset + count if count >= limit else None
        return whole(at(self.pagination, "next.offset"))


class Memo(Incidental):
    """What was read of each build before. Lasts as long as the configuration."""

    def __init__(self) -> None:
        self._last: dict[str, Build] = {}
        self._first: dict[str, float] = {}

    def successor(self, known: Build) -> Build | None:
        """The run that a list has shown in place of the one that is known."""
        last = self._last.get(known.native_id)
        return None if last is None or last.key == known.key else last

    def read(self, build: Build) -> Build:
        """Note a build; it is given back as a restart if an earlier run of it was seen.

        Only a completed one is: while it runs, its attempt must be what the answer alone
        says, as the process that sees it complete may be another.
        """
        start = build.started_at
        first = self._first.get(build.native_id)
        if first is None and start is not None:
            _keep(self._first, build.native_id, start)
        is_later = first is not None and start is not None and first < start
        if is_later and build.status is Status.COMPLETED and build.attempt == 1:
            build = replace(build, attempt=2, created_at=None)
        _keep(self._last, build.native_id, build)
        return build


def _keep(notes: dict[str, T], key: str, value: T) -> None:
    notes.pop(key, None)
    notes[key] = value
    if len(notes) > _MOST_BUILDS:
        del notes[next(iter(notes))]


class Travis(Provider):
    """Travis CI (travis-ci.com and Enterprise)."""

    entry_form = "owner/repo or owner/*"
    entry_pattern = r"[^/*\s]+/(?:[^/*\s]+|\*)"
    default_url = "https://api.travis-ci.com"
    sites: ClassVar[tuple[str, ...]] = (
        "travis-ci.com",
        ".travis-ci.com",
        "travis-ci.org",
        ".travis-ci.org",
    )
    allowances = (Allowance(2000, 60.0),)
    anonymous = True
    rights = "the API token of a user who may see the repo"
    example_values: ClassVar[dict[str, Any]] = {"repos": ["acme/shop", "acme/*"]}

    provider: Literal["travis"]

    _memo: Memo = PrivateAttr(default_factory=Memo)

    def headers(self, token: str | None) -> dict[str, str]:
        """The version of the API is a header too."""
        version = {"Travis-API-Version": "3"}
        return version if token is None else {**version, "Authorization": f"token {token}"}

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        """The owner's repos that are switched on."""
        owner = quote(pattern.partition("/")[0], safe="")
        params = {"repository.active": "true", "sort_by": "id"}
        found: list[RepoItem] = []
        offset = 0
        for _ in range(_MOST_PAGES):
            query: dict[str, str | int] = {**params, "limit": _LIMIT, "offset": offset}
            listing = (await api.get(f"/owner/{owner}/repos", query, into=Listing)).body
            raws = _present(listing.repositories)
            found.extend(each(raws, RepoItem)[0])
            following = listing.next(offset, len(raws), _LIMIT)
            if following is None:
                return [
                    Repo(item.slug, text(at(item.default_branch, "name")))
                    for item in found
                    if item.active is not False and not self.excludes(item.slug)
                ]
            offset = following
        raise Malformed(f"the repos of {owner}: the list does not end", reason="bad_shape")

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """A page of the builds with their jobs, newest first."""
        offset = whole(query.token or 0)
        if offset is None:
            raise Malformed(f"{query.token!r} is no page of Travis CI", reason="bad_shape")
        limit = min(query.size, _LIMIT)
        params: dict[str, str | int] = {
            "limit": limit,
            "offset": offset,
            "sort_by": "id:desc",
            "include": "build.jobs",
        }
        path = f"/repo/{quote(repo.entry, safe='')}/builds"
        listing = (await api.get(path, params, into=Listing)).body
        raws = _present(listing.builds)
        items, rejected = each(raws, BuildItem)
        found = [build for item in items if not _is_no_run(build := to_build(item, repo))]
        rejected += len(items) - len(found)
        builds = tuple(map(self._noted, found))
        following = listing.next(offset, len(raws), limit)
        return Page(builds, None if following is None else str(following), rejected)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """The list has said it all, jobs included."""
        return build

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """The single build, unless a list has shown a later run of it already."""
        successor = self._memo.successor(known)
        if successor is not None:
            return successor
        params = {"include": "build.jobs"}
        answer = await api.get(f"/build/{quote(known.native_id, safe='')}", params, into=BuildItem)
        build = to_build(answer.body, repo)
        if _is_no_run(build):
            raise Malformed(f"build {known.native_id} has ended at no time", reason="bad_shape")
        return self._noted(build)

    def _noted(self, build: Build) -> Build:
        return self._memo.read(build if self.jobs else replace(build, jobs=()))


def _is_no_run(build: Build) -> bool:
    """Whether a build has ended without any time, so that nobody knows which run of it that was."""
    return build.status is Status.COMPLETED and build.key.endswith("@")


def to_build(item: BuildItem, repo: Repo) -> Build:
    """One run of a build, with its jobs.

    The jobs of an earlier run that were not restarted are left out, and of a run that
    has not started those that have ended already: none is a second time in another run.
    """
    begun, ended = moment(item.started_at), moment(item.finished_at)
    status, conclusion, unmapped = standing(
        WORDS, word(item.state), None, started=begun, ended=ended
    )
    items = each(item.jobs or (), JobItem)[0]
    mark = ended if begun is None and status is Status.COMPLETED else begun
    restarted = _restarted(items, mark)
    jobs = [to_job(job) for job in items if word(job.state) is not None]
    if status is Status.COMPLETED or begun is not None:
        jobs = [job for job in jobs if not _is_earlier(job, begun)]
    else:
        jobs = [job for job in jobs if job.status is not Status.COMPLETED]
    why, unknown = trigger(WORDS, word(item.event_type))
    tag = text(at(item.tag, "name")) or text(item.tag)
    is_request = why == "merge_request"
    created = [moment(job.created_at) for job in items]
    build = Build(
        key=f"{item.id}@" if mark is None else f"{item.id}@{int(mark)}",
        native_id=str(item.id),
        repo=repo.entry,
        branch=text(at(item.branch, "name")) or tag,
        ref=Ref.PULL_REQUEST if is_request else Ref.TAG if tag is not None else Ref.BRANCH,
        default_branch=repo.default_branch,
        number=whole(item.number),
        attempt=1 if restarted is None else 2,
        status=status,
        conclusion=conclusion,
        trigger=why,
        created_at=_earliest(created) if restarted is None else restarted,
        started_at=None if status is Status.QUEUED else begun,
        completed_at=ended if status is Status.COMPLETED else None,
        jobs=tuple(jobs),
        unmapped=unmapped + unknown,
    )
    return _filled(build)


def to_job(item: JobItem) -> Job:
    """A job in its latest run. Which one that is the build's key says."""
    begun, ended = moment(item.started_at), moment(item.finished_at)
    status, conclusion, unmapped = standing(
        WORDS, word(item.state), None, started=begun, ended=ended
    )
    place = (text(item.number) or "").rpartition(".")[2]
    again = moment(item.restarted_at)
    return Job(
        id=str(item.id),
        name=" ".join(filter(None, (text(at(item.stage, "name")), place))),
        status=status,
        conclusion=conclusion,
        created_at=moment(item.created_at) if again is None else again,
        started_at=None if status is Status.QUEUED else begun,
        completed_at=ended if status is Status.COMPLETED else None,
        unmapped=unmapped,
    )


def _restarted(items: list[JobItem], mark: float | None) -> float | None:
    """When the run that began at `mark` was ordered, if it is a restart.

    A later time belongs to a run that this answer does not show yet. Starts are cut to
    the second, so within one they count as simultaneous.
    """
    times = (moment(job.restarted_at) for job in items)
    return _latest(t for t in times if t is not None and (mark is None or t < mark + 1))


def _is_earlier(job: Job, begun: float | None) -> bool:
    """Whether a job ended before its build began: it was not run again."""
    if begun is None or job.completed_at is None or job.started_at is None:
        return False
    return job.completed_at < begun


def _filled(build: Build) -> Build:
    """A completed build with a missing start or end taken from its jobs."""
    if build.status is not Status.COMPLETED:
        return build
    started, ended = build.started_at, build.completed_at
    return replace(
        build,
        started_at=_earliest(job.started_at for job in build.jobs) if started is None else started,
        completed_at=_latest(job.completed_at for job in build.jobs) if ended is None else ended,
    )


def _earliest(times: Iterable[float | None]) -> float | None:
    return min((t for t in times if t is not None), default=None)


def _latest(times: Iterable[float | None]) -> float | None:
    return max((t for t in times if t is not None), default=None)


def _present(items: list[msgspec.Raw] | None) -> list[msgspec.Raw]:
    if items is None:
        raise Malformed("the answer has no list", reason="bad_shape")
    return items


PROVIDER = Travis
