"""The pages over a real poller, while it polls."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import pytest

from exporter.demo.serve import serving
from exporter.http import Api
from exporter.ledger.rows import Cursor, Target
from exporter.metrics import facts
from exporter.metrics import families as f
from exporter.outputs.prometheus import Exposition, Health
from exporter.providers import Page, Query, Repo
from exporter.schedule import Schedule
from exporter.schedule.account import AccountPoller
from exporter.status import ci
from exporter.status.ci import CiReport
from exporter.status.document import StatusReport
from exporter.status.report import Reload, of_process
from exporter.sync import repo_sync
from exporter.sync.window import SyncRules
from exporter.web import report_cache
from tests.system.web import client, ours, served
from tests.tools.scripted import DAY, Idle, Rig, Scripted, build, done

T = TypeVar("T")


class Running:
    """What a process is made of, over the one account of a rig."""

    def __init__(self, rig: Rig) -> None:
        api: Any = Idle()
        rules = SyncRules(lookback=DAY, retention=30 * DAY, rerun_window=DAY, max_interval=900.0)
        reader = repo_sync.SyncContext(rig.provider.connect(api), rig.recorder, rules)
        self.recorder, self.view = rig.recorder, rig.view
        self.read_log = rig.recorder.read_log
        self.account = AccountPoller(reader, interval=60.0)
        self.schedule = Schedule([self.account])
        self.exposition = Exposition(rig.view, lambda: [self.account.view()], Health())
        self.started_at = time.time()
        self.last_reload = Reload(self.started_at)

    def report(self) -> Generator[None, None, StatusReport]:
        return of_process(
            self.schedule,
            self.view,
            started_at=self.started_at,
            reload=self.last_reload,
            state_ok=self.recorder.state_ok,
        )

    def ci(self) -> Generator[None, None, CiReport]:
        return ci.of_process(self.schedule, self.view)

    is_ready = True

    async def follow(self) -> Callable[[], None]:
        return lambda: self.view.scraped(self.view.clock())

    def worker_metrics(self) -> bytes | None:
        return None

    async def once(self) -> bool:
        return await self.schedule.once()


@contextlib.asynccontextmanager
async def polling(rig: Rig) -> AsyncIterator[Running]:
    """The rig's one account is polled; its loop is the running one."""
    rig.recorder._lock = type(rig.recorder._lock)()
    running = Running(rig)
    try:
        yield running
    finally:
        await running.schedule.stop()
        await rig.recorder.close()


def live(rig: Rig, work: Callable[[Running, httpx.AsyncClient], Awaitable[T]]) -> T:
    async def main() -> T:
        async with polling(rig) as poller, serving(served(poller)) as url, client(url) as c:
            return await work(poller, c)

    return asyncio.run(main())


def test_the_status_has_the_keys_of_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build("1")), done(build("2")), build("3")]

    monkeypatch.setattr(report_cache, "FRESH", -1.0)

    async def look(poller: Running, c: httpx.AsyncClient) -> tuple[Any, Any]:
        before = json.loads((await c.get("/status.json")).text)
        assert await poller.once()
        return before, json.loads((await c.get("/status.json")).text)

    before, after = live(rig, look)

    for told in (before, after):
        assert json.loads(msgspec.json.encode(msgspec.convert(told, StatusReport))) == told
    (account,) = after["accounts"]
    (repo,) = account["repos"]
    assert {"name", "provider", "url", "up", "error", "repos"} <= account.keys()
    assert {"repo", "last_success_at", "next_poll_at", "error", "active", "builds"} <= repo.keys()
    assert account.keys() >= {"reason", "since", "errors", "requests", "budget"}
    assert account["budget"]["exhausted"] is False
    assert (repo["stale"], repo["interval_seconds"], repo["reason"]) == (False, 60.0, None)
    assert (account["name"], account["up"], account["error"]) == ("acme", True, None)
    assert (repo["repo"], repo["active"], repo["builds"], repo["error"]) == (
        "acme/shop",
        1,
        2,
        None,
    )
    for key in ("last_success_at", "next_poll_at"):
        assert abs((datetime.now(UTC) - datetime.fromisoformat(repo[key])).total_seconds()) < 120
    (young,) = before["accounts"]
    assert [r["last_success_at"] for r in young["repos"]] == [None]
    assert not young["up"]


class Hanging(Scripted):
    """Never answers."""

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        await asyncio.Event().wait()
        raise AssertionError


def test_a_scrape_does_not_wait_for_a_poll(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    rig.provider = Hanging(name="acme", provider="scripted", token_env="T", repos=["acme/shop"])

    async def look(poller: Running, c: httpx.AsyncClient) -> list[str]:
        poll = asyncio.create_task(poller.once())
        await asyncio.sleep(0)
        lines = ours(await c.get("/metrics"))
        assert not poll.done()
        poll.cancel()
        return lines

    lines = live(rig, look)

    up = f'{f.ACCOUNT_UP.name}{{provider="scripted",account="acme"}} 0.0'
    assert up in lines
    assert [line for line in lines if line.startswith(f.BUILDS.name) and 'passed"} 1.0' in line]


def pretend_polled(rig: Rig, poller: Running) -> None:
    """All repos look as after a poll that brought twenty builds; every other one is broken."""
    known = facts.Facts(touched=0.0)
    for n in range(20):
        known = facts.completed(known, done(build(str(n))), conclusion="passed", now=0.0)
    broken = facts.completed(known, done(build("21")), conclusion="failed", now=0.0)
    for number, (entry, state) in enumerate(poller.account.repos.items()):
        target = Target(number, "acme", entry, Cursor(0.0, since=1.0))
        shown = broken if number % 2 else known
        rig.view.begin(("scripted", "acme", entry, "CI", "main"), shown, target)
        state.target, state.last_success = number, time.time()


PAGES = (
    "/",
    "/?page=19&sort=name",
    "/?q=acme%2F1999",
    "/?branch=main&conclusion=failed&broken=7",
    "/repo?account=acme&repo=acme%2F1999",
    "/status",
    "/status?page=19",
    "/status?q=acme%2F1999",
    "/status?show=unhealthy",
    "/status.json",
)


def test_the_pages_of_two_thousand_repos_hold_nobody_up(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    repos = [f"acme/{n}" for n in range(2000)]
    rig.provider = Scripted(name="acme", provider="scripted", token_env="T", repos=repos)

    async def look(poller: Running, c: httpx.AsyncClient) -> dict[str, float]:
        pretend_polled(rig, poller)
        longest = 0.0

        async def others() -> None:
            nonlocal longest
            while True:
                before = time.thread_time()
                await asyncio.sleep(0)
                longest = max(longest, time.thread_time() - before)

        found = {}
        for path in PAGES:
            assert (await c.get(path)).status_code == 200  # what is done once is done
        task = asyncio.create_task(others())
        gc.disable()  # a collection looks through all that the tests have made
        for path in PAGES:
            longest = 0.0
            answer = await c.get(path)
            assert (answer.status_code, "acme" in answer.text) == (200, True)
            found[path] = longest
        gc.enable()
        task.cancel()
        return found

    found = live(rig, look)

    assert {path: seconds for path, seconds in found.items() if seconds > 0.02} == {}
