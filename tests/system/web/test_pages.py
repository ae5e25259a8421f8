"""What there is to be read over HTTP: routes, the status page and its data."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from exporter.demo.serve import serving
from tests.system.web import TEXT_TYPE, Stub, Web, client, served


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/metrics", TEXT_TYPE),
        ("/", "text/html; charset=utf-8"),
        ("/status", "text/html; charset=utf-8"),
        ("/status.json", "application/json"),
        ("/builds", "text/html; charset=utf-8"),
        ("/builds.json", "application/json"),
        ("/config", "text/plain; charset=utf-8"),
        ("/static/site.css", "text/css; charset=utf-8"),
        ("/static/site.js", "text/javascript; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/docs/", "text/html; charset=utf-8"),
        ("/docs/METRICS.md", "text/html; charset=utf-8"),
        ("/-/healthy", "text/plain; charset=utf-8"),
        ("/-/ready", "text/plain; charset=utf-8"),
    ],
)
def test_what_there_is_can_be_read_and_nothing_else_done_to_it(
    web: Web, path: str, media_type: str
) -> None:
    get, head = (web.ask(method, path, Stub()) for method in ("GET", "HEAD"))

    assert (get.status_code, get.headers["content-type"]) == (200, media_type)
    assert get.headers["x-content-type-options"] == "nosniff"
    assert get.content
    assert (head.status_code, head.headers["content-type"], head.content) == (200, media_type, b"")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"):
        refused = web.ask(method, path, Stub())
        assert refused.status_code == 405
        assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/metrics/",
        "/metrics/x",
        "/METRICS",
        "/-/",
        "/-/quit",
        "/debug/pprof",
        "/favicon.ico",
        "//evil.example/metrics",
        "/%2e%2e/etc/passwd",
        "/static/",
        "/static/site.html",
        "/static/..%2fpages.py",
        "/static/%2e%2e/pages.py",
        "/docs/README.md",
        "/docs/%2e%2e/README.md",
    ],
)
def test_what_there_is_not_is_not_found(web: Web, path: str) -> None:
    for method in ("GET", "POST"):
        response = web.ask(method, path, Stub())
        assert (response.status_code, "location" in response.headers) == (404, False)


def test_nobody_reloads_where_that_is_not_allowed(web: Web) -> None:
    for method in ("GET", "POST", "PUT"):
        assert web.ask(method, "/-/reload", Stub()).status_code in (403, 404, 405)


def test_the_telemetry_path_is_the_configured_one() -> None:
    async def main() -> list[httpx.Response]:
        async with serving(served(Stub(), "/ci/numbers")) as url, client(url) as c:
            return [await c.get(path) for path in ("/ci/numbers", "/metrics", "/")]

    numbers, metrics, page = asyncio.run(main())

    assert (numbers.status_code, metrics.status_code) == (200, 404)
    assert '<a href="/ci/numbers">' in page.text
