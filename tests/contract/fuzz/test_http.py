"""Whatever bytes a server sends, an answer or one of our errors comes of them, soon."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ProviderError, TryLater
from exporter.http import Answer, RetryPolicy
from exporter.providers import catalogue
from tests.contract.fuzz import examples
from tests.contract.fuzz.source import source
from tests.contract.fuzz.values import NO_JSON, ODD, spelled
from tests.system.client import SECRET, Visit, visit
from tests.tools.hostile import hang_up

_LONGEST_WAIT = 3600.0 + 5.0
"""Seconds that anybody may make us wait, with the longest jitter."""

TYPES: list[Any] = [Any, dict[str, Any], list[Any], list[msgspec.Raw], dict[str, msgspec.Raw]]
TYPES += [struct for word in catalogue() for struct in source(word).structs]

STATUSES = (
    *(b"200 OK", b"200", b"201 Created", b"204 No Content", b"206 Part", b"299 ", b"101 Up"),
    *(b"300 Many", b"301 Moved", b"302 Found", b"304 Not Modified", b"307 T", b"308 P"),
    *(b"400 Bad", b"401 No", b"403 No", b"404 No", b"407 P", b"408 T", b"410 Gone", b"418 Tea"),
    *(b"425 Early", b"429 Slow", b"451 L", b"500 E", b"502 B", b"503 S", b"504 T", b"599 \xff"),
    *(b"600 Odd", b"999 Odd", b"000 Odd", b"-1 Odd", b"20 Odd", b"2000 Odd", b"OK", b""),
)
NUMBERS = (
    *(b"0", b"1", b"-1", b"+1", b"59.5", b"3600", b"999999", b"1e3", b"1e999", b"9" * 400),
    *(b"NaN", b"inf", b"-inf", b"1_000", b" 7 ", b"7;w=60", b"100, 100;w=60", b"1.", b".5"),
    *(b"1795000000", b"1795000000000", b"9" * 17, b"\xd9\xa3", b"", b"\xff", b"a" * 9000, b"0x1"),
)
DATES = (
    *(b"Wed, 21 Oct 2026 07:28:00 GMT", b"Wed, 21 Oct 2099 07:28:00 GMT", b"21 Oct 26 07:28"),
    *(b"Thu, 01 Jan 1970 00:00:00 GMT", b"Fri, 31 Dec 9999 23:59:59 -2359", b"1 Jan", b"GMT"),
    *(b"Mon, 01 Jan 0001 00:00:00 +2359", b"Fri, 99 Foo 99999 99:99:99 GMT", b"("),
    b"Sun Nov  6 08:49:37 1994",
)
ADDRESSES = (
    *(b"/x", b"x", b"//evil.test/x", b"http://[::1", b"http://127.0.0.1:99999/", b"ftp://x/"),
    *(b"http:///x", b"http://\xff/", b"..", b"/%2e%2e/", b"#", b"\\\\x", b"?y", b"/x" * 5000),
    *(b'<http://x/?page=2>; rel="next"', b'<>; rel="next"', b"<" * 100),
)
WORDS = (b"gzip", b"GZIP ", b"br", b"identity", b"gzip, gzip", b"text/html", b"application/json")
NAMES = (
    *(b"retry-after", b"date", b"age", b"etag", b"link", b"location", b"x-next-page", b""),
    *(b"x-ms-continuationtoken", b"content-type", b"content-encoding", b"set-cookie", b"\xff"),
    *(b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset", b"upgrade"),
    *(b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset", b"ratelimit-name"),
    *(b"x-ratelimit-resource", b"transfer-encoding", b"connection"),
)
VALUES = st.sampled_from(NUMBERS + DATES + ADDRESSES + WORDS) | st.binary(max_size=20).map(
    lambda value: value.translate(None, b"\r\n")
)
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=4)
JSON = st.recursive(
    ODD | st.sampled_from(NO_JSON),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("id", "result", "jobs", "message", "errors", "")), inner)
    ),
    max_leaves=5,
).map(spelled)
BODIES = (
    JSON | st.binary(max_size=200) | st.sampled_from((b"", b"<html>", b"\xef\xbb\xbf{}", b"null"))
)


def gz(body: bytes) -> bytes:
    """`body` as gzip, the same one at any time."""
    return gzip.compress(body, mtime=0)


@st.composite
def packings(draw: st.DrawFn, body: bytes) -> bytes:
    """`body` as gzip, or nearly so."""
    match draw(st.integers(0, 6)):
        case 0:
            packed = gz(body[: len(body) // 2]) + gz(body[len(body) // 2 :])
        case 1:
            packed = gz(body) + draw(st.binary(max_size=9))
        case 2:
            packed = zlib.compress(body)
        case 3:
            packed = gz(gz(body))
        case 4:
            packed = body
        case _:
            packed = gz(body)
    if draw(st.booleans()):
        packed = packed[: draw(st.integers(0, len(packed)))]
    if packed and draw(st.booleans()):
        place = draw(st.integers(0, len(packed) - 1))
        packed = packed[:place] + bytes([draw(st.integers(0, 255))]) + packed[place + 1 :]
    return packed


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """Nearly HTTP, with a body that is nearly what its headers say."""
    headers = draw(HEADERS)
    body = draw(BODIES)
    if draw(st.booleans()):
        headers.append(
            (b"content-encoding", draw(st.sampled_from((b"gzip", b"x-gzip", b"deflate"))))
        )
        body = draw(packings(body))
    match draw(st.integers(0, 5)):
        case 0:
            size = len(body) + draw(st.sampled_from((-1, 1, 10**6, 10**20)))
            headers.append((b"content-length", str(size).encode()))
        case 1:
            headers.append((b"transfer-encoding", b"chunked"))
            size = len(body) + draw(st.sampled_from((0, 0, 0, 1, -1)))
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (max(size, 0), body)
        case 2:
            pass  # up to the end of the connection
        case _:
            headers.append((b"content-length", str(len(body)).encode()))
    head = b"".join(b"%s: %s\r\n" % pair for pair in headers)
    version = draw(st.sampled_from((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b"ICY")))
    return b"%s %s\r\n%s\r\n%s" % (version, draw(st.sampled_from(STATUSES)), head, body)


def met(*answers: bytes, **options: Any) -> Visit:
    """What comes of servers that send this and hang up."""
    retries = RetryPolicy(attempts=1, random=lambda: 1.0)
    return visit(*map(hang_up, answers), timeout=5.0, retries=retries, **options)


def check(visited: Visit) -> None:
    """Assert that all is bounded and nothing secret."""
    for outcome in visited.outcomes:
        assert isinstance(outcome, Answer | ProviderError)
        if isinstance(outcome, ProviderError):
            text = str(outcome)
            assert text.isprintable()
            assert 0 < len(text) < 1000
            assert SECRET not in text
        if isinstance(outcome, TryLater) and outcome.delay is not None:
            assert 0.0 < outcome.delay <= _LONGEST_WAIT
    assert visited.blocked_for <= _LONGEST_WAIT
    assert visited.left_open == 0
    skew = visited.stats.clock_skew
    assert skew is None or math.isfinite(skew)
    for limit in visited.stats.rate_limits.values():
        told = (limit.limit, limit.remaining, limit.reset_at)
        assert all(v is None or (math.isfinite(v) and v >= 0) for v in told)


@examples(60)
@given(reply=replies(), into=st.sampled_from(TYPES), conditional=st.booleans())
def test_no_reply_brings_anything_but_an_answer_or_one_of_our_errors(reply, into, conditional):
    check(met(reply, into=into, conditional=conditional, count=2))


@examples(20)
@given(reply=st.binary(max_size=300))
def test_no_bytes_in_place_of_http_bring_anything_but_one_of_our_errors(reply):
    visited = met(reply, b"HTTP/1.1 " + reply)
    check(visited)


@examples(40)
@given(
    name=st.sampled_from((b"retry-after", b"x-ratelimit-reset", b"ratelimit-reset")),
    value=st.sampled_from(NUMBERS + DATES),
    status=st.sampled_from((b"200", b"403", b"429", b"503")),
    date=st.none() | st.sampled_from(DATES),
)
def test_no_server_makes_us_wait_for_longer_than_an_hour(name, value, status, date):
    headers = b"ratelimit-remaining: 0\r\nx-ratelimit-remaining: 0\r\n"
    if date is not None:
        headers += b"date: %s\r\n" % date
    reply = b"HTTP/1.1 %s X\r\n%s: %s\r\n%s\r\n{}" % (status, name, value, headers)
    visited = met(reply)
    check(visited)
    fault = visited.outcomes[0]
    if isinstance(fault, TryLater) and fault.reason == "rate_limited":
        assert fault.delay is not None
        assert 1.0 <= fault.delay <= _LONGEST_WAIT


@examples(40)
@given(body=JSON, into=st.sampled_from(TYPES), mark=st.booleans())
def test_no_json_is_both_accepted_and_unsound(body, into, mark):
    reply = b"HTTP/1.1 200 OK\r\n\r\n" + b"\xef\xbb\xbf" * mark + body
    visited = met(reply, into=into)
    check(visited)
    if into in (Any, dict[str, Any], list[Any]) and isinstance(visited.outcomes[0], Answer):
        assert json.dumps(visited.answer.body, allow_nan=False)
        json.dumps(visited.answer.body).encode()  # has no lone surrogates


@examples(30)
@given(data=st.data(), body=st.binary(min_size=1, max_size=2000))
def test_what_is_unpacked_is_all_that_was_packed(data, body):
    spelling = json.dumps({"a": body.hex()}).encode()
    packed = data.draw(packings(spelling))
    reply = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + packed
    visited = met(reply)
    check(visited)
    if isinstance(visited.outcomes[0], Answer):
        assert visited.answer.body == {"a": body.hex()}
