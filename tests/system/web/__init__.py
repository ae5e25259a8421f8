"""A server of the exporter's pages in a thread, over the poller that a test names."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from functools import cached_property, partial
from typing import Any, Self, TypeVar, cast

import httpx
from starlette.applications import Starlette

from exporter.config.schema import Settings
from exporter.demo.serve import serving
from exporter.ledger import Ledger, LedgerConfig
from exporter.ledger.build_log import BuildLog
from exporter.ledger.sqlite.ledger import open_ledger
from exporter.outputs.prometheus import Exposition, Health
from exporter.providers import Provider, catalogue
from exporter.status.ci import CiReport
from exporter.status.document import (
    AccountReport,
    BudgetReport,
    ReloadReport,
    RepoReport,
    SeriesReport,
    StatusReport,
)
from exporter.web import application
from exporter.web.external import path_of
from tests.tools.views import a_view, completed, learn

T = TypeVar("T")

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

CONFIG: Any = Settings().model_copy(update={"accounts": ()})
NOW = "2026-02-03T04:05:30Z"


def repo(name: str = "acme/shop", **values: Any) -> RepoReport:
    """One that was polled well; a failing one if it has an error."""
    failing = values.get("error") is not None
    sound: dict[str, Any] = {
        "repo": name,
        "state": "failing" if failing else "ok",
        "last_success_at": "2026-02-03T04:05:06Z",
        "age_seconds": 24,
        "stale": False,
        "interval_seconds": 60.0,
        "next_poll_at": "2026-02-03T04:06:06Z",
        "error": None,
        "reason": "server" if failing else None,
        "advice": None,
        "active": 0,
        "active_by_status": {},
        "oldest_active_at": None,
        "last_conclusion": None,
        "last_completed_at": None,
        "history": [],
        "builds": 7,
    }
    return RepoReport(**sound | values)


def account(name: str = "acme", *repos: RepoReport, **values: Any) -> AccountReport:
    """One that is up."""
    budget = BudgetReport(
        exhausted=False, next_request_in_seconds=0.0, requests_per_hour_limit=None, limits={}
    )
    sound: dict[str, Any] = {
        "name": name,
        "provider": "github",
        "url": "https://api.github.com",
        "worker": None,
        "up": True,
        "state": "up",
        "error": None,
        "reason": None,
        "advice": None,
        "since": None,
        "next_try_at": None,
        "errors": {},
        "requests": 12,
        "catching_up": None,
        "budget": budget,
        "repos": list(repos or (repo(),)),
    }
    return AccountReport(**sound | values)


def status(*accounts: AccountReport, **values: Any) -> StatusReport:
    """A report of an exporter that is well."""
    sound: dict[str, Any] = {
        "version": "0.1.0",
        "now": NOW,
        "started_at": "2026-02-03T02:00:00Z",
        "uptime_seconds": 7530,
        "state_ok": True,
        "reload": ReloadReport(ok=True, at="2026-02-03T02:00:00Z", error=None),
        "series": SeriesReport(used=1234, limit=500_000, dropped=0),
        "workers": [],
        "accounts": list(accounts or (account(),)),
    }
    return StatusReport(**sound | values)


def provider(name: str = "acme", web_url: str = "https://ci.example/pages") -> Provider:
    """An account whose pages are there."""
    keys: Any = {"name": name, "provider": "github", "token_env": "T", "repos": ["acme/shop"]}
    return catalogue()["github"](**keys, web_url=web_url)


class Stub:
    """What the pages read of a poller."""

    def __init__(self, *accounts: AccountReport, **values: Any) -> None:
        self.view = a_view()
        learn(self.view, completed())
        self.view = self.view
        self.exposition = Exposition(self.view, list, Health())
        self.told = status(*accounts, **values)
        self.builds = CiReport(now=0.0, accounts={}, sites={}, repos={})
        self.last_reload = object()  # another one for each of these, so that none is shared
        self.is_ready = True

    def worker_metrics(self) -> bytes | None:
        return None

    async def follow(self) -> Callable[[], None]:
        return partial(self.view.scraped, self.view.clock())

    def report(self) -> Generator[None, None, StatusReport]:
        yield
        return self.told

    def ci(self) -> Generator[None, None, CiReport]:
        yield
        return self.builds

    @cached_property
    def ledger(self) -> Ledger:
        """Empty at first."""
        return open_ledger("memory:", LedgerConfig(1e12, 86400.0))

    async def read_log(self, read: Callable[[BuildLog], T]) -> T:
        return await asyncio.to_thread(read, self.ledger.build_log())


class Logged(Stub):
    """Has configured accounts, whose sites are known."""

    def __init__(self, *accounts: Provider, external_url: str | None = None) -> None:
        super().__init__()
        web = Settings().web.model_copy(update={"external_url": external_url})
        self.config = CONFIG.model_copy(update={"accounts": accounts, "web": web})


class Switch:
    """Stands for the process that a test puts here."""

    of: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)

    def report(self) -> Generator[None, None, StatusReport]:
        return cast("Generator[None, None, StatusReport]", self.of.report())

    def ci(self) -> Generator[None, None, CiReport]:
        return cast("Generator[None, None, CiReport]", self.of.ci())


class Web:
    """A server in a thread, over the poller that a test names."""

    def __init__(self) -> None:
        self._switch = Switch()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=10.0)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with serving(served(self._switch)) as self.url:
            self._started.set()
            await self._stop.wait()

    def show(self, of: Stub) -> None:
        """What is asked for from now on is of this poller."""
        self._switch.of = of

    def ask(self, method: str, path: str, of: Stub, **options: Any) -> httpx.Response:
        """One request to the exporter of a poller."""
        self.show(of)
        return self.client.request(method, f"{self.url}{path}", **options)


def served(of: Any, telemetry_path: str = "/metrics") -> Starlette:
    def config() -> Any:
        return getattr(of, "config", CONFIG)

    return application(
        of,
        telemetry_path=telemetry_path,
        config=config,
        base=lambda: path_of(config().web.external_url),
    )


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=10.0)


def ours(response: httpx.Response) -> list[str]:
    return [line for line in response.text.splitlines() if line.startswith("cicd_")]
