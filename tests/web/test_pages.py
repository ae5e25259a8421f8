"""What there is to be read over HTTP: routes, the status page and its data."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from html.parser import HTMLParser

import httpx
import pytest

from exporter.demo.serve import serving
from tests.web import ACCOUNT, REPO, TEXT_TYPE, Stub, Web, client, served


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/metrics", TEXT_TYPE),
        ("/", "text/html; charset=utf-8"),
        ("/status.json", "application/json"),
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
        "/status",
        "/-/",
        "/-/quit",
        "/debug/pprof",
        "/favicon.ico",
        "//evil.example/metrics",
        "/%2e%2e/etc/passwd",
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


# --- the status page ---

POISON = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;\n\0\u202e"


class Tags(HTMLParser):
    """The tags of a page, their attributes and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.style = ""
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        if self._in == "style":
            self.style += data
            self._in = ""
        else:
            self.text += data


def poisoned(text: str) -> Stub:
    """A poller of which everything that others may name is `text`."""
    repo = REPO | {"repo": text, "error": text}
    return Stub(ACCOUNT | {"name": text, "provider": text, "error": text, "repos": [repo]})


def test_a_poisoned_name_is_text_on_the_page(web: Web) -> None:
    page = Tags(web.ask("GET", "/", poisoned(POISON)).text)

    assert not page.tags & {"script", "img"}
    assert page.attributes <= {"lang", "charset", "name", "content", "href", "class"}
    assert page.text.count("<script>alert(1)</script>\"'>") == 5


def test_the_page_may_load_and_run_nothing_but_its_own_style(web: Web) -> None:
    response = web.ask("GET", "/", Stub())

    policy = dict(
        part.strip().split(" ", 1)
        for part in response.headers["content-security-policy"].split(";")
    )
    style = hashlib.sha256(Tags(response.text).style.encode()).digest()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{base64.b64encode(style).decode()}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["cache-control"] == "no-store"
    assert "style=" not in response.text


def test_lone_surrogates_do_not_take_the_pages_down(web: Web) -> None:
    stub = poisoned("a\ud800b")

    assert "a?b" in web.ask("GET", "/", stub).text
    assert web.ask("GET", "/status.json", stub).json()["accounts"][0]["name"] == "a?b"


def test_the_page_says_what_is_up_and_down_and_why(web: Web) -> None:
    down = ACCOUNT | {"name": "other", "up": False, "error": "401: token refused"}

    page = Tags(web.ask("GET", "/", Stub(ACCOUNT, down, state_ok=False)).text).text

    for said in (
        "acme github up",
        "other github down",
        "401: token refused",
        "acme/shop2026-02-03T04:05:06Z2026-02-03T04:06:06Z17",
        "The state cannot be written.",
    ):
        assert said in page


def test_the_page_links_to_the_rest(web: Web) -> None:
    links = re.findall(r'href="([^"]+)"', web.ask("GET", "/", Stub()).text)

    assert [web.ask("GET", link, Stub()).status_code for link in links] == [200] * 4
