"""What the exporter serves over HTTP, on a real server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, TypeVar

import httpx
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from starlette.applications import Starlette

from exporter.demo.serve import serving
from exporter.exposition import Health, render, snapshot
from exporter.http import Api, ApiStats, Budget
from exporter.http.conditional import Memory
from exporter.metrics import families as f
from exporter.poller import Poller, walk
from exporter.poller.account import AccountPoller
from exporter.poller.ground import Rules
from exporter.providers import Page, Query, Repo
from exporter.web import application
from tests.books import a_book, completed, learn
from tests.scripted import DAY, Clock, Rig, Scripted, build, done

T = TypeVar("T")

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
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
        self._status = {"state_ok": state_ok, "accounts": list(accounts or (ACCOUNT,))}

    def snapshot(self) -> Any:
        return snapshot(self.book, [], Health(), now=2e9)

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


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as running:
        yield running


def ours(response: httpx.Response) -> list[str]:
    return [line for line in response.text.splitlines() if line.startswith("cicd_")]


# --- routes ---


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


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=10.0)


# --- metrics ---


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ([], TEXT_TYPE),
        (["*/*"], TEXT_TYPE),
        ([OPENMETRICS], OPENMETRICS_TYPE),
        (["text/plain;q=0.5", f"{OPENMETRICS};q=0.9"], OPENMETRICS_TYPE),
        (["application/openmetrics-text;version=abc"], TEXT_TYPE),
        (["\xff\xfe;q=é"], TEXT_TYPE),
    ],
    ids=str,
)
def test_the_format_is_what_was_asked_for(web: Web, accept: list[str], media_type: str) -> None:
    headers = [(b"accept", value.encode("latin-1")) for value in accept or [""]]

    response = web.ask("GET", "/metrics", Stub(), headers=headers)

    assert response.headers["content-type"] == media_type
    assert response.headers["vary"] == "Accept, Accept-Encoding"
    assert response.text.endswith("# EOF\n") == (media_type == OPENMETRICS_TYPE)
    if media_type == OPENMETRICS_TYPE:
        assert "cicd_builds" in {x.name for x in read_openmetrics(response.text)}


@pytest.mark.parametrize(
    ("header", "packed"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.8, *;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0, identity", False),
        ("identity", False),
        ("br", False),
        ("xgzip", False),
        ("", False),
    ],
)
def test_a_scrape_is_packed_where_that_is_welcome(web: Web, header: str, packed: bool) -> None:
    stub = Stub()

    plain = web.ask("GET", "/metrics", stub, headers={"accept-encoding": "identity"})
    response = web.ask("GET", "/metrics", stub, headers={"accept-encoding": header})

    assert ("gzip" == response.headers.get("content-encoding")) is packed
    assert ours(response) == ours(plain) != []
    assert (int(response.headers["content-length"]) < len(plain.content) / 2) is packed


def test_a_get_of_the_metrics_is_a_scrape_and_nothing_else_is(web: Web) -> None:
    now = 7.0
    stub = Stub()
    stub.book._clock = lambda: now
    before = stub.book._scraped

    for method, path in (
        ("HEAD", "/metrics"),
        ("POST", "/metrics"),
        ("GET", "/"),
        ("GET", "/status.json"),
    ):
        web.ask(method, path, stub)
        assert stub.book._scraped == before
    web.ask("GET", "/metrics", stub)

    assert stub.book._scraped == now


def test_nothing_waits_for_a_scrape_that_is_being_rendered(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(*args: Any) -> bytes:
        begun.set()
        assert go.wait(10)
        return render(*args)

    monkeypatch.setattr("exporter.web.render", slow)
    scrapes: list[httpx.Response] = []
    unpacked = {"accept-encoding": "identity"}
    scraper = threading.Thread(
        target=lambda: scrapes.append(web.ask("GET", "/metrics", Stub(), headers=unpacked))
    )
    scraper.start()
    assert begun.wait(10)

    assert web.ask("GET", "/-/healthy", Stub()).status_code == 200
    assert scrapes == []
    go.set()
    scraper.join()
    assert [scrape.status_code for scrape in scrapes] == [200]


def test_a_scrape_needs_none_of_the_threads_that_wait_for_dns() -> None:
    go = threading.Event()

    async def main() -> httpx.Response:
        async with serving(served(Stub())) as url, client(url) as c:
            await c.get("/-/healthy")  # from now on there is a connection
            waiting = [asyncio.create_task(asyncio.to_thread(go.wait, 10)) for _ in range(100)]
            await asyncio.sleep(0)  # they have taken all threads there are
            try:
                return await c.get("/metrics")
            finally:
                go.set()
                await asyncio.gather(*waiting)

    assert asyncio.run(main()).status_code == 200


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


# --- over a real poller ---


class Idle(Clock):
    """An API that nobody calls."""

    def __init__(self) -> None:
        self.stats = ApiStats()
        self.budget = Budget()
        self.answers = Memory()

    async def aclose(self) -> None:
        return


@contextlib.asynccontextmanager
async def polling(rig: Rig) -> AsyncIterator[Poller]:
    """A poller of the rig's one account; its loop is the running one."""
    api: Any = Idle()
    rules = Rules(lookback=DAY, retention=30 * DAY, rerun_window=DAY, max_interval=900.0)
    reader = walk.Reader(rig.provider, api, rig.recorder, rules)
    rig.recorder._turn = type(rig.recorder._turn)()
    poller = Poller([AccountPoller(reader, interval=60.0)], rig.recorder, Health())
    try:
        yield poller
    finally:
        await poller.stop()


def live(rig: Rig, work: Callable[[Poller, httpx.AsyncClient], Awaitable[T]]) -> T:
    async def main() -> T:
        async with polling(rig) as poller, serving(served(poller)) as url, client(url) as c:
            return await work(poller, c)

    return asyncio.run(main())


def test_the_status_has_the_keys_of_the_contract(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s.db")
    rig.provider._builds = [done(build("1")), done(build("2")), build("3")]

    async def look(poller: Poller, c: httpx.AsyncClient) -> tuple[Any, Any]:
        before = json.loads((await c.get("/status.json")).text)
        assert await poller.once()
        return before, json.loads((await c.get("/status.json")).text)

    before, after = live(rig, look)

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

    async def look(poller: Poller, c: httpx.AsyncClient) -> list[str]:
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
