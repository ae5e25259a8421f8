"""A server of the exporter's pages in a thread, over the poller that a test names."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, Self

import httpx
from starlette.applications import Starlette

from exporter.demo.serve import serving
from exporter.exposition import Exposition, Health
from exporter.web import application
from tests.books import a_book, completed, learn

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

REPO: dict[str, Any] = {
    "repo": "acme/shop",
    "last_success_at": "2026-02-03T04:05:06Z",
    "next_poll_at": "2026-02-03T04:06:06Z",
    "error": None,
    "active": 1,
    "builds": 7,
}
ACCOUNT: dict[str, Any] = {
    "name": "acme",
    "provider": "github",
    "url": "https://api.github.com",
    "up": True,
    "error": None,
    "repos": [REPO],
}


class Stub:
    """What the pages read of a poller."""

    def __init__(self, *accounts: dict[str, Any], state_ok: bool = True) -> None:
        self.book = a_book()
        learn(self.book, completed())
        self.recorder = SimpleNamespace(book=self.book)
        self.exposition = Exposition(self.book, list, Health())
        self._status = {"state_ok": state_ok, "accounts": list(accounts or (ACCOUNT,))}

    def status(self) -> dict[str, Any]:
        return self._status


class Switch:
    """Stands for the poller that a test puts here."""

    poller: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.poller, name)


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

    def ask(self, method: str, path: str, of: Stub, **options: Any) -> httpx.Response:
        """One request to the exporter of a poller."""
        self._switch.poller = of
        return self.client.request(method, f"{self.url}{path}", **options)


def served(poller: Any, telemetry_path: str = "/metrics") -> Starlette:
    return application(poller, telemetry_path=telemetry_path)


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=10.0)


def ours(response: httpx.Response) -> list[str]:
    return [line for line in response.text.splitlines() if line.startswith("cicd_")]
