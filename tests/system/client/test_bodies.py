"""A body is decoded whole and in the promised shape, or it is no answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import time
import zlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx
import msgspec
import pytest

from exporter.errors import Gone, Malformed, ProviderError, Refused, TryLater
from exporter.http import bodies
from exporter.http.bodies import BodyMemory
from tests.system.client import BODY, CHUNKED, ENDLESS, LONG, Item, attempt, connected, gz, visit
from tests.tools.hostile import Reply, Server, flood, hang_up, http, reset


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(http(BODY), id="plain"),
        pytest.param(http(BODY, content_encoding="identity"), id="identity"),
        pytest.param(gz(gzip.compress(BODY)), id="gzip"),
        pytest.param(http(gzip.compress(BODY), content_encoding="X-GZip"), id="x-gzip"),
        pytest.param(gz(gzip.compress(BODY[:99]) + gzip.compress(BODY[99:])), id="two-members"),
        pytest.param(CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), id="chunked"),
        pytest.param(hang_up(ENDLESS + BODY), id="until-close"),
        pytest.param(http(b"\xef\xbb\xbf" + BODY), id="byte-order-mark"),
        pytest.param(http(BODY, content_type="text/html"), id="json-called-html"),
        pytest.param(http(BODY, status=203), id="203"),
    ],
)
def test_a_sound_body_is_decoded(reply: Reply) -> None:
    met = visit(reply)

    assert met.answer.body == json.loads(BODY)
    assert met.stats.errors == {}


def test_an_answer_tells_status_and_headers() -> None:
    answer = visit(http('{"a":1}', status=203, link="<x>; rel=next")).answer

    assert (answer.status, answer.headers["link"]) == (203, "<x>; rel=next")


PACKED = gzip.compress(os.urandom(60_000))
BOMB = gzip.compress(bytes(bodies.MAX_BODY + 1), 9)


@pytest.mark.parametrize(
    ("reply", "verdict", "retried"),
    [
        pytest.param(gz(PACKED[:30_000]), (TryLater, "bad_encoding"), True, id="gzip-cut-off"),
        pytest.param(gz(PACKED[:-1]), (TryLater, "bad_encoding"), True, id="gzip-one-byte-short"),
        pytest.param(gz(BODY), (TryLater, "bad_encoding"), True, id="not-gzip-at-all"),
        pytest.param(
            gz(PACKED[:-5] + b"12345"), (TryLater, "bad_encoding"), True, id="gzip-bad-checksum"
        ),
        pytest.param(
            gz(gzip.compress(BODY) + b"trailing"), (TryLater, "bad_encoding"), True, id="gzip-more"
        ),
        pytest.param(
            http(zlib.compress(BODY), content_encoding="deflate"),
            (Malformed, "bad_encoding"),
            False,
            id="deflate",
        ),
        pytest.param(
            http(BODY, content_encoding="gzip, br"), (Malformed, "bad_encoding"), False, id="br"
        ),
        pytest.param(gz(BOMB), (Malformed, "too_large"), False, id="gzip-bomb"),
        pytest.param(
            flood(ENDLESS, b" " * 1_000_000), (Malformed, "too_large"), False, id="endless"
        ),
        pytest.param(hang_up(LONG + b"{}"), (TryLater, "connect"), True, id="length-not-kept"),
        pytest.param(reset(LONG + b"{}"), (TryLater, "connect"), True, id="reset-in-body"),
        pytest.param(hang_up(CHUNKED + b"99\r\n{"), (TryLater, "connect"), True, id="chunk-cut"),
        pytest.param(hang_up(CHUNKED + b"zz\r\n{"), (TryLater, "connect"), True, id="chunk-size"),
        pytest.param(gz(b""), (Malformed, "bad_json"), False, id="gzip-of-nothing"),
    ],
)
def test_a_body_that_is_not_whole_is_no_answer(
    reply: Reply, verdict: tuple[type[ProviderError], str], *, retried: bool
) -> None:
    met = visit(reply)

    assert met.verdict == verdict
    assert len(met.requests) == (3 if retried else 1)
    assert met.stats.requests.total() == len(met.requests)
    assert met.stats.errors == {verdict[1]: len(met.requests)}
    assert met.left_open == 0


def test_gzip_is_read_whole_in_whatever_pieces_it_comes_and_never_in_part() -> None:
    async def receive(data: bytes, size: int) -> bytes:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(data), size):
                yield data[start : start + size]

        encoding = {"content-encoding": "gzip"}
        request = httpx.Request("GET", "http://h/")
        response = httpx.Response(200, headers=encoding, content=pieces(), request=request)
        return (await bodies.receive(response, encoding)).body

    packed = gzip.compress(b"first,") + gzip.compress(b"second")
    for size in range(1, len(packed) + 1):
        assert asyncio.run(receive(packed, size)) == b"first,second"
    for end in set(range(1, len(packed))) - {len(gzip.compress(b"first,"))}:
        with pytest.raises(TryLater, match="cut off"):
            asyncio.run(receive(packed[:end], 7))


def test_a_body_of_many_megabytes_is_read_whole() -> None:
    body = json.dumps({"a": ["x" * 50, *range(400_000)]}).encode()

    assert visit(gz(gzip.compress(body, 1))).answer.body == json.loads(body)


def test_a_gzip_that_unpacks_to_much_too_much_is_not_unpacked_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "MAX_BODY", 10**12)
    met = visit(gz(gzip.compress(bytes(20_000_000), 9)))

    assert met.verdict == (Malformed, "too_large")
    assert "unpacks to more than 200 times its size" in str(met.error)


def test_the_body_of_an_error_is_unpacked_to_no_more_than_the_cap() -> None:
    message = json.dumps({"message": "x" * 100_000}).encode()
    met = visit(http(gzip.compress(message), 404, content_encoding="gzip"))

    assert met.verdict == (Gone, "not_found")
    assert "xxx" not in str(met.error)


def test_bodies_side_by_side_share_the_room_that_there_is() -> None:
    room = BodyMemory(9_000_000)
    with room.taken() as endless, room.taken() as large, room.taken() as small:
        large(2_500_000)
        endless(6_000_000)
        with pytest.raises(Malformed, match="larger than there is room for"):
            endless(1_000_000)
        small(500_000)
        large(1_500_000)  # less than half
        with pytest.raises(Malformed):
            large(1_000_000)
    with room.taken() as alone:
        alone(9_000_000)
        with pytest.raises(Malformed):
            alone(1)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b"", "bad_json"),
        (b"  \n", "bad_json"),
        (b'{"n":1', "bad_json"),
        (b'{"n":1}}', "bad_json"),
        (b'{"n":NaN}', "bad_json"),
        (b'{"n":1,"more":Infinity}', "bad_json"),
        (b'{"n":1,"text":"\xff"}', "bad_json"),
        (b'{"n":1,"more":' + b"[" * 200_000, "bad_json"),
        ('{"n":1}'.encode("utf-16"), "bad_json"),
        (b"null", "bad_shape"),
        (b"[]", "bad_shape"),
        (b'{"n":"1"}', "bad_shape"),
        (b'{"n":' + b"9" * 5000 + b"}", "bad_shape"),
        (b'{"n":1e999}', "bad_shape"),
    ],
    ids=lambda value: value[:24].decode("latin-1") or "empty" if isinstance(value, bytes) else "",
)
def test_what_is_not_the_promised_json_is_malformed(body: bytes, verdict: str) -> None:
    met = visit(http(body), into=Item)

    assert met.verdict == (Malformed, verdict)
    assert len(met.requests) == 1
    assert not met.error.account_wide


def test_a_wrong_shape_is_named_with_its_place_and_what_the_answer_says() -> None:
    met = visit(http('{"message":"Bad things"}'), into=Item)
    assert "missing required field `n`; it says: Bad things" in str(met.error)

    met = visit(http('[{"n":1},{"n":[]}]'), into=list[Item])
    assert "at `$[1].n`" in str(met.error)


@pytest.mark.parametrize(
    "reply",
    [
        http("<!doctype html><title>Sign in</title>", content_type="text/html; charset=utf-8"),
        http("\n <html>", status=203),
        http("Please sign in", content_type="text/html"),
    ],
    ids=["page", "203", "no-tags"],
)
def test_a_web_page_means_that_the_token_is_wrong(reply: bytes) -> None:
    met = visit(reply)

    assert met.verdict == (Refused, "unauthorized")
    assert "answered with a web page instead of JSON" in str(met.error)


# Many small things


def packed_list(item: bytes, count: int) -> Reply:
    """A list of so many of the same thing, packed to less than half a megabyte."""
    noise = os.urandom(200_000).hex().encode()  # without it the whole would be taken for a bomb
    return gz(gzip.compress(b'{"b":"%s","a":[%s]}' % (noise, b",".join([item] * count)), 9))


@pytest.mark.parametrize(
    "item",
    [b"0", b"[]", b"{}", b'{"a":{"b":{}}}', b'""', b"[[[[[[]]]]]]"],
    ids=["numbers", "lists", "objects", "nested", "texts", "deep"],
)
def test_an_answer_of_too_many_values_is_refused_before_it_is_decoded(item: bytes) -> None:
    met = visit(packed_list(item, 600_000), into=dict[str, list[msgspec.Raw] | str])

    assert met.verdict == (Malformed, "too_large")
    assert "holds more than 500000 values" in str(met.error)


async def longest_hold(work: Awaitable[object]) -> float:
    """The most CPU seconds of this process between two turns of the event loop meanwhile."""
    task = asyncio.ensure_future(work)
    longest, before = 0.0, time.process_time()
    while not task.done():
        await asyncio.sleep(0)
        now = time.process_time()
        longest, before = max(longest, now - before), now
    await task
    return longest


@pytest.mark.parametrize(
    ("item", "count", "into"),
    [
        pytest.param(b"0", 5_000_000, dict[str, list[msgspec.Raw] | str], id="numbers"),
        pytest.param(b'{"n":{}}', 4_000_000, dict[str, Any], id="objects"),
        pytest.param(b'{"n":1}', 240_000, dict[str, Any], id="as many as may be"),
        pytest.param(rb'"\ud800\ud800\ud800"', 150_000, dict[str, Any], id="half letters"),
    ],
)
def test_no_answer_holds_up_the_event_loop(item: bytes, count: int, into: Any) -> None:
    async def go() -> float:
        reply = packed_list(item, count)
        async with Server(reply) as server, connected(server.root) as (api, _):
            await attempt(api, "/warm-up", None, into)
            return await longest_hold(attempt(api, "/x", None, into))

    assert asyncio.run(go()) < 0.4
