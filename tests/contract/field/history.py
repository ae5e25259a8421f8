"""Weeks in the life of a small fleet, hour by hour, and what must come out of them.

`Life` is what happens, from a seed: builds begin, wait for an approval, end, are run again
wholly or in part, touched and deleted; the CI system restarts; one part of it fails for a day.
A `System` shows that in the emulator of one provider, and says what its provider can do.
`Oracle` is what the contract makes of it, by one that knows the contract and not the code.
`History` joins them with the real walk, recorder, ledger and view, on a real file and over real
HTTP, which is polled each hour and now and then between, restarted, killed within a commit and
left alone for hours. All of them go by one `Clock`, which stands still unless it is told.

    def test_two_weeks(tmp_path: Path, seed: int) -> None:
        play(lambda: Fleet(), tmp_path / "state.db", seed=seed)
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, NamedTuple

import pytest
from starlette.applications import Starlette

from exporter.demo.serve import serving
from exporter.errors import ProviderError
from exporter.http import Api, RetryPolicy
from exporter.ledger.rows import Cursor
from exporter.metrics import families as f
from exporter.model import FAILING
from exporter.providers import Provider, Repo
from exporter.sync import repo_sync
from exporter.sync.notes import RepoNotes
from exporter.sync.window import SyncRules
from tests.tools.scripted import DAY, Rig

HOUR = 3600.0
BEGIN = 1_790_000_000 // 3600 * HOUR
"""When all histories begin, epoch seconds: a whole hour."""
LOOKBACK, WINDOW, RETENTION = DAY, DAY, 10 * DAY
"""How far back the first poll counts, a build is looked at again, and the ledger remembers."""
_AGAIN_UNTIL, _AWAY = 12 * HOUR, 10
"""No build is run again when it is older, nor is the exporter down for more hours: together
less than `WINDOW`, beyond which nobody promises to see it."""
_FADES = 12
"""Polls after which a build that is gone must be active no longer: one that is missed once or
twice may come back, and a restart begins to count anew."""
_MOST_GOES = 4


# -- the clock


class Clock:
    """What time it is for the exporter and the emulators."""

    def __init__(self) -> None:
        self.now = BEGIN

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - BEGIN + 1000.0

    @contextmanager
    def set(self) -> Iterator[None]:
        """Have every module of the exporter and the tests read this clock.

        Not the `time` of Python itself: timeouts of the event loop and sockets stay real.
        """
        shown = SimpleNamespace(**vars(time))
        shown.time, shown.monotonic = self.time, self.monotonic
        standing = {time: shown, time.time: self.time, time.monotonic: self.monotonic}
        with pytest.MonkeyPatch.context() as patch:
            for name, module in [*sys.modules.items()]:
                if name.partition(".")[0] in {"exporter", "tests"} and name != __name__:
                    for word in ("time", "monotonic"):
                        known = vars(module).get(word)
                        for real, shown_instead in standing.items():
                            if known is real:
                                patch.setattr(module, word, shown_instead)
            yield


# -- what is true


class Pipeline(NamedTuple):
    """What builds are of, by the labels that they must get; `part` is what fails as one."""

    repo: str
    workflow: str
    branch: str
    part: str


@dataclass
class Job:
    """One run of a job. Its times are filled as they come."""

    id: int
    name: str
    started_at: float | None = None
    ended_at: float | None = None
    conclusion: str | None = None
    carried: bool = False
    """Whether it ran in an earlier go and is only shown again."""


@dataclass
class Go:
    """One time that a build goes. Its times are filled as they come."""

    number: int
    """From 1; one that was held and approved keeps its number."""
    asked_at: float
    """When the build was created, or somebody ran it again."""
    partial: bool = False
    """Whether only those jobs run again that had not passed."""
    held_at: float | None = None
    """When it began to wait for a person."""
    approved_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    conclusion: str | None = None
    jobs: list[Job] = field(default_factory=list)

    @property
    def status(self) -> str:
        if self.ended_at is not None:
            return "completed"
        if self.held_at is not None and self.approved_at is None:
            return "waiting"
        return "queued" if self.started_at is None else "in_progress"

    @property
    def duration(self) -> float | None:
        """Seconds; None if it has not ended or never ran."""
        if self.ended_at is None or self.started_at is None:
            return None
        return self.ended_at - self.started_at


@dataclass
class Build:
    """A build with all its goes, the latest last."""

    id: int
    pipeline: Pipeline
    created_at: float
    goes: list[Go] = field(default_factory=list)
    touched_at: float | None = None
    deleted: bool = False

    @property
    def last(self) -> Go:
        return self.goes[-1]


class System:
    """One provider with its emulator: to be written for each."""

    prefix: ClassVar[str] = ""
    """Of the emulator's paths, which the API root ends in."""
    pipelines: tuple[Pipeline, ...]
    app: Starlette
    """The emulator."""
    can: ClassVar[frozenset[str]] = frozenset({"rerun", "part", "touch", "delete", "fail"})
    """What happens there: also `hold` (for an approval), `restart` (of the CI system)."""
    reruns: ClassVar[Literal["attempts", "again", "builds"]] = "attempts"
    """What a second go is: the next attempt of the build; the same attempt, which ends once
    more; or another build, which `show` has to list by itself."""
    retries: ClassVar[bool] = True
    """Whether a later go counts as a retry."""
    tells_earlier: ClassVar[bool] = True
    """Whether an earlier attempt that ended between two polls can be asked for."""
    numbers: ClassVar[bool] = True
    """Whether attempts are numbered, so that it is known how many were not seen."""
    lists_carried: ClassVar[bool] = False
    """Whether a later go shows jobs of an earlier one under the number of that one, so that
    they count even if the earlier go was never seen."""
    shows_reruns: ClassVar[bool] = True
    """Whether each poll shows what runs again, not only one that reads the whole window."""
    conclusions: ClassVar[dict[str, int]] = {"passed": 60, "failed": 25, "cancelled": 10}
    """How builds end, and how often of a hundred."""
    durations: bool = True
    """Whether the durations of builds are known to the second."""
    touched_after: float = 60.0
    """Seconds from the end of a build to its first touch: where the provider tells of no end
    but its last change, nobody can tell an early touch from it."""
    job_names: ClassVar[tuple[str, ...]] = ("unit", "lint")

    def provider(self) -> Provider:
        """The account as a new process reads it. Its name must be `acme`."""
        raise NotImplementedError

    def show(self, build: Build) -> None:
        """Have the emulator tell of a build as it stands now; called at each change."""
        raise NotImplementedError

    def touch(self, build: Build) -> None:
        """Move what moves when an old build is touched, though nothing of it has changed."""

    def delete(self, build: Build) -> None:
        """Have the emulator tell of a completed build no longer."""

    def restart(self, now: float, running: list[Build]) -> None:
        """The CI system restarts. What becomes of builds then is to be written to their goes."""

    def fail(self, part: str) -> None:
        """Answer nothing of a part but errors that may pass, neither lists nor single items."""

    def heal(self, part: str) -> None:
        """Answer as before."""


# -- what happens


class Life:
    """What happens to a fleet, in order of time, from a seed."""

    def __init__(
        self, system: System, clock: Clock, seed: int, *, days: float, often: float
    ) -> None:
        """`often`: how many builds a pipeline begins in an hour, about."""
        self.system, self.clock = system, clock
        self.random = random.Random(seed)
        self.builds: list[Build] = []
        self.broken: dict[str, float] = {}
        """Parts that fail, and since when."""
        self.end = BEGIN + days * DAY
        self._serial = itertools.count(1)
        self._ties = itertools.count()
        self._ends: set[float] = set()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._often = often
        for pipeline in system.pipelines:
            self._soon(pipeline)

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Have something happen."""
        heapq.heappush(self._due, (max(when, self.clock.now), next(self._ties), what))

    def until(self, when: float) -> None:
        """Let everything happen that is due by then, each at its time."""
        while self._due and self._due[0][0] <= when:
            self.clock.now, _, what = heapq.heappop(self._due)
            what()
        self.clock.now = when

    def _chance(self, share: float) -> bool:
        return self.random.random() < share

    def _between(self, least: float, most: float) -> float:
        """Seconds, short ones as likely as long ones."""
        return float(int(least * (most / least) ** self.random.random()))

    def _soon(self, pipeline: Pipeline) -> None:
        pause = self.random.expovariate(self._often / HOUR)
        self.at(self.clock.now + float(int(pause)) + 1, lambda: self._begin(pipeline))

    def _begin(self, pipeline: Pipeline) -> None:
        self._soon(pipeline)
        build = Build(next(self._serial), pipeline, self.clock.now)
        self.builds.append(build)
        self._go(build, partial=False)

    def _go(self, build: Build, *, partial: bool) -> None:
        go = Go(len(build.goes) + 1, self.clock.now, partial)
        before = build.last.jobs if partial else []
        go.jobs = [
            Job(job.id, job.name, job.started_at, job.ended_at, job.conclusion, carried=True)
            if job.conclusion == "passed"
            else Job(next(self._serial), job.name)
            for job in before
        ] or [Job(next(self._serial), name) for name in self.system.job_names]
        build.goes.append(go)
        if "hold" in self.system.can and not partial and self._chance(0.1):
            go.held_at = self.clock.now
            self.at(self.clock.now + self._between(600, 30 * HOUR), lambda: self._decide(build))
        else:
            self.at(self.clock.now + self._between(2, 200), lambda: self._start(build))
        self.system.show(build)

    def _decide(self, build: Build) -> None:
        if self._chance(0.7):
            build.last.approved_at = self.clock.now
            self.at(self.clock.now + self._between(2, 200), lambda: self._start(build))
            self.system.show(build)
        else:
            self._end(build, build.last, "cancelled")

    def _start(self, build: Build) -> None:
        go = build.last
        go.started_at = self.clock.now
        for job in go.jobs:
            if not job.carried:
                job.started_at = self.clock.now
        words, weights = zip(*self.system.conclusions.items(), strict=True)
        conclusion = self.random.choices(words, weights)[0]
        shortest = 1 if conclusion == "cancelled" else 20
        self.at(
            self.clock.now + self._between(shortest, 3 * HOUR),
            lambda: self._end(build, go, conclusion),
        )
        self.system.show(build)

    def _end(self, build: Build, go: Go, conclusion: str) -> None:
        if go.ended_at is not None:
            return  # a restart has ended it
        if self.clock.now in self._ends:  # which of two is the latest must be told by times
            self.at(self.clock.now + 1, lambda: self._end(build, go, conclusion))
            return
        self._ends.add(self.clock.now)
        go.ended_at, go.conclusion = self.clock.now, conclusion
        own = [job for job in go.jobs if not job.carried]
        for job in own:
            if job.started_at is None:
                job.ended_at, job.conclusion = self.clock.now, conclusion
        ran = [job for job in own if job.started_at is not None]
        for place, job in enumerate(ran):
            began = job.started_at or 0.0
            early = place > 0 and self._chance(0.5)
            job.ended_at = began + (self.clock.now - began) // 2 if early else self.clock.now
            job.conclusion = "passed" if early else conclusion
            if early and conclusion == "cancelled" and self._chance(0.5):
                job.ended_at, job.conclusion = began, "cancelled"  # before it did anything
        self.system.show(build)
        self._afterwards(build)

    def _afterwards(self, build: Build) -> None:
        now, can = self.clock.now, self.system.can
        last, ran = build.last, build.last.started_at is not None
        if "rerun" in can and ran and len(build.goes) < _MOST_GOES:
            only_failed = self.system.reruns == "again"
            wanted = 0.5 if last.conclusion in FAILING else 0.0 if only_failed else 0.1
            if self._chance(wanted):
                self.at(now + self._between(60, 8 * HOUR), lambda: self._again(build))
        if "touch" in can and self._chance(0.15):
            pause = self._between(self.system.touched_after, 9 * DAY)
            self.at(now + pause, lambda: self._touch(build))
        if "delete" in can and self._chance(0.04):
            self.at(now + self._between(60, 3 * DAY), lambda: self._delete(build))

    def _again(self, build: Build) -> None:
        since = self.broken.get(build.pipeline.part, self.clock.now - _AGAIN_UNTIL)
        if build.last.ended_at is None or build.deleted or build.created_at < since:
            return
        is_partial = build.last.conclusion in {*FAILING, "cancelled"} and self._chance(0.5)
        self._go(build, partial=is_partial and "part" in self.system.can)

    def _touch(self, build: Build) -> None:
        if build.last.ended_at is not None and not build.deleted:
            build.touched_at = self.clock.now
            self.system.touch(build)

    def _delete(self, build: Build) -> None:
        if build.last.ended_at is not None and not build.deleted:
            build.deleted = True
            self.system.delete(build)

    def restart(self) -> None:
        """The CI system restarts."""
        running = [b for b in self.builds if b.last.status == "in_progress" and not b.deleted]
        self.system.restart(self.clock.now, running)

    def fail(self, part: str) -> None:
        """A part fails from now on."""
        self.broken[part] = self.clock.now
        self.system.fail(part)

    def heal(self, part: str) -> None:
        """A part answers again."""
        del self.broken[part]
        self.system.heal(part)


# -- what must come out


Key = tuple[int, int]
"""A build and an attempt of it."""


class Oracle:
    """What the contract makes of a life that is looked at now and then."""

    def __init__(self, life: Life, floor: float, *, jobs: bool) -> None:
        self._life, self._system, self._floor, self._jobs = life, life.system, floor, jobs
        self._counted: dict[Key, tuple[Build, str, float | None]] = {}
        self._ends: dict[Key, tuple[float, str]] = {}
        self._active: dict[Key, tuple[Build, str]] = {}
        self._fading: dict[Key, int] = {}
        self._job_runs: dict[int, tuple[Build, Job]] = {}
        self._over: set[Key] = set()
        """What is history or was not told, and never counts."""
        self._missing = 0

    def look(self) -> None:
        """A poll ends well, but for the parts that fail."""
        for build in self._life.builds:
            if build.pipeline.part not in self._life.broken:
                self._see(build)

    def _see(self, build: Build) -> None:
        known = [key for key in self._active if key[0] == build.id]
        if build.deleted:
            for key in known:
                self._fading[key] = self._fading.get(key, 0) + 1
                if self._fading[key] >= _FADES:
                    del self._active[key]
            return
        for key in known:
            del self._active[key]
        again = self._system.reruns == "again"
        for go in build.goes[-1:] if again else build.goes:
            key = (build.id, 1 if again else go.number)
            if go.ended_at is None:
                self._active[key] = (build, go.status)
                if again or self._system.lists_carried:  # with those that run
                    self._see_jobs(build, build.goes if again else [go])
            elif not self._system.tells_earlier and go is not build.last:
                # What nobody has seen is told as missing with the end of the next that is seen.
                is_lost = key not in self._counted and key not in self._over
                if is_lost and build.last.ended_at is not None:
                    self._over.add(key)
                    # An older build's may have ended before the time of the first poll.
                    self._missing += self._system.numbers and build.created_at >= self._floor
            else:
                self._see_end(key, build, go)

    def _see_end(self, key: Key, build: Build, go: Go) -> None:
        assert go.ended_at is not None
        assert go.conclusion is not None
        if key not in self._counted:
            if go.ended_at < self._floor:
                self._over.add(key)
            if key in self._over:
                return
            self._counted[key] = (build, go.conclusion, go.duration)
        self._ends[key] = (go.ended_at, go.conclusion)
        self._see_jobs(build, build.goes if self._system.reruns == "again" else [go])

    def _see_jobs(self, build: Build, goes: list[Go]) -> None:
        for job in [job for one in goes for job in one.jobs]:
            ended = job.ended_at is not None and job.ended_at >= self._floor
            shown = self._system.lists_carried or not job.carried
            if ended and shown and job.conclusion is not None:
                self._job_runs[job.id] = (build, job)

    def expected(self) -> dict[tuple[str, ...], float]:
        """Every value that is not 0, by what it is of."""
        values: Counter[tuple[str, ...]] = Counter()
        spans: Counter[tuple[str, ...]] = Counter()
        pipelines: dict[Pipeline, list[tuple[float, int, int, str]]] = {}
        for (number, attempt), (build, conclusion, duration) in self._counted.items():
            where = build.pipeline[:3]
            values["builds", *where, conclusion] += 1
            values["retries", *where] += attempt > 1 and self._system.retries
            if self._system.durations and duration is not None:
                values["durations", *where] += 1
                spans["seconds", *where] += int(duration)
            ended, last = self._ends[number, attempt]
            pipelines.setdefault(build.pipeline, []).append((ended, number, attempt, last))
        for pipeline, ends in pipelines.items():
            ends.sort()
            streak = 0
            for *_, word in ends:
                streak = 0 if word == "passed" else streak + (word in FAILING)
            values["last", *pipeline[:3], ends[-1][-1]] = 1
            values["streak", *pipeline[:3]] = streak
        for build, job in self._job_runs.values() if self._jobs else ():
            values["jobs", *build.pipeline[:3], job.name, job.conclusion or ""] += 1
        values["missing",] = self._missing
        return {key: value for key, value in (*values.items(), *spans.items()) if value}

    def active(self) -> tuple[Counter[tuple[str, ...]], Counter[tuple[str, ...]]]:
        """How many builds are active by pipeline and status: the least, and the most, as what
        is gone may be shown for a few polls."""
        sure: Counter[tuple[str, ...]] = Counter()
        most: Counter[tuple[str, ...]] = Counter()
        for build, status in self._active.values():
            label = (*build.pipeline[:3], status)
            most[label] += 1
            sure[label] += not build.deleted
        return sure, most


def shown(rig: Rig, *, durations: bool, jobs: bool) -> dict[tuple[str, ...], float]:
    """The same as `Oracle.expected`, as a scrape has it."""
    values: Counter[tuple[str, ...]] = Counter()
    for key, vector in rig.view.stored():
        where = key.labels[2:5]
        match key.family:
            case f.BUILDS.name:
                values["builds", *where, key.labels[-1]] += int(vector[0])
            case f.RETRIES.name:
                values["retries", *where] += int(vector[0])
            case f.BUILD_DURATION.name if durations:
                values["durations", *where] += int(sum(vector[:-1]))
                values["seconds", *where] += round(vector[-1])
            case f.JOBS.name if jobs:
                values["jobs", *where, *key.labels[5:]] += int(vector[0])
            case f.MISSING.name if key.labels[-1] == "attempt":
                values["missing",] += int(vector[0])
    for name, labels, value in rig.view.gauges(rig.clock()):
        if name == f.LAST_CONCLUSION.name:
            values["last", *labels[2:]] = int(value)
        elif name == f.STREAK.name:
            values["streak", *labels[2:]] = int(value)
    return {key: value for key, value in values.items() if value}


def active(rig: Rig) -> Counter[tuple[str, ...]]:
    """How many builds are shown as active by pipeline and status."""
    values: Counter[tuple[str, ...]] = Counter()
    for name, labels, value in rig.view.gauges(rig.clock()):
        if name == f.ACTIVE.name:
            values[labels[2:]] = int(value)
    return values


# -- both together


class _Killed(BaseException):
    """The process dies within a commit."""


class History:
    """A life, and an exporter that polls it."""

    def __init__(self, system: System, path: Path, clock: Clock, life: Life) -> None:
        self.system, self.clock, self.life = system, clock, life
        self.rig = Rig(path, clock=clock.time, lookback=LOOKBACK, retention=RETENTION)
        self.random = random.Random(life.random.random())
        self.polls = 0

    async def run(self) -> None:
        """From the first hour to the last."""
        system, life, clock = self.system, self.life, self.clock
        life.until(BEGIN + 30 * HOUR)  # the exporter comes to a fleet that has a past
        system.app.add_middleware(Dated, clock=clock)
        async with serving(system.app) as self.url:
            self._start()
            self.oracle = Oracle(life, clock.now - LOOKBACK, jobs=self.native.jobs)
            try:
                await self._hours(life.end)
            finally:
                await self.api.aclose()
                self.rig.crash()

    async def _hours(self, end: float) -> None:
        self._plan(end)
        await self._poll()
        while self.clock.now < end:
            hour = self.clock.now + HOUR
            if self.random.random() < 0.3:
                self.life.until(self.clock.now + self.random.randrange(60, 3500))
                await self._poll()
            self.life.until(hour)
            match self.random.random():
                case chance if chance < 0.04:
                    await self._die()
                case chance if chance < 0.08:
                    await self._restart()
                case chance if chance < 0.09:
                    await self._poll()
                    self.life.until(hour + self.random.randrange(1, _AWAY) * HOUR)
                    await self._restart()
            await self._poll()
            if self.clock.now % DAY == 0:
                await self.rig.recorder.sweep(self.clock.now)

    def _plan(self, end: float) -> None:
        """When the CI system restarts, and when which part fails for a day."""
        hours = range(int(BEGIN + 40 * HOUR), int(end - 2 * DAY), 3600)
        if "restart" in self.system.can:
            for at in self.random.sample(hours, k=3):
                self.life.at(at + 1800, self.life.restart)
        self._fails_at: dict[float, str] = {}
        if "fail" in self.system.can:
            parts = sorted({pipeline.part for pipeline in self.system.pipelines})
            for part in self.random.sample(parts, k=min(2, len(parts))):
                self._fails_at[self.random.choice(hours)] = part

    def _start(self) -> None:
        """What a process does at its start."""
        self.native = self.system.provider()
        self.rig.accounts = {"acme": self.native.label}
        self.rig.restart()
        # What survives a power cut is others' subject, and flushing takes most of the time.
        self.rig.ledger._db.execute("PRAGMA synchronous = OFF")
        self.memories: dict[str, RepoNotes] = {}
        self.api = Api(
            root=self.url + self.system.prefix,
            headers=lambda: self.source.headers("demo"),
            timeout=10.0,
            retries=RetryPolicy(attempts=1, sleep=_nothing_waits),
        )
        self.source = self.native.connect(self.api)
        self.repos: list[Repo] = []

    async def _restart(self) -> None:
        await self.api.aclose()
        self._start()

    async def _die(self) -> None:
        """A poll ends within a commit, and the process with it."""
        left = self.random.randrange(3)
        late = self.random.random() < 0.5
        begin = self.rig.ledger.transaction

        @contextmanager
        def deadly() -> Iterator[Any]:
            nonlocal left
            left -= 1
            with begin() as tx:
                yield tx
                if left < 0 and not late:
                    raise _Killed
            if left < 0:
                raise _Killed

        self.rig.ledger.transaction = deadly  # type: ignore[method-assign]
        with suppress(_Killed):
            await self._read()
        await self._restart()

    async def _poll(self) -> None:
        """A poll of all repos; after one that shows all, all must be as it should."""
        await self._read()
        self.polls += 1
        windows = {memory.deep_at for memory in self.memories.values()}
        if not self.system.shows_reruns and windows != {self.clock.monotonic()}:
            return  # what has run again may be seen, or not yet
        self.oracle.look()
        self.check()
        for at, part in [*self._fails_at.items()]:
            if at <= self.clock.now:  # right after a poll, so that nothing from before is hidden
                del self._fails_at[at]
                self.life.fail(part)
                self.life.at(self.clock.now + DAY, lambda part=part: self.life.heal(part))  # type: ignore[misc]

    async def _read(self) -> None:
        if not self.repos:
            self.repos = await self._entries()
        await self.source.renew()
        for repo in self.repos:
            try:
                await self._walk(repo)
            except ProviderError:
                if not self.life.broken:
                    raise

    async def _entries(self) -> list[Repo]:
        found: dict[str, Repo] = {}
        for entry in self.native.repos:
            wild = self.native.is_wildcard(entry)
            for repo in await self.source.discover(entry) if wild else [Repo(entry)]:
                found[repo.entry] = repo
        return list(found.values())

    async def _walk(self, repo: Repo) -> None:
        cursor = Cursor(floor=self.api.now() - LOOKBACK)
        target = await self.rig.recorder.target("acme", repo.entry, cursor)
        for _ in range(20):
            one = repo_sync.RepoSync(
                repo_sync.SyncContext(
                    self.source,
                    self.rig.recorder,
                    SyncRules(
                        lookback=LOOKBACK,
                        retention=RETENTION,
                        rerun_window=WINDOW,
                        max_interval=900.0,
                    ),
                ),
                repo=repo,
                target=target,
                notes=self.memories.setdefault(repo.entry, RepoNotes()),
            )
            target = await one.run()
            if not one.is_unfinished:
                return
        pytest.fail(f"the walk through {repo.entry} does not end")

    def check(self) -> None:
        """Compare what is shown with what must be."""
        wanted = self.oracle.expected()
        got = shown(self.rig, durations=self.system.durations, jobs=self.native.jobs)
        wrong = [
            f"{' '.join(key)} is {got.get(key, 0)}, should be {wanted.get(key, 0)}"
            for key in sorted(wanted.keys() | got.keys())
            if wanted.get(key, 0) != got.get(key, 0)
        ]
        sure, most = self.oracle.active()
        running = active(self.rig)
        wrong += [
            f"active {' '.join(key)} is {running[key]}, should be {sure[key]} to {most[key]}"
            for key in sorted(sure.keys() | most.keys() | running.keys())
            if not sure[key] <= running[key] <= most[key]
        ]
        hours = (self.clock.now - BEGIN) / HOUR
        assert not wrong, f"{hours:.2f} hours after the beginning:\n" + "\n".join(wrong)


class Dated:
    """An emulator that tells the time of its answers."""

    def __init__(self, app: Any, clock: Clock) -> None:
        self._app, self._clock = app, clock

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        stamp = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(self._clock.now)).encode()

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                others = [h for h in message["headers"] if h[0].lower() != b"date"]
                message = {**message, "headers": [*others, (b"date", stamp)]}
            await send(message)

        await self._app(scope, receive, told)


async def _nothing_waits(seconds: float) -> None:
    pytest.fail(f"the exporter wants to wait {seconds:.0f} s: no emulator of a history limits it")


def play(
    system: Callable[[], System],
    path: Path,
    *,
    seed: int,
    days: float = 14.0,
    often: float = 0.25,
) -> History:
    """Live through a history; everything is compared after every poll."""
    clock = Clock()
    with clock.set():
        fleet = system()
        history = History(fleet, path, clock, Life(fleet, clock, seed, days=days, often=often))
        asyncio.run(history.run())
    return history
