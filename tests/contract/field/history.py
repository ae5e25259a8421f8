"""A life played to the exporter, and what it shows compared with what the oracle says.

`History` polls the emulator of a `System` with the real sync, recorder, ledger and view, on a real
file and over real HTTP: each hour and now and then between, restarted, killed within a commit and
left alone for hours.

    def test_two_weeks(tmp_path: Path, seed: int) -> None:
        play(lambda: Fleet(), tmp_path / "state.db", seed=seed)
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from exporter.demo.serve import serving
from exporter.errors import ProviderError
from exporter.http import Api, RetryPolicy
from exporter.ledger.rows import Cursor
from exporter.providers import Repo
from exporter.sync import repo_sync
from exporter.sync.notes import RepoNotes
from exporter.sync.window import SyncRules
from tests.contract.field.life import (
    AWAY,
    BEGIN,
    HOUR,
    LOOKBACK,
    RETENTION,
    WINDOW,
    Clock,
    Life,
    System,
)
from tests.contract.field.oracle import Oracle, active, shown
from tests.tools.scripted import DAY, Rig

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
                    self.life.until(hour + self.random.randrange(1, AWAY) * HOUR)
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
        def deadly(*accounts: str) -> Iterator[Any]:
            nonlocal left
            left -= 1
            with begin(*accounts) as tx:
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
