"""Weeks in the life of a small fleet, hour by hour.

`Life` is what happens, from a seed: builds begin, wait for an approval, end, are run again
wholly or in part, touched and deleted; the CI system restarts; one part of it fails for a day.
A `System` shows that in the emulator of one provider, and says what its provider can do. All of it
goes by one `Clock`, which stands still unless it is moved.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import ClassVar, Literal, NamedTuple

import pytest
from starlette.applications import Starlette

from exporter.model import FAILING
from exporter.providers import Provider
from tests.tools.scripted import DAY

HOUR = 3600.0
BEGIN = 1_790_000_000 // 3600 * HOUR
"""When all histories begin, epoch seconds: a whole hour."""
LOOKBACK, WINDOW, RETENTION = DAY, DAY, 10 * DAY
"""How far back the first poll counts, a build is looked at again, and the ledger remembers."""
_AGAIN_UNTIL, AWAY = 12 * HOUR, 10
"""No build is run again when it is older, nor is the exporter down for more hours: together
less than `WINDOW`, beyond which nobody promises to see it."""
FADES = 12
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
