"""The HTTP client's tests: one server for each fault, and what a visit to it comes to."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from exporter.errors import ProviderError
from exporter.http import Answer, Api, ApiStats, RetryPolicy
from tests.tools.hostile import Reply, Request, Server, http

SECRET = "s3cr3t-t0k3n"
OK = http('{"a":1}')
BODY = json.dumps({"a": ["x" * 50, *range(5000)]}).encode()
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"


class Visit(NamedTuple):
    """What came of some requests to a server."""

    outcomes: list[Answer[Any] | ProviderError]
    requests: list[Request]
    pauses: list[float]
    stats: ApiStats
    blocked_for: float
    left_open: int

    @property
    def answer(self) -> Answer[Any]:
        outcome = self.outcomes[-1]
        assert isinstance(outcome, Answer), repr(outcome)
        return outcome

    @property
    def error(self) -> ProviderError:
        outcome = self.outcomes[-1]
        assert isinstance(outcome, ProviderError), repr(outcome)
        return outcome

    @property
    def verdict(self) -> tuple[type[ProviderError], str]:
        return type(self.error), self.error.reason


def secret_headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRET}"}


@asynccontextmanager
async def connected(root: str, **options: Any) -> AsyncIterator[tuple[Api, list[float]]]:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    retries = options.pop("retries", RetryPolicy(sleep=sleep, random=lambda: 0.5))
    settings: dict[str, Any] = {"headers": secret_headers, "timeout": 10.0} | options
    api = Api(root=root, retries=retries, **settings)
    try:
        yield api, pauses
    finally:
        await api.aclose()


async def attempt(
    api: Api, path: str, params: Any, into: Any, *, conditional: bool = False
) -> Answer[Any] | ProviderError:
    try:
        return await api.get(path, params, into=into, conditional=conditional)
    except ProviderError as error:
        return error


def visit(
    *replies: Reply,
    path: str = "/x",
    params: dict[str, str | int] | None = None,
    into: Any = dict[str, Any],
    count: int = 1,
    below: str = "",
    tls: ssl.SSLContext | None = None,
    conditional: bool = False,
    **options: Any,
) -> Visit:
    """GET `path` `count` times from a server that gives `replies`."""

    async def go() -> Visit:
        async with (
            Server(*replies, tls=tls) as server,
            connected(options.pop("root", server.root) + below, **options) as (api, pauses),
        ):
            outcomes = [
                await attempt(api, path, params, into, conditional=conditional)
                for _ in range(count)
            ]
            blocked_for = api.budget.blocked_until - time.monotonic()
            await api.aclose()
            if server.connections:  # each ends when the client has let go of it
                await asyncio.wait(server.connections, timeout=2)
            left_open = len(server.connections)
        return Visit(outcomes, server.requests, pauses, api.stats, blocked_for, left_open)

    return asyncio.run(go())


def gz(data: bytes) -> bytes:
    return http(data, content_encoding="gzip")


class Item(msgspec.Struct):
    """A native struct as providers have them."""

    n: int
    text: str = ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
