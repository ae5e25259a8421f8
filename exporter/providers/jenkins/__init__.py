"""Jenkins: builds of jobs and of the branches of multibranch jobs, jobs from the stage view.

Token: a user with Overall/Read and Job/Read and nothing else; as this user: the name at the top,
Security, Add new token. `username` is the user's. Without any, what anonymous users may see.

Requests: one `tree` request tells the last build of all jobs of the controller. It serves all
entries that are polled within 15 seconds, so an idle round costs 1 (folders more than 4 levels
deep: 1 more each; 1 more while something is queued). A job is listed (1 more) only if its last
build has changed. A running pipeline costs 1 for its stage view, to see whether it waits for
input; with `jobs: true` each new build 1 for its stages.

Limits: controllers have none; 8 requests are under way at most. One that is slow to list thousands
of jobs needs a longer `polling.timeout`; where it cannot answer in time, or at all, smaller lists
are asked for: each folder by itself (1 each), and fewer builds at a time.

Self-hosted: always; `url` is the controller's root with its prefix.

Known: duration (but not of a build during which the controller died), trigger (from the most
telling cause), queue only with the Metrics plugin, jobs (stages) only with the Pipeline Stage View
plugin. Queue items count as queued builds.

Unknown: attempts: a replay or restart is a build of its own.

A branch that cannot be read, though the controller lists it with builds, is shown at its
multibranch job and tried again; the others count meanwhile. A proxy that decodes `%2F` in paths
makes all branches with a slash such ones (Apache: `AllowEncodedSlashes NoDecode` and `nocanon`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec.structs import replace
from pydantic import PrivateAttr

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
    Unread,
    basic,
    by_part,
)
from exporter.providers.jenkins import builds, queue
from exporter.providers.jenkins.builds import Mark
from exporter.providers.jenkins.mapping import (
    Run,
    Stage,
    Where,
    lacks,
    resumed,
    split_id,
    to_build,
    to_job,
    with_stages,
)
from exporter.providers.jenkins.memo import USABLE, Memo
from exporter.providers.jenkins.refs import of_checkout
from exporter.providers.jenkins.snapshot import Snapshot, with_builds
from exporter.providers.jenkins.tree import NAME, Node, job_url
from exporter.providers.jenkins.vocabulary import WORDS

__all__ = [
    "PROVIDER",
    "WORDS",
    "Jenkins",
    "Run",
    "Stage",
    "Where",
    "of_checkout",
    "to_build",
    "to_job",
]

_PAGE = re.compile(r"(https?://.+?)(?:/view/[^/]+)*/job(?:/.*)?")
"""The page of a job, maybe by a view, behind the controller's root."""
_QUEUE = "/queue"
"""The queue as a part of what is read; no job path begins with a slash."""


class _Stages(msgspec.Struct, frozen=True):
    status: Any = None
    stages: list[msgspec.Raw] | None = None


class _Token(msgspec.Struct, frozen=True, array_like=True):
    """Which jobs go on, and where."""

    label: str
    jobs: dict[str, Mark]


class _Place(NamedTuple):
    """What an entry names."""

    label: str
    """The `repo` label."""
    jobs: Sequence[Node]
    """The jobs whose builds are its own."""
    refused: Sequence[str] = ()
    """Names of others that cannot be asked for safely."""


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
    has_odd_names = True
    name_pattern: ClassVar[str] = rf"(?:{NAME}/)*{NAME}"

    provider: Literal["jenkins"]
    username: str | None = None
    """The user whose API token it is; without it the token is sent as a bearer token."""

    _memo: Memo = PrivateAttr(default_factory=Memo)

    @classmethod
    def api_instead_of(cls, url: str) -> str | None:
        """Of the page of a job or view the controller's root."""
        found = _PAGE.fullmatch(url)
        return found and found[1]

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
        if folder and await snapshot.find(api, folder) is None:
            raise Gone(f"there is no folder {folder}, or not for us", reason="not_found")
        await snapshot.inside(api, folder)
        found: list[Repo] = []
        broken: list[Unread] = []
        folders = [folder]
        while folders:
            calls = {f: snapshot.inside(api, f) for f in folders}
            inside, failed = await by_part(calls, all_may_fail=True)
            broken += failed
            jobs = [place for places in inside.values() for place in places]
            names = (f"{f}/{name}".lstrip("/") for f in inside for name in snapshot.refused(f))
            found += [Repo(name) for name in names if not self.excludes(name)]
            folders = []
            for place in jobs:
                if place.is_container and not place.is_multibranch:
                    if stars == "**" and not self._leaves_out(place.path):
                        folders.append(place.path)
                elif place.active and not self.excludes(place.path):
                    found.append(Repo(place.path))
        return Matches(found, broken[0].error if broken else None)

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        """Builds of the job, or of all its branches side by side; first what is queued."""
        if query.token is not None:
            token = _understood(query.token)
            return await self._page(api, repo, query, token.label, token.jobs)
        snapshot = await self._snapshot(api, repo.entry)
        place = await self._place(api, snapshot, repo.entry)
        jobs = [job for job in place.jobs if not self.excludes(job.path)]
        queued = await queue.queued(api, self._memo, snapshot, place.label, jobs)
        due = {job.path: Mark() for job in jobs if self._is_due(job, query)}
        page = await self._page(api, repo, query, place.label, due)
        if len(page.unread) == len(jobs) == len(due) > 0:
            raise page.unread[0].error  # nothing of it can be read
        refused = (f"{repo.entry}/{name}" for name in place.refused)
        unread = [_refusal(path) for path in refused if not self.excludes(path)]
        if snapshot.queue_error is not None:
            unread.append(Unread(_QUEUE, snapshot.queue_error))
        return replace(page, builds=(*queued, *page.builds), unread=(*page.unread, *unread))

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        """Whether a running pipeline waits for input, and the stages if jobs are wanted."""
        return await self._with_stages(api, resumed(build, known))

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        """A build by itself; the snapshot will do if it says that it still runs."""
        path, number = split_id(known)
        where = Where(known.repo, path)
        if known.status is Status.QUEUED:
            return await self._left_queue(api, where, known)
        if self._still_runs(path, known, api.now()):
            return await self._with_stages(api, known)
        build = resumed(await builds.single(api, self._memo, where, number), known)
        if not build.key.is_same_build(known.key):
            raise Gone(f"another build has taken the place of {known.key}", reason="not_found")
        return await self._with_stages(api, build)

    async def _left_queue(self, api: Api, where: Where, known: Build) -> Build:
        """What a queued build has become. Raises Gone if it was cancelled."""
        number = await queue.number_of(api, self._memo, where.path, known)
        if number is None:
            return known
        build = await builds.single(api, self._memo, where, str(number))
        return await self._with_stages(api, build)

    # -- the tree of jobs

    async def _snapshot(self, api: Api, entry: str) -> Snapshot:
        async with self._memo.lock("snapshot"):
            now = api.now()
            held = self._memo.fresh(entry, now)
            if held is None:
                held = await Snapshot(entry, self._memo.thrift, now).look(api)
                self._memo.snapshot = held
            return held

    async def _place(self, api: Api, snapshot: Snapshot, entry: str) -> _Place:
        place = await snapshot.find(api, entry)
        if place is None:
            raise Gone(f"there is no job {entry}, or not for us", reason="not_found")
        if place.is_multibranch:
            jobs = await snapshot.inside(api, entry)
            return _Place(entry, jobs, snapshot.refused(entry))
        if place.is_container:
            raise Gone(f"{entry} is a folder (write {entry}/* for its jobs)", reason="not_found")
        above = snapshot.nodes.get(entry.rpartition("/")[0])
        return _Place(above.path if above is not None and above.is_multibranch else entry, [place])

    def _leaves_out(self, folder: str) -> bool:
        """Whether nothing below a folder is wanted."""
        return self.excludes(folder) or f"{folder}/**" in self.exclude

    # -- builds

    def _is_due(self, job: Node, query: Query) -> bool:
        has_changed = self._memo.must_read(job, query)
        return has_changed or job.path in query.behind

    async def _page(
        self, api: Api, repo: Repo, query: Query, label: str, jobs: Mapping[str, Mark]
    ) -> Page:
        """A page of each job's builds. A branch that fails is a part that could not be read."""
        calls = {
            path: builds.listed(api, self._memo, Where(label, path), mark, query)
            for path, mark in jobs.items()
        }
        alone = jobs.keys() == {repo.entry}
        parts, failed = await by_part(calls, all_may_fail=not alone)
        failed = await self._without_deleted(api, repo.entry, failed, query)
        for one in failed:
            self._memo.marks.forget(one.part)
        going_on = {path: part.next for path, part in parts.items() if part.next is not None}
        token = _Token(label, going_on)
        return Page(
            tuple(build for part in parts.values() for build in part.builds),
            msgspec.json.encode(token).decode() if going_on else None,
            sum(part.rejected for part in parts.values()),
            failed,
        )

    async def _without_deleted(
        self, api: Api, entry: str, failed: tuple[Unread, ...], query: Query
    ) -> tuple[Unread, ...]:
        """The parts that failed, but for branches that have been deleted meanwhile.

        The controller says so: a proxy before it may answer 404 too.
        """
        gone = {one.part for one in failed if isinstance(one.error, Gone)}
        there = gone
        if not gone <= query.behind.keys():  # else they are listed anew, and still there
            found = await with_builds(api, entry)
            there = gone if found is None else gone & found
        return tuple(
            _listed_though_gone(one.part) if one.part in there else one
            for one in failed
            if one.part in there or one.part not in gone
        )

    def _still_runs(self, path: str, known: Build, now: float) -> bool:
        """Whether the last snapshot shows this very build as running."""
        snapshot = self._memo.snapshot
        place = None if snapshot is None else snapshot.nodes.get(path)
        if snapshot is None or place is None or place.pulse is None:
            return False
        pulse = place.pulse
        return (
            pulse.building
            and pulse.number is not None
            and pulse.number == known.number
            and pulse.started == known.started_at
            and 0 <= now - snapshot.at < USABLE
        )

    # -- stages

    async def _with_stages(self, api: Api, build: Build) -> Build:
        """A build with its stages, where the stage view tells them.

        What only says whether a running build waits may fail without a word.
        """
        (path, number), now = split_id(build), api.now()
        needed = self.jobs or lacks(build)
        wanted = needed or build.status is not Status.COMPLETED
        if not wanted or not self._memo.may_have_stages(path, now):
            return replace(build, partial=False)
        url = f"{job_url(path)}/{number}/wfapi/describe"
        try:
            answer = await api.get(url, into=_Stages)
        except ProviderError as error:
            may_come = isinstance(error, TryLater) or error.reason == "unauthorized"
            if error.account_wide or (needed and may_come):
                raise
            if error.is_final:
                self._memo.note_stages(now, found=False)
            return replace(build, partial=False)
        self._memo.note_stages(now, found=True)
        stages = each(answer.body.stages or (), Stage)[0]
        return with_stages(build, answer.body.status, stages, jobs=self.jobs)


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


PROVIDER = Jenkins
