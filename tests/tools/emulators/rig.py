"""A provider against an emulator of its API: real HTTP, the real walk, the real ledger."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from exporter.demo.serve import serving
from exporter.http import Api, RetryPolicy
from exporter.ledger.rows import Cursor
from exporter.metrics import families as f
from exporter.model import CONCLUSIONS
from exporter.providers import Provider, Repo, Source
from exporter.schedule.discovery import apart
from exporter.sync import repo_sync
from exporter.sync.notes import RepoNotes
from exporter.sync.window import SyncRules
from tests.tools.scripted import DAY, Rig
from tests.tools.sources import source_of

Endpoint = Callable[[Request], Any]

TOKEN = "demo"
COMMIT = "5f1c9a7e0d5b4c3a2f1e0d9c8b7a69584736251f"
"""What every build builds."""


@functools.lru_cache(maxsize=65536)  # a list tells the same times again with every poll
def iso(at: float | None, digits: int = 3, zone: str = "Z") -> str | None:
    """An instant with so many digits of fraction."""
    if at is None:
        return None
    text = datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{at % 1:.9f}"[2 : 2 + digits]
    return f"{text}.{fraction}{zone}" if digits else f"{text}{zone}"


def entries(provider: Provider, *named: str) -> list[str]:
    """Which of these entries are polled."""
    return list(apart(provider, {entry: Repo(entry) for entry in named}))


def emulator(endpoints: dict[str, Endpoint], header: tuple[str, str]) -> Starlette:
    """An app that answers with what endpoints return: a body, None for 404, or a Response.

    `app.state.requests` holds the paths with their queries; a request without the
    credential `header` is refused.
    """
    requests: list[str] = []

    def wrapped(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            path = request.scope["raw_path"].decode()
            requests.append(f"{path}?{request.url.query}" if request.url.query else path)
            if request.headers.get(header[0]) != header[1]:
                return JSONResponse({"message": "who are you"}, 401)
            found = endpoint(request)
            if isinstance(found, Response):
                return found
            missing = {"message": "not found"}
            return JSONResponse(missing, 404) if found is None else JSONResponse(found)

        return answer

    app = Starlette(routes=[Route(path, wrapped(e)) for path, e in endpoints.items()])
    app.state.requests = requests
    return app


class Station(Rig):
    """Polls like the process does, as often as a test says."""

    def __init__(self, provider: Provider, app: Starlette, prefix: str, **options: Any) -> None:
        super().__init__(options.pop("path", None), **{"hold": False, **options})
        self.native = provider
        self.app = app
        self.prefix = prefix
        self.memories: dict[str, RepoNotes] = {}
        self.entries: list[str] = []

    def restart(self) -> None:
        """Crash and start again on the same file: nothing else is remembered."""
        super().restart()
        self.memories.clear()
        keys = self.native.model_dump(exclude_unset=True)
        self.native = type(self.native)(**keys)

    @property
    def last(self) -> str:
        """How the latest build ended; there must be one pipeline."""
        [word] = [
            word for word in CONCLUSIONS if self.gauge(f.LAST_CONCLUSION, conclusion=word) == 1
        ]
        return word

    def polled(self, *, deep: bool = False) -> list[str]:
        """Poll all repos once; the requests that it took."""
        if deep:
            self.memories.clear()
        before = len(self.app.state.requests)
        self.run(self._round)
        taken: list[str] = self.app.state.requests[before:]
        return taken

    async def _round(self) -> None:
        async with serving(self.app) as url:
            api = self.api(url)
            try:
                for repo in await self.repos(api):
                    await self._one(api, repo)
            finally:
                await api.aclose()

    def api(self, url: str) -> Api:
        return Api(
            root=url + self.prefix,
            headers=lambda: self.native.headers(TOKEN),
            timeout=5.0,
            retries=RetryPolicy(attempts=1),
        )

    def source(self, api: Api) -> Source[Provider]:
        """The source of the account, which goes on with another client of the same API."""
        return source_of(self.native, api)

    async def repos(self, api: Api) -> list[Repo]:
        found: dict[str, Repo] = {}
        for entry in self.native.repos:
            wild = self.native.is_wildcard(entry)
            for repo in await self.source(api).discover(entry) if wild else [Repo(entry)]:
                found[repo.entry] = repo
        self.entries = list(found)
        return list(found.values())

    async def _one(self, api: Api, repo: Repo) -> None:
        floor = time.time() - self.lookback
        target = await self.recorder.target("acme", repo.entry, Cursor(floor=floor))
        rules = SyncRules(
            lookback=self.lookback, retention=self.retention, rerun_window=DAY, max_interval=900.0
        )
        poll = repo_sync.RepoSync(
            repo_sync.SyncContext(self.source(api), self.recorder, rules),
            repo=repo,
            target=target,
            notes=self.memories.setdefault(repo.entry, RepoNotes()),
        )
        try:
            await poll.run()
        finally:
            self.unread = poll.unread
