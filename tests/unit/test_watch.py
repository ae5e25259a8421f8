"""No repo gets lost, and an account that is silent is down, whatever else happens."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import TryLater
from exporter.http import silence
from exporter.recorder import Recorder
from exporter.schedule import budget_group
from exporter.schedule.plan import Demand, planned
from exporter.sync.repo_sync import RepoSync
from tests.unit.test_poller import HOUR, Stage

UNFORESEEN = (
    ZeroDivisionError("division by zero"),
    KeyError("rot"),
    MemoryError(),
    RecursionError("too deep"),
    TimeoutError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    AssertionError(),
    OSError(28, "No space left on device"),
    StopIteration(),
)
PLACES: dict[str, tuple[Any, str]] = {
    "the walk": (RepoSync, "run"),
    "the ledger": (Recorder, "target"),
    "the plan": (budget_group, "planned"),
}


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    monkeypatch.setattr(silence, "monotonic", lambda: on[0].now)
    on: list[Stage] = []

    def made(*repos: str, **kw: Any) -> Stage:
        on.append(Stage(monkeypatch, *repos, **kw))
        return on[-1]

    return made


@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", PLACES)
def test_whatever_goes_wrong_in_a_poll_the_repo_is_polled_again(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch, place: str, error: Exception
) -> None:
    on = stage("a/1", "a/2")
    target, name = PLACES[place]

    def fails(*_: Any, **__: Any) -> Any:
        raise error

    async def main() -> None:
        await on.rounds(61)
        with monkeypatch.context() as broken:
            broken.setattr(target, name, fails)
            await on.rounds(300)
        await on.rounds(900)
        assert {*await on.rounds(900)} == {"a/1", "a/2"}
        assert on.account.health.up
        assert not any(state.error for state in on.account.repos.values())

    on.run(main)


def test_a_poll_that_breaks_down_is_shown_at_its_repo(stage: Callable[..., Stage]) -> None:
    on = stage("a/bad", "a/fine")
    on.provider._bug = "a/bad"

    async def main() -> None:
        await on.rounds(100)
        told = {repo.repo: repo for repo in on.told().repos}
        assert "this is a bug" in (told["a/bad"].error or "")
        assert told["a/fine"].error is None
        assert on.account.health.up

    on.run(main)


def test_a_repo_that_stands_in_no_line_is_found_and_said_so(
    stage: Callable[..., Stage], caplog: pytest.LogCaptureFixture
) -> None:
    on = stage("a/1", "a/2")

    async def main() -> None:
        await on.rounds(61)
        on.account.repos["a/1"].ticket = None
        assert "a/1" in await on.rounds(90)

    on.run(main)
    assert "dropped out of the schedule" in caplog.text


def test_a_repo_due_in_years_is_polled_when_the_budget_is_there_again(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/1")

    async def main() -> None:
        await on.rounds(61)
        state = on.account.repos["a/1"]
        on.account.polled.queue.wait(state, on.now + 1000 * HOUR)
        assert await on.rounds(300) == ["a/1"] * 4 or "a/1" in on.provider._polled

    on.run(main)


@given(
    plenty=st.lists(st.floats(1.0, 900.0), min_size=1, max_size=50),
    polls=st.sampled_from([0.0, 1e-12, 1e-6, 0.01, 1.0, math.inf]),
)
def test_a_plan_polls_everybody_at_some_time(plenty: list[float], polls: float) -> None:
    demands = [Demand(each, each, 900.0) for each in plenty]

    made = planned(demands, polls)

    assert all(0 < made.interval(demand) < math.inf for demand in demands)


@pytest.mark.parametrize("repos", [1, 1000])
def test_an_api_that_answers_nothing_is_down_within_three_timeouts(
    stage: Callable[..., Stage], repos: int
) -> None:
    on = stage(*(f"a/{n}" for n in range(repos)))

    async def main() -> None:
        await on.rounds(200)
        assert on.account.health.up
        on.account.api.silence.asked()
        await on.rounds(70)
        assert on.account.health.up
        await on.rounds(10)
        assert not on.account.health.up
        assert "no request has been answered" in (on.account.health.error or "")

        on.account.api.silence.broken()
        on.account.api.silence.ended(answered=True)
        await on.rounds(60)
        assert on.account.health.up

    on.run(main)


def test_a_slow_answer_is_no_silence(stage: Callable[..., Stage]) -> None:
    on = stage("a/1")

    async def main() -> None:
        for _ in range(20):
            on.account.api.silence.asked()
            await on.rounds(40)
            on.account.api.silence.broken()
            on.account.api.silence.ended(answered=True)
            await on.rounds(300)
        assert on.account.health.up

    on.run(main)


def test_an_api_that_fails_for_repo_after_repo_is_down(stage: Callable[..., Stage]) -> None:
    """Nobody waits until each of a thousand repos has failed."""
    on = stage(*(f"a/{n}" for n in range(1000)))

    async def main() -> None:
        await on.rounds(200)
        on.provider._faults = {f"a/{n}": TryLater("503", reason="server") for n in range(1000)}
        await on.rounds(60)
        assert not on.account.health.up

    on.run(main)


def test_an_account_that_flaps_does_not_flood_the_log(
    stage: Callable[..., Stage], caplog: pytest.LogCaptureFixture
) -> None:
    on = stage("a/1")
    caplog.set_level("INFO")

    async def main() -> None:
        for _ in range(100):
            on.provider._faults = {"a/1": TryLater("answered 503", reason="connect")}
            await on.rounds(31)
            on.provider._faults = {}
            await on.rounds(31)

    on.run(main)
    lines = [r for r in caplog.records if "account is" in r.msg]
    assert 2 <= len(lines) <= 2 * math.ceil(100 * 62 / 300)


class TestWildcards:
    def test_one_that_matches_nothing_says_so(
        self, stage: Callable[..., Stage], caplog: pytest.LogCaptureFixture
    ) -> None:
        on = stage("acme/*")
        on.provider.__dict__["found"] = []

        async def main() -> None:
            await on.rounds(5)
            assert "acme/* matches nothing" in (on.told().error or "")

        on.run(main)
        assert "acme/* matches nothing" in caplog.text

    @pytest.mark.parametrize(
        "name",
        [
            "acme/..",
            "../user",
            "acme/%2e%2e",
            "%2e%2e/%2e%2e/user",
            "acme/",
            "acme//shop",
            "acme/<script>",
            "acme/a%2fb",
            "acme/a b",
            "acme/a?b=c",
            "acme/a#b",
            "acme/a\\b",
            "acme/\x00",
            "acme/\ud800",
            "",
        ],
    )
    def test_a_name_that_leads_elsewhere_is_not_asked_for(
        self, stage: Callable[..., Stage], name: str
    ) -> None:
        on = stage("acme/*")
        on.provider.__dict__["found"] = [name, "acme/shop", "acme/..shop", "acme/sh.op"]

        async def main() -> None:
            assert {*await on.rounds(5)} == {"acme/shop", "acme/..shop", "acme/sh.op"}
            assert on.account.view().rejected == 1

        on.run(main)
