"""What may be sent: published limits, told ones, and the reserve that people have."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import Waiting
from exporter.http import (
    REQUEST_COUNT,
    Api,
    Budget,
    PublishedLimit,
    RateLimit,
    RequestCount,
    TokenBucket,
)
from exporter.http import budget as budgets
from tests.system.client import OK, attempt
from tests.tools.hostile import Server, http


class Clock:
    """The time of `exporter.http.budget`, in hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    hand = Clock()
    monkeypatch.setattr(budgets, "time", hand)
    return hand


def limit(of: float, left: float, reset: float) -> RateLimit:
    return RateLimit(limit=of, remaining=left, reset_at=reset)


# -- published limits


@settings(deadline=None)
@given(
    st.integers(1, 3000),
    st.sampled_from([1.0, 10.0, 60.0, 3600.0]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.lists(st.floats(0, 2), max_size=300),
)
def test_no_span_of_a_published_limit_sees_more_than_it_allows(requests, seconds, reserve, pauses):
    hand = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budgets, "time", hand)
        bucket = TokenBucket(PublishedLimit(requests, seconds), reserve=reserve)
        sent: list[float] = []
        for pause in pauses:
            hand.now += pause * seconds / 100
            at = hand.now + bucket.wait(hand.now)
            bucket.take()
            sent.append(max(at, sent[-1] if sent else at))
    for end, at in enumerate(sent):
        within = [t for t in sent[: end + 1] if t > at - seconds]
        assert len(within) <= max(requests * (1 - reserve), 1.0) + 1e-6


def test_requests_over_a_published_limit_wait_for_their_turn(clock):
    budget = Budget([TokenBucket(PublishedLimit(600, 60.0), reserve=0.1)])
    waits = [budget.admit("api") for _ in range(60)]
    assert waits[:30] == [0.0] * 30
    assert waits[30] == pytest.approx(60 / 510)
    assert waits[59] == pytest.approx(30 * 60 / 510)


def test_a_turn_that_is_far_off_is_not_waited_for_and_costs_nothing(clock):
    budget = Budget([TokenBucket(PublishedLimit(60, 3600.0), reserve=0.0)])
    assert budget.admit("api") == 0.0
    assert budget.admit("api") == pytest.approx(3600 / 59, abs=1.5)
    with pytest.raises(Waiting, match="published limit"):
        budget.admit("api")
    clock.now += 2 * 3600 / 59
    assert budget.admit("api") == pytest.approx(0.0, abs=1e-6)


def test_work_that_has_paid_for_its_first_request_does_not_wait_for_it(clock):
    budget = Budget([TokenBucket(PublishedLimit(60, 60.0), reserve=0.0)])
    turns = [budget.admit_first() for _ in range(100)]
    begun = [turn for turn in turns if turn is not None]
    assert begun[:12] == [clock.now] * 12
    assert turns[len(begun) :] == [None] * (100 - len(begun))  # too many are waiting already
    token = REQUEST_COUNT.set(RequestCount(admitted_at=begun[-1]))
    assert budget.admit("api") == pytest.approx(begun[-1] - clock.now)
    assert budget.admit("api") > begun[-1] - clock.now
    REQUEST_COUNT.reset(token)


def test_a_poll_counts_what_it_sends_and_what_of_that_its_limit_counts():
    budget, count = Budget(unchanged_is_free=True), RequestCount()
    token = REQUEST_COUNT.set(count)
    for is_unchanged in (False, True, True):
        budget.sent()
        budget.answered(unchanged=is_unchanged)
    REQUEST_COUNT.reset(token)

    assert (count.sent, count.counted) == (3, 1)


def test_a_limit_told_without_a_window_replaces_the_published_number(clock):
    budget = Budget([TokenBucket(PublishedLimit(1000, 3600.0), reserve=0.1)])
    slow = budget.headroom().sent
    budget.observe("", RateLimit(limit=10_000.0, remaining=None, reset_at=None), 0.0)
    assert budget.headroom().sent == pytest.approx(slow * (9000 - 30) / (900 - 7.5))


# -- told limits


def test_nothing_is_sent_from_the_reserve_before_the_reset(clock):
    budget = Budget(reserve=0.1)
    budget.observe("core", limit(5000, 521, 9000.0), 8000.0)
    assert budget.admit("api") == 0.0
    budget.observe("core", limit(5000, 520, 9000.0), 8000.0)
    with pytest.raises(Waiting, match="kept for people") as caught:
        budget.admit("api")
    assert caught.value.delay == 1000.0
    clock.now += 999
    assert budget.is_closed
    clock.now += 1
    assert not budget.is_closed
    assert budget.admit("api") == 0.0


def test_answers_that_overtake_each_other_never_raise_what_remains(clock):
    budget = Budget(reserve=0.1)
    budget.observe("core", limit(100, 12, 9000.0), 8000.0)
    budget.observe("core", limit(100, 60, 9001.0), 8000.0)
    assert budget.is_closed
    budget.observe("core", limit(100, 100, 12_600.0), 9002.0)
    assert not budget.is_closed


@pytest.mark.parametrize("reset", [9e15, 1e300])
def test_an_absurd_reset_closes_for_an_hour_at_most(clock, reset):
    budget = Budget()
    budget.observe("", limit(100, 0, reset), 8000.0)
    assert budget.delay() == 3600.0


def test_what_may_be_sent_per_second_is_what_is_left_until_the_reset(clock):
    budget = Budget(reserve=0.1)
    assert budget.headroom() == budgets.RequestRate()
    budget.observe("core", limit(5000, 2320, 9800.0), 8000.0)
    assert budget.headroom().counted == pytest.approx(1.0)
    clock.now += 1800
    assert budget.headroom() == budgets.RequestRate()


def test_resources_that_a_server_makes_up_do_not_fill_the_memory(clock):
    budget = Budget()
    for n in range(1000):
        budget.observe(f"r{n}", limit(10, 9, 9000.0), 8000.0)
    assert len(budget._windows) < 100


# -- over HTTP


def test_two_accounts_on_one_budget_are_silent_together() -> None:
    async def go() -> None:
        shared = Budget()
        headers = {"Authorization": "Bearer x"}
        async with Server(http(status=429, retry_after="600"), OK) as server:
            one, other = (
                Api(root=server.root, headers=headers.copy, timeout=5, budget=shared)
                for _ in range(2)
            )
            met = await attempt(one, "/x", None, dict)
            waiting = await attempt(other, "/x", None, dict)
            assert "429" in str(met)
            assert isinstance(waiting, Waiting)
            assert waiting.delay == pytest.approx(600, abs=2)
            assert other.stats.errors == {}
            assert len(server.requests) == 1
            await one.aclose()
            await other.aclose()

    asyncio.run(go())


def test_the_last_answer_before_the_reserve_is_the_last_request() -> None:
    async def go() -> None:
        reset = int(time.time()) + 500
        told: Any = {"x_ratelimit_limit": "100", "x_ratelimit_reset": str(reset)}
        rich, poor = (http(x_ratelimit_remaining=left, **told) for left in ("13", "12"))
        async with Server(rich, poor) as server:
            api = Api(root=server.root, headers=dict, timeout=5, budget=Budget(reserve=0.1))
            outcomes = [await attempt(api, "/x", None, dict) for _ in range(4)]
            assert [isinstance(outcome, Waiting) for outcome in outcomes] == [
                False,
                False,
                True,
                True,
            ]
            assert len(server.requests) == 2
            await api.aclose()

    asyncio.run(go())
