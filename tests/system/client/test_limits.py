"""A rate limit is heeded without asking further, by the provider's own clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from exporter.errors import Refused, TryLater, Waiting
from exporter.http import CONCURRENCY, Answer, RateLimit
from exporter.providers.truto import Truto
from tests.system.client import OK, Visit, attempt, connected, visit
from tests.tools.hostile import Server, http

# Rate limits


def http_time(seconds_from_now: float) -> str:
    return format_datetime(datetime.fromtimestamp(time.time() + seconds_from_now, UTC), usegmt=True)


def delay_of(met: Visit) -> float:
    assert met.error.reason == "rate_limited"
    assert isinstance(met.error, Waiting if len(met.outcomes) > 1 else TryLater)
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
            api.budget.blocked_until = time.monotonic()
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
                api.budget.blocked_until = 0.0
                outcome = await attempt(api, "/x", None, dict)
                delays.append(getattr(outcome, "delay", 0.0))
        return delays

    assert asyncio.run(go()) == [60, 120, 240, 0, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_requests_side_by_side_meet_a_limit_once() -> None:
    async def go() -> list[float]:
        async with Server(http(status=429)) as server, connected(server.root) as (api, _):
            outcomes = await asyncio.gather(*(attempt(api, "/x", None, dict) for _ in range(12)))
            assert len(server.requests) == CONCURRENCY
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
        (http('{"why":{"rate_limit_error":{"value":true}}}', status=403), 60),
    ],
    ids=str,
)
def test_a_403_may_be_a_rate_limit(reply: bytes, delay: float) -> None:
    at = str(int(time.time() + 120)).encode()

    assert delay_of(visit(reply.replace(b"{at}", at), dialect=Truto.dialect)) == pytest.approx(
        delay, abs=2
    )


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
