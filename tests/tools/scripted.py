"""A provider whose list the tests write themselves, and the machinery around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from pydantic import PrivateAttr

from exporter.errors import Gone, ProviderError
from exporter.http import Api, ApiStats, Budget
from exporter.http.response_cache import ResponseCache
from exporter.http.silence import Silence
from exporter.ledger import LedgerConfig
from exporter.ledger.rows import Cursor, Target
from exporter.ledger.sqlite.ledger import SqliteLedger
from exporter.metrics import families as f
from exporter.metrics.buckets import Buckets
from exporter.metrics.rules import MetricsRules
from exporter.model import Build, BuildKey, Status
from exporter.providers import Page, Provider, Query, Repo, Source
from exporter.recorder import Recorder
from exporter.sync import repo_sync
from exporter.sync.notes import RepoNotes
from exporter.sync.window import SyncRules
from exporter.view.series_view import SeriesView
from tests.tools import stores

T = TypeVar("T")

BUCKETS = Buckets((10.0, 60.0), (5.0,))
DAY = 86400.0


class Scripted(Provider):
    """Lists `builds` newest first, `size` at a time, by offset: new builds shift the pages."""

    size: int = 3
    numbered: bool = False
    _builds: list[Build] = PrivateAttr(default_factory=list)
    _on_page: Callable[[], None] = PrivateAttr(default_factory=lambda: lambda: None)
    _requests: list[str] = PrivateAttr(default_factory=list)

    @property
    def consecutive_numbers(self) -> bool:
        return self.numbered

    async def page(self, api: Api, repo: Repo, query: Query) -> Page:
        start = int(query.token or 0)
        self._requests.append(f"page {start}")
        listed = sorted(self._builds, key=lambda b: b.created_at or 0.0, reverse=True)
        chosen = tuple(listed[start : start + self.size])
        more = start + self.size < len(listed)
        self._on_page()
        return Page(chosen, str(start + self.size) if more else None)

    async def detail(self, api: Api, repo: Repo, build: Build, known: Build | None) -> Build:
        self._requests.append(f"detail {build.key}")
        return build

    async def refresh(self, api: Api, repo: Repo, known: Build) -> Build:
        self._requests.append(f"refresh {known.key}")
        for build in self._builds:
            if build.key == known.key:
                return build
        raise Gone("no such build", reason="not_found")

    async def health(self, api: Api) -> None:
        pass

    async def discover(self, api: Api, pattern: str) -> list[Repo]:
        raise NotImplementedError

    def connect(self, api: Api) -> Source[Any]:
        return ScriptedSource(self, api)


class ScriptedSource(Source[Scripted]):
    """Reads what the account says, so that a test needs to change only one of them."""

    async def page(self, repo: Repo, query: Query) -> Page:
        return await self.account.page(self.api, repo, query)

    async def detail(self, repo: Repo, build: Build, known: Build | None) -> Build:
        return await self.account.detail(self.api, repo, build, known)

    async def refresh(self, repo: Repo, known: Build) -> Build:
        return await self.account.refresh(self.api, repo, known)

    async def health(self) -> None:
        await self.account.health(self.api)

    async def discover(self, pattern: str) -> list[Repo]:
        return await self.account.discover(self.api, pattern)


class Clock:
    """An API that is never called: only its clock is read."""

    timeout = 30.0

    def __init__(self) -> None:
        self.stats = ApiStats()
        self.silence = Silence()
        self.has_answered = True

    def now(self) -> float:
        return time.time()


class Idle(Clock):
    """An API that a whole poller has, and nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget()
        self.responses = ResponseCache()

    async def has_new_credential(self) -> bool:
        return False

    async def aclose(self) -> None:
        return


def build(key: str | BuildKey, **values: Any) -> Build:
    """A build of `acme/shop` that began a minute ago and runs, unless `values` differ."""
    at = time.time() - 60
    known = {
        "repo": "acme/shop",
        "workflow": "CI",
        "branch": "main",
        "status": Status.IN_PROGRESS,
        "trigger": "push",
        "created_at": at,
        "started_at": at + 1,
    }
    return Build(key=key if isinstance(key, BuildKey) else BuildKey(key), **{**known, **values})


def done(begun: Build, conclusion: str | None = "passed", *, after: float = 30.0) -> Build:
    """`begun`, completed `after` seconds."""
    started = begun.started_at or begun.created_at or time.time()
    return msgspec.structs.replace(
        begun, status=Status.COMPLETED, conclusion=conclusion, completed_at=started + after
    )


class Rig:
    """Ledger, view and one scripted repo, restartable like a process."""

    def __init__(self, path: Path | None, **options: Any) -> None:
        self.url = "memory:" if path is None else f"sqlite:///{path}"
        self.on_corrupt: Any = options.pop("on_corrupt", "fail")
        self.clock: Callable[[], float] = options.pop("clock", time.monotonic)
        self.hold: bool = options.pop("hold", True)
        self.alone: bool = options.pop("alone", True)
        self.lookback: float = options.pop("lookback", DAY)
        self.retention: float = options.pop("retention", 30 * DAY)
        self.accounts: dict[str, str] = options.pop("accounts", {"acme": "scripted"})
        self.rules = MetricsRules(
            branches=("main",),
            buckets=options.pop("buckets", BUCKETS),
            zero_hold=options.pop("zero_hold", 0.0),
            series_limit=options.pop("series_limit", 100_000),
            max_open_age=7 * DAY,
            native=options.pop("native", False),
        )
        self.provider = Scripted(
            name="acme", provider="scripted", token_env="T", repos=["acme/shop"], **options
        )
        self.memory = RepoNotes()
        self.unread: Mapping[str, ProviderError] = {}
        self.remote = Clock()
        self.start()

    def start(self) -> None:
        """What a process does at its start."""
        ledger = stores.opened(
            self.url,
            LedgerConfig(
                self.retention, self.lookback, gauges_only=self.hold, native=self.rules.native
            ),
            on_corrupt=self.on_corrupt,
            alone=self.alone,
        )
        view = SeriesView(self.rules, self.accounts, clock=self.clock, hold=self.hold)
        self.ledger = ledger
        self.recorder = Recorder(ledger, view, retention=self.retention)
        self.recorder.start(self.accounts)
        self.memory = RepoNotes()

    @property
    def sqlite(self) -> SqliteLedger:
        """The ledger, which is in a SQLite file."""
        assert isinstance(self.ledger, SqliteLedger)
        return self.ledger

    @property
    def view(self) -> SeriesView:
        """What is shown."""
        return self.recorder.view

    def rows(self, sql: str, *parameters: object) -> list[Any]:
        """What a query of the state's tables returns."""
        with self.ledger._reading():
            return self.ledger._db.execute(sql, parameters).fetchall()

    def crash(self) -> None:
        """End without a word: what is not committed is gone."""
        self.recorder._worker.shutdown()
        self.ledger.close()

    def restart(self) -> None:
        """Crash and start again on the same file."""
        self.crash()
        self.start()

    def poll(self) -> Target:
        """One poll of the repo."""
        return self.run(self._poll)

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` in an event loop of its own; the lock belongs to no other."""
        self.recorder._lock = type(self.recorder._lock)()

        async def main() -> T:
            return await work()

        return asyncio.run(main())

    async def _poll(self) -> Target:
        target = await self.recorder.target(
            "acme", "acme/shop", Cursor(floor=time.time() - self.lookback)
        )
        poll = self.walk(target)
        try:
            return await poll.run()
        finally:
            self.unread = poll.unread

    def walk(self, target: Target) -> repo_sync.RepoSync:
        rules = SyncRules(
            lookback=self.lookback, retention=self.retention, rerun_window=DAY, max_interval=900.0
        )
        api: Any = self.remote
        return repo_sync.RepoSync(
            repo_sync.SyncContext(self.provider.connect(api), self.recorder, rules),
            repo=Repo("acme/shop"),
            target=target,
            notes=self.memory,
        )

    # -- what a scrape shows

    def value(self, family: f.Family, **labels: str) -> float:
        """The sum over all exposed series of a counter, or a histogram's count."""
        total = 0.0
        for key, vector in self.view.stored():
            if key.family != family.name:
                continue
            named = dict(zip(family.labels, key.labels, strict=True))
            if labels.items() <= named.items():
                total += vector[0] if len(vector) == 1 else sum(vector[:-1])
        return total

    def gauge(self, family: f.Family, **labels: str) -> float | None:
        """The one sample of a gauge; None if it is absent."""
        for name, values, value in self.view.gauges(time.time()):
            named = dict(zip(family.labels, values, strict=True)) if name == family.name else {}
            if name == family.name and labels.items() <= named.items():
                return value
        return None


def finished(steps: Generator[None, None, T]) -> T:
    """What a piece of work returns that is done in steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
