"""A scrape over HTTP: what is asked for is sent, in turns with everything else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)

from exporter.demo.serve import serving
from exporter.outputs.prometheus import Exposition, Format, Health
from tests.system.web import OPENMETRICS_TYPE, TEXT_TYPE, Stub, Web, client, ours, served
from tests.tools.system import OPENMETRICS
from tests.tools.views import a_view, completed, learn


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
        ("*", True),
        ("identity;q=0", True),
        ("gzip;q=0.5, identity", False),
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
    stub = Stub()
    at: list[float] = []
    stub.view.scraped = at.append  # type: ignore[method-assign,assignment]
    stub.view.clock = lambda: 7.0

    for method, path in (
        ("HEAD", "/metrics"),
        ("POST", "/metrics"),
        ("GET", "/"),
        ("GET", "/status.json"),
    ):
        web.ask(method, path, stub)
        assert at == []
    web.ask("GET", "/metrics", stub)
    web.ask("GET", "/", stub)  # on the same connection, so the scrape is over by now

    assert at == [7.0]


def test_head_says_how_long_the_answer_to_get_is(web: Web) -> None:
    stub = Stub()
    for encoding in ("gzip", "identity"):
        get, head = (
            web.ask(method, "/metrics", stub, headers={"accept-encoding": encoding})
            for method in ("GET", "HEAD")
        )
        told = [int(answer.headers["content-length"]) for answer in (get, head)]
        assert told[0] == pytest.approx(told[1], rel=0.05)  # some numbers are of the process
        assert head.content == b""


class Slow(Exposition):
    """Takes its time between any two steps, in which `between` is called."""

    between: Callable[[], None]

    def steps(self, form: Format, *, packed: bool = False) -> Iterator[None]:
        yield from super().steps(form, packed=packed)
        for _ in range(3):
            time.sleep(0.01)
            yield
            self.between()


def test_others_have_their_turn_while_a_scrape_is_written() -> None:
    stub = Stub()
    stub.exposition = slow = Slow(stub.view, list, Health())

    async def main() -> list[int]:
        turns = 0
        told = []
        slow.between = lambda: told.append(turns)

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with serving(served(stub)) as url, client(url) as c:
            task = asyncio.create_task(others())
            assert (await c.get("/metrics")).status_code == 200
            task.cancel()
        return told

    one, two, three = asyncio.run(main())
    assert one < two < three


def test_what_comes_while_a_scrape_is_written_was_not_seen_by_it() -> None:
    now = 0.0
    stub = Stub()
    stub.view = a_view(zero_hold=60.0, clock=lambda: now)
    stub.view = stub.view
    stub.exposition = slow = Slow(stub.view, list, Health())
    learned: list[bool] = []

    def learn_once() -> None:
        nonlocal now
        now = 1.0
        if not learned:
            learn(stub.view, completed())
            learned.append(True)

    slow.between = learn_once

    async def main() -> None:
        async with serving(served(stub)) as url, client(url) as c:
            assert (await c.get("/metrics")).status_code == 200

    asyncio.run(main())
    now = 1000.0
    assert learned
    assert stub.view.due() == []


def test_a_client_that_reads_slowly_holds_nobody_up() -> None:
    stub = Stub()
    for number in range(2000):
        learn(stub.view, completed(repo=f"acme/{number}"))

    async def main() -> list[bytes]:
        async with serving(served(stub)) as url, client(url) as c:
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            begun = await reader.readline()
            whole = (await c.get("/metrics", headers={"accept-encoding": "identity"})).content
            rest = await reader.read()
            writer.close()
        return [begun, whole, rest]

    begun, whole, rest = asyncio.run(main())
    assert begun == b"HTTP/1.1 200 OK\r\n"
    assert len(whole) > 2_000_000
    assert abs(len(rest.partition(b"\r\n\r\n")[2]) - len(whole)) < 1000


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
