"""Jenkins: builds of jobs and of the branches of multibranch jobs, jobs from the stage view.

Token: a user with Overall/Read and Job/Read and nothing else; as this user: the name at the top,
Security, Add new token. `username` is the user's. Without any, what anonymous users may see.

Requests: one `tree` request tells the last build of all jobs of the controller. It serves all
entries that are polled within 15 seconds, so an idle round costs 1 (folders more than 4 levels
deep: 1 more each; 1 more while something is queued). A job is listed (1 more) only if its last
build has changed. A running pipeline costs 1 for its stage view, to see whether it waits for
input; with `jobs: true` each new build 1 for its stages.

Limits: controllers have none; 8 requests are under way at most.

Self-hosted: always; `url` is the controller's root with its prefix.

Known: duration, trigger (from the most telling cause), queue only with the Metrics plugin, jobs
(stages) only with the Pipeline Stage View plugin. Queue items count as queued builds.

Unknown: attempts: a replay or restart is a build of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Any, ClassVar, Literal

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

from exporter.errors import Gone, Malformed, ProviderError, TryLater
from exporter.http import Api
from exporter.model import Build, Status
from exporter.payload import at, each, whole
from exporter.providers import Page, Provider, Query, Repo, basic
from exporter.providers.jenkins.memo import USABLE, Memo, Snapshot
from exporter.providers.jenkins.reading import (
    QUEUE_FIELDS,
    RUN_FIELDS,
    QueueItem,
    Run,
    Stage,
    Where,
    to_build,
    to_job,
    to_queued,
    with_stages,
)
from exporter.providers.jenkins.tree import OWN_TREE, Item, Node, job_url, node, nodes, tree
from exporter.providers.jenkins.words import WORDS

__all__ = ["PROVIDER", "WORDS", "Jenkins", "Run", "Stage", "Where", "to_build", "to_job"]

_LOADED = 100
"""`builds` holds so many at most; `allBuilds` is dearer and has all."""


class _Jobs(msgspec.Struct, frozen=True):
    jobs: list[msgspec.Raw]


class _Builds(msgspec.Struct, frozen=True, rename="camel"):
    builds: list[msgspec.Raw] | None = None
    all_builds: list[msgspec.Raw] | None = None


class _Queue(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw] | None = None


class _Left(msgspec.Struct, frozen=True):
    """A queue item that may have left the queue."""

    cancelled: Any = None
    executable: Any = None


class _Stages(msgspec.Struct, frozen=True):
    status: Any = None
    stages: list[msgspec.Raw] | None = None


class _Token(msgspec.Struct, frozen=True, array_like=True):
    """Which jobs go on, and from which of their builds."""

    offset: int
    label: str
    paths: list[str]


class Jenkins(Provider):
    """A Jenkins controller; `url` is its root, with its prefix if it has one.

    `repos` holds job paths such as folder/job; * and folder/* discover the jobs right
    there, ** and folder/** also those in folders below. The branches of a multibranch
    job are polled under its own path.
    """

    rights = "a user with Overall/Read and Job/Read"
    example_values: ClassVar[dict[str, Any]] = {
        "url": "https://jenkins.example.com",
        "username": "exporter",
        "repos": ["platform/shop", "tools/**"],
    }
    anonymous = True

    entry_form = "a job path: folder/job, *, folder/* or folder/**"
    entry_pattern = r"(?:[^/*]+/)*(?:[^/*]+|\*{1,2})"

    provider: Literal["jenkins"]
    username: str | None = None
    """The user whose API token it is; without it the token is sent as a bearer token."""

    _memo: Memo = PrivateAttr(default_factory=Memo)

    def headers(self, token: str | None) -> dict[str, str]:
        """Basic with a user's API token; a bearer token before a controller without users."""
        if token is None:
            return {}
        if self.username is None:
            return {"Authorization": f"Bearer {token}"}
        return {"Authorization": basic(self.username, token)}

    @property
    def reads_below(self) -> bool:
        """A multibranch job brings its branch jobs."""
        return True

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        """The jobs below a folder, but for disabled ones; a multibranch job is one of them."""
        folder, _, stars = pattern.rpartition("/")
        snapshot = await self._snapshot(api, f"discovery of {pattern}")
        if folder and await self._node(api, snapshot, folder) is None:
            raise Gone(f"there is no folder {folder}, or not for us", reason="not_found")
        pending = list(await self._inside(api, snapshot, folder))
        found: list[Repo] = []
        while pending:
            place = pending.pop(0)
            if place.is_container and not place.is_multibranch:
                if stars == "**":
                    pending.extend(await self._inside(api, snapshot, place.path))
            elif place.active and not self.excludes(place.path):
                found.append(Repo(place.path))
        return found

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """Builds of the job, or of all its branches side by side; first what is queued."""
        queued: list[Build] = []
        if query.token is None:
            snapshot = await self._snapshot(api, repo.entry)
            label, jobs = await self._jobs_of(api, snapshot, repo.entry)
            jobs = [job for job in jobs if not self.excludes(job.path)]
            queued = await self._queued(api, snapshot, label, jobs)
            due = [job.path for job in jobs if self._memo.must_read(job, query)]
            token = _Token(0, label, due)
        else:
            token = _understood(query.token)
        parts = await asyncio.gather(
            *(self._listed(api, Where(token.label, path), token, query) for path in token.paths),
            return_exceptions=True,
        )
        listed: list[tuple[str, Page]] = []
        for path, part in zip(token.paths, parts, strict=True):
            if not isinstance(part, BaseException):
                listed.append((path, part))
            elif not isinstance(part, Gone) or path == repo.entry:  # else a deleted branch
                raise part
        # The poller takes the last build of a page for the oldest: no branch may end another.
        listed.sort(key=lambda one: (one[1].next is not None, _reach(one[1])))
        going_on = [path for path, part in listed if part.next is not None]
        following = _Token(token.offset + query.size, token.label, going_on)
        return Page(
            (*queued, *(build for _, part in listed for build in part.builds)),
            msgspec.json.encode(following).decode() if going_on else None,
            sum(part.rejected for _, part in listed),
        )

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """Whether a running pipeline waits for input, and the stages if jobs are wanted."""
        return await self._with_stages(api, build)

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """A build by itself; the snapshot will do if it says that it still runs."""
        path, _, tail = known.key.rpartition("#")
        where = Where(known.repo, path)
        if tail.startswith("queue-"):
            return await self._left_queue(api, where, known)
        if self._still_runs(path, known, api.now()):
            return await self._with_stages(api, known)
        build = await self._single(api, where, known.native_id)
        if build.key != known.key:
            raise Gone(f"another build has taken the place of {known.key}", reason="not_found")
        return await self._with_stages(api, build)

    # -- the tree of jobs

    async def _snapshot(self, api: Api, entry: str) -> Snapshot:
        async with self._memo.lock("snapshot"):
            now = api.now()
            held = self._memo.fresh(entry, now)
            if held is None:
                answer = await api.get("/api/json", {"tree": tree()}, into=_Jobs)
                held = Snapshot(nodes(answer.body.jobs, ""), now, {entry})
                self._memo.snapshot = held
            return held

    async def _node(self, api: Api, snapshot: Snapshot, path: str) -> Node | None:
        """The place of a path; folders on the way that were too deep are asked for."""
        for end, letter in enumerate(path):
            above = snapshot.nodes.get(path[:end]) if letter == "/" else None
            if above is not None and above.is_container:
                await self._inside(api, snapshot, above.path)
        found = snapshot.nodes.get(path)
        if found is None:  # a folder on the way may not be ours to see
            try:
                answer = await api.get(f"{job_url(path)}/api/json", {"tree": OWN_TREE}, into=Item)
            except Gone:
                return None
            snapshot.nodes.update(node(answer.body, path))
            found = snapshot.nodes[path]
        return found

    async def _inside(self, api: Api, snapshot: Snapshot, path: str) -> list[Node]:
        """What is right inside a folder, a multibranch job or ("") the controller."""
        if not path:
            return [place for place in snapshot.nodes.values() if "/" not in place.path]
        async with self._memo.lock(f"inside {path}"):
            place = snapshot.nodes[path]
            if place.inside is None:
                url = f"{job_url(path)}/api/json"
                answer = await api.get(url, {"tree": tree()}, into=_Jobs)
                below = nodes(answer.body.jobs, path)
                level = path.count("/") + 1
                names = tuple(p for p in below if p.count("/") == level)
                place = snapshot.nodes[path] = place._replace(inside=names)
                snapshot.nodes.update(below)
        return [snapshot.nodes[inner] for inner in place.inside or ()]

    async def _jobs_of(
        self, api: Api, snapshot: Snapshot, entry: str
    ) -> tuple[str, Sequence[Node]]:
        """The `repo` label of an entry and the jobs whose builds are its own."""
        place = await self._node(api, snapshot, entry)
        if place is None:
            raise Gone(f"there is no job {entry}, or not for us", reason="not_found")
        if place.is_multibranch:
            return entry, await self._inside(api, snapshot, entry)
        if place.is_container:
            raise Gone(f"{entry} is a folder (write {entry}/* for its jobs)", reason="not_found")
        above = snapshot.nodes.get(entry.rpartition("/")[0])
        return above.path if above is not None and above.is_multibranch else entry, [place]

    # -- the queue

    async def _queued(
        self, api: Api, snapshot: Snapshot, label: str, jobs: Sequence[Node]
    ) -> list[Build]:
        """The queue items of some jobs; the queue is asked for if there may be any."""
        async with self._memo.lock("queue"):
            if snapshot.queue is None:
                buildable = (n for n in snapshot.nodes.values() if not n.is_container)
                snapshot.queue = {}
                if any(place.queued is not False for place in buildable):
                    snapshot.queue = await self._queue(api)
        builds = [
            to_queued(item, Where(label, job.path))
            for job in jobs
            for item in snapshot.queue.get(job.path, ())
        ]
        self._memo.await_start(build.key for build in builds)
        return builds

    async def _queue(self, api: Api) -> dict[str, list[QueueItem]]:
        by_path: dict[str, list[QueueItem]] = {}
        try:
            answer = await api.get("/queue/api/json", {"tree": QUEUE_FIELDS}, into=_Queue)
        except ProviderError as error:
            if error.account_wide or isinstance(error, TryLater):
                raise
            return {}
        for item in each(answer.body.items or (), QueueItem, most=20_000)[0]:
            if item.path is not None:
                by_path.setdefault(item.path, []).append(item)
        return by_path

    async def _left_queue(self, api: Api, where: Where, known: Build) -> Build:
        """What a queued build has become. Raises Gone if it was cancelled."""
        build = self._memo.became(known.key)
        if build is None:
            path = f"/queue/item/{known.native_id}/api/json"
            answer = await api.get(path, {"tree": "cancelled,executable[number]"}, into=_Left)
            number = whole(at(answer.body.executable, "number"))
            if number is None:
                if answer.body.cancelled is True:
                    raise Gone(f"{known.key} was cancelled in the queue", reason="not_found")
                return known
            build = await self._single(api, where, str(number))
        return await self._with_stages(api, build)

    # -- builds

    async def _listed(self, api: Api, where: Where, token: _Token, query: Query) -> Page:
        """Some builds of one job; `Page.next` only says whether there may be more to read."""
        start, end = token.offset, token.offset + query.size
        field = "builds" if end <= _LOADED else "allBuilds"
        params = {"tree": f"{field}[{RUN_FIELDS}]{{{start},{end}}}"}
        answer = await api.get(f"{job_url(where.path)}/api/json", params, into=_Builds)
        raws = answer.body.builds or answer.body.all_builds or []
        runs, rejected = each(raws, Run)
        builds = [self._heard(run, where) for run in runs]
        times = [build.time for build in builds]
        ends = len(raws) < query.size or all(t is not None and t < query.since for t in times)
        return Page(tuple(builds), None if ends else "more", rejected)

    def _heard(self, run: Run, where: Where) -> Build:
        """A listed build; that of a running pipeline is partial."""
        build = to_build(run, where)
        if not run.is_pipeline:
            self._memo.plain.add(where.path)
        queue_id = whole(run.queue_id)
        self._memo.started(f"{where.path}#queue-{queue_id}", build)
        running = build.status is not Status.COMPLETED
        return replace(build, partial=running and run.is_pipeline)

    async def _single(self, api: Api, where: Where, number: str) -> Build:
        path = f"{job_url(where.path)}/{number}/api/json"
        answer = await api.get(path, {"tree": RUN_FIELDS}, into=Run)
        return self._heard(answer.body, where)

    def _still_runs(self, path: str, known: Build, now: float) -> bool:
        """Whether the last snapshot shows this very build as running."""
        snapshot = self._memo.snapshot
        place = None if snapshot is None else snapshot.nodes.get(path)
        if snapshot is None or place is None or place.pulse is None:
            return False
        pulse = place.pulse
        return (
            pulse.building
            and pulse.number == known.number
            and pulse.started == known.started_at
            and 0 <= now - snapshot.at < USABLE
        )

    # -- stages

    async def _with_stages(self, api: Api, build: Build) -> Build:
        """A build with its stages, where the stage view tells them."""
        path, now = build.key.rpartition("#")[0], api.now()
        wanted = self.jobs or build.status is not Status.COMPLETED
        if not wanted or path in self._memo.plain or not self._memo.has_stages(now):
            return replace(build, partial=False)
        url = f"{job_url(path)}/{build.native_id}/wfapi/describe"
        try:
            answer = await api.get(url, into=_Stages)
        except ProviderError as error:
            if error.account_wide or isinstance(error, TryLater):
                raise
            self._memo.heard_stages(now, found=False)
            return replace(build, partial=False)
        self._memo.heard_stages(now, found=True)
        stages = each(answer.body.stages or (), Stage)[0]
        return with_stages(build, answer.body.status, stages, jobs=self.jobs)


def _reach(part: Page) -> float:
    """When the last build of a list was created, epoch seconds."""
    created = part.builds[-1].created_at if part.builds else None
    return inf if created is None else created


def _understood(token: str) -> _Token:
    try:
        return msgspec.json.decode(token, type=_Token)
    except msgspec.DecodeError:  # stored when the account was another provider's
        raise Malformed("the page to go on from is none of ours", reason="bad_shape") from None


PROVIDER = Jenkins
