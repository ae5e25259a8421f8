"""An exporter in this very process, its configuration file, and an emulator to poll."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.config import load
from exporter.daemon import Application, Reloads, assembled, housekeeping
from exporter.demo import Run, World
from exporter.schedule import runner
from tests.tools.emulators.unified import EmulatorThread
from tests.tools.system import TOKEN_ENV, Exposition, account, configure

NAMES = ("one", "two", "three")
REPOS = ("acme/api", "acme/shop")


class Stage:
    """An emulator with three accounts of two repos, and a configuration file."""

    def __init__(self, emulator: EmulatorThread, folder: Path) -> None:
        self.emulator = emulator
        self.folder = folder
        self.file = folder / "config.yaml"
        self.serial = 0
        for name in NAMES:
            emulator.world.open(name, "github", *REPOS)
            for repo in REPOS:
                self.build(name, repo)

    def build(self, name: str, repo: str = REPOS[0], **values: Any) -> None:
        """A build that has just passed, unless `values` differ."""
        self.serial += 1
        now = time.time()
        known = {
            "workflow": "CI",
            "created_at": now - 30,
            "started_at": now - 20,
            "completed_at": now - 1,
        }
        run = Run(id=str(self.serial), number=self.serial, **{**known, **values})
        self.emulator.world.add(name, repo, run)

    def account(self, name: str, **keys: Any) -> Any:
        return account(name, "github", self.emulator.url, keys.pop("repos", REPOS), **keys)

    def write(self, *accounts: Any, **sections: Any) -> None:
        """The file, put in place at once; an account may be just a name."""
        known: dict[str, Any] = {
            "metrics": {"zero_hold": 0},
            "polling": {"interval": "0.5s"},
            "state": {"url": f"sqlite:///{self.folder}/state.db"},
        }
        all_keys = [self.account(a) if isinstance(a, str) else a for a in accounts]
        new = configure(self.folder / "new", all_keys, **known | sections)
        new.replace(self.file)

    def polls(self, name: str) -> int:
        """How many pages of builds an account was asked for."""
        requests = self.emulator.journal.requests("/unified/ci-cd/builds")
        return sum(request.account == name for request in requests)


class Inside:
    """What runs by the stage's file."""

    def __init__(self, stage: Stage, assembly: Application) -> None:
        self.assembly = assembly
        self.schedule = assembly.schedule
        self.reloads = Reloads(assembly, str(stage.file))

    def scrape(self) -> Exposition:
        return Exposition(self.assembly.exposition.text().decode())


@contextlib.asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Inside]:
    """Poll by the stage's file until the end of the block."""
    async with assembled(load(stage.file)) as assembly:
        inside = Inside(stage, assembly)
        inside.assembly.start()
        try:
            yield inside
        finally:
            await inside.reloads.close()


async def eventually(check: Callable[[], None], *, within: float = 20.0) -> None:
    """Let the loop go on until `check` no longer fails."""
    async with asyncio.timeout(within):
        while True:
            try:
                return check()
            except AssertionError as error:
                last = error
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                raise last from None


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv(TOKEN_ENV, "demo")
    for module, name in ((runner, "_ROUND"), (housekeeping, "_RELEASE")):  # rather than a second
        monkeypatch.setattr(module, name, 0.05)
    with EmulatorThread(World()) as emulator:
        yield Stage(emulator, tmp_path)


def run(stage: Stage, work: Callable[[Inside], Awaitable[None]]) -> None:
    """Do `work` while the stage's file is polled by."""

    async def main() -> None:
        async with running(stage) as inside:
            await work(inside)

    asyncio.run(main())


def assert_counted(inside: Inside, **expected: float) -> None:
    """So many builds are shown of each account."""
    scrape = inside.scrape()
    assert {n: scrape.total("cicd_builds_total", account=n) for n in expected} == expected
