"""One place says "not now", until when and why."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import Refused, TryLater
from exporter.http import RateLimit
from exporter.schedule.account import AccountPoller
from exporter.schedule.budget_group import BudgetGroup
from exporter.schedule.gates import STOPPED, Gate, Why, not_now
from tests.unit.test_poller import Stage

GATES = st.builds(Gate, st.floats(0, 100), st.sampled_from(get_args(Why)))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    def made(*repos: str) -> Stage:
        on = Stage(monkeypatch, *repos)
        clock = SimpleNamespace(monotonic=lambda: on.now, time=time.time)
        monkeypatch.setattr("exporter.http.budget.time", clock)
        return on

    return made


def test_with_all_gates_open_nothing_is_in_the_way() -> None:
    assert not_now([], 5.0) is None
    assert not_now([Gate(5.0, "not_due"), Gate(0.0, "reserve")], 5.0) is None


def test_the_gate_that_opens_last_decides() -> None:
    gates = [Gate(9.0, "rate_limited"), Gate(12.0, "backing_off"), Gate(7.0, "not_due")]

    assert not_now(gates, 5.0) == Gate(12.0, "backing_off")
    assert not_now(gates, 8.0) == Gate(12.0, "backing_off")
    assert not_now(gates, 12.0) is None
    assert not_now([*gates, STOPPED], 1e9) == STOPPED


@given(st.lists(GATES), st.floats(0, 100))
def test_what_is_answered_is_closed_and_nothing_is_closed_when_it_has_opened(
    gates: list[Gate], now: float
) -> None:
    gate = not_now(gates, now)

    if gate is None:
        assert all(other.until <= now for other in gates)
    else:
        assert now < gate.until < math.inf
        assert not_now(gates, gate.until) is None


def test_a_runner_says_why_nothing_is_sent(stage: Callable[..., Stage]) -> None:
    on = stage("a/1", "a/2")

    def why(repo: str | None = None) -> Why | None:
        gate = on.schedule.not_now(on.account, on.account.repos[repo] if repo else None)
        return None if gate is None else gate.why

    async def main() -> None:
        await on.rounds(30)
        group, health = on.account.group, on.account.health
        assert (why(), why("a/1")) == (None, "not_due")

        on.provider._faults["a/1"] = TryLater("answered 503", reason="server", delay=600.0)
        await on.rounds(60)
        assert (why(), why("a/1"), why("a/2")) == (None, "repo_backoff", "not_due")

        group.budget.observe("core", RateLimit(100.0, 0.0, on.now + 3000.0), on.now)
        assert (why(), why("a/1")) == ("reserve", "reserve")

        health.failed(Refused("answered 401", reason="unauthorized"), now=0.0)
        assert why() == "reserve", "it ends after the backoff"
        health.backoff_until = on.now + 4000.0
        assert (why(), why("a/2")) == ("backing_off", "backing_off")

        group.budget.block(5000.0)
        assert (why(), why("a/2")) == ("rate_limited", "rate_limited")

        await on.schedule.pause([on.account])
        assert (why(), why("a/2")) == ("stopped", "stopped")
        assert await on.schedule.once(), "nothing is left to be polled"

    on.run(main)


@pytest.mark.parametrize("repos", [("a/1",), ("a/1", "a/2")])
def test_a_reload_ends_no_wait_that_an_api_has_asked_for(
    stage: Callable[..., Stage], repos: tuple[str, ...]
) -> None:
    on = stage(*repos)
    on.provider._faults["a/1"] = TryLater("answered 503", reason="server", delay=600.0)

    async def main() -> None:
        await on.rounds(10)
        on.account.change(on.rules, interval=60.0, timeout=31.0)
        assert "a/1" not in await on.rounds(580)
        assert "a/1" in await on.rounds(20)

    on.run(main)


@pytest.mark.parametrize("is_same", [True, False])
@pytest.mark.parametrize("is_wide", [True, False])
@pytest.mark.parametrize("repos", [("a/1",), ("a/1", "a/2")])
def test_what_an_api_asked_for_holds_for_an_account_with_other_keys_but_no_other_credential(
    stage: Callable[..., Stage], repos: tuple[str, ...], is_same: bool, is_wide: bool
) -> None:
    on = stage(*repos)
    asks = on.provider._faults["a/1"] = TryLater("answered 503", reason="server", delay=600.0)
    asks.account_wide = is_wide

    async def main() -> None:
        await on.rounds(10)
        old = on.account
        group = old.group if is_same else BudgetGroup(old.group.budget, b"another")
        await on.schedule.pause([old])
        on.account = AccountPoller(old._context, interval=60.0, group=group)
        on.schedule.resume([on.account])
        on.runner = on.schedule._runners[group]
        on.lane = on.runner._lanes[on.account]
        assert ("a/1" in await on.rounds(580)) != is_same
        assert "a/1" in await on.rounds(100)

    on.run(main)


def test_a_repo_whose_api_asks_to_wait_is_not_polled_before_then(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/1", "a/2")
    on.provider._faults["a/1"] = TryLater("answered 503", reason="server", delay=1200.0)

    async def main() -> None:
        polled = await on.rounds(1200)
        assert polled.count("a/1") == 1
        assert polled.count("a/2") > 5
        assert "a/1" in await on.rounds(30)

    on.run(main)
