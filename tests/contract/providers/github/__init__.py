"""The GitHub provider's tests: runs and jobs to read, and an account to poll."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self

import msgspec

from exporter.demo.serve import serving
from exporter.http import Api, RetryPolicy
from exporter.ledger.rows import Cursor
from exporter.metrics import families as f
from exporter.model import Build
from exporter.providers import Repo, Site
from exporter.providers.github import GitHub
from exporter.providers.github.mapping import Run, Task, to_build
from exporter.providers.github.workflows import Names, Workflow
from exporter.sync import repo_sync
from exporter.sync.notes import RepoNotes
from exporter.sync.window import SyncRules
from exporter.times import instant
from tests.tools.emulators.github import TOKEN, Hub
from tests.tools.scripted import DAY, Rig

SHOP = Repo("acme/shop", default_branch="main")
SITE = Site("https://github.com")
RUNS = "/repos/acme/shop/actions/runs"
LATEST = f"{RUNS}?per_page=30"
WORKFLOWS = "/repos/acme/shop/actions/workflows?per_page=100"
CREATED, BEGUN, ENDED = "2026-11-20T09:00:00Z", "2026-11-20T09:00:12Z", "2026-11-20T09:05:42Z"
FORK: dict[str, Any] = {"head_repository": {"full_name": "somebody/shop"}}


NAMES = Names([Workflow(77, "CI", ".github/workflows/ci.yml", "active")])


def at(text: str) -> float:
    seconds = instant(text)
    assert seconds is not None
    return seconds


def run(**fields: Any) -> Run:
    """A completed first attempt, unless `fields` differ."""
    known = {
        "id": 9001234567,
        "workflow_id": 77,
        "path": ".github/workflows/ci.yml@main",
        "head_branch": "main",
        "event": "push",
        "status": "completed",
        "conclusion": "success",
        "run_number": 412,
        "run_attempt": 1,
        "created_at": CREATED,
        "run_started_at": CREATED,
        "updated_at": ENDED,
        "repository": {"full_name": "acme/shop"},
        "head_repository": {"full_name": "acme/shop"},
    }
    return msgspec.convert({**known, **fields}, Run)


def build(**fields: Any) -> Build:
    return to_build(run(**fields), SHOP, SITE, NAMES)


def task(**fields: Any) -> Task:
    """A completed job, unless `fields` differ."""
    known = {
        "id": 1,
        "name": "test",
        "status": "completed",
        "conclusion": "success",
        "run_attempt": 1,
        "created_at": "2026-11-20T09:00:02Z",
        "started_at": BEGUN,
        "completed_at": "2026-11-20T09:05:40Z",
    }
    return msgspec.convert({**known, **fields}, Task)


def github(**keys: Any) -> GitHub:
    keys = {"token_env": "T", "repos": ["acme/shop"]} | keys
    return GitHub(name="acme", provider="github", **keys)


class Desk(Rig):
    """An account that is polled as often as a test says, with one client all the while."""

    def __init__(self, hub: Hub, **keys: Any) -> None:
        super().__init__(None, hold=False, lookback=DAY)
        self.hub = hub
        self.rerun_window = DAY
        self.native = github(**keys)
        self.token: str | None = TOKEN
        self.memories: dict[str, RepoNotes] = {}
        self.found: list[Repo] = []

    async def __aenter__(self) -> Self:
        self.recorder._lock = type(self.recorder._lock)()
        self._stack = AsyncExitStack()
        url = await self._stack.enter_async_context(serving(self.hub.app))
        self.api = Api(
            root=f"{url}/api/v3",
            headers=lambda: self.source.headers(self.token),
            timeout=5.0,
            retries=RetryPolicy(attempts=1),
        )
        self.source = self.native.connect(self.api)
        self._stack.push_async_callback(self.api.aclose)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self.crash()

    async def discovered(self) -> list[str]:
        await self.source.renew()
        self.found = []
        for entry in self.native.repos:
            wild = self.native.is_wildcard(entry)
            self.found += await self.source.discover(entry) if wild else [Repo(entry)]
        return [repo.entry for repo in self.found]

    async def polled(self, *, deep: bool = False) -> list[str]:
        """Poll every repo; the requests that it took."""
        if not self.found:
            await self.discovered()
        if deep:
            self.memories.clear()
        before = len(self.hub.requests)
        for repo in self.found:
            await self.source.renew()
            cursor = Cursor(floor=time.time() - self.lookback)
            target = await self.recorder.target("acme", repo.entry, cursor)
            rules = SyncRules(self.lookback, 30 * DAY, self.rerun_window, 900.0)
            reader = repo_sync.SyncContext(self.source, self.recorder, rules)
            memory = self.memories.setdefault(repo.entry, RepoNotes())
            await repo_sync.RepoSync(reader, repo=repo, target=target, notes=memory).run()
        return self.hub.requests[before:]

    @property
    def free(self) -> int:
        """Requests so far that counted against no limit."""
        return self.hub.statuses.count(304)

    def seconds(self, family: f.Family) -> float:
        """The sum of a histogram."""
        return sum(v[-1] for key, v in self.view.stored() if key.family == family.name)


Test = Callable[..., Awaitable[None]]


def live(test: Test) -> Callable[..., None]:
    """Run a test in an event loop."""

    @functools.wraps(test)
    def run_it(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run_it
