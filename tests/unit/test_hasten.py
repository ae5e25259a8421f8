"""A repo can be polled now rather than in its turn, within limits and backoff."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from exporter.errors import Refused, TryLater
from exporter.schedule.dispatch import InProcess, Lease
from exporter.schedule.gates import STOPPED
from exporter.sync.activity import Span
from tests.tools import reloading
from tests.unit.test_poller import Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    return lambda *repos, **kw: Stage(monkeypatch, *repos, **kw)


def hasten(on: Stage, repo: str, times: int = 1) -> bool:
    return all(on.schedule.hasten("acme", repo) for _ in range(times))


async def eventually(check: Callable[[], bool]) -> None:
    """Let the loop go on until `check` holds."""

    def assert_it() -> None:
        assert check()

    await reloading.eventually(assert_it)


def test_a_hastened_repo_is_polled_at_once_and_once(stage: Callable[..., Stage]) -> None:
    on = stage("a/1", "a/2")

    async def main() -> None:
        await on.rounds(10)
        on.provider._polled.clear()
        assert hasten(on, "a/1", times=100)
        await on.settle()
        assert on.provider._polled == ["a/1"]
        assert await on.rounds(30) == []
        assert sorted(await on.rounds(60)) == ["a/1", "a/2"]

    on.run(main)


def test_a_repo_hastened_while_it_is_polled_is_polled_once_more_afterwards(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/1")

    async def main() -> None:
        await on.rounds(10)
        on.provider._polled.clear()
        gate = on.provider._hangs["a/1"] = asyncio.Event()
        hasten(on, "a/1")
        await eventually(lambda: bool(on.provider._now))
        hasten(on, "a/1", times=100)
        gate.set()
        await on.settle()
        assert on.provider._polled == ["a/1", "a/1"]
        assert await on.rounds(30) == []

    on.run(main)


def test_what_is_not_polled_cannot_be_hastened(stage: Callable[..., Stage]) -> None:
    on = stage("a/1")

    async def main() -> None:
        await on.rounds(10)
        assert not on.schedule.hasten("acme", "a/unknown")
        assert not on.schedule.hasten("unknown", "a/1")
        await on.schedule.pause([on.account])
        assert not hasten(on, "a/1")
        assert not on.schedule._runners, "no runner is begun for an account that is paused"

    on.run(main)


def test_an_account_that_backs_off_is_hastened_when_it_is_tried_again(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/1", "a/2", "a/3")

    async def main() -> None:
        await on.rounds(10)
        on.account.health.failed(Refused("answered 401", reason="unauthorized"), now=0.0)
        until = on.account.health.backoff_until
        hasten(on, "a/3", times=10)
        assert await on.rounds(until - on.now) == []
        assert (await on.rounds(2))[0] == "a/3"

    on.run(main)


def test_a_repo_that_backs_off_is_not_hastened(stage: Callable[..., Stage]) -> None:
    on = stage("a/bad", "a/fine")
    on.provider._faults["a/bad"] = TryLater("answered 503", reason="server", delay=600.0)

    async def main() -> None:
        await on.rounds(10)
        hasten(on, "a/bad")
        assert "a/bad" not in await on.rounds(580)
        assert "a/bad" in await on.rounds(30)

    on.run(main)


def test_a_budget_that_is_used_up_is_not_passed(stage: Callable[..., Stage]) -> None:
    on = stage("a/1")

    async def main() -> None:
        await on.rounds(10)
        on.account.group.budget.block(3600.0)
        hasten(on, "a/1")
        assert await on.rounds(30) == []
        on.account.group.budget.blocked_until = 0.0
        assert await on.rounds(2) == ["a/1"]

    on.run(main)


def test_a_repo_that_catches_up_is_hastened_past_the_others(stage: Callable[..., Stage]) -> None:
    on = stage("a/1", "a/2")

    async def main() -> None:
        await on.rounds(10)
        state = on.account.repos["a/1"]
        state.is_unfinished = True
        on.account.polled.queue.wait_for_room(state)
        on.lane.catching_up = 100  # there is no room for one more
        assert await on.rounds(5) == []
        hasten(on, "a/1")
        await on.settle()
        assert on.provider._polled == ["a/1"]

    on.run(main)


class TestRounds:
    def test_a_round_ends_with_its_lease_and_the_next_one_goes_on(
        self, stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("exporter.schedule.runner._ROUND", 0.01)
        on = stage("a/hangs", "a/fine")
        on.provider._hangs["a/hangs"] = asyncio.Event()

        async def main() -> None:
            on.account.save()
            async with asyncio.timeout(30):
                lease = asyncio.create_task(on.runner.round(Lease(until=on.now + 5.0)))
                on.now += 1.0
                await eventually(lambda: on.account.repos["a/fine"].was_polled)
                assert not lease.done()
                on.now += 5.0
                await lease
                assert not on.lane.tasks, "what was under way has let go"
                assert on.provider._now == set()
                stored = on.rig.ledger.load().polling["acme"].repos
                assert stored["a/fine"].last_success > 0, "it is written for whoever goes on"
                on.provider._polled.clear()
                assert await on.rounds(120) == []

                on.provider._hangs.clear()
                lease = asyncio.create_task(on.runner.round(Lease(until=on.now + 5.0)))
                await eventually(lambda: set(on.provider._polled) == {"a/hangs", "a/fine"})
                lease.cancel()
                await asyncio.gather(lease, return_exceptions=True)
                assert not on.lane.tasks

        on.run(main)

    def test_a_round_that_breaks_down_is_begun_again_until_it_is_cancelled(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("exporter.schedule.dispatch._AFTER_A_BUG", 0.0)
        leases: list[Lease] = []
        begun = asyncio.Event()

        class Breaking:
            name = b""
            names: frozenset[str] = frozenset()

            def resume(self) -> None:
                raise AssertionError("nobody else polls")

            async def round(self, lease: Lease) -> None:
                leases.append(lease)
                if len(leases) < 3:
                    raise RuntimeError("a bug")
                begun.set()
                await asyncio.Event().wait()

        async def main() -> None:
            rounds = asyncio.create_task(InProcess().run(Breaking()))
            await asyncio.wait_for(begun.wait(), 10)
            rounds.cancel()
            await asyncio.gather(rounds, return_exceptions=True)
            assert rounds.cancelled()

        asyncio.run(main())
        assert len(leases) == 3
        assert not any(lease.is_over for lease in leases)
        assert caplog.text.count("a round broke down: this is a bug") == 2

    def test_a_poll_that_is_cancelled_is_done_again(self, stage: Callable[..., Stage]) -> None:
        on = stage("a/1")
        on.provider._hangs["a/1"] = asyncio.Event()

        async def main() -> None:
            on.runner.visit(on.account)
            await eventually(lambda: bool(on.provider._now))
            await on.lane.stop()
            assert on.account.repos["a/1"].due <= on.now + 1.0
            assert on.schedule.not_now(on.account) is STOPPED

        on.run(main)

    def test_an_account_that_breaks_a_round_leaves_the_others_their_turn(
        self,
        stage: Callable[..., Stage],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        on = stage("a/1")

        def fails() -> None:
            raise RuntimeError("a bug")

        async def main() -> None:
            monkeypatch.setattr(on.account.watch, "look", fails)
            assert await on.rounds(5) == []
            monkeypatch.undo()

        on.run(main)
        assert "an account cannot be polled: this is a bug" in caplog.text


@pytest.mark.parametrize("what", ["a look at all repos", "a request", "another interval"])
def test_a_repo_whose_poll_is_about_to_begin_is_not_polled_twice_at_once(
    stage: Callable[..., Stage], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    on = stage("a/1")

    async def main() -> None:
        await on.rounds(10)
        on.provider._polled.clear()
        gate = on.provider._hangs["a/1"] = asyncio.Event()
        hasten(on, "a/1")  # it leaves the queue now; its poll begins in the loop's next step
        if what == "a look at all repos":
            on.account.watch._looked_at = on.now - 3600.0
            on.account.watch.look()
        elif what == "a request":
            hasten(on, "a/1")
        else:
            on.account.polled.change(Span(120.0, 1800.0))
        await eventually(lambda: bool(on.provider._now))
        on.runner.visit(on.account)
        await on.settle()
        assert on.provider._polled == ["a/1"]
        gate.set()
        await on.settle()
        assert on.provider._polled == ["a/1"]

    on.run(main)
    assert "bug" not in caplog.text


def test_a_poll_that_is_stopped_before_it_begins_leaves_the_repo_due(
    stage: Callable[..., Stage],
) -> None:
    on = stage("a/1")

    async def main() -> None:
        await on.rounds(10)
        on.provider._polled.clear()
        hasten(on, "a/1")
        await on.lane.stop()
        assert on.provider._polled == []
        assert on.lane.busy == 0
        on.lane.is_stopped = False
        on.runner.visit(on.account)
        await on.settle()
        assert on.provider._polled == ["a/1"]

    on.run(main)
