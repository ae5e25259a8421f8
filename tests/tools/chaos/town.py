"""Four CI systems in a hurry, behind a weather each, and the truth about all their builds."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, cast

from starlette.applications import Starlette

from exporter.demo import JobRun, Run, World
from exporter.demo.serve import serving
from tests.tools.chaos.weather import Weather
from tests.tools.emulators import github, gitlab
from tests.tools.emulators.unified import app
from tests.tools.system import account

RATE = 60
"""Seconds of the town's life in one of ours: a walk's overlap of 10 minutes is soon over."""
STEP = 1.5
"""Seconds of ours in which the town's life goes so fast after each step of the storm. Then it goes
as fast as ours: to a machine that needs long for a step no build is older than to another one."""
TICK = 0.05
PACE = 0.1
"""Seconds of ours: between two steps of the town, and on average between two builds."""
QUEUED, RERUN_TAKES = 10, 120
"""Seconds that the first attempts queue and take that are run again; in these repos nothing
else fails. So those can be told that the next attempt has hidden from the exporter. Jenkins'
builds all queue as long: their numbers are given in the order of their starts."""
ENDS = ("passed", "passed", "failed", "cancelled")


class Attempt(NamedTuple):
    """What will have happened when it is over; all times in whole seconds of the town."""

    started: int
    ended: int
    conclusion: str


class Build(NamedTuple):
    """A build and all its attempts."""

    account: str
    repo: str
    created: int
    attempts: tuple[Attempt, ...]


class Clock:
    """Epoch seconds of the town; nobody's jumps trouble it."""

    def __init__(self) -> None:
        self._step = time.time(), time.monotonic()

    def __call__(self) -> float:
        at, begun = self._step
        passed = time.monotonic() - begun
        return at + RATE * min(passed, STEP) + max(passed - STEP, 0.0)

    def steps(self) -> None:
        """The next step of the storm begins."""
        self._step = self(), time.monotonic()


class Town:
    """All systems on sockets of their own in a thread; a context manager.

    `hub` and `lab` are GitHub and GitLab themselves, the other accounts those of the
    unified API. `hub`'s token is in `token_file` and changes while both are good.
    """

    repos: ClassVar[dict[str, list[str]]] = {
        "github": ["acme/shop", "acme/api"],
        "circleci": ["gh/acme/web"],
        "jenkins": ["folder/nightly"],
        "hub": ["acme/core", "acme/docs"],
        "lab": ["acme/app", "acme/lib"],
    }
    reruns = frozenset({("github", "acme/shop"), ("hub", "acme/core")})

    def __init__(self, seed: str, folder: Path) -> None:
        self.builds: list[Build] = []
        self.clock = Clock()
        self.token_file = folder / "token"
        self._chance = random.Random(f"town {seed}")
        self._world = World(self.clock, page_size=7)
        self._hub, self._lab = github.Hub(), gitlab.World()
        self._apps = {"unified": app(self._world), "hub": self._hub.app, "lab": self._lab.app()}
        self.weathers = {
            name: Weather(one, self.clock, f"{name} {seed}") for name, one in self._apps.items()
        }
        self._due: list[tuple[float, int, Callable[[], Any]]] = []
        self._serial = itertools.count(1)
        self._numbers = {
            repo: itertools.count(1) for repos in self.repos.values() for repo in repos
        }
        self._is_building = True
        self._is_stormy = True
        self._token = github.TOKEN
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True)
        self._opened = threading.Event()
        self.token_file.write_text(self._token)
        for name, repos in self.repos.items():
            if name == "hub":
                for repo in repos:
                    self._hub.repo(repo)
            elif name == "lab":
                self._lab.projects |= {repo: {} for repo in repos}
            else:
                self._world.open(name, name, *repos)

    def accounts(self) -> list[dict[str, Any]]:
        """The `accounts` of a configuration that polls everything."""
        unified = self.urls["unified"]
        accounts: list[dict[str, Any]] = [
            account(name, name, unified, repos, jobs=name == "circleci")
            for name, repos in self.repos.items()
            if name not in {"hub", "lab"}
        ]
        hub = {"url": self.urls["hub"] + "/api/v3", "token_file": str(self.token_file)}
        lab = {"url": self.urls["lab"] + "/api/v4", "token_env": accounts[0]["token_env"]}
        accounts.append({"name": "hub", "provider": "github", "repos": self.repos["hub"], **hub})
        accounts.append({"name": "lab", "provider": "gitlab", "repos": self.repos["lab"], **lab})
        return accounts

    def ends_work(self) -> None:
        """No build is begun any more."""
        self._is_building = False

    def calms_down(self) -> None:
        """From now on all is answered as it should be."""
        self._is_stormy = False

    @property
    def is_over(self) -> bool:
        """Whether all builds have ended."""
        last = max((build.attempts[-1].ended for build in self.builds), default=0)
        return not self._is_building and not self._due and last < self.clock()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._opened.wait(60)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(60)

    # -- its life, all of it in one thread

    async def _live(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            self.urls = {
                name: await stack.enter_async_context(serving(cast("Starlette", weather)))
                for name, weather in self.weathers.items()
            }
            self._opened.set()
            life = asyncio.gather(self._work(), self._fate())
            await self._end.wait()
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            for weather in self.weathers.values():
                weather.clears()

    async def _work(self) -> None:
        while True:
            now = self.clock()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[-1]()
            if self._is_building and self._chance.random() < TICK / PACE:
                self._begin(int(now))
            await asyncio.sleep(TICK)

    async def _fate(self) -> None:
        """The weather changes, and now and then the token."""
        while True:
            for weather in self.weathers.values():
                weather.changes() if self._is_stormy else weather.clears()
            if self._is_stormy and self._chance.random() < 0.1:
                self._rotate()
            await asyncio.sleep(self._chance.uniform(0.2, 1.2))

    def _rotate(self) -> None:
        old, self._token = self._token, f"ghp_{next(self._serial)}"
        self._hub.tokens.add(self._token)
        new = self.token_file.with_suffix(".new")
        new.write_text(self._token)
        new.replace(self.token_file)
        self._later(self.clock() + 30, lambda: self._hub.tokens.discard(old))

    def _later(self, at: float, what: Callable[[], Any]) -> None:
        heapq.heappush(self._due, (at, next(self._serial), what))

    def _begin(self, now: int) -> None:
        name = self._chance.choice(list(self.repos))
        repo = self._chance.choice(self.repos[name])
        queued = QUEUED if name == "jenkins" else self._chance.randint(5, 30)
        attempts = self._attempts(now, queued, may_rerun=(name, repo) in self.reruns)
        build = Build(name, repo, now, tuple(attempts))
        self.builds.append(build)
        {"hub": self._at_hub, "lab": self._at_lab}.get(name, self._at_unified)(build)

    def _attempts(self, now: int, queued: int, *, may_rerun: bool) -> Iterator[Attempt]:
        chance, started = self._chance, now + queued
        if not (may_rerun and chance.random() < 0.4):
            ends = [end for end in ENDS if not (may_rerun and end == "failed")]
            yield Attempt(started, started + chance.randint(20, 240), chance.choice(ends))
            return
        started = now + QUEUED
        yield Attempt(started, started + RERUN_TAKES, "failed")
        started += RERUN_TAKES + chance.randint(10, 60)
        yield Attempt(started, started + chance.randint(20, 180), "passed")

    def _at_unified(self, build: Build) -> None:
        number = next(self._numbers[build.repo])
        is_pipeline = build.account == "circleci"
        unique = str(number)  # at Jenkins; elsewhere no two repos share an id
        if is_pipeline:
            unique = str(uuid.UUID(int=number))
        elif build.account == "github":
            unique = str(next(self._serial))
        asked: int | None = None
        for n, attempt in enumerate(build.attempts, 1):
            run = Run(
                id=unique,
                number=number,
                attempt=n,
                workflow="CI",
                created_at=build.created,
                requested_at=asked,
                started_at=attempt.started,
                completed_at=attempt.ended,
                conclusion=attempt.conclusion,
                jobs=tuple(_jobs(number, attempt)) if is_pipeline else (),
            )
            self._world.add(build.account, build.repo, run)
            asked = attempt.ended + 5

    def _at_hub(self, build: Build) -> None:
        words = {"passed": "success", "failed": "failure"}
        hub, now = self._hub, time.time
        # Half a second more, as it is cut to whole seconds over there.
        run = hub.begin(build.repo, ago=now() - build.created - 0.5)
        for n, attempt in enumerate(build.attempts):
            if n:
                at = attempt.started
                self._later(at, lambda at=at: hub.again(run, ago=now() - at - 0.5))  # type: ignore[misc]
            word = words.get(attempt.conclusion, attempt.conclusion)
            begun = attempt.started if n else build.created
            ends = {"conclusion": word, "after": attempt.ended - begun}
            self._later(attempt.ended, lambda ends=ends: hub.end(run, **ends))  # type: ignore[misc]

    def _at_lab(self, build: Build) -> None:
        words = {"passed": "success", "cancelled": "canceled"}
        (attempt,) = build.attempts
        pipeline = self._lab.pipeline(build.repo, build.created)
        word = words.get(attempt.conclusion, attempt.conclusion)
        self._later(attempt.started, lambda: pipeline.turns("running", attempt.started))
        self._later(attempt.ended, lambda: pipeline.turns(word, attempt.ended))


def _jobs(number: int, attempt: Attempt) -> Iterable[JobRun]:
    middle = (attempt.started + attempt.ended) // 2
    yield JobRun(id=f"{number}0", name="a", started_at=attempt.started, completed_at=middle)
    yield JobRun(
        id=f"{number}1",
        name="b",
        started_at=middle,
        completed_at=attempt.ended,
        conclusion=attempt.conclusion,
    )
