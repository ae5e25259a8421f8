"""Faults of the wire, one server for each; every one becomes the error it should."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import ssl
import time
import traceback
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import httpx
import msgspec
import pytest

from exporter import __version__
from exporter.errors import Gone, Malformed, ProviderError, Refused, TryLater
from exporter.http import Answer, Api, ApiStats, Pace, RateLimit, Token, wire
from exporter.http.conditional import Memory
from tests import hostile
from tests.hostile import Reply, Request, Server, drip, flood, hang_up, http, reset, stall

SECRET = "s3cr3t-t0k3n"
OK = http('{"a":1}')


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

    pace = options.pop("pace", Pace(sleep=sleep, random=lambda: 0.5))
    settings: dict[str, Any] = {"headers": secret_headers, "timeout": 10.0} | options
    api = Api(root=root, pace=pace, **settings)
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
            blocked_for = api.blocked_until - time.monotonic()
            await api.aclose()
            if server.connections:  # each ends when the client has let go of it
                await asyncio.wait(server.connections, timeout=2)
            left_open = len(server.connections)
        return Visit(outcomes, server.requests, pauses, api.stats, blocked_for, left_open)

    return asyncio.run(go())


# The request


def test_a_request_carries_the_credential_and_names_us() -> None:
    request = visit(OK).requests[0]

    assert request.method == "GET"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["user-agent"] == f"cicd-exporter/{__version__}"
    assert request.headers["accept-encoding"] == "gzip"
    assert request.headers["accept"] == "application/json"


def test_a_provider_may_ask_for_its_own_media_type() -> None:
    request = visit(OK, headers=lambda: {"accept": "application/vnd.x+json"}).requests[0]

    assert request.headers["accept"] == "application/vnd.x+json"


PRINTABLE = "".join(map(chr, range(32, 127))) + "é\u4e2d\N{PILE OF POO}\n\0"


@pytest.mark.parametrize(
    "value", ["c/2+=&x", "%2B%252F", "created_at[gt]", "2026-01-01T00:00:00+02:00", PRINTABLE]
)
def test_parameters_arrive_as_they_were_given(value: str) -> None:
    request = visit(OK, params={"next_cursor": value, value: "1", "limit": 5}).requests[0]

    query = urlsplit(request.target).query
    expected = [("next_cursor", value), (value, "1"), ("limit", "5")]
    assert parse_qsl(query, strict_parsing=True) == expected


@pytest.mark.parametrize("segment", ["{0e1c-uuid}", "feature/x y", "a%2Fb", PRINTABLE])
def test_a_quoted_segment_stays_one_segment(segment: str) -> None:
    request = visit(OK, path=f"/repos/{quote(segment, safe='')}/runs").requests[0]

    assert "?" not in request.target
    assert request.target.startswith("/repos/")
    assert [unquote(part) for part in request.target.split("/")[2:]] == [segment, "runs"]


def test_slashes_and_braces_stay_quoted() -> None:
    assert visit(OK, path="/%7Bid%7D/a%2Fb").requests[0].target == "/%7Bid%7D/a%2Fb"


def test_paths_are_appended_to_the_path_of_the_root() -> None:
    assert visit(OK, below="/api/v3/", path="/repos").requests[0].target == "/api/v3/repos"


@pytest.mark.parametrize(
    "path",
    [
        "/../admin",
        "/a/..",
        "/a/./b",
        "/%2e%2E/b",
        "/.%2e",
        "/a?b=1",
        "/a#b",
        "/a b\n",
        "/\0",
        "/\ud800",
    ],
)
def test_a_path_that_leaves_its_place_is_not_asked_for(path: str) -> None:
    met = visit(OK, path=path)

    assert met.verdict == (Malformed, "bad_shape")
    assert met.requests == []


def test_neither_the_environment_nor_netrc_nor_cookies_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    met = visit(http(set_cookie="sid=1; Path=/"), count=2, headers=dict)

    assert [type(outcome) for outcome in met.outcomes] == [Answer, Answer]
    assert not {"authorization", "cookie"} & set(met.requests[1].headers)


def test_a_proxy_is_used() -> None:
    async def go() -> list[Request]:
        async with Server(OK) as proxy:
            address = f"http://127.0.0.1:{proxy.port}"
            async with connected("http://api.invalid", proxy=address) as (api, _):
                await api.get("/x", into=dict)
            return proxy.requests

    (request,) = asyncio.run(go())
    assert request.target == "http://api.invalid/x"


@pytest.mark.parametrize("root", ["http://api.invalid", "https://api.invalid"])
def test_a_proxy_that_is_down_is_named(root: str) -> None:
    met = visit(OK, root=root, proxy=f"http://127.0.0.1:{free_port()}")

    assert met.verdict == (TryLater, "connect")
    assert "the proxy cannot be reached" in str(met.error)


def test_a_proxy_that_refuses_the_tunnel_is_named() -> None:
    async def go() -> ProviderError:
        async with Server(http(status=407)) as proxy:
            address = f"http://127.0.0.1:{proxy.port}"
            async with connected("https://api.invalid", proxy=address) as (api, _):
                with pytest.raises(TryLater, match="proxy") as caught:
                    await api.get("/x", into=dict)
                return caught.value

    assert asyncio.run(go()).reason == "connect"


def test_no_more_than_eight_requests_are_under_way() -> None:
    async def go() -> int:
        full, release = asyncio.Event(), asyncio.Event()
        under_way = most = 0

        async def wait_for_others(writer: asyncio.StreamWriter) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if under_way == Pace().concurrency:
                full.set()
            await release.wait()
            under_way -= 1
            writer.write(OK)
            await writer.drain()

        async with Server(wait_for_others) as server, connected(server.root) as (api, _):
            gets = [asyncio.create_task(api.get("/x", into=dict)) for _ in range(20)]
            await full.wait()
            release.set()
            await asyncio.gather(*gets)
        return most

    assert asyncio.run(go()) == 8


def test_connections_are_used_again() -> None:
    async def go() -> int:
        async with Server(OK) as server, connected(server.root) as (api, _):
            for _ in range(3):
                await api.get("/x", into=dict)
            return len(server.connections)

    assert asyncio.run(go()) == 1


def test_an_api_may_be_made_outside_the_loop_it_is_used_in() -> None:
    api = Api(root="http://127.0.0.1:1", headers=dict, timeout=1)
    asyncio.run(api.aclose())

    assert api.stats.requests == {}


# Bodies

BODY = json.dumps({"a": ["x" * 50, *range(5000)]}).encode()
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"


def gz(data: bytes) -> bytes:
    return http(data, content_encoding="gzip")


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

    assert (answer.status, answer.headers["Link"]) == (203, "<x>; rel=next")


PACKED = gzip.compress(os.urandom(60_000))
BOMB = gzip.compress(bytes(wire.MAX_BODY + 1), 9)


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
        return (await wire.receive(response)).body

    packed = gzip.compress(b"first,") + gzip.compress(b"second")
    for size in range(1, len(packed) + 1):
        assert asyncio.run(receive(packed, size)) == b"first,second"
    for end in set(range(1, len(packed))) - {len(gzip.compress(b"first,"))}:
        with pytest.raises(TryLater, match="cut off"):
            asyncio.run(receive(packed[:end], 7))


class Item(msgspec.Struct):
    """A native struct as providers have them."""

    n: int
    text: str = ""


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


# Statuses


@pytest.mark.parametrize(
    ("status", "verdict", "retried"),
    [
        (204, (Malformed, "bad_shape"), False),
        (300, (Malformed, "redirect"), False),
        (304, (Malformed, "redirect"), False),
        (400, (Refused, "bad_shape"), False),
        (401, (Refused, "unauthorized"), False),
        (402, (Refused, "forbidden"), False),
        (403, (Refused, "forbidden"), False),
        (404, (Gone, "not_found"), False),
        (405, (Refused, "bad_shape"), False),
        (407, (Refused, "unauthorized"), False),
        (408, (TryLater, "timeout"), True),
        (409, (Refused, "bad_shape"), False),
        (410, (Gone, "not_found"), False),
        (418, (Refused, "bad_shape"), False),
        (422, (Refused, "bad_shape"), False),
        (425, (TryLater, "server"), True),
        (429, (TryLater, "rate_limited"), False),
        (451, (Refused, "forbidden"), False),
        (500, (TryLater, "server"), True),
        (502, (TryLater, "server"), True),
        (503, (TryLater, "server"), True),
        (504, (TryLater, "timeout"), True),
        (511, (TryLater, "server"), True),
    ],
)
def test_each_status_becomes_its_error(
    status: int, verdict: tuple[type[ProviderError], str], *, retried: bool
) -> None:
    met = visit(http(b"" if status in (204, 304) else "{}", status=status))

    assert met.verdict == verdict
    assert str(status) in str(met.error) or status == 204
    assert met.stats.requests == {str(status): 3 if retried else 1}
    assert met.stats.errors == {verdict[1]: 3 if retried else 1}
    assert met.left_open == 0


def test_a_status_nobody_knows_is_the_servers_fault() -> None:
    assert visit(hang_up(b"HTTP/1.1 599 ?\r\n\r\n")).verdict == (TryLater, "server")


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\n\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(stall(NOT_FOUND), id="stalled"),
        pytest.param(reset(NOT_FOUND + b"{"), id="reset"),
        pytest.param(flood(NOT_FOUND.replace(b"10", b"9999999"), b" " * 9999), id="endless"),
        pytest.param(http(b"x", status=404, content_encoding="br"), id="other-encoding"),
        pytest.param(http(b"x", status=404, content_encoding="gzip"), id="broken-gzip"),
        pytest.param(http(b"[" * 60_000, status=404), id="deep"),
        pytest.param(http(b"\xff\xfe", status=404, content_type="text/plain"), id="no-utf-8"),
        pytest.param(http("<html>", status=404, content_type="text/html"), id="web-page"),
    ],
)
def test_no_fault_of_its_body_hides_the_status(
    reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_ERROR_BODY_SECONDS", 0.05)

    assert visit(reply).verdict == (Gone, "not_found")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"statusCode": 400, "error": "Bad Request", "message": "integrated_account_id missing"},
            "integrated_account_id missing",
        ),
        (
            {
                "statusCode": 403,
                "error": "Forbidden",
                "message": "Forbidden",
                "truto_is_remote_error": True,
                "truto_error_insight": {
                    "missing_required_query_parameters": {"description": "d", "value": ["a", "b"]},
                    "forbidden_error": {"description": "d", "value": {"missing_scopes": ["repo"]}},
                },
            },
            "Forbidden; missing query parameters: a, b; missing scopes: repo",
        ),
        (
            {"message": "Validation Failed", "errors": [{"field": "per_page", "code": "invalid"}]},
            "Validation Failed; per_page; invalid",
        ),
        ({"error": "invalid_token", "error_description": "Token revoked"}, "Token revoked"),
        ({"type": "error", "error": {"message": "No such repo"}}, "No such repo"),
        ({"message": {"base": ["not allowed"]}}, "not allowed"),
        ({"@type": "error", "error_message": "access denied"}, "access denied"),
        ({"errors": [{"message": "Wrong project"}, "Other"]}, "Wrong project; Other"),
        ({"message": "two\r\nlines\t\0 \x1b[31m \u202e"}, "two lines [31m"),
        (
            {"message": "at https://h.example/p?access_token=1&b#c now"},
            "at https://h.example/p now",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_tells_what_the_api_says(body: dict[str, Any], said: str) -> None:
    error = visit(http(json.dumps(body), status=400)).error

    assert str(error).endswith(f"/x: answered 400 Bad Request: the API rejects the request: {said}")


def test_a_plain_text_error_is_told() -> None:
    error = visit(http("No such job\n", status=404, content_type="text/plain")).error

    assert str(error).endswith("not there, or not for this token: No such job")


def test_an_error_is_one_short_line() -> None:
    met = visit(http(json.dumps({"message": "very\nlong " * 999}), status=400), path="/p" * 999)

    assert len(str(met.error)) < 620
    assert str(met.error).isprintable()


def test_a_huge_answer_of_the_wrong_shape_is_not_read_twice() -> None:
    body = json.dumps({"message": "x" * 100_000})

    assert "it says" not in str(visit(http(body), into=Item).error)


# Authorization


def test_a_token_that_has_been_rotated_is_tried_at_once() -> None:
    tokens = iter(["old", "new", "newest"])
    met = visit(http(status=401), OK, headers=lambda: {"Authorization": next(tokens)})

    assert met.answer.body == {"a": 1}
    assert [request.headers["authorization"] for request in met.requests] == ["old", "new"]
    assert met.pauses == []
    assert met.stats.errors == {"unauthorized": 1}


def test_a_token_that_is_wrong_twice_is_not_tried_again() -> None:
    tokens = iter(["old", "new", "newest"])
    met = visit(http(status=401), headers=lambda: {"Authorization": next(tokens)})

    assert met.verdict == (Refused, "unauthorized")
    assert met.error.account_wide
    assert len(met.requests) == 2


def test_a_credential_that_cannot_be_read_is_a_refusal_and_nothing_is_sent(tmp_path: Path) -> None:
    token = Token(env=None, file=str(tmp_path / "gone"))
    met = visit(OK, headers=lambda: {"Authorization": token.read() or ""})

    assert met.verdict == (Refused, "unauthorized")
    assert met.requests == []
    assert met.stats.errors == {"unauthorized": 1}


@pytest.mark.parametrize("value", ["to\r\nX-Evil: 1", "töken", "to\0ken"])
def test_a_credential_that_no_header_can_carry_is_a_refusal(value: str) -> None:
    met = visit(OK, headers=lambda: {"Authorization": value})

    assert met.verdict == (Refused, "unauthorized")
    assert met.requests == []
    assert value not in str(met.error)


# Retries


def test_what_may_succeed_is_tried_again_with_growing_pauses() -> None:
    met = visit(http(status=503), reset(LONG), OK)

    assert met.answer.body == {"a": 1}
    assert met.pauses == [0.25, 0.5]
    assert met.stats.requests == {"503": 1, "200": 2}
    assert met.stats.errors == {"server": 1, "connect": 1}


def test_pauses_are_a_random_share_up_to_the_cap() -> None:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    pauses: list[float] = []
    visit(http(status=500), pace=Pace(attempts=8, sleep=sleep, random=lambda: 1.0))

    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_server_that_names_a_short_pause_gets_it() -> None:
    met = visit(http(status=503, retry_after="7"), OK)

    assert met.answer.body == {"a": 1}
    assert met.pauses == [7.0]


def test_a_server_that_names_a_long_pause_is_left_alone() -> None:
    met = visit(http(status=503, retry_after="120"))

    assert met.verdict == (TryLater, "server")
    assert isinstance(met.error, TryLater)
    assert met.error.delay == 120.0
    assert len(met.requests) == 1


# Rate limits


def http_time(seconds_from_now: float) -> str:
    return format_datetime(datetime.fromtimestamp(time.time() + seconds_from_now, UTC), usegmt=True)


def delay_of(met: Visit) -> float:
    assert met.verdict == (TryLater, "rate_limited")
    assert isinstance(met.error, TryLater)
    assert met.error.delay is not None
    return met.error.delay


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [
        ("10", 10),
        ("1.5", 1.5),
        ("0", 1),
        ("-5", 1),
        ("999999", 3600),
        ("9" * 5000, 3600),
        ("soon", 60),
        ("", 60),
        ("1e3", 60),
        ("Wed, 99 Foo 2026 07:28:00 GMT", 60),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", 60),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 3600),
    ],
    ids=lambda value: value[:40] or "empty" if isinstance(value, str) else "",
)
def test_retry_after_is_heeded_within_reason(retry_after: str, delay: float) -> None:
    met = visit(http(status=429, retry_after=retry_after), count=2)

    assert delay_of(met) == pytest.approx(delay, abs=1)
    assert met.blocked_for == pytest.approx(delay, abs=1)
    assert len(met.requests) == 1
    assert met.pauses == []
    assert met.stats.errors == {"rate_limited": 1}


def test_retry_after_as_a_date_is_by_the_providers_clock() -> None:
    reply = http(status=429, date=http_time(7200), retry_after=http_time(7230))

    assert delay_of(visit(reply)) == pytest.approx(30, abs=2)


def test_while_blocked_the_same_error_comes_without_a_request() -> None:
    met = visit(http('{"message":"slow down"}', status=429, retry_after="10"), OK, count=3)

    assert len(met.requests) == 1
    assert "slow down" in str(met.outcomes[0])
    assert delay_of(met) == pytest.approx(10, abs=1)
    assert "nothing is sent for another" in str(met.error)
    assert met.error.account_wide


def test_requests_go_out_again_when_the_block_is_over() -> None:
    async def go() -> dict[str, int]:
        async with (
            Server(http(status=429, retry_after="600"), OK) as server,
            connected(server.root) as (api, _),
        ):
            with pytest.raises(TryLater):
                await api.get("/x", into=dict)
            api.blocked_until = time.monotonic()
            return (await api.get("/x", into=dict[str, int])).body

    assert asyncio.run(go()) == {"a": 1}


def test_a_limit_without_a_time_is_waited_for_longer_each_time() -> None:
    async def go() -> list[float]:
        delays = []
        async with (
            Server(*[http(status=429)] * 3, *[OK], *[http(status=429)] * 9) as server,
            connected(server.root) as (api, _),
        ):
            for _ in range(12):
                api.blocked_until = 0.0
                outcome = await attempt(api, "/x", None, dict)
                delays.append(getattr(outcome, "delay", 0.0))
        return delays

    assert asyncio.run(go()) == [60, 120, 240, 0, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_requests_side_by_side_meet_a_limit_once() -> None:
    async def go() -> list[float]:
        async with Server(http(status=429)) as server, connected(server.root) as (api, _):
            outcomes = await asyncio.gather(*(attempt(api, "/x", None, dict) for _ in range(12)))
            assert len(server.requests) == Pace().concurrency
        return sorted(getattr(outcome, "delay", 0.0) for outcome in outcomes)

    assert asyncio.run(go()) == pytest.approx([60] * 12, abs=1)


@pytest.mark.parametrize(
    ("reply", "delay"),
    [
        (http(status=403, x_ratelimit_remaining="0", x_ratelimit_reset="{at}"), 123),
        (http(status=429, ratelimit_remaining="0", ratelimit_reset="120"), 123),
        (http(status=429, ratelimit_reset="120"), 123),
        (http(status=429, x_ratelimit_remaining="9", x_ratelimit_reset="{at}"), 60),
        (http(status=403, x_ratelimit_remaining="0", x_ratelimit_reset="4000000000"), 3603),
        (http(status=403, x_ratelimit_remaining="0", x_ratelimit_reset="1000000000"), 60),
        (http(status=403, x_ratelimit_remaining="0"), 60),
        (http(status=403, retry_after="30"), 30),
        (http('{"message":"You have exceeded a secondary rate limit."}', status=403), 60),
        (http('{"truto_error_insight":{"rate_limit_error":{"value":true}}}', status=403), 60),
    ],
    ids=str,
)
def test_a_403_may_be_a_rate_limit(reply: bytes, delay: float) -> None:
    at = str(int(time.time() + 120)).encode()

    assert delay_of(visit(reply.replace(b"{at}", at))) == pytest.approx(delay, abs=2)


def test_a_403_with_quota_left_is_no_rate_limit() -> None:
    reply = http(status=403, x_ratelimit_remaining="17", x_ratelimit_reset="60")

    assert visit(reply).verdict == (Refused, "forbidden")


def test_a_good_answer_that_asks_for_a_pause_is_used_and_heeded() -> None:
    met = visit(http('{"a":1}', retry_after="30"), count=2)

    assert isinstance(met.outcomes[0], Answer)
    assert delay_of(met) == pytest.approx(30, abs=1)
    assert len(met.requests) == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {
                "x_ratelimit_limit": "5000",
                "x_ratelimit_remaining": "4999",
                "x_ratelimit_reset": "1792567680",
                "x_ratelimit_resource": "core",
            },
            {"core": RateLimit(5000, 4999, 1792567680)},
        ),
        (
            {
                "ratelimit_limit": "2000, 2000;w=60",
                "ratelimit_name": "throttle_api",
                "ratelimit_reset": "1792567680",
            },
            {"throttle_api": RateLimit(2000, None, 1792567680)},
        ),
        (
            {"x_rate_limit_limit": "60", "x_rate_limit_remaining": "0"},
            {"": RateLimit(60, 0, None)},
        ),
        ({"x_ratelimit_reset": "1792567680000"}, {"": RateLimit(None, None, 1792567680)}),
        ({"x_ratelimit_limit": "many", "x_ratelimit_remaining": "-1"}, {}),
        ({"x_ratelimit_limit": "nan", "x_ratelimit_reset": "9" * 400}, {}),
        ({"x_ratelimit_limit": "٣", "x_ratelimit_remaining": ""}, {}),
        ({}, {}),
    ],
    ids=["github", "gitlab", "buddy", "milliseconds", "words", "too-long", "not-ascii", "none"],
)
def test_rate_headers_are_read_on_every_answer(
    headers: dict[str, Any], expected: dict[str, RateLimit]
) -> None:
    for status in (200, 404):
        assert visit(http(status=status, **headers)).stats.rate_limits == expected


def test_a_small_reset_is_a_number_of_seconds_from_now() -> None:
    headers: dict[str, Any] = {
        "ratelimit_limit": "110;w=10",
        "ratelimit_remaining": "109",
        "ratelimit_reset": "60",
    }
    met = visit(http(**headers)).stats.rate_limits[""]

    assert (met.limit, met.remaining) == (110, 109)
    assert met.reset_at == pytest.approx(time.time() + 60, abs=5)


def test_the_names_of_limited_resources_cannot_fill_the_memory() -> None:
    replies = [http(x_ratelimit_limit="1", x_ratelimit_resource=f"r{n}") for n in range(99)]

    assert len(visit(*replies, count=99).stats.rate_limits) == 32


# The clock


@pytest.mark.parametrize(
    ("ahead", "skew"), [(0, 0), (1.5, 0), (-1, 0), (3600, 3600), (-3600, -3600)]
)
def test_the_providers_clock_is_measured(ahead: float, skew: float) -> None:
    async def go() -> None:
        async with (
            Server(http(date=http_time(ahead))) as server,
            connected(server.root) as (api, _),
        ):
            assert api.now() == pytest.approx(time.time(), abs=1)
            await api.get("/x", into=dict)
            assert api.stats.clock_skew == pytest.approx(skew, abs=2 if skew else 0)
            assert api.now() == pytest.approx(time.time() + skew, abs=2)

    asyncio.run(go())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"date": "yesterday"},
        {"date": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"date": "Wed, 21 Oct 2026 07:28:00 GMT", "age": "5"},
    ],
    ids=["none", "garbage", "zero", "cached"],
)
def test_what_is_no_clock_is_not_measured(headers: dict[str, Any]) -> None:
    assert visit(http(**headers)).stats.clock_skew is None


# Redirects


def test_a_permanent_redirect_below_the_root_is_followed_once() -> None:
    for status in (301, 308):
        moved = http(status=status, location="/api/v3/repositories/7?page=2#x")
        met = visit(moved, OK, below="/api/v3", path="/repos/a/b")

        assert met.answer.body == {"a": 1}
        assert met.requests[1].target == "/api/v3/repositories/7?page=2"
        assert met.requests[1].headers["authorization"] == f"Bearer {SECRET}"
        assert met.stats.requests == {str(status): 1, "200": 1}
        assert met.stats.errors == {}


def test_a_second_redirect_is_not_followed() -> None:
    met = visit(http(status=301, location="/api/y"), below="/api")

    assert met.verdict == (Malformed, "redirect")
    assert len(met.requests) == 2


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (301, "http://localhost:{port}/api/x"),
        (301, "http://127.0.0.1:1/api/x"),
        (301, "https://127.0.0.1:{port}/api/x"),
        (301, "http://a:b@127.0.0.1:{port}/api/x"),
        (301, "//login.example/api/x"),
        (301, "ftp://login.example/api"),
        (301, "/elsewhere"),
        (301, "/apix"),
        (301, "/api/../elsewhere"),
        (301, "/api/%2e%2e/elsewhere"),
        (301, "http://[bad"),
        (301, "http://h:99999/"),
        (302, "/api/y"),
        (303, "/api/y"),
        (307, "/api/y"),
        (302, "https://login.example/signin?state=s3cr3t-t0k3n"),
        (302, "http://:0/"),
        (300, "http://[bad"),
        (305, ""),
    ],
)
def test_no_other_redirect_is_followed(status: int, location: str) -> None:
    async def go() -> tuple[list[Request], ProviderError]:
        async def point(writer: asyncio.StreamWriter) -> None:
            writer.write(http(status=status, location=location.format(port=server.port)))
            await writer.drain()

        async with Server(point) as server, connected(server.root + "/api") as (api, _):
            outcome = await attempt(api, "/x", None, dict)
            assert isinstance(outcome, Malformed)
            return server.requests, outcome

    requests, error = asyncio.run(go())

    assert len(requests) == 1
    assert error.reason == "redirect"
    assert SECRET not in str(error)


def test_the_error_names_the_host_a_redirect_points_to_and_what_to_do() -> None:
    error = visit(http(status=302, location="https://login.example/signin?next=1")).error

    assert str(error).endswith(
        "/x: answered 302 Found: redirected to login.example; "
        "if the API has moved there, change url"
    )


# The network


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_refused_connection_is_tried_again_and_told() -> None:
    met = visit(OK, root=f"http://127.0.0.1:{free_port()}")

    assert met.verdict == (TryLater, "connect")
    assert "ConnectionRefusedError" in str(met.error)
    assert met.stats.requests == {"error": 3}
    assert met.error.account_wide


def test_an_unknown_host_is_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    met = visit(OK, root="https://api.invalid")

    assert met.verdict == (TryLater, "dns")
    assert str(met.error).startswith("api.invalid/x: the host name cannot be resolved")


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(hang_up(), id="closed"),
        pytest.param(reset(), id="reset"),
        pytest.param(hang_up(b"SSH-2.0-x\r\n"), id="not-http"),
        pytest.param(hang_up(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 99_999), id="endless-header"),
        pytest.param(hang_up(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 9999), id="many-headers"),
        pytest.param(hang_up(b"HTTP/1.1 200 OK\r\nx"), id="half-a-header"),
    ],
)
def test_what_breaks_off_or_is_no_http_is_a_connection_error(reply: Reply) -> None:
    met = visit(reply)

    assert met.verdict == (TryLater, "connect")
    assert met.stats.requests == {"error": 3}
    assert met.left_open == 0


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        pytest.param(stall(), "error", id="nothing"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nx: ", every=0.02), "error", id="slow-headers"),
        pytest.param(drip(ENDLESS + b"{", every=0.02), "200", id="slow-body"),
    ],
)
def test_the_deadline_covers_the_whole_answer(reply: Reply, code: str) -> None:
    met = visit(reply, timeout=0.15)

    assert met.verdict == (TryLater, "timeout")
    assert met.stats.requests == {code: 3}
    assert met.left_open == 0


def test_a_server_that_never_shakes_hands_is_a_timeout() -> None:
    async def go() -> Answer[Any] | ProviderError:
        async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)

        writers: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with connected(f"https://127.0.0.1:{port}", timeout=0.15) as (api, _):
            outcome = await attempt(api, "/x", None, dict)
        for writer in writers:
            writer.close()
        server.close()
        return outcome

    outcome = asyncio.run(go())
    assert isinstance(outcome, TryLater)
    assert outcome.reason == "timeout"


def test_a_cancelled_request_stays_cancelled() -> None:
    async def go() -> None:
        async with Server(stall()) as server, connected(server.root) as (api, _):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await api.get("/x", into=dict)
            assert api.stats.errors == {}

    asyncio.run(go())


def test_a_fault_leaves_the_client_usable() -> None:
    met = visit(reset(LONG), flood(ENDLESS, b" " * 1_000_000), OK, count=2)

    assert [type(outcome) for outcome in met.outcomes] == [Malformed, Answer]
    assert met.left_open == 0


# TLS


def test_a_private_ca_is_trusted_by_ca_file(tmp_path: Path) -> None:
    tls = hostile.tls(tmp_path, hostile.good_certificate())

    assert visit(OK, tls=tls, ca_file=str(tmp_path / "cert.pem")).answer.body == {"a": 1}


@pytest.mark.parametrize(
    ("certificate", "trusted", "host", "said"),
    [
        (hostile.good_certificate, False, "localhost", "self-signed certificate"),
        (hostile.good_certificate, True, "127.0.0.1", "IP address mismatch"),
        (hostile.expired_certificate, True, "localhost", "certificate has expired"),
    ],
    ids=["self-signed", "wrong-host", "expired"],
)
def test_a_certificate_that_is_not_right_is_refused(
    tmp_path: Path, certificate: Callable[[], str], said: str, host: str, *, trusted: bool
) -> None:
    async def go() -> Answer[Any] | ProviderError:
        tls = hostile.tls(tmp_path, certificate())
        ca_file = str(tmp_path / "cert.pem") if trusted else None
        async with (
            Server(OK, tls=tls) as server,
            connected(f"https://{host}:{server.port}", ca_file=ca_file) as (api, _),
        ):
            outcome = await attempt(api, "/x", None, dict)
            assert server.requests == []
            return outcome

    error = asyncio.run(go())

    assert isinstance(error, Refused)
    assert error.reason == "tls"
    assert said in str(error)
    assert "ca_file" in str(error)


def test_a_server_that_does_not_speak_tls_is_told_as_such() -> None:
    async def go() -> Answer[Any] | ProviderError:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, connected(f"https://127.0.0.1:{port}") as (api, _):
            return await attempt(api, "/x", None, dict)

    error = asyncio.run(go())

    assert isinstance(error, TryLater)
    assert error.reason == "tls"
    assert "check the scheme of url" in str(error)


def test_a_ca_file_that_is_missing_or_broken_is_refused_and_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for ca_file in (tmp_path / "missing.pem", broken):
        met = visit(OK, ca_file=str(ca_file))

        assert met.verdict == (Refused, "tls")
        assert str(ca_file) in str(met.error)
        assert met.requests == []


def test_a_ca_that_is_rotated_is_trusted_from_the_next_request_on(tmp_path: Path) -> None:
    async def go() -> list[type]:
        tls = hostile.tls(tmp_path, hostile.good_certificate())
        bundle = tmp_path / "bundle.pem"
        bundle.write_text(hostile.expired_certificate())
        async with (
            Server(OK, tls=tls) as server,
            connected(server.root, ca_file=str(bundle)) as (api, _),
        ):
            before = await attempt(api, "/x", None, dict)
            bundle.write_text(hostile.good_certificate())
            between = await attempt(api, "/x", None, dict)
            after = await attempt(api, "/x", None, dict)
            return [type(before), type(between), type(after)]

    assert asyncio.run(go()) == [Refused, Refused, Answer]


# Secrets


@pytest.mark.parametrize(
    "reply",
    [
        http(json.dumps({"message": f"token {SECRET} is invalid"}), status=401),
        http(json.dumps({"message": f"Bearer {SECRET}"}), status=500),
        http(json.dumps({"message": f"{SECRET}"}), status=429),
        http(json.dumps({"error": SECRET})),
        http("<html>", content_type="text/html"),
        http(b"{"),
        gz(BODY),
        hang_up(),
        reset(LONG),
        hang_up(b"nonsense"),
    ],
    ids=["401", "500", "429", "shape", "page", "json", "gzip", "closed", "reset", "not-http"],
)
def test_no_error_shows_the_credential_or_the_query(reply: Reply) -> None:
    met = visit(reply, params={"cursor": "qu3ry"}, into=Item)

    shown = "".join(traceback.format_exception(met.error)) + repr(met.error)
    assert SECRET not in shown
    assert "qu3ry" not in shown
    assert met.error.__cause__ is None


def test_an_echoed_password_of_basic_authorization_is_hidden() -> None:
    reply = http('{"message":"no pa55word for dXM6cGE1NXdvcmQ="}', status=401)
    met = visit(reply, headers=lambda: {"Authorization": "Basic dXM6cGE1NXdvcmQ="})

    assert str(met.error).endswith("no *** for ***")


# Tokens


def test_a_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CICD_TEST_TOKEN", f" {SECRET}\n")

    assert Token(env="CICD_TEST_TOKEN", file=None).read() == SECRET


def test_a_token_that_nobody_names_is_none() -> None:
    assert Token(env=None, file=None).read() is None


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xef\xbb\xbfone\r\n")
    token = Token(env=None, file=str(file))
    assert token.read() == "one"

    file.write_text("two")
    assert token.read() == "two"

    replacement = tmp_path / "new"
    replacement.write_text("six")
    replacement.replace(file)
    assert token.read() == "six"


def test_a_token_behind_a_swapped_symlink_is_read_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    data = tmp_path / "data"
    data.symlink_to("one")
    token = Token(env=None, file=str(data / "token"))
    assert token.read() == "one"

    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(data)
    assert token.read() == "two"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is not set or empty"),
        (b" \n", "is not set or empty"),
        (b"s3cr3t\xff", "does not hold text"),
        (b"s3cr3t\nline", "holds more than one line of ASCII"),
    ],
)
def test_a_file_without_a_token_is_refused_and_named(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(Refused) as caught:
        Token(env=None, file=str(file)).read()

    assert str(caught.value) == f"token_file {file} {said}"
    assert caught.value.reason == "unauthorized"
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


def test_a_variable_that_is_not_set_is_refused_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CICD_TEST_TOKEN", raising=False)

    with pytest.raises(Refused, match="environment variable CICD_TEST_TOKEN is not set or empty"):
        Token(env="CICD_TEST_TOKEN", file=None).read()


def test_no_repr_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CICD_TEST_TOKEN", SECRET)
    token = Token(env="CICD_TEST_TOKEN", file=None)
    token.read()
    api = Api(root="http://h", headers=secret_headers, timeout=1, proxy="http://h")

    assert SECRET not in repr(token) + repr(api) + repr(vars(token)) + repr(api.stats)


# Answers that are remembered

TAGGED = http('{"a":1}', etag='W/"one"')
UNCHANGED = http("", 304, etag='W/"one"')


def asked(visit: Visit) -> list[str | None]:
    return [request.headers.get("if-none-match") for request in visit.requests]


def test_a_conditional_request_asks_only_for_something_newer() -> None:
    visited = visit(TAGGED, UNCHANGED, count=3, conditional=True)
    answers = [outcome for outcome in visited.outcomes if isinstance(outcome, Answer)]

    assert [None, 'W/"one"', 'W/"one"'] == asked(visited)
    assert [{"a": 1}] * 3 == [answer.body for answer in answers]
    assert [200, 304, 304] == [answer.status for answer in answers]
    assert ({"200": 1, "304": 2}, {}) == (visited.stats.requests, visited.stats.errors)


def test_a_newer_answer_takes_the_place_of_the_remembered_one() -> None:
    newer = http('{"a":2}', etag='"two"')
    visited = visit(TAGGED, newer, http("", 304), count=3, conditional=True)

    assert [None, 'W/"one"', '"two"'] == asked(visited)
    assert {"a": 2} == visited.answer.body


def test_what_was_not_asked_for_conditionally_is_not_remembered() -> None:
    assert [None, None] == asked(visit(TAGGED, count=2))


@pytest.mark.parametrize("tag", ["", "x" * 1000, "\x01", '"\xe9"'])
def test_an_entity_tag_that_is_none_is_not_sent_back(tag: str) -> None:
    visited = visit(http('{"a":1}', etag=tag), count=2, conditional=True)

    assert [None, None] == asked(visited)


def test_an_answer_without_an_entity_tag_ends_the_memory_of_the_one_before() -> None:
    assert [None, 'W/"one"', None] == asked(visit(TAGGED, OK, count=3, conditional=True))


def test_an_error_between_leaves_the_memory_alone() -> None:
    visited = visit(TAGGED, http(status=404), UNCHANGED, count=3, conditional=True)

    assert {"a": 1} == visited.answer.body
    assert isinstance(visited.outcomes[1], Gone)


def test_an_unchanged_nobody_asked_for_is_no_answer() -> None:
    assert visit(UNCHANGED, conditional=True).verdict[0] is Malformed


def test_another_credential_asks_everything_anew() -> None:
    secrets = iter(["first-token", "second-token", "second-token"])
    visited = visit(
        TAGGED, count=3, conditional=True, headers=lambda: {"PRIVATE-TOKEN": next(secrets)}
    )

    assert [None, None, 'W/"one"'] == asked(visited)


def test_an_answer_to_an_old_credential_is_not_remembered() -> None:
    old, new = (httpx.Headers({"PRIVATE-TOKEN": token}) for token in ("old", "new"))
    memory = Memory()
    assert memory.recall("u", int, old) is None
    assert memory.recall("u", int, new) is None
    memory.keep("u", int, old, etag='"x"', body=1)

    assert memory.recall("u", int, new) is None


def test_remembered_answers_are_told_apart_by_address_and_type() -> None:
    async def go() -> list[str | None]:
        async with Server(TAGGED) as server, connected(server.root) as (api, _):
            for path, params, into in (
                ("/x", {}, dict),
                ("/x", {"page": 2}, dict),
                ("/y", {}, dict),
                ("/x", {}, msgspec.Raw),
                ("/x", {"page": 2}, dict),
            ):
                await api.get(path, params, into=into, conditional=True)
        return [request.headers.get("if-none-match") for request in server.requests]

    assert [None, None, None, None, 'W/"one"'] == asyncio.run(go())


def test_what_is_remembered_is_not_changed_by_who_got_it() -> None:
    async def go() -> Any:
        async with Server(TAGGED, UNCHANGED) as server, connected(server.root) as (api, _):
            for _ in range(2):
                answer = await api.get("/x", into=dict[str, int], conditional=True)
                answer.body["a"] += 1
            return (await api.get("/x", into=dict[str, int], conditional=True)).body

    assert {"a": 1} == asyncio.run(go())


def test_the_question_follows_a_permanent_redirect() -> None:
    moved = http("", 301, location="/y")
    visited = visit(moved, TAGGED, moved, UNCHANGED, count=2, conditional=True)

    assert [None, None, 'W/"one"', 'W/"one"'] == asked(visited)
    assert {"a": 1} == visited.answer.body


def test_the_least_recently_asked_for_is_forgotten() -> None:
    headers, memory = httpx.Headers(), Memory(most=2)
    memory.recall("a", int, headers)
    for url in ("a", "b"):
        memory.keep(url, int, headers, etag='"x"', body=1)
    memory.recall("a", int, headers)
    memory.keep("c", int, headers, etag='"x"', body=1)

    known = [url for url in "abc" if memory.recall(url, int, headers) is not None]
    assert ["a", "c"] == known


# POST


class Grant(msgspec.Struct):
    token: str


def posted(*replies: Reply, headers: Any = None) -> tuple[Any, list[Request]]:
    """What comes of a POST, and the requests for it."""

    async def go() -> tuple[Any, list[Request]]:
        async with Server(*replies) as server, connected(server.root) as (api, _):
            given = headers or (lambda: {"Authorization": "Bearer j.w.t-signed"})
            try:
                outcome: Any = await api.post("/tokens", into=Grant, headers=given)
            except ProviderError as error:
                outcome = error
        return outcome, server.requests

    return asyncio.run(go())


def test_a_post_has_headers_of_its_own_and_no_body() -> None:
    answer, (request,) = posted(http('{"token":"t"}', 201))

    assert ("t", 201) == (answer.body.token, answer.status)
    assert ("POST", "/tokens", "0") == (
        request.method,
        request.target,
        request.headers["content-length"],
    )
    assert request.headers["authorization"] == "Bearer j.w.t-signed"
    assert request.headers["user-agent"] == f"cicd-exporter/{__version__}"


def test_a_post_is_sent_again_when_it_may_succeed_later() -> None:
    answer, requests = posted(http(status=503), http('{"token":"t"}', 201))

    assert ("t", 2) == (answer.body.token, len(requests))


def test_a_post_that_is_refused_is_sent_again_with_newer_headers() -> None:
    signatures = iter(["one", "two"])
    answer, requests = posted(
        http(status=401),
        http('{"token":"t"}'),
        headers=lambda: {"Authorization": f"Bearer {next(signatures)}"},
    )

    assert "t" == answer.body.token
    assert ["Bearer one", "Bearer two"] == [r.headers["authorization"] for r in requests]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_post_follows_no_redirect(status: int) -> None:
    error, requests = posted(http("", status, location="/elsewhere"))

    assert ("redirect", 1) == (error.reason, len(requests))


def test_an_error_of_a_post_does_not_tell_its_credential() -> None:
    error, _ = posted(http('{"message":"j.w.t-signed is expired"}', 401))

    assert "j.w.t-signed" not in str(error)
    assert "is expired" in str(error)
