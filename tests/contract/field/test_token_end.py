"""When a token ends is told where the provider says so, and never at the cost of a poll."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.times import instant
from tests.tools.emulators.github import Hub
from tests.tools.emulators.gitlab import World
from tests.tools.emulators.rig import TOKEN
from tests.tools.serving import ServerThread
from tests.tools.system import Exporter, configure, eventually

FAMILY = "cicd_exporter_token_expiry_timestamp_seconds"
HEADER = b"github-authentication-token-expiration"


class Ends:
    """A GitHub that says with each answer when the token ends; None where it never does."""

    def __init__(self, hub: Hub, told: dict[str, str | None]) -> None:
        self._hub = hub
        self.told = told
        """By token."""
        self.requests: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        token = headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
        if scope["type"] == "http":
            self.requests.append(scope["path"])

        async def answered(message: Any) -> None:
            end = self.told.get(token)
            if message["type"] == "http.response.start" and end is not None:
                message = {**message, "headers": [*message["headers"], (HEADER, end.encode())]}
            await send(message)

        await self._hub.app(scope, receive, answered)


@contextmanager
def polling(folder: Path, app: Any, **account: Any) -> Iterator[Exporter]:
    with ServerThread(app) as server:
        known = {"name": "acme", "url": f"{server.url}{account.pop('root')}", **account}
        file = configure(folder, [known], polling={"interval": "1s"})
        with Exporter(file, env={"TOKEN": TOKEN}) as exporter:
            yield exporter


def told(exporter: Exporter) -> list[float]:
    return [*exporter.scrape().select(FAMILY).values()]


def assert_told(exporter: Exporter, *ends: str) -> None:
    """Wait until the metric says so."""

    def assert_so() -> None:
        assert told(exporter) == [instant(end) for end in ends]

    eventually(assert_so, within=30)


def test_github_says_it_with_each_answer(tmp_path: Path) -> None:
    hub = Hub()
    hub.tokens = {"right", "new"}
    hub.repo("acme/shop")
    github = Ends(hub, {"right": "2031-05-21 08:00:00 -0400", "new": None})
    token = tmp_path / "token"
    token.write_text("right")
    account = {"provider": "github", "token_file": str(token), "repos": ["acme/shop"]}
    with polling(tmp_path, github, root="/api/v3", **account) as exporter:
        assert_told(exporter, "2031-05-21T12:00:00Z")
        assert not any("rate_limit" in path for path in github.requests)
        (tmp_path / "fresh").write_text("new")
        (tmp_path / "fresh").replace(token)
        assert_told(exporter)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ({"scopes": ["read_api"], "expires_at": "2031-05-21"}, ["2031-05-21T00:00:00Z"]),
        ({"scopes": ["read_api"], "expires_at": None}, []),
        ({"scopes": ["read_api"], "expires_at": "soon"}, []),
        (None, []),
    ],
)
def test_gitlab_is_asked_once_at_the_start(
    tmp_path: Path, token: dict[str, Any] | None, expected: list[str]
) -> None:
    world = World(token=token)
    world.ran("acme/shop", time.time() - 100, 20, "success")
    asked: list[str] = []
    world.fails = lambda request: asked.append(request.url.path)
    account = {"provider": "gitlab", "token_env": "TOKEN", "repos": ["acme/shop"]}
    with polling(tmp_path, world.app(), root="/api/v4", **account) as exporter:

        def polled_often() -> None:
            assert len([path for path in asked if path.endswith("/pipelines")]) >= 3

        eventually(polled_often, within=30)
        assert told(exporter) == [instant(text) for text in expected]
        assert len([path for path in asked if path.endswith("/self")]) == 1
        assert exporter.status()["accounts"][0]["up"]
