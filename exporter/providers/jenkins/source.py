"""How builds are read from Jenkins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from exporter.errors import Gone, Malformed, ProviderError, TryLater
from exporter.http import Api
from exporter.model import Build, Status
from exporter.payload import each
from exporter.providers import (
    Matches,
    Page,
    Provider,
    Query,
    Repo,
    Source,
    Unread,
    by_part,
)
from exporter.providers.feed import Feed
from exporter.providers.jenkins import builds, queue
from exporter.providers.jenkins.builds import ListPlace
from exporter.providers.jenkins.cache import USABLE, ControllerCache
from exporter.providers.jenkins.mapping import (
    Stage,
    Where,
    lacks,
    resumed,
    split_id,
    with_stages,
)
from exporter.providers.jenkins.snapshot import Snapshot, with_builds
from exporter.providers.jenkins.tree import Node, job_url, page_of_job

_TREE = "the jobs of the controller"
_QUEUE = "/queue"
"""The queue as a part of what is read; no job path begins with a slash."""


class _Stages(msgspec.Struct, frozen=True):
    status: Any = None
    stages: list[msgspec.Raw] | None = None


class _Token(msgspec.Struct, frozen=True, array_like=True):
    """Which jobs go on, and where."""

    label: str
    jobs: dict[str, ListPlace]


class _EntryJobs(NamedTuple):
    """What an entry names."""

    label: str
    """The `repo` label."""
    jobs: Sequence[Node]
    """The jobs whose builds are its own."""
    refused: Sequence[str] = ()
    """Names of others that cannot be asked for safely."""


class JenkinsSource(Source[Provider]):
    """Reads the builds of one account."""

    def __init__(self, account: Provider, api: Api) -> None:
        super().__init__(account, api)
        self._cache = ControllerCache()
        self._controller: Feed[str, Snapshot] = Feed()

    async def discover(self, pattern: str) -> list[Repo]:
        """The jobs below a folder, but for disabled ones; a multibranch job is one of them."""
        folder, _, stars = pattern.rpartition("/")
        snapshot = await self._snapshot(f"discovery of {pattern}")
        if folder and await snapshot.find(self.api, folder) is None:
            raise Gone(f"there is no folder {folder}, or not for us", reason="not_found")
        await snapshot.inside(self.api, folder)
        found: list[Repo] = []
        broken: list[Unread] = []
        folders = [folder]
        while folders:
            calls = {f: snapshot.inside(self.api, f) for f in folders}
            inside, failed = await by_part(calls, all_may_fail=True)
            broken += failed
            jobs = [place for places in inside.values() for place in places]
            names = (f"{f}/{name}".lstrip("/") for f in inside for name in snapshot.refused(f))
            found += [Repo(name) for name in names if not self.account.excludes(name)]
            folders = []
            for place in jobs:
                if place.is_container and not place.is_multibranch:
                    if stars == "**" and not self._leaves_out(place.path):
                        folders.append(place.path)
                elif place.active and not self.account.excludes(place.path):
                    found.append(Repo(place.path))
        return Matches(found, broken[0].error if broken else None)

    async def page(self, repo: Repo, query: Query) -> Page:
        """Builds of the job, or of all its branches side by side; first what is queued."""
        if query.token is not None:
            token = _understood(query.token)
            return await self._page(repo, query, token.label, token.jobs)
        snapshot = await self._snapshot(repo.entry)
        place = await self._place(snapshot, repo.entry)
        jobs = [job for job in place.jobs if not self.account.excludes(job.path)]
        queued = await queue.queued(self.api, snapshot, place.label, jobs)
        due = {job.path: ListPlace() for job in jobs if self._is_due(job, query)}
        page = await self._page(repo, query, place.label, due)
        if len(page.unread) == len(jobs) == len(due) > 0:
            raise page.unread[0].error  # nothing of it can be read
        refused = (f"{repo.entry}/{name}" for name in place.refused)
        unread = [_refusal(path) for path in refused if not self.account.excludes(path)]
        if snapshot.queue_error is not None:
            unread.append(Unread(_QUEUE, snapshot.queue_error))
        return replace(page, builds=(*queued, *page.builds), unread=(*page.unread, *unread))

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        """Whether a running pipeline waits for input, and the stages if jobs are wanted."""
        return await self._with_stages(resumed(build, known))

    async def refresh(self, repo: Repo, known: Build) -> Build:
        """A build by itself; the snapshot will do if it says that it still runs."""
        path, number = split_id(known)
        where = self._where(known.repo, path)
        if known.status is Status.QUEUED:
            return await self._left_queue(where, known)
        if self._still_runs(path, known, self.api.now()):
            return await self._with_stages(known)
        build = resumed(await builds.single(self.api, self._cache, where, number), known)
        if not build.key.is_same_build(known.key):
            raise Gone(f"another build has taken the place of {known.key}", reason="not_found")
        return await self._with_stages(build)

    async def _left_queue(self, where: Where, known: Build) -> Build:
        """What a queued build has become. Raises Gone if it was cancelled."""
        number = await queue.number_of(self.api, self._cache, where.path, known)
        if number is None:
            return known
        build = await builds.single(self.api, self._cache, where, str(number))
        return await self._with_stages(build)

    # -- the tree of jobs

    async def _snapshot(self, reader: str) -> Snapshot:
        async def look() -> Snapshot:
            return await Snapshot(self._cache.thrift, self.api.now()).look(self.api)

        return (await self._controller.read(_TREE, reader, now=self.api.now, fetch=look))[0]

    async def _place(self, snapshot: Snapshot, entry: str) -> _EntryJobs:
        place = await snapshot.find(self.api, entry)
        if place is None:
            raise Gone(f"there is no job {entry}, or not for us", reason="not_found")
        if place.is_multibranch:
            jobs = await snapshot.inside(self.api, entry)
            return _EntryJobs(entry, jobs, snapshot.refused(entry))
        if place.is_container:
            raise Gone(f"{entry} is a folder (write {entry}/* for its jobs)", reason="not_found")
        above = snapshot.nodes.get(entry.rpartition("/")[0])
        return _EntryJobs(
            above.path if above is not None and above.is_multibranch else entry, [place]
        )

    def _leaves_out(self, folder: str) -> bool:
        """Whether nothing below a folder is wanted."""
        return self.account.excludes(folder) or f"{folder}/**" in self.account.exclude

    # -- builds

    def _where(self, label: str, path: str) -> Where:
        return Where(label, path, page_of_job(self.site, path))

    def _is_due(self, job: Node, query: Query) -> bool:
        has_changed = self._cache.must_read(job, query)
        return has_changed or job.path in query.behind

    async def _page(
        self, repo: Repo, query: Query, label: str, jobs: Mapping[str, ListPlace]
    ) -> Page:
        """A page of each job's builds. A branch that fails is a part that could not be read."""
        calls = {
            path: builds.listed(self.api, self._cache, self._where(label, path), mark, query)
            for path, mark in jobs.items()
        }
        alone = jobs.keys() == {repo.entry}
        parts, failed = await by_part(calls, all_may_fail=not alone)
        failed = await self._without_deleted(repo.entry, failed, query)
        for one in failed:
            self._cache.marks.forget(one.part)
        going_on = {path: part.next for path, part in parts.items() if part.next is not None}
        token = _Token(label, going_on)
        return Page(
            tuple(build for part in parts.values() for build in part.builds),
            msgspec.json.encode(token).decode() if going_on else None,
            sum(part.rejected for part in parts.values()),
            failed,
        )

    async def _without_deleted(
        self, entry: str, failed: tuple[Unread, ...], query: Query
    ) -> tuple[Unread, ...]:
        """The parts that failed, but for branches that have been deleted meanwhile.

        The controller says so: a proxy before it may answer 404 too.
        """
        gone = {one.part for one in failed if isinstance(one.error, Gone)}
        there = gone
        if not gone <= query.behind.keys():  # else they are listed anew, and still there
            found = await with_builds(self.api, entry)
            there = gone if found is None else gone & found
        return tuple(
            _listed_though_gone(one.part) if one.part in there else one
            for one in failed
            if one.part in there or one.part not in gone
        )

    def _still_runs(self, path: str, known: Build, now: float) -> bool:
        """Whether the last snapshot shows this very build as running."""
        snapshot = self._controller.latest(_TREE)
        place = None if snapshot is None else snapshot.nodes.get(path)
        if snapshot is None or place is None or place.last is None:
            return False
        last = place.last
        return (
            last.building
            and last.number is not None
            and last.number == known.number
            and last.started == known.started_at
            and 0 <= now - snapshot.at < USABLE
        )

    # -- stages

    async def _with_stages(self, build: Build) -> Build:
        """A build with its stages, where the stage view tells them.

        What only says whether a running build waits may fail without a word.
        """
        (path, number), now = split_id(build), self.api.now()
        needed = self.account.jobs or lacks(build)
        wanted = needed or build.status is not Status.COMPLETED
        if not wanted or not self._cache.may_have_stages(path, now):
            return replace(build, partial=False)
        url = f"{job_url(path)}/{number}/wfapi/describe"
        try:
            answer = await self.api.get(url, into=_Stages)
        except ProviderError as error:
            may_come = isinstance(error, TryLater) or error.reason == "unauthorized"
            if error.account_wide or (needed and may_come):
                raise
            if error.is_final:
                self._cache.note_stages(now, found=False)
            return replace(build, partial=False)
        self._cache.note_stages(now, found=True)
        stages = each(answer.body.stages or (), Stage)[0]
        return with_stages(build, answer.body.status, stages, jobs=self.account.jobs)


def _refusal(path: str) -> Unread:
    error = Malformed(
        f"{path[:200]!r} cannot be asked for: by its name the request might reach another place"
        " (exclude it, or rename it)",
        reason="bad_shape",
    )
    return Unread(path, error)


def _listed_though_gone(path: str) -> Unread:
    error = Gone(
        f"{path} answers 404 although the controller lists it with builds, which are missing here:"
        " a proxy may decode the %2F in it (docs/PROVIDERS.md), or exclude it",
        reason="not_found",
    )
    return Unread(path, error)


def _understood(token: str) -> _Token:
    try:
        return msgspec.json.decode(token, type=_Token)
    except msgspec.DecodeError:  # stored when the account was another provider's
        raise Malformed("the page to go on from is none of ours", reason="bad_shape") from None
